"""Requests from a step's templates and a frame of rows: one each, or in batches.

A batch's body is written in three parts: what stands around ``each`` once, every
row's fragment as one column, and then bytes cut out of that column's buffer. So
the size of every body is known before it is made.
"""

from __future__ import annotations

import gzip
import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from destinations.driver import KEY
from destinations.language.bodies import Writer
from destinations.language.encodings import BOUNDARY, CONTENT_TYPES, Carrier, body_text, carriers
from destinations.language.steps import Step
from destinations.language.template import (
    Constant,
    Each,
    Member,
    Node,
    Object,
    Placeholder,
    Scalar,
    TemplateError,
    each_nodes,
    parse_body,
    parse_parts,
    parse_text,
    placeholders,
)

_HEADER = "header:"
GZIP_LEVEL = 6


@dataclass(frozen=True)
class Request:
    """One request, complete but for the base URL and the login."""

    method: str
    path: str
    """Below the base URL, its query included; a whole URL where ``elsewhere``."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    elsewhere: bool = False
    """``path`` is a URL that an answer gave: no login is sent there."""

    @property
    def plain_body(self) -> bytes | None:
        """The body before it was compressed."""
        if self.body is not None and self.headers.get("Content-Encoding") == "gzip":
            return gzip.decompress(self.body)
        return self.body


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
            _parsed(path, "request") if step.url is None else _parsed(step.url, "url"),
            tuple((_parsed(k, "query", k), _parsed(v, "query", k)) for k, v in step.query.items()),
            tuple((k, _parsed(v, "headers", k)) for k, v in {**headers, **step.headers}.items()),
            _parsed_body(step),
        )

    @cached_property
    def eaches(self) -> list[Each]:
        return [] if self.body is None else each_nodes(self.body)

    @property
    def carries(self) -> bool:
        """Whether the rows of a batch stand in its body."""
        return bool(self.eaches)

    def placeholders(self) -> Iterator[tuple[str, Placeholder]]:
        """Every placeholder with the part of the step it stands in."""
        for found in placeholders(self.path):
            yield "request" if self.step.url is None else "url", found
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
    step = template.step
    written = frame.select(pl.col(KEY).alias("key"), **_parts(template, writer)).drop("key")
    shared = _shared_headers(template, written, writer)
    boundary = ""
    if step.encoding == "multipart" and written["body"].null_count() == 0:
        texts = written["body"].str.replace_all(BOUNDARY, "", literal=True)
        boundary = _digest(text.encode() for text in texts)
        written = written.with_columns(
            pl.col("body").str.replace_all(BOUNDARY, boundary, literal=True)
        )
    seals = bool(boundary or step.gzip)
    if shared is not None and seals:
        shared = _sealed_headers(shared, step, boundary)
    names = written.columns
    for values in written.iter_rows():
        path, query, body = values[0], values[1], values[-1]
        if query:
            path = _with_query(path, query)
        headers = shared
        if headers is None:
            headers = _headers(template, dict(zip(names, values, strict=True)))
            headers = _sealed_headers(headers, step, boundary) if seals else headers
        content = None if body is None else body.encode()
        if step.gzip and content is not None:
            content = gzip.compress(content, GZIP_LEVEL, mtime=0)
        yield Request(template.method, path, headers, content, step.url is not None)


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
    row, pieces, columns = _frame(template, frame, writer)
    for start, end in _cuts(columns, frame.height, rows, _spare(pieces, columns, size)):
        parts = [pieces[0].encode()]
        for column, piece in zip(columns, pieces[1:], strict=True):
            parts += (column.cut(start, end), piece.encode())
        body = None if row["body"] is None else b"".join(parts)
        request = _request(template, row, body)
        if delivery is not None:
            request = _delivered(request, delivery(start, end))
        yield start, end - start, _sealed(request, template.step)


DELIVERY = secrets.token_hex(16)
"""Stands for ``{meta.delivery}`` while a chunk is rendered; as long as the real one."""


def parted(
    template: StepTemplate, frame: pl.DataFrame, writer: Writer, *, rows: int, size: int
) -> Iterator[tuple[int, int]]:
    """Start and end of the batches that :func:`in_batches` would write."""
    _, pieces, columns = _frame(template, frame, writer)
    return _cuts(columns, frame.height, rows, _spare(pieces, columns, size))


def _frame(
    template: StepTemplate, frame: pl.DataFrame, writer: Writer
) -> tuple[dict[str, str | None], list[str], list[_Fragments]]:
    """What stands around the rows, cut where they stand, and the rows' own text."""
    carried = [] if template.body is None else carriers(template.body, template.step)
    marks = [secrets.token_hex(16) for _ in carried]
    mark_of = {
        id(one.each): one.brackets.format(mark) for one, mark in zip(carried, marks, strict=True)
    }
    outside = replace(writer, each=lambda each: pl.lit(mark_of[id(each)]))
    around = frame.head(1).select(pl.col(KEY).alias("key"), **_parts(template, outside))
    (row,) = around.drop("key").iter_rows(named=True)
    pieces = _split(row["body"] or "", marks)
    return row, pieces, [_Fragments(frame, carrier, writer) for carrier in carried]


