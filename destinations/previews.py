"""The requests of any destination by its id, for sample rows and without a connection."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import polars as pl

from destinations.driver import Operation
from destinations.errors import ConfigurationError
from destinations.http.preview import AUDIENCE, preview, sample_rows
from destinations.language.spec import Spec
from destinations.registry import adapter_module, load_spec, offered_operations

CODE_FIELDS: dict[str, list[Any]] = {
    "email": ["ann@example.com", "bob@example.com"],
    "first_name": ["Ann", "Bob"],
    "plan": ["gold", None],
    "orders": [3, 1],
}
"""What the rows of a destination hold that takes any field: a column's name and its values, in turn."""


def previews(destination: str, operation: str | None, rows: int) -> Iterator[dict[str, Any]]:
    """``{"destination", "operation", "requests"}`` of one operation, or of each that there is.

    Raises:
        ConfigurationError: no such destination or operation; fewer than one row.
    """
    spec = load_spec(destination)
    if rows < 1:
        raise ConfigurationError(f"A preview of {rows} rows shows nothing.", "Ask for 1 or more.")
    offered = offered_operations(spec)
    if operation is None:
        asked = offered
    elif operation in list(Operation):
        asked = [Operation(operation)]
    else:
        near = difflib.get_close_matches(operation, list(Operation), n=1)
        raise ConfigurationError(
            f"There is no operation '{operation}'.",
            f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(Operation)}.",
        )
    for one in asked:
        if one not in offered:
            raise ConfigurationError(
                f"{spec.name} has no {one.value}.", f"It has: {', '.join(offered)}."
            )
        yield preview(spec, one, rows) if spec.adapter is None else _of_code(spec, one, rows)


def example_model(spec: Spec) -> Any:
    """A code adapter's settings as its spec and its model give them as examples.

    A secret without an example is ``<name>``.

    Raises:
        ConfigurationError: one that must be given has no example, or the spec names another.
    """
    model = adapter_module(spec).Settings
    unknown = sorted(set(spec.settings) - set(model.model_fields))
    if unknown:
        raise ConfigurationError(
            f"{spec.id}: the code has no setting '{unknown[0]}'.",
            f"It has: {', '.join(model.model_fields)}.",
        )
    given: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        said = spec.settings.get(name)
        if said is not None and said.example is not None:
            given[name] = said.example
        elif said is not None and said.default is not None:
            given[name] = said.default
        elif field.examples:
            given[name] = field.examples[0]
        elif "SecretStr" in str(field.annotation) and (field.is_required() or said is not None):
            given[name] = f"<{name}>"
        elif name == "folder":
            given[name] = AUDIENCE
        elif field.is_required():
            raise ConfigurationError(
                f"{spec.id}: the setting '{name}' has no example.",
                "Add `examples=[...]` to its field, or `settings:` with an example to the spec.",
            )
    return model(**given)


def code_rows(spec: Spec, count: int) -> pl.DataFrame:
    """Sample rows of a code adapter: the fields it declares, or some of each type."""
    rows = sample_rows(spec, count)
    if spec.fields:
        return rows
    return rows.drop("plan", strict=False).with_columns(
        pl.Series(name, [values[number % len(values)] for number in range(count)])
        for name, values in CODE_FIELDS.items()
    )


def _of_code(spec: Spec, operation: Operation, count: int) -> dict[str, Any]:
    module = adapter_module(spec)
    if not hasattr(module, "preview"):
        raise ConfigurationError(
            f"{spec.name} cannot show what it would send.",
            f"Give {spec.adapter} a function `preview(settings, operation, rows)`.",
        )
    requests = module.preview(example_model(spec), operation, code_rows(spec, count))
    return {"destination": spec.id, "operation": operation.value, "requests": list(requests)}
