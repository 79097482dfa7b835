"""Requests from a step's templates and a frame of rows: one each, or in batches.

A batch's body is written in three parts: what stands around ``each`` once, every
row's fragment as one column, and then bytes cut out of that column's buffer. So
the size of every body is known before it is made.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from destinations.driver import KEY
from destinations.language.bodies import Writer
from destinations.language.steps import Step
from destinations.language.template import (
    Each,
    Node,
    Object,
    Placeholder,
    Scalar,
    TemplateError,
    each_nodes,
    parse_body,
    parse_text,
    placeholders,
)
from destinations.language.values import url_escaped

CONTENT_TYPES = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "ndjson": "application/x-ndjson",
}
_BETWEEN = {"json": b",", "form": b"%2C", "ndjson": b"\n"}
_HEADER = "header:"


@dataclass(frozen=True)
class Request:
    """One request, complete but for the base URL and the login."""

    method: str
    path: str
    """Below the base URL, its query included."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True)
class StepTemplate:
    """A step with its strings parsed."""

    step: Step
    method: str
    path: Scalar
    query: tuple[tuple[Scalar, Scalar], ...]
    headers: tuple[tuple[str, Scalar], ...]
    body: Node | None

    @classmethod
    def of(cls, step: Step, headers: Mapping[str, str]) -> StepTemplate:
        """Raises: TemplateError, its path starting at the step's key."""
        method, _, path = step.request.partition(" ")
        return cls(
            step,
            method,
            _parsed(path, "request"),
            tuple((_parsed(k, "query", k), _parsed(v, "query", k)) for k, v in step.query.items()),
            tuple((k, _parsed(v, "headers", k)) for k, v in {**headers, **step.headers}.items()),
            None if step.body is None else parse_body(step.body, ("body",)),
        )

    @cached_property
    def eaches(self) -> list[Each]:
        return [] if self.body is None else each_nodes(self.body)

    def placeholders(self) -> Iterator[tuple[str, Placeholder]]:
        """Every placeholder with the part of the step it stands in."""
        for found in placeholders(self.path):
            yield "request", found
        for pair in self.query:
            for scalar in pair:
                for found in placeholders(scalar):
                    yield "query", found
        for _, scalar in self.headers:
            for found in placeholders(scalar):
                yield "headers", found
        if self.body is not None:
            for found in placeholders(self.body):
                yield "body", found


def each_row(template: StepTemplate, frame: pl.DataFrame, writer: Writer) -> Iterator[Request]:
    """One request for every row of ``frame`` (fields prepared), in order."""
    written = frame.select(pl.col(KEY).alias("key"), **_parts(template, writer))
    for row in written.drop("key").iter_rows(named=True):
        yield _request(template, row)


def in_batches(
    template: StepTemplate,
    frame: pl.DataFrame,
    writer: Writer,
    *,
    rows: int,
    size: int | None = None,
    delivery: Callable[[int, int], str] | None = None,
) -> Iterator[tuple[int, int, Request]]:
    """Requests of at most ``rows`` rows and ``size`` bytes, each with its first row and row count.

    A row too long for any batch travels alone: the vendor's answer decides.

    Args:
        frame: at least one row, fields prepared; what stands outside ``each`` is the same for all.
        delivery: gives ``{meta.delivery}`` for a range of rows, where the templates use it;
            the writer's scope then holds :data:`DELIVERY` in its place.
    """
    encoding = template.step.encoding
    marks = [secrets.token_hex(16) for _ in template.eaches]
    mark_of = {id(each): mark for each, mark in zip(template.eaches, marks, strict=True)}
    brackets = "{}" if encoding == "ndjson" else "[{}]"
    outside = replace(writer, each=lambda each: pl.lit(brackets.format(mark_of[id(each)])))
    around = frame.head(1).select(pl.col(KEY).alias("key"), **_parts(template, outside))
    (row,) = around.drop("key").iter_rows(named=True)
    pieces = _split(row["body"] or "", marks)
    columns = [_Fragments(frame, each, writer, encoding) for each in template.eaches]
    spare = None if size is None else size - sum(len(piece.encode()) for piece in pieces)
    for start, end in _cuts(columns, frame.height, rows, spare):
        parts = [pieces[0].encode()]
        for column, piece in zip(columns, pieces[1:], strict=True):
            parts += (column.cut(start, end), piece.encode())
        request = _request(template, {**row, "body": None})
        if row["body"] is not None:
            request = replace(request, body=b"".join(parts))
        if delivery is not None:
            request = _delivered(request, delivery(start, end))
        yield start, end - start, request


