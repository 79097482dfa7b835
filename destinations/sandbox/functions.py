"""A placeholder's functions, read backwards: from the value sent to the value mapped.

Digests cannot be read backwards. A row addressed by one is found by its name: the digest
that the same functions give for the identity the sandbox knows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, unquote

import orjson

from destinations.language.template import Function, Placeholder

DIGESTS = frozenset({"md5", "sha1", "sha256"})


class UnreadableError(ValueError):
    """A value that the placeholder cannot have produced."""


def is_digest(placeholder: Placeholder) -> bool:
    return any(function.name in DIGESTS for function in placeholder.functions)


def mapped_value(placeholder: Placeholder, value: Any) -> Any:
    """The value before the placeholder's functions, as far as they can be read backwards.

    Raises:
        UnreadableError: the functions cannot have given this value.
    """
    functions: Iterable[Function] = reversed(placeholder.functions)
    if placeholder.is_object:
        # Whatever order they stand in: keys are written first, then pairs, then JSON text.
        functions = sorted(placeholder.functions, key=lambda one: _OBJECT_ORDER.get(one.name, 9))
    for function in functions:
        if value is None:
            return None
        reader = _BACKWARDS.get(function.name)
        if reader is not None:
            value = reader(function, value)
    return value


def derived(placeholder: Placeholder, value: str) -> str | None:
    """What the placeholder sends for ``value``; None where a function is not for names."""
    for function in placeholder.functions:
        apply = _FORWARDS.get(function.name)
        if apply is None:
            return None
        value = apply(value)
    return value


def _base64(_: Function, value: Any) -> str:
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise UnreadableError("is not base64 of a text") from None


def _json(_: Function, value: Any) -> Any:
    try:
        return orjson.loads(value)
    except (orjson.JSONDecodeError, TypeError):
        raise UnreadableError("is not JSON within a string") from None


def _yes_no(function: Function, value: Any) -> bool:
    yes, no = (function.argument or "yes,no").split(",")
    if value not in (yes, no):
        raise UnreadableError(f"must be '{yes}' or '{no}'")
    return bool(value == yes)


def _pairs(function: Function, value: Any) -> dict[str, Any]:
    name, content = (function.argument or "").split(",")
    if not isinstance(value, list) or not all(
        isinstance(pair, dict) and isinstance(pair.get(name), str) for pair in value
    ):
        raise UnreadableError(f"must be an array of objects with '{name}' and '{content}'")
    return {pair[name]: pair.get(content) for pair in value}


def _keys(function: Function, value: Any) -> dict[str, Any]:
    before, _, after = (function.argument or "*").partition("*")
    if not isinstance(value, dict):
        raise UnreadableError("must be an object")
    for key in value:
        if not key.startswith(before) or not key.endswith(after):
            raise UnreadableError(f"has the key '{key}', which is not written {function.argument}")
    return {key.removeprefix(before).removesuffix(after): item for key, item in value.items()}


_OBJECT_ORDER = {"base64": 0, "json": 1, "pairs": 2, "keys": 3}

_BACKWARDS: dict[str, Callable[[Function, Any], Any]] = {
    "base64": _base64,
    "url": lambda _, value: unquote(str(value)),
    "json": _json,
    "yes_no": _yes_no,
    "pairs": _pairs,
    "keys": _keys,
}

_FORWARDS: dict[str, Callable[[str], str]] = {
    "trim": str.strip,
    "lower": str.lower,
    "upper": str.upper,
    "string": str,
    "md5": lambda value: hashlib.md5(value.encode(), usedforsecurity=False).hexdigest(),
    "sha1": lambda value: hashlib.sha1(value.encode(), usedforsecurity=False).hexdigest(),
    "sha256": lambda value: hashlib.sha256(value.encode()).hexdigest(),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "url": lambda value: quote(value, safe=""),
}
