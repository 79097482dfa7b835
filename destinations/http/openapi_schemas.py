"""The schemas of an OpenAPI description: how strictly they are read, and what one finding says."""

from __future__ import annotations

import re
from typing import Any

import jsonschema

ROOT = "urn:description"
"""Where a schema's references lead."""
PLACEHOLDER = re.compile(r"<[a-z0-9_]+>")
"""What a preview makes up for a secret or a captured id."""


def with_epochs(node: Any) -> Any:
    """AWS sends times as seconds, which converters describe as text
    (https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html).
    """
    if isinstance(node, list):
        return [with_epochs(one) for one in node]
    if not isinstance(node, dict):
        return node
    timed = node.get("format") == "date-time" and node.get("type") == "string"
    kept = {key: with_epochs(one) for key, one in node.items()}
    return {**kept, "type": ["string", "number"]} if timed else kept


def with_root(schema: Any) -> Any:
    """The same schema with its references made absolute at the top, where they leave it."""
    if isinstance(schema, dict):
        return {
            key: ROOT + value
            if key == "$ref" and isinstance(value, str) and value.startswith("#/")
            else with_root(value)
            for key, value in schema.items()
        }
    return [with_root(one) for one in schema] if isinstance(schema, list) else schema


def made_up(error: Any) -> bool:
    """Whether only values that a preview makes up are at fault."""
    if error.context:
        return any(all(map(made_up, branch)) for branch in _branches(error))
    return isinstance(error.instance, str) and bool(PLACEHOLDER.search(error.instance))


def deepest(error: Any) -> Any:
    """Of alternatives none of which fits, what the nearest one misses."""
    while error.context:
        branches = [[e for e in branch if not made_up(e)] for branch in _branches(error)]
        # An alternative of another type altogether was not meant.
        meant = [b for b in branches if not any(_of_another_type(e, error) for e in b)]
        nearest = min(meant or branches, key=len)
        error = max(nearest, key=lambda e: len(e.absolute_path))
    return error


def _branches(error: Any) -> list[list[Any]]:
    found: dict[Any, list[Any]] = {}
    for inner in error.context:
        found.setdefault(inner.schema_path[0], []).append(inner)
    return list(found.values())


def _of_another_type(error: Any, outer: Any) -> bool:
    return error.validator == "type" and list(error.absolute_path) == list(outer.absolute_path)


def words_of(error: Any) -> str:
    """The error in one line; a long value is cut, and the rule that it breaks is named."""
    message = str(error.message)
    if len(message) <= 160:
        return message
    return f"{message[:80]}... breaks {error.validator}: {str(error.validator_value)[:80]}"


def depth(error: Any) -> tuple[int, str]:
    return len(error.absolute_path), str(error.message)


def _keyword(name: str) -> Any:
    """A keyword that lets null pass where OpenAPI 3.0 says ``nullable``."""
    plain = jsonschema.Draft202012Validator.VALIDATORS[name]

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        if instance is None and schema.get("nullable") is True:
            return
        if name == "type" and value in ("file", "any"):
            return  # Swagger's upload, and what some converters write for "anything"
        yield from plain(validator, value, instance, schema) or ()

    return check


def _required(_: Any, names: Any, instance: Any, schema: Any) -> Any:
    """What only answers hold (``readOnly``) is not asked of a request."""
    if not isinstance(instance, dict) or not isinstance(names, list):
        return
    properties = schema.get("properties") or {}
    for name in names:
        declared = properties.get(name)
        read_only = isinstance(declared, dict) and declared.get("readOnly")
        if name not in instance and not read_only:
            yield jsonschema.ValidationError(f"'{name}' is missing")


def _bound(limit: str, exclusive: str, refuses: Any) -> Any:
    """OpenAPI 3.0 writes ``exclusiveMinimum: true`` beside ``minimum``."""

    def check(_: Any, value: Any, instance: Any, schema: Any) -> Any:
        if isinstance(value, bool) or not isinstance(instance, int | float):
            return
        if isinstance(instance, bool):
            return
        strict = limit.startswith("exclusive") or schema.get(exclusive) is True
        if refuses(instance, value) or (strict and instance == value):
            yield jsonschema.ValidationError(f"{instance} is not within {limit} {value}")

    return check


def _pattern(_: Any, pattern: str, instance: Any, _schema: Any) -> Any:
    if not isinstance(instance, str):
        return
    literal = re.fullmatch(r"/(.*)/([a-z]*)", pattern, re.DOTALL)  # as JavaScript writes them
    flags = re.IGNORECASE if literal and "i" in literal[2] else re.NOFLAG
    try:
        fits = re.search(literal[1] if literal else pattern, instance, flags)
    except re.error:
        return
    if fits is None:
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


DescribedValidator: Any = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {
        "type": _keyword("type"),
        "enum": _keyword("enum"),
        "allOf": _keyword("allOf"),
        "anyOf": _keyword("anyOf"),
        "oneOf": _keyword("anyOf"),
        "$ref": _keyword("$ref"),
        "required": _required,
        "pattern": _pattern,
        "minimum": _bound("minimum", "exclusiveMinimum", lambda one, most: one < most),
        "maximum": _bound("maximum", "exclusiveMaximum", lambda one, most: one > most),
        "exclusiveMinimum": _bound("exclusiveMinimum", "", lambda one, most: one < most),
        "exclusiveMaximum": _bound("exclusiveMaximum", "", lambda one, most: one > most),
        "multipleOf": None,
        "unevaluatedProperties": None,
    },
)
