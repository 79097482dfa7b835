"""An operation of a spec, ready to turn rows into requests for one connection."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from destinations.driver import HASH, ID, KEY, Operation, delivery_id
from destinations.language.bodies import Writer
from destinations.language.conditions import OF_STEP, applies
from destinations.language.normalise import prepare
from destinations.language.requests import (
    DELIVERY,
    Request,
    StepTemplate,
    each_row,
    in_batches,
    parted,
)
from destinations.language.spec import Spec
from destinations.language.steps import Batch, OperationSpec, Step
from destinations.language.template import META, SETTINGS, Placeholder, parse_text, placeholders
from destinations.language.template import REMOTE_ID as REMOTE_ID_NAME
from destinations.language.values import Scope, sha256, text, value

UNKNOWN = "0" * 64
"""What an answer will give, where only the length of a body matters: few ids are longer."""
CHUNK = 50_000
"""Rows rendered at once: enough for Polars to be quick, few enough to be held."""


NO_REMOTE_ID = "The destination's own id of this row is not known, and nothing else finds it there."
NOT_GIVEN = "The destination gave no {}, which the next request needs."


@dataclass(frozen=True)
class Sought:
    """A value that an element of a list must have."""

    text: str | None
    any_case: bool = False


@dataclass(frozen=True)
class Rendered:
    rows: pl.DataFrame
    """The rows as they were given."""
    request: Request
    position: int = 0
    """Of the step that it is."""


def steps_of(operation: OperationSpec) -> tuple[Step, ...]:
    """The operation's requests: its steps, or itself."""
    return operation.steps or (operation,)


def request_without_rows(
    spec: Spec, step: Step, settings: Mapping[str, Any], audience: str | None = None
) -> Request:
    """A request that names settings and the audience alone, such as the spec's check."""
    constants = {f"settings.{name}": value for name, value in settings.items()}
    constants["meta.audience"] = audience
    nobody = pl.DataFrame({KEY: [""]})
    template = StepTemplate.of(step, spec.headers)
    return next(each_row(template, nobody, Writer(Scope(dict(nobody.schema), constants))))


