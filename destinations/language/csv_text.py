"""CSV as Polars expressions (RFC 4180): one line per row, CRLF after every line.

A value is quoted where it holds the delimiter, a quotation mark or a line end, and a
quotation mark in it is doubled. Nothing else is altered: a value that starts with ``=``,
``+``, ``-`` or ``@`` is data for a machine, though a spreadsheet would take it for a formula.
A null is an empty value, whatever the operation's ``nulls``: CSV knows no other.
"""

from __future__ import annotations

from functools import partial

import polars as pl

from destinations.language.bodies import Writer
from destinations.language.template import (
    Array,
    Constant,
    Node,
    Object,
    Placeholder,
    Scalar,
    Spread,
    Text,
)
from destinations.language.values import Value, text, value

LINE_END = "\r\n"


def csv_line(item: Node, writer: Writer, delimiter: str) -> pl.Expr:
    """A row's values, without the line end; never null."""
    cells = [_cell(found, delimiter) for _, found in _columns(item, writer)]
    if len(cells) == 1:
        # A blank line is no record to most readers.
        return pl.when(cells[0] == "").then(pl.lit('""')).otherwise(cells[0])
    return pl.concat_str(cells, separator=delimiter) if cells else pl.lit("")


def csv_header(item: Node, writer: Writer, delimiter: str) -> pl.Expr:
    """The names of the columns as a line, its line end included."""
    names = [_cell(Value(name, pl.String()), delimiter) for name, _ in _columns(item, writer)]
    line = pl.concat_str(names, separator=delimiter) if names else pl.lit("")
    return pl.concat_str(line, pl.lit(LINE_END))


def _columns(item: Node, writer: Writer) -> list[tuple[pl.Expr, Value]]:
    """Name and value of every column; an array's have no name."""
    if isinstance(item, Array):
        return [(pl.lit(""), _value(node, writer)) for node in item.items]
    if not isinstance(item, Object):
        return [(pl.lit(""), _value(item, writer))]
    columns: list[tuple[pl.Expr, Value]] = []
    for member in item.members:
        if isinstance(member, Spread):
            taken = writer.literal_keys(item)
            columns += [(pl.lit(key), found) for key, found in writer.entries(member.value, taken)]
        else:
            columns.append((writer.text(member.key), _value(member.value, writer)))
    return columns


def _value(node: Node, writer: Writer) -> Value:
    """What a cell holds; objects and arrays are JSON text."""
    if isinstance(node, Placeholder) and not node.is_object:
        return value(node, writer.scope)
    scalar: Scalar | None = node if isinstance(node, Constant | Text) else None
    return Value(writer.json(node) if scalar is None else writer.text(scalar), pl.String())


def _cell(found: Value, delimiter: str) -> pl.Expr:
    plain = text(found).fill_null("")
    dtype = found.dtype
    if found.harmless or dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean:
        return plain
    quoted = partial(_quoted, delimiter=delimiter)
    return plain.map_batches(quoted, return_dtype=pl.String, is_elementwise=True)


def _quoted(texts: pl.Series, delimiter: str) -> pl.Series:
    """Most columns hold nothing that needs quotation marks, and looking costs less than quoting."""
    if texts.dtype != pl.String:
        return texts
    needed = texts.str.contains(f'["\r\n{delimiter}]')
    if not needed.any():
        return texts
    quoted = pl.concat_str(
        pl.lit('"'), pl.col("text").str.replace_all('"', '""', literal=True), pl.lit('"')
    )
    frame = pl.DataFrame({"text": texts, "needed": needed})
    return frame.select(pl.when("needed").then(quoted).otherwise("text").alias("text"))["text"]