DELIVERY = secrets.token_hex(16)
"""Stands for ``{meta.delivery}`` while a chunk is rendered; as long as the real one."""


class _Fragments:
    """What ``each`` writes for every row, as one buffer with offsets."""

    def __init__(self, frame: pl.DataFrame, each: Each, writer: Writer, encoding: str) -> None:
        between = _BETWEEN[encoding]
        fragment = writer.lines(each.item) if encoding == "ndjson" else writer.document(each.item)
        if encoding == "form":
            fragment = url_escaped(fragment)
        ended = pl.concat_str(fragment, pl.lit(between.decode()))
        column = frame.select(pl.col(KEY), fragment=ended)["fragment"]
        buffers = column.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()
        self.ends = np.frombuffer(buffers[1], dtype=np.int64, count=frame.height + 1)
        self._data = memoryview(buffers[2]) if buffers[2] is not None else memoryview(b"")
        self._between = len(between)

    def cut(self, start: int, end: int) -> bytes:
        return bytes(self._data[self.ends[start] : self.ends[end] - self._between])


def _cuts(
    columns: list[_Fragments], height: int, rows: int, spare: int | None
) -> Iterator[tuple[int, int]]:
    ends = sum((column.ends for column in columns), start=np.zeros(height + 1, dtype=np.int64))
    start = 0
    while start < height:
        end = min(start + rows, height)
        if spare is not None:
            fitting = int(np.searchsorted(ends, ends[start] + spare, side="right")) - 1
            end = max(start + 1, min(end, fitting))
        yield start, end
        start = end


def _parts(template: StepTemplate, writer: Writer) -> dict[str, pl.Expr]:
    """Path, query, body and headers as columns."""
    parts = {"path": writer.path(template.path), "query": writer.query(template.query)}
    for name, scalar in template.headers:
        parts[_HEADER + name] = writer.text(scalar)
    parts["body"] = _body(template, writer)
    return parts


def _body(template: StepTemplate, writer: Writer) -> pl.Expr:
    body, encoding = template.body, template.step.encoding
    if body is None:
        return pl.lit(None, dtype=pl.String)
    if encoding == "form":
        if not isinstance(body, Object):
            raise TemplateError("a form body is a mapping of names and values", ("body",))
        return writer.form(body)
    if encoding == "ndjson":
        inner = (
            writer.json(body) if isinstance(body, Each) and writer.each else _lines(body, writer)
        )
        return pl.concat_str(inner, pl.lit("\n"))
    return writer.document(body)


def _lines(body: Node, writer: Writer) -> pl.Expr:
    return writer.lines(body.item if isinstance(body, Each) else body)


def _request(template: StepTemplate, row: Mapping[str, str | None]) -> Request:
    query, body = row["query"], row["body"]
    headers = {
        name.removeprefix(_HEADER): text
        for name, text in row.items()
        if name.startswith(_HEADER) and text is not None
    }
    if template.body is not None:
        headers.setdefault("Content-Type", CONTENT_TYPES[template.step.encoding])
    return Request(
        template.method,
        f"{row['path']}?{query}" if query else str(row["path"]),
        headers,
        None if body is None else body.encode(),
    )


def _delivered(request: Request, delivery: str) -> Request:
    return Request(
        request.method,
        request.path.replace(DELIVERY, delivery),
        {name: text.replace(DELIVERY, delivery) for name, text in request.headers.items()},
        None
        if request.body is None
        else request.body.replace(DELIVERY.encode(), delivery.encode()),
    )


def _split(text: str, marks: list[str]) -> list[str]:
    """``text`` cut at the marks, which stand in it in this order."""
    pieces = []
    for mark in marks:
        before, _, text = text.partition(mark)
        pieces.append(before)
    return [*pieces, text]


def _parsed(text: str, *path: str) -> Scalar:
    try:
        return parse_text(text)
    except TemplateError as error:
        raise TemplateError(error.message, path) from None
