"""Body templates as Polars expressions that write JSON and form text.

A body is text glued from fragments, one expression per node of the template:
no row is ever a Python object. What the fragments say is the same as
``json.dumps`` of the template filled in by hand (the tests hold them to it).

Nulls, by the operation's ``nulls``:

========  =======================  ===============================
policy    a key whose value is     an element of an array that is
          null                     null
========  =======================  ===============================
drop      left out                 left out (so is an object of
                                   whose fields none remains)
send      ``null``                 ``null``
empty     ``""``                   ``""``
========  =======================  ===============================

The element that ``each`` writes for a row always stands, whatever it holds:
answers name rows by its position.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from destinations.language.template import (
    CUSTOM,
    FIELDS,
    Array,
    Constant,
    Each,
    File,
    Function,
    Member,
    Node,
    Object,
    Placeholder,
    Scalar,
    Spread,
    Text,
    parse_text,
    placeholders,
)
from destinations.language.values import (
    Scope,
    Value,
    column,
    fragment,
    quoted,
    text,
    url_escaped,
    value,
)

Nulls = Literal["drop", "send", "empty"]


@dataclass(frozen=True)
class Writer:
    """Writes nodes for one scope and null policy.

    Args:
        each: what stands for an ``each``; without it, an array of this one row's element.
    """

    scope: Scope
    nulls: Nulls = "drop"
    each: Callable[[Each], pl.Expr] | None = None

    def document(self, node: Node) -> pl.Expr:
        """The node as a whole JSON text, never null."""
        return self.json(node).fill_null("null")

    def json(self, node: Node) -> pl.Expr:
        """The node as JSON text; null where it is null and ``nulls`` is ``drop``."""
        match node:
            case Constant(constant):
                return pl.lit(json.dumps(constant)) if constant is not None else self._filled(None)
            case Placeholder() if node.is_object:
                return self._mapped_object(node)
            case Placeholder():
                return self._filled(fragment(value(node, self.scope)))
            case Text():
                return self._filled(quoted(self.text(node)))
            case Array(items):
                elements = [self._element(item) for item in items]
                return _wrapped("[", _joined(elements, self.nulls == "drop"), "]")
            case Each():
                if self.each is not None:
                    return self.each(node)
                return _wrapped("[", self.document(node.item), "]")
            case Object():
                return _wrapped("{", self._members(node), "}")
            case File():
                raise TypeError("a file stands in a multipart body alone")

    def text(self, node: Scalar) -> pl.Expr:
        """The node as plain text (paths, headers, form values); null where a part is null."""
        match node:
            case Constant(constant):
                plain = constant if isinstance(constant, str | None) else json.dumps(constant)
                return pl.lit(plain, dtype=pl.String)
            case Placeholder() if node.is_object:
                return self._mapped_object(node)
            case Placeholder():
                return text(value(node, self.scope))
            case Text(parts):
                return pl.concat_str(
                    pl.lit(part) if isinstance(part, str) else text(value(part, self.scope))
                    for part in parts
                )

    def path(self, node: Scalar) -> pl.Expr:
        """The node as a part of a URL: constants as they stand, values escaped."""
        if isinstance(node, Constant):
            return self.text(node)
        parts = node.parts if isinstance(node, Text) else (node,)
        return pl.concat_str(
            pl.lit(part) if isinstance(part, str) else url_escaped(self.text(part))
            for part in parts
        )

    def query(self, pairs: Iterable[tuple[Scalar, Scalar]]) -> pl.Expr:
        """The pairs as a URL's query, those without a value left out."""
        return _joined(
            [_pair(self.text(name), url_escaped(self.text(content))) for name, content in pairs],
            droppable=True,
            separator="&",
        )

    def lines(self, node: Node) -> pl.Expr:
        """The node as one line of NDJSON; an array as one line for each of its elements."""
        items = node.items if isinstance(node, Array) else (node,)
        return _joined([self.document(item) for item in items], droppable=False, separator="\n")

    def form(self, node: Object) -> pl.Expr:
        """The object as form text; nested objects and arrays become JSON text in one value."""
        pairs: list[pl.Expr] = []
        for member in node.members:
            if isinstance(member, Spread):
                functions = member.value.functions
                pairs += [
                    _pair(pl.lit(key), self._form_value(_object_value(item, functions)))
                    for key, item in self.entries(member.value, self.literal_keys(node))
                ]
            else:
                pairs.append(_pair(self.text(member.key), self._form_member(member.value)))
        return _joined(pairs, droppable=True, separator="&")

    def _form_member(self, node: Node) -> pl.Expr:
        if isinstance(node, Placeholder) and not node.is_object:
            return self._form_value(value(node, self.scope))
        if isinstance(node, Constant | Text):
            return url_escaped(self._or_empty(self.text(node)))
        return url_escaped(self.json(node))

    def _form_value(self, found: Value) -> pl.Expr:
        plain = self._or_empty(text(found))
        # A number's text has nothing to escape.
        escapes = not (found.dtype.is_numeric() or found.dtype == pl.Boolean)
        return url_escaped(plain) if escapes else plain

    def _or_empty(self, expr: pl.Expr) -> pl.Expr:
        return expr if self.nulls == "drop" else expr.fill_null("")

    def _filled(self, expr: pl.Expr | None) -> pl.Expr:
        """The null policy applied to a fragment."""
        found = pl.lit(None, dtype=pl.String) if expr is None else expr
        if self.nulls == "drop":
            return found
        return found.fill_null("null" if self.nulls == "send" else '""')

    def _element(self, node: Node) -> pl.Expr:
        """An array's element; under ``drop`` an object of which nothing of the row remains is null."""
        if self.nulls != "drop" or not isinstance(node, Object) or not node.members:
            return self.json(node)
        told = [member for member in node.members if not self._is_fixed(member)]
        if told and all(_is_field(member) for member in told):
            # `{type: home, value: "{phone}"}` without a phone would say that there is none.
            values = [self.json(member.value).is_not_null() for member in told]
            written = _wrapped("{", self._members(node), "}")
            return pl.when(pl.any_horizontal(values)).then(written)
        only = node.members[0] if len(node.members) == 1 else None
        if isinstance(only, Member) and isinstance(only.value, Object):
            return _wrapped("{", pl.concat_str(self._key(only), self._element(only.value)), "}")
        members = self._members(node)
        return pl.when(members != "").then(_wrapped("{", members, "}"))

    def _is_fixed(self, member: Member | Spread) -> bool:
        """Whether a member is the same in every row."""
        if isinstance(member, Spread) or not isinstance(
            member.value, Constant | Placeholder | Text
        ):
            return False
        return all(self.scope.is_constant(found.name) for found in placeholders(member.value))

    def _members(self, node: Object) -> pl.Expr:
        parts: list[pl.Expr] = []
        for member in node.members:
            if isinstance(member, Spread):
                parts += self._mapped_members(member.value, self.literal_keys(node))
            else:
                parts.append(self._member(member))
        return _joined(parts, self.nulls == "drop")

    def _member(self, member: Member) -> pl.Expr:
        return pl.concat_str(self._key(member), self.json(member.value))

    def _key(self, member: Member) -> pl.Expr:
        if isinstance(member.key, Constant):
            return pl.lit(json.dumps(str(member.key.value)) + ":")
        return pl.concat_str(quoted(self.text(member.key)), pl.lit(":"))

    def literal_keys(self, node: Object) -> frozenset[str]:
        """Keys that are the same in every row: a spread does not repeat them."""
        keys = [member.key for member in node.members if isinstance(member, Member)]
        return frozenset(
            str(pl.select(self.text(key)).item())
            for key in keys
            if all(self.scope.is_constant(p.name) for p in placeholders(key))
        )

    def entries(self, placeholder: Placeholder, taken: frozenset[str]) -> list[tuple[str, Value]]:
        """Keys and values of ``{fields}`` or ``{custom}``, but for keys that stand beside a spread."""
        names = self.scope.fields if placeholder.name == FIELDS else self.scope.custom
        pattern = next((f.argument for f in placeholder.functions if f.name == "keys"), None) or "*"
        keyed = [(pattern.replace("*", name), column(name, self.scope)) for name in names]
        return [(key, found) for key, found in keyed if key not in taken]

    def _mapped_members(self, placeholder: Placeholder, taken: frozenset[str]) -> list[pl.Expr]:
        return [
            pl.concat_str(
                pl.lit(json.dumps(key) + ":"),
                self._filled(fragment(_object_value(found, placeholder.functions))),
            )
            for key, found in self.entries(placeholder, taken)
        ]

    def _mapped_object(self, placeholder: Placeholder) -> pl.Expr:
        """``{fields}`` or ``{custom}`` where one value stands: an object, pairs, or JSON text."""
        pairs = next((f.argument for f in placeholder.functions if f.name == "pairs"), None)
        if pairs:
            written = self._pairs(placeholder, *pairs.split(","))
        else:
            members = self._mapped_members(placeholder, frozenset())
            written = _wrapped("{", _joined(members, self.nulls == "drop"), "}")
        names = [function.name for function in placeholder.functions]
        if names[-2:] == ["json", "base64"]:
            return pl.concat_str(pl.lit('"'), written.str.encode("base64"), pl.lit('"'))
        if "json" in names:
            return quoted(written)
        return written

    def _pairs(self, placeholder: Placeholder, name: str, word: str) -> pl.Expr:
        elements = [
            pl.concat_str(
                pl.lit(
                    "{" + json.dumps(name) + ":" + json.dumps(key) + "," + json.dumps(word) + ":"
                ),
                self._filled(fragment(_object_value(found, placeholder.functions))),
                pl.lit("}"),
            )
            for key, found in self.entries(placeholder, frozenset())
        ]
        return _wrapped("[", _joined(elements, self.nulls == "drop"), "]")


def constant_text(text: str, constants: Mapping[str, Any]) -> str | None:
    """A string of the spec that names nothing of a row, filled in."""
    found: str | None = pl.select(Writer(Scope({}, constants)).text(parse_text(text))).item()
    return found


def _is_field(member: Member | Spread) -> bool:
    value = member.value
    return isinstance(value, Placeholder) and value.name not in (FIELDS, CUSTOM)


def _object_value(found: Value, functions: tuple[Function, ...]) -> Value:
    """A value within ``{fields|string}``: as text where the vendor takes nothing else."""
    if any(function.name == "string" for function in functions):
        return Value(text(found), pl.String())
    return found


def _joined(parts: list[pl.Expr], droppable: bool, separator: str = ",") -> pl.Expr:
    if not parts:
        return pl.lit("")
    return pl.concat_str(parts, separator=separator, ignore_nulls=droppable)


def _wrapped(before: str, inner: pl.Expr, after: str) -> pl.Expr:
    return pl.concat_str(pl.lit(before), inner, pl.lit(after))


def _pair(key: pl.Expr, escaped: pl.Expr) -> pl.Expr:
    return pl.concat_str(url_escaped(key), pl.lit("="), escaped)
