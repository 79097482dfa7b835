"""A template filled in by hand, row by row: what the compiled expressions are held to."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import pytest

from destinations.language.template import (
    Array,
    Constant,
    Each,
    Member,
    Node,
    Object,
    Placeholder,
    Spread,
    Text,
)

LEFT_OUT = object()


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, dt.datetime):
        text = value.strftime("%Y-%m-%dT%H:%M:%S")
        micro = value.microsecond
        if micro:
            digits = f"{micro:06d}"
            text += "." + (digits[:3] if digits.endswith("000") else digits)
        return text + "Z"
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def as_text(value: Any) -> str | None:
    value = plain(value)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def nothing(node: Node, value: Any) -> bool:
    """Whether nothing remains of an object: no member, one that is such an object itself, or
    constants beside fields that are all null.
    """
    if not isinstance(node, Object) or not node.members:
        return False
    told = [m for m in node.members if isinstance(m, Spread) or not isinstance(m.value, Constant)]
    if told and all(
        isinstance(m.value, Placeholder) and m.value.name not in ("fields", "custom") for m in told
    ):
        return not any(isinstance(m, Member) and m.key.value in value for m in told)
    if len(node.members) == 1 and isinstance(node.members[0], Member) and len(value) == 1:
        [inner] = value.values()
        return nothing(node.members[0].value, inner)
    return not value


def filled(node: Node, row: dict[str, Any], declared: set[str], nulls: str) -> Any:
    """The JSON value of a template for one row; LEFT_OUT where a null is dropped."""

    def policy(value: Any) -> Any:
        if value is not None:
            return value
        return {"drop": LEFT_OUT, "send": None, "empty": ""}[nulls]

    def mapped(placeholder: Placeholder) -> dict[str, Any]:
        names = row if placeholder.name == "fields" else [n for n in row if n not in declared]
        found = {}
        for name in names:
            functions = [f.name for f in placeholder.functions]
            value = as_text(row[name]) if "string" in functions else plain(row[name])
            pattern = next((f.argument for f in placeholder.functions if f.name == "keys"), "*")
            if policy(value) is not LEFT_OUT:
                found[str(pattern).replace("*", name)] = policy(value)
        return found

    def fill(node: Node) -> Any:
        match node:
            case Constant(value):
                return policy(value)
            case Placeholder() if node.name in ("fields", "custom"):
                pairs = next((f.argument for f in node.functions if f.name == "pairs"), None)
                if pairs:
                    key, word = pairs.split(",")
                    return [{key: k, word: v} for k, v in mapped(node).items()]
                return mapped(node)
            case Placeholder():
                return policy(plain(row.get(node.name)))
            case Text(parts):
                texts = [p if isinstance(p, str) else as_text(row.get(p.name)) for p in parts]
                return policy(None if None in texts else "".join(map(str, texts)))
            case Array(items):
                values = []
                for item in items:
                    value = fill(item)
                    empty = nulls == "drop" and isinstance(item, Object) and nothing(item, value)
                    if value is not LEFT_OUT and not empty:
                        values.append(value)
                return values
            case Each(item):
                value = fill(item)
                return [None if value is LEFT_OUT else value]
            case Object(members):
                literal = {m.key.value for m in members if isinstance(m, Member)}
                made = {}
                for member in members:
                    if isinstance(member, Spread):
                        made |= {k: v for k, v in mapped(member.value).items() if k not in literal}
                    else:
                        value = fill(member.value)
                        if value is not LEFT_OUT:
                            made[member.key.value] = value
                return made
        raise AssertionError(node)

    value = fill(node)
    return None if value is LEFT_OUT else value


@pytest.fixture(scope="session")
def by_hand() -> Callable[[Node, dict[str, Any], set[str], str], Any]:
    return filled
