"""A step's body in its encoding, and how the rows of a batch stand in it.

The text around the rows is written once; what ``each`` writes for a row is a
:class:`Carrier`, one column of fragments. See :mod:`destinations.language.requests`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from destinations.language.bodies import Writer
from destinations.language.csv_text import LINE_END, csv_header, csv_line
from destinations.language.steps import Step
from destinations.language.template import (
    Array,
    Constant,
    Each,
    File,
    Member,
    Node,
    Object,
    Placeholder,
    Spread,
    TemplateError,
    Text,
    each_nodes,
)
from destinations.language.values import text, url_escaped
from destinations.language.xml_text import row_element, xml_document

CONTENT_TYPES = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "xml": "application/xml",
    "multipart": "multipart/form-data",
}
BOUNDARY = secrets.token_hex(16)
"""Stands for a multipart body's boundary until the body is whole."""


@dataclass(frozen=True)
class Carrier:
    """How one ``each`` writes rows."""

    each: Each
    fragment: Callable[[Writer], pl.Expr]
    """A row's text, never null."""
    between: bytes
    """What stands between two rows."""
    brackets: str = "{}"
    """What stands around all of them."""


def body_text(body: Node, step: Step, writer: Writer) -> pl.Expr:
    """The body as text; :data:`BOUNDARY` in it where it is multipart.

    Raises:
        TemplateError: a body that the encoding cannot hold (the loader has refused it before).
    """
    match step.encoding:
        case "form" | "multipart" if not isinstance(body, Object):
            raise TemplateError(
                f"a {step.encoding} body is a mapping of names and values", ("body",)
            )
        case "form":
            assert isinstance(body, Object)  # noqa: S101
            return writer.form(body)
        case "multipart":
            assert isinstance(body, Object)  # noqa: S101
            return _multipart(body, writer)
        case encoding:
            return _content(body, encoding, step.csv.delimiter, step.csv.header, writer)


def carriers(body: Node, step: Step) -> list[Carrier]:
    """How each ``each`` of the body writes rows, in the order in which they stand in it."""
    if step.encoding != "multipart" or not isinstance(body, Object):
        return _carriers(body, step.encoding, step.csv.delimiter)
    found = []
    for member in body.members:
        if isinstance(member, Member) and isinstance(member.value, File):
            file = member.value
            found += _carriers(file.content, file.encoding, file.delimiter)
        elif isinstance(member, Member):
            found += _carriers(member.value, "json", "")
    return found


def _carriers(body: Node, encoding: str, delimiter: str) -> list[Carrier]:
    def as_csv(item: Node) -> Callable[[Writer], pl.Expr]:
        return lambda writer: csv_line(item, writer, delimiter)

    def as_json(item: Node) -> Callable[[Writer], pl.Expr]:
        return lambda writer: writer.document(item)

    def as_form(item: Node) -> Callable[[Writer], pl.Expr]:
        return lambda writer: url_escaped(writer.document(item))

    def as_lines(item: Node) -> Callable[[Writer], pl.Expr]:
        return lambda writer: writer.lines(item)

    match encoding:
        case "xml":
            return _elements(body)
        case "csv":
            return [Carrier(e, as_csv(e.item), LINE_END.encode()) for e in each_nodes(body)]
        case "ndjson":
            return [Carrier(e, as_lines(e.item), b"\n") for e in each_nodes(body)]
        case "form":
            return [Carrier(e, as_form(e.item), b"%2C", "[{}]") for e in each_nodes(body)]
        case _:
            return [Carrier(e, as_json(e.item), b",", "[{}]") for e in each_nodes(body)]


def _elements(body: Node) -> list[Carrier]:
    def named(key: Constant | Placeholder | Text, item: Node) -> Callable[[Writer], pl.Expr]:
        return lambda writer: row_element(key, item, writer)

    found: list[Carrier] = []
    if isinstance(body, Array):
        return [carrier for item in body.items for carrier in _elements(item)]
    for member in body.members if isinstance(body, Object) else ():
        if isinstance(member, Member) and isinstance(member.value, Each):
            found.append(Carrier(member.value, named(member.key, member.value.item), b""))
        elif isinstance(member, Member):
            found += _elements(member.value)
    return found


def _content(body: Node, encoding: str, delimiter: str, header: bool, writer: Writer) -> pl.Expr:
    """A body, or a file's content, that is one text."""
    match encoding:
        case "csv":
            item = body.item if isinstance(body, Each) else body
            line = (
                writer.each(body)
                if isinstance(body, Each) and writer.each
                else csv_line(item, writer, delimiter)
            )
            first = [csv_header(item, writer, delimiter)] if header else []
            return pl.concat_str(*first, line, pl.lit(LINE_END))
        case "ndjson":
            if isinstance(body, Each):
                lines = writer.each(body) if writer.each else writer.lines(body.item)
            else:
                lines = writer.lines(body)
            return pl.concat_str(lines, pl.lit("\n"))
        case "xml":
            if not isinstance(body, Object) or len(body.members) != 1:
                raise TemplateError("an XML body is a mapping with one key, its root", ("body",))
            return xml_document(body, writer)
        case _:
            return writer.document(body)


def _multipart(body: Object, writer: Writer) -> pl.Expr:
    """RFC 7578: a part for every value that is not null."""
    parts: list[pl.Expr] = []
    for member in body.members:
        if isinstance(member, Spread):
            taken = writer.literal_keys(body)
            parts += [
                _part(pl.lit(key), _filled(text(found), writer))
                for key, found in writer.entries(member.value, taken)
            ]
        elif isinstance(member.value, File):
            file = member.value
            content = _content(file.content, file.encoding, file.delimiter, file.header, writer)
            kind = CONTENT_TYPES[file.encoding]
            parts.append(_part(writer.text(member.key), content, kind, writer.text(file.name)))
        else:
            parts.append(_value_part(member, writer))
    return pl.concat_str([*parts, pl.lit(f"--{BOUNDARY}--\r\n")], ignore_nulls=True)


def _value_part(member: Member, writer: Writer) -> pl.Expr:
    node = member.value
    if isinstance(node, Constant | Text) or (isinstance(node, Placeholder) and not node.is_object):
        return _part(writer.text(member.key), _filled(writer.text(node), writer))
    return _part(writer.text(member.key), writer.json(node), CONTENT_TYPES["json"])


def _part(
    name: pl.Expr, content: pl.Expr, kind: str | None = None, file: pl.Expr | None = None
) -> pl.Expr:
    """One part; null where its content is."""
    start = pl.lit(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="')
    named = [start, _in_header(name), pl.lit('"')]
    if file is not None:
        named += [pl.lit('; filename="'), _in_header(file), pl.lit('"')]
    typed = f"\r\nContent-Type: {kind}" if kind else ""
    return pl.concat_str(*named, pl.lit(f"{typed}\r\n\r\n"), content, pl.lit("\r\n"))


def _in_header(name: pl.Expr) -> pl.Expr:
    """As browsers write names (https://html.spec.whatwg.org/multipage/form-control-infrastructure.html)."""
    return name.str.replace_many(['"', "\r", "\n"], ["%22", "%0D", "%0A"])


def _filled(expr: pl.Expr, writer: Writer) -> pl.Expr:
    return expr if writer.nulls == "drop" else expr.fill_null("")
