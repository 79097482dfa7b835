"""Destinations with a protocol of their own, one module each.

A module gives

``Settings``
    a pydantic model that forbids unknown keys; secrets are ``SecretStr``, and a setting without a
    default has ``examples``, which previews use.
``open(settings) -> Driver``
    refuses with what to install where its library is missing.
``preview(settings, operation, rows) -> Iterator[Shown]``
    what would be said for these rows, rendered by the code that renders deliveries. It connects
    to nothing and needs no library that only a connection needs.
"""
