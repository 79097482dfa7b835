"""XML 1.0 as Polars expressions (https://www.w3.org/TR/xml/).

A mapping is an element's content: ``"@name"`` an attribute, ``"#text"`` its text, every other
key an element; an array, and ``each``, are elements of the same name one after another. Null
leaves an element or attribute out under ``nulls: drop``; otherwise it is empty. Characters that
XML 1.0 cannot hold, even escaped (most control characters), are dropped from values.
"""

from __future__ import annotations

import re

import polars as pl

from destinations.language.bodies import Writer
from destinations.language.template import (
    Array,
    Constant,
    Each,
    File,
    Member,
    Node,
    Object,
    Placeholder,
    Scalar,
    Spread,
    Text,
)
from destinations.language.values import Value, text, value

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
ATTRIBUTE = "@"
TEXT = "#text"
NAME = re.compile(r"[A-Za-z_][\w.-]*(:[A-Za-z_][\w.-]*)?")
"""Names that an element or attribute may have here; letters beyond ASCII are allowed."""

_FORBIDDEN = r"[\x{0}-\x{8}\x{b}\x{c}\x{e}-\x{1f}\x{fffe}\x{ffff}]"
_IN_TEXT = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_IN_ATTRIBUTE = {**_IN_TEXT, '"': "&quot;", "\t": "&#9;", "\n": "&#10;"}


def xml_document(root: Object, writer: Writer) -> pl.Expr:
    """The one member of ``root`` as a document; never null."""
    (member,) = root.members
    if isinstance(member, Spread):
        raise TypeError("a document has one root element")
    element = xml_element(member.key, member.value, writer)
    return pl.concat_str(pl.lit(DECLARATION), element.fill_null(""))


def xml_element(name: Scalar, node: Node, writer: Writer) -> pl.Expr:
    """The node as an element of that name (or several); null where it is left out."""
    match node:
        case Each():
            return writer.each(node) if writer.each else row_element(name, node.item, writer)
        case Array(items):
            return _glued([xml_element(name, item, writer) for item in items])
        case Object(members):
            attributes = [_attribute(member, writer) for member in members if _is_attribute(member)]
            content = _glued(
                [
                    part
                    for member in members
                    if not _is_attribute(member)
                    for part in _content(member, node, writer)
                ]
            )
            return _tagged(writer.text(name), content, _glued(attributes))
        case Placeholder() if node.is_object and not _as_json(node):
            return _tagged(writer.text(name), _glued(_mapped(node, frozenset(), writer)))
        case File():
            raise TypeError("a file stands in a multipart body alone")
        case _:
            return _tagged(writer.text(name), _filled(_scalar(node, writer, _IN_TEXT), writer))


def row_element(name: Scalar, item: Node, writer: Writer) -> pl.Expr:
    """What ``each`` writes for a row: its element, never left out."""
    empty = _tagged(writer.text(name), pl.lit(""))
    return pl.coalesce(xml_element(name, item, writer), empty)


def _as_json(placeholder: Placeholder) -> bool:
    return any(function.name in ("json", "pairs") for function in placeholder.functions)


def _is_attribute(member: Member | Spread) -> bool:
    key = None if isinstance(member, Spread) else member.key
    return isinstance(key, Constant) and str(key.value).startswith(ATTRIBUTE)


def _attribute(member: Member | Spread, writer: Writer) -> pl.Expr:
    assert isinstance(member, Member) and isinstance(member.key, Constant)  # noqa: S101, PT018
    name = str(member.key.value).removeprefix(ATTRIBUTE)
    content = _filled(_scalar(member.value, writer, _IN_ATTRIBUTE), writer)
    return pl.concat_str(pl.lit(f' {name}="'), content, pl.lit('"'))


def _content(member: Member | Spread, node: Object, writer: Writer) -> list[pl.Expr]:
    if isinstance(member, Spread):
        return _mapped(member.value, writer.literal_keys(node), writer)
    if member.key == Constant(TEXT):
        return [_filled(_scalar(member.value, writer, _IN_TEXT), writer)]
    return [xml_element(member.key, member.value, writer)]


def _mapped(placeholder: Placeholder, taken: frozenset[str], writer: Writer) -> list[pl.Expr]:
    """Every field of ``{fields}`` or ``{custom}`` as an element."""
    return [
        _tagged(pl.lit(key), _filled(_escaped_value(found, _IN_TEXT), writer))
        for key, found in writer.entries(placeholder, taken)
    ]


def _scalar(node: Node, writer: Writer, escapes: dict[str, str]) -> pl.Expr:
    """A value as escaped text; what is no single value as JSON text."""
    if isinstance(node, Placeholder) and not node.is_object:
        return _escaped_value(value(node, writer.scope), escapes)
    plain = writer.text(node) if isinstance(node, Constant | Text) else writer.json(node)
    return _escaped(plain, escapes)


def _escaped_value(found: Value, escapes: dict[str, str]) -> pl.Expr:
    dtype = found.dtype
    if found.harmless or dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean:
        return text(found)
    return _escaped(text(found), escapes)


def _escaped(expr: pl.Expr, escapes: dict[str, str]) -> pl.Expr:
    special = "[" + "".join(f"\\x{{{ord(one):x}}}" for one in escapes) + "]"

    def escaped(texts: pl.Series) -> pl.Series:
        if texts.dtype != pl.String:
            return texts
        if texts.str.contains(_FORBIDDEN).any():
            texts = texts.str.replace_all(_FORBIDDEN, "")
        if not texts.str.contains(special).any():
            return texts
        return texts.str.replace_many(list(escapes), list(escapes.values()))

    return expr.map_batches(escaped, return_dtype=pl.String, is_elementwise=True)


def _filled(expr: pl.Expr, writer: Writer) -> pl.Expr:
    return expr if writer.nulls == "drop" else expr.fill_null("")


def _tagged(name: pl.Expr, content: pl.Expr, attributes: pl.Expr | None = None) -> pl.Expr:
    parts = [pl.lit("<"), name, *([] if attributes is None else [attributes]), pl.lit(">"), content]
    return pl.concat_str(*parts, pl.lit("</"), name, pl.lit(">"))


def _glued(parts: list[pl.Expr]) -> pl.Expr:
    return pl.concat_str(parts, ignore_nulls=True) if parts else pl.lit("")