class Compiled:
    """One operation for one connection; templates are parsed once.

    Of several steps the first whose body has ``each`` carries the rows of a batch: by it they are
    parted (``batch.rows``, ``batch.bytes``).

    Args:
        settings: the connection's settings, resolved, defaults filled in.
        audience: its name, for ``{meta.audience}``.

    Raises:
        TemplateError: a string of the spec does not parse (the loader has refused it before).
    """

    def __init__(
        self, spec: Spec, operation: Operation, settings: Mapping[str, Any], audience: str
    ) -> None:
        self.operation = operation
        self.declaration = spec.operations[operation]
        self.steps = [StepTemplate.of(step, spec.headers) for step in steps_of(self.declaration)]
        self._conditional = any(t.step.when or t.step.unless for t in self.steps)
        self._names = frozenset(t.step.name for t in self.steps if t.step.name)
        self._fields = spec.fields
        self._constants = {f"settings.{name}": value for name, value in settings.items()}
        self._constants["meta.audience"] = audience
        carrying = [position for position, step in enumerate(self.steps) if step.carries]
        self.carrier = carrying[0] if self.declaration.batch and carrying else 0
        """The position of the step that carries the rows."""
        self._uses_delivery = any(
            found.name == "meta.delivery" for step in self.steps for _, found in step.placeholders()
        )

    def prepared(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with their fields typed, normalised and hashed as the requests carry them."""
        return prepare(rows, self._fields)

    def requests(self, rows: pl.DataFrame, *, conditions: bool = True) -> Iterator[Rendered]:
        """The first request for every row or batch, losing no row.

        Rows keep their order among those that start with the same step.

        Args:
            conditions: whether steps that are not made for a row are passed over; without, every
                row starts with the first step.
        """
        batch = self.declaration.batch
        for position, starting in self._starting(rows) if conditions else [(0, rows)]:
            for group in self._groups(starting, batch):
                size = CHUNK if batch is None else batch.rows * max(1, CHUNK // batch.rows)
                for chunk in group.iter_slices(size):
                    if chunk.is_empty():
                        continue
                    if batch is None:
                        yield from self._one_each(position, chunk)
                    elif self.carrier <= position:
                        yield from self._in_batches(position, chunk, batch)
                    else:
                        for part in self._parted(chunk, batch):
                            yield Rendered(part, self.following(position, part, {}), position)

    def chosen(self, position: int, rows: pl.DataFrame, captures: Mapping[str, Any]) -> pl.Series:
        """Per row whether the step is made for it (Boolean), by what is known by now."""
        made = applies(self.steps[position].step, rows.columns, captures)
        return self.prepared(rows).select(KEY, made.alias("chosen"))["chosen"]

    def lacking(self, position: int, rows: pl.DataFrame, captures: Mapping[str, Any]) -> pl.Series:
        """Per row what the step's path or query needs and nobody gave, in words; null where nothing.

        A captured value that is a step up in the path counts as none.
        """
        frame = self._named(rows)
        scope = self._scope(frame, captures)
        rules = []
        for part, found in self.steps[position].placeholders():
            if part not in ("request", "url", "query") or not (
                found.name in captures or self._is_given(found)
            ):
                continue
            words = text(value(Placeholder(found.name), scope))
            missing = words.is_null() | words.is_in(["", ".", ".."])
            said = NO_REMOTE_ID if found.name == REMOTE_ID_NAME else NOT_GIVEN.format(found.name)
            rules.append(pl.when(missing).then(pl.lit(said)))
        if not rules:
            return pl.Series("lacking", [None] * rows.height, dtype=pl.String)
        return frame.select(KEY, pl.coalesce(rules).alias("lacking"))["lacking"]

    def match(
        self, position: int, rows: pl.DataFrame, captures: Mapping[str, Any]
    ) -> dict[str, Sought]:
        """What the element of one row must have in the step's answer, by dotted path."""
        wanted = self.steps[position].step.answer.match
        if not wanted:
            return {}
        frame = self._named(rows.head(1))
        writer = Writer(self._scope(frame, captures), self.declaration.nulls)
        found = frame.select(
            pl.col(KEY), *(writer.text(parse_text(t)).alias(path) for path, t in wanted.items())
        ).row(0, named=True)
        return {path: Sought(found[path], self._any_case(t)) for path, t in wanted.items()}

    def _any_case(self, template: str) -> bool:
        fields = (self._fields.get(found.name) for found in placeholders(parse_text(template)))
        return any(field and field.normalise in ("email", "email_gmail") for field in fields)

    def _is_given(self, found: Placeholder) -> bool:
        """Whether it stands for what earlier answers give."""
        return found.name == REMOTE_ID_NAME or found.scope in self._names

    def _starting(self, rows: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
        """The rows by the first step that is made for them; those without any by the first."""
        if not self._conditional or rows.is_empty():
            yield 0, rows
            return
        frame = self.prepared(rows)
        starts = pl.coalesce(
            *(
                pl.when(applies(template.step, frame.columns, {})).then(position)
                for position, template in enumerate(self.steps)
            ),
            pl.lit(0),
        )
        first = frame.select(KEY, starts.alias("first"))["first"]
        for position in sorted(first.unique().to_list()):
            yield position, rows.filter(first == position)

    def following(self, position: int, rows: pl.DataFrame, captures: Mapping[str, Any]) -> Request:
        """A later step's request for the rows of one delivery.

        Args:
            captures: what earlier answers gave, ``step.name`` -> value.
        """
        whole = Batch(rows=rows.height, docs="")
        (rendered,) = self._in_batches(position, rows, whole, captures)
        return rendered.request

    def _parted(self, rows: pl.DataFrame, batch: Batch) -> Iterator[pl.DataFrame]:
        """Rows as the carrying step takes them, which cannot be written yet: it needs captures."""
        if batch.bytes is None:
            yield from rows.iter_slices(batch.rows)
            return
        template, frame = self.steps[self.carrier], self._named(rows)
        unknown = dict.fromkeys(self._captured(), UNKNOWN)
        writer = self._writer(frame, {"meta.delivery": DELIVERY, **unknown})
        for start, end in parted(template, frame, writer, rows=batch.rows, size=batch.bytes):
            yield rows.slice(start, end - start)

    def _captured(self) -> list[str]:
        return [
            found.name
            for step in self.steps
            for _, found in step.placeholders()
            if found.scope not in (None, SETTINGS, META)
        ]

    def _groups(self, rows: pl.DataFrame, batch: Batch | None) -> list[pl.DataFrame]:
        by = [name for name in (batch.group_by if batch else ()) if name in rows.columns]
        return rows.partition_by(by, maintain_order=True) if by and rows.height else [rows]

    def _writer(self, frame: pl.DataFrame, extra: Mapping[str, Any]) -> Writer:
        return Writer(self._scope(frame, extra), self.declaration.nulls)

    def _scope(self, frame: pl.DataFrame, extra: Mapping[str, Any]) -> Scope:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        given = {
            name.removeprefix(OF_STEP): pl.col(name)
            for name in frame.columns
            if name.startswith(OF_STEP)
        }
        constants = {**self._constants, "meta.now": now, **extra, **given}
        hashed = frozenset(name for name, declared in self._fields.items() if declared.hash)
        columns = {n: dtype for n, dtype in frame.schema.items() if not n.startswith(OF_STEP)}
        return Scope(columns, constants, frozenset(self._fields), hashed)

    def _one_each(self, position: int, rows: pl.DataFrame) -> Iterator[Rendered]:
        frame = self._named(rows)
        writer = self._writer(frame, {"meta.delivery": self._delivery_of_row(rows)})
        for number, request in enumerate(each_row(self.steps[position], frame, writer)):
            yield Rendered(rows.slice(number, 1), request, position)

    def _in_batches(
        self,
        position: int,
        rows: pl.DataFrame,
        batch: Batch,
        captures: Mapping[str, Any] | None = None,
    ) -> Iterator[Rendered]:
        frame = self._named(rows)
        writer = self._writer(frame, {"meta.delivery": DELIVERY, **(captures or {})})

        def delivery(start: int, end: int) -> str:
            return delivery_id(self.operation, rows.slice(start, end - start))

        for start, length, request in in_batches(
            self.steps[position],
            frame,
            writer,
            rows=batch.rows,
            size=batch.bytes,
            delivery=delivery if self._uses_delivery else None,
        ):
            yield Rendered(rows.slice(start, length), request, position)

    def _named(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Prepared rows with ``_id``; rows without it (a preview's) are named as ``delivery_id`` does."""
        frame = self.prepared(rows)
        if ID in rows.columns:
            return frame
        return frame.with_columns(rows.select(self._delivery_of_row(rows)).to_series().alias(ID))

    def _delivery_of_row(self, rows: pl.DataFrame) -> pl.Expr:
        """``delivery_id`` of every row by itself, as a column."""
        named = (ID,) if ID in rows.columns else (KEY, HASH)
        parts = [pl.lit(self.operation.value)]
        for column in named:
            if column in rows.columns:
                parts += [pl.col(column).fill_null(""), pl.lit("\x1e")]
        return sha256(pl.concat_str(parts)).str.head(32)