def _spare(pieces: list[str], columns: list[_Fragments], size: int | None) -> int | None:
    """The bytes that rows may have of a body of ``size``, with what stands after each of them."""
    if size is None:
        return None
    # Nothing stands after the last one.
    return size - sum(len(piece.encode()) for piece in pieces) + sum(c.between for c in columns)


class _Fragments:
    """What ``each`` writes for every row, as one buffer with offsets."""

    def __init__(self, frame: pl.DataFrame, carrier: Carrier, writer: Writer) -> None:
        between = carrier.between
        ended = pl.concat_str(carrier.fragment(writer), pl.lit(between.decode()))
        column = frame.select(pl.col(KEY), fragment=ended)["fragment"]
        buffers = column.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()
        self.ends = np.frombuffer(buffers[1], dtype=np.int64, count=frame.height + 1)
        self._data = memoryview(buffers[2]) if buffers[2] is not None else memoryview(b"")
        self.between = len(between)

    def cut(self, start: int, end: int) -> bytes:
        return bytes(self._data[self.ends[start] : self.ends[end] - self.between])


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
    elsewhere = template.step.url is not None
    path = writer.text(template.path) if elsewhere else writer.path(template.path)
    parts = {"path": path, "query": writer.query(template.query)}
    for name, scalar in template.headers:
        parts[_HEADER + name] = writer.text(scalar)
    parts["body"] = (
        pl.lit(None, dtype=pl.String)
        if template.body is None
        else body_text(template.body, template.step, writer)
    )
    return parts


def _request(template: StepTemplate, row: Mapping[str, str | None], body: bytes | None) -> Request:
    path, query = str(row["path"]), row["query"]
    if query:
        path = _with_query(path, query)
    elsewhere = template.step.url is not None
    return Request(template.method, path, _headers(template, row), body, elsewhere)


def _with_query(path: str, query: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}{query}"


def _headers(template: StepTemplate, row: Mapping[str, str | None]) -> dict[str, str]:
    headers = {
        name.removeprefix(_HEADER): text
        for name, text in row.items()
        if name.startswith(_HEADER) and text is not None
    }
    if template.body is not None:
        headers.setdefault("Content-Type", CONTENT_TYPES[template.step.encoding])
    return headers


def _shared_headers(
    template: StepTemplate, written: pl.DataFrame, writer: Writer
) -> Mapping[str, str] | None:
    """The headers of every row, where they are the same; None where they are not."""
    named = (found for _, scalar in template.headers for found in placeholders(scalar))
    if written.is_empty() or not all(writer.scope.is_constant(found.name) for found in named):
        return None
    return _headers(template, written.row(0, named=True))


def _sealed(request: Request, step: Step) -> Request:
    """The request with its body's boundary put in, and compressed where the step says so."""
    body, boundary = request.body, ""
    if body is None:
        return request
    if step.encoding == "multipart":
        pieces = body.split(BOUNDARY.encode())
        boundary = _digest(pieces)
        body = boundary.encode().join(pieces)
    if step.gzip:
        body = gzip.compress(body, GZIP_LEVEL, mtime=0)
    return replace(request, headers=_sealed_headers(request.headers, step, boundary), body=body)


def _digest(pieces: Iterable[bytes]) -> str:
    """A boundary that cannot occur between the pieces, and is the same for the same ones."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()[:32]


def _sealed_headers(headers: Mapping[str, str], step: Step, boundary: str) -> dict[str, str]:
    sealed = dict(headers)
    if boundary:
        sealed["Content-Type"] += f"; boundary={boundary}"
    if step.gzip:
        sealed["Content-Encoding"] = "gzip"
    return sealed


def _delivered(request: Request, delivery: str) -> Request:
    body = request.body
    return replace(
        request,
        path=request.path.replace(DELIVERY, delivery),
        headers={name: text.replace(DELIVERY, delivery) for name, text in request.headers.items()},
        body=None if body is None else body.replace(DELIVERY.encode(), delivery.encode()),
    )


def _split(text: str, marks: list[str]) -> list[str]:
    """``text`` cut at the marks, which stand in it in this order."""
    pieces = []
    for mark in marks:
        before, _, text = text.partition(mark)
        pieces.append(before)
    return [*pieces, text]


def _parsed_body(step: Step) -> Node | None:
    if step.graphql is not None:
        # https://graphql.github.io/graphql-over-http/draft/#sec-POST
        members = [Member(Constant("query"), Constant(step.graphql))]
        if step.body is not None:
            variables = parse_body(step.body, ("body",))
            members.append(Member(Constant("variables"), variables))
        return Object(tuple(members))
    if step.body is None:
        return None
    parse = parse_parts if step.encoding == "multipart" else parse_body
    return parse(step.body, ("body",))


def _parsed(text: str, *path: str) -> Scalar:
    try:
        return parse_text(text)
    except TemplateError as error:
        raise TemplateError(error.message, path) from None
