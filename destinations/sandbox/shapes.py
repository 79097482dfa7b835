"""What can be said of a template without a request: its look, its pattern, what it may leave out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from destinations.language.spec import Setting
from destinations.language.template import (
    META,
    SETTINGS,
    Array,
    Constant,
    Each,
    File,
    Node,
    Object,
    Placeholder,
    Spread,
    Text,
)


def may_be_absent(node: Node, settings: Mapping[str, Setting]) -> bool:
    """Whether the template leaves this value out of the body for some rows."""
    if isinstance(node, Constant):
        return node.value is None
    if isinstance(node, Placeholder):
        if any(function.name == "or" for function in node.functions):
            return False
        if node.scope == SETTINGS:
            setting = settings.get(node.local)
            return setting is not None and not setting.required
        return node.scope != META
    if isinstance(node, Text):
        return any(
            may_be_absent(part, settings) for part in node.parts if not isinstance(part, str)
        )
    if isinstance(node, Each | File):
        return False
    if isinstance(node, Array):
        return all(may_be_absent(item, settings) for item in node.items)
    return all(
        isinstance(member, Spread) or may_be_absent(member.value, settings)
        for member in node.members
    )


def may_be_absent_element(node: Node, settings: Mapping[str, Setting]) -> bool:
    """The same of an array's element: constants beside fields do not keep an object there."""
    if not isinstance(node, Object):
        return may_be_absent(node, settings)
    told = [
        member
        for member in node.members
        if isinstance(member, Spread) or not isinstance(member.value, Constant)
    ]
    return bool(told) and all(
        isinstance(member, Spread) or may_be_absent(member.value, settings) for member in told
    )


def usual(setting: Setting) -> set[str]:
    """The values that a specification shows for a setting, as text."""
    return {str(one) for one in (setting.default, setting.example) if one is not None}


def constants(node: Node) -> int:
    """How many values of a template are always the same."""
    if isinstance(node, Constant):
        return 1
    if isinstance(node, Each):
        return constants(node.item)
    if isinstance(node, File):
        return constants(node.content)
    if isinstance(node, Array):
        return sum(map(constants, node.items))
    if isinstance(node, Object):
        values = [one.value for one in node.members if not isinstance(one, Spread)]
        return sum(map(constants, values))
    return 0


@lru_cache(maxsize=4096)
def text_pattern(text: Text) -> re.Pattern[str]:
    """One group per placeholder, each as short as the text around it allows."""
    return re.compile(
        "".join(re.escape(part) if isinstance(part, str) else "(.+?)" for part in text.parts),
        re.DOTALL,
    )


def shown(node: Node) -> str:
    if isinstance(node, Text):
        return "'" + "".join(str(part) for part in node.parts) + "'"
    return str(node)


def short(value: Any) -> str:
    """A value's own look, cut: enough to find it, never a whole body."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
