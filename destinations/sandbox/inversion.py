"""Reading a body template backwards: from a request's body to the rows in it.

What cannot have come from the template is a problem, in words for whoever wrote the
request: a key the template does not have, a constant with another value, a missing one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from destinations.language.spec import Setting
from destinations.language.template import (
    META,
    PER_BATCH,
    REMOTE_ID,
    SETTINGS,
    Array,
    Constant,
    Each,
    File,
    Member,
    Node,
    Object,
    Placeholder,
    Spread,
    Text,
)
from destinations.sandbox.functions import UnreadableError, is_digest, mapped_value
from destinations.sandbox.shapes import (
    may_be_absent,
    may_be_absent_element,
    short,
    shown,
    text_pattern,
    usual,
)

MOST_PROBLEMS = 5


@dataclass
class Row:
    """What a request says of one row."""

    fields: dict[str, Any] = field(default_factory=dict)
    key: str | None = None
    id: str | None = None
    """What the sender calls this change of the row: a receiver takes each once."""
    remote_id: str | None = None
    """The sandbox's own id, sent as ``{remote_id}`` or as a value captured by an earlier step."""
    digests: dict[str, str] = field(default_factory=dict)
    """Placeholder text -> digest, for ``{email|lower|md5}`` and the like."""


@dataclass
class Reading:
    """One request read against one template."""

    settings: Mapping[str, Setting]
    nulls: Literal["drop", "send", "empty"] = "drop"
    as_text: bool = False
    """Numbers and truth values arrive as text."""
    json_within: bool = False
    """Objects and arrays within the body are JSON text, as in a form."""
    shared: dict[str, Any] = field(default_factory=dict)
    """Values of ``settings.*`` and of ``meta.*`` that hold for the whole request."""
    single: Row = field(default_factory=Row)
    """What stands outside every ``each``."""
    rows: list[Row] | None = None
    """What stands inside ``each``, one per element; None where there was none."""
    problems: list[str] = field(default_factory=list)
    required: frozenset[str] = frozenset()
    """Fields that every row has."""
    doubts: int = 0
    """Signs that another template is meant: a required field left out, another setting's value."""
    job: str | None = None
    """The id of the job that the request is about."""

    def problem(self, where: str, text: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(f"{where or 'the body'} {text}")

    def read(self, node: Node, value: Any, where: str, row: Row) -> None:
        """Bind what ``value`` says at ``node``; ``where`` is its path in the body."""
        if isinstance(node, Placeholder):
            self.bind(node, value, where, row)
        elif isinstance(node, Constant):
            if not self._same(node.value, value):
                self.problem(where, f"must be {node.value!r}, not {short(value)}")
        elif isinstance(node, Text):
            self._read_text(node, value, where, row)
        elif isinstance(node, Object):
            self._read_object(node, value, where, row)
        elif isinstance(node, Each):
            self._read_each(node, value, where)
        elif isinstance(node, File):
            self._read_file(node, value, where, row)
        else:
            self._read_array(node, value, where, row)

    def bind(self, placeholder: Placeholder, value: Any, where: str, row: Row) -> None:
        """``value`` was sent for ``placeholder``."""
        if value == "" and self.nulls == "empty":
            value = None
        scope, name = placeholder.scope, placeholder.name
        if is_digest(placeholder):
            if value is not None:
                row.digests[str(placeholder)] = str(value)
            return
        try:
            value = mapped_value(placeholder, value)
        except UnreadableError as error:
            self.problem(where, str(error))
            return
        if placeholder.is_object:
            if value is None:
                return
            if not isinstance(value, dict):
                self.problem(where, "must be an object")
                return
            for key, item in value.items():
                row.fields.setdefault(key, None if item == "" and self.nulls == "empty" else item)
        elif scope is None:
            if name == REMOTE_ID:
                row.remote_id = None if value is None else str(value)
            else:
                row.fields[name] = value
        elif scope == META and placeholder.local == "id":
            row.id = None if value is None else str(value)
        elif scope == META and placeholder.local not in PER_BATCH:
            row.key = None if value is None else str(value)
        elif scope in (SETTINGS, META):
            self._share(name, value, where)
        elif value is not None:
            row.remote_id = str(value)

    def _share(self, name: str, value: Any, where: str) -> None:
        setting = self.settings.get(name.removeprefix(f"{SETTINGS}."))
        if value is None and setting is not None and setting.required:
            self.problem(where, f"must be a value ({name})")
        elif isinstance(value, dict | list):
            self.problem(where, f"must be one value ({name})")
        elif value is not None and str(self.shared.setdefault(name, value)) != str(value):
            # The value may be a secret, so it is not shown.
            self.problem(where, f"gives another {name} than the rest of the request")
        elif setting is not None and str(value) not in usual(setting):
            others = (one for one in self.settings.values() if not one.secret)
            self.doubts += any(str(value) in usual(one) for one in others)

    def _same(self, expected: Any, value: Any) -> bool:
        if self.as_text and not isinstance(expected, str) and isinstance(value, str):
            return value == (str(expected).lower() if isinstance(expected, bool) else str(expected))
        return isinstance(expected, bool) == isinstance(value, bool) and bool(expected == value)

    def _read_text(self, node: Text, value: Any, where: str, row: Row) -> None:
        if value is None:
            return
        found = text_pattern(node).fullmatch(value) if isinstance(value, str) else None
        if found is None:
            self.problem(where, f"must read like {shown(node)}, not {short(value)}")
            return
        parts = (part for part in node.parts if isinstance(part, Placeholder))
        for part, piece in zip(parts, found.groups(), strict=True):
            self.bind(part, piece, where, row)

    def _read_array(self, node: Array, value: Any, where: str, row: Row) -> None:
        if not isinstance(value, list):
            self.problem(where, f"must be an array, not {short(value)}")
            return
        items = list(node.items)
        if len(value) < len(items) and self.nulls == "drop":
            items = self._items_present(items, value)
        if len(value) != len(items):
            self.problem(where, f"must have {len(node.items)} elements, not {len(value)}")
            return
        for position, (item, element) in enumerate(zip(items, value, strict=True)):
            self.read(item, element, f"{where}[{position}]", row)

    def _items_present(self, items: list[Node], value: list[Any]) -> list[Node]:
        """The items that the elements of a shorter array are: null ones were left out."""
        present: list[Node] = []
        spare = len(items) - len(value)
        for item in items:
            at = len(present)
            fits = at < len(value) and not self.attempt(item, value[at]).problems
            if not fits and spare and may_be_absent_element(item, self.settings):
                spare -= 1
            else:
                present.append(item)
        return present

    def attempt(self, node: Node, value: Any) -> Reading:
        """Read apart from everything read so far."""
        attempt = Reading(self.settings, self.nulls, self.as_text, self.json_within)
        attempt.read(node, value, "", Row())
        return attempt

    def _read_each(self, node: Each, value: Any, where: str) -> None:
        if not isinstance(value, list):
            self.problem(where, f"must be an array with one element per row, not {short(value)}")
            return
        if self.rows is None:
            self.rows = [Row() for _ in value]
        if len(value) != len(self.rows):
            self.problem(
                where, f"has {len(value)} elements where another array of rows has {len(self.rows)}"
            )
            return
        for position, (row, element) in enumerate(zip(self.rows, value, strict=True)):
            self.read(node.item, element, f"{where}[{position}]", row)
            if len(self.problems) >= MOST_PROBLEMS:
                return

    def _read_object(self, node: Object, value: Any, where: str, row: Row) -> None:
        if not isinstance(value, dict):
            self.problem(where, f"must be an object, not {short(value)}")
            return
        left = dict(value)
        named: list[tuple[Member, bool]] = []
        spread: Spread | None = None
        for member in node.members:
            if isinstance(member, Spread):
                spread = member
            elif isinstance(member.key, Constant):
                key = str(member.key.value)
                path = f"{where}.{key}" if where else key
                if key in left:
                    self._read_value(member.value, left.pop(key), path, row)
                elif not may_be_absent(member.value, self.settings):
                    self.problem(path, "is missing")
                elif isinstance(member.value, Placeholder) and member.value.scope is None:
                    self.doubts += member.value.name in self.required
            else:
                named.append((member, spread is not None))
        for member, after_spread in named:
            self._read_named(member, after_spread, left, where, row)
        if spread is not None:
            self.bind(spread.value, left, where, row)
        elif left:
            self.problem(
                where, f"has keys that are not the vendor's: {', '.join(sorted(left)[:5])}"
            )

    def _read_value(self, node: Node, value: Any, where: str, row: Row) -> None:
        """A member's value; in a form or a line of CSV, objects and arrays are JSON text."""
        nested = isinstance(node, Object | Array | Each) or (
            isinstance(node, Placeholder) and node.is_object
        )
        if not self.json_within or not nested:
            self.read(node, value, where, row)
            return
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            self.problem(where, "must be JSON text")
            return
        before = self.as_text, self.json_within
        self.as_text = self.json_within = False
        self.read(node, value, where, row)
        self.as_text, self.json_within = before

    def read_parameter(self, node: Node, value: str, where: str, row: Row) -> None:
        """A parameter of the query; an object there is JSON text."""
        before, self.json_within = self.json_within, True
        self._read_value(node, value, where, row)
        self.json_within = before

    def _read_file(self, node: File, value: Any, where: str, row: Row) -> None:
        before = self.as_text, self.json_within
        self.as_text = node.encoding in ("csv", "xml")
        self.json_within = node.encoding == "csv"
        self.read(node.content, value, where, row)
        self.as_text, self.json_within = before

    def _read_named(
        self, member: Member, after_spread: bool, left: dict[str, Any], where: str, row: Row
    ) -> None:
        """A member whose key is a setting: which of the keys left is it?

        The one an earlier row showed, else the setting's example, else the one whose value fits;
        of several the one that stands where the template has it.
        """
        examples = {
            self.settings[key.local].example
            for key in (member.key,)
            if isinstance(key, Placeholder) and key.scope == SETTINGS and key.local in self.settings
        }
        meant = examples & left.keys() or left.keys()
        fitting = [key for key in left if key in meant and self._fits(member, key, left[key])]
        if not fitting:
            if not may_be_absent(member.value, self.settings):
                self.problem(where, f"lacks the key {shown(member.key)}")
            return
        key = fitting[-1 if after_spread else 0]
        if isinstance(member.key, Placeholder):
            self.bind(member.key, key, where, row)
        else:
            self.read(member.key, key, where, row)
        if isinstance(member.value, Constant):
            row.fields[key] = member.value.value  # the property that says who is a member
        self.read(member.value, left.pop(key), f"{where}.{key}", row)

    def _fits(self, member: Member, key: str, value: Any) -> bool:
        if isinstance(member.key, Placeholder):
            known = self.shared.get(member.key.name)
            if known is not None and str(known) != key:
                return False
            setting = self.settings.get(member.key.local)
            if setting and setting.pattern and not re.fullmatch(setting.pattern, key):
                return False
        return not (
            self.attempt(member.key, key).problems or self.attempt(member.value, value).problems
        )
