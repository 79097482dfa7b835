"""An operation of a spec, ready to turn rows into requests for one connection."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from destinations.driver import HASH, ID, KEY, Operation, delivery_id
from destinations.language.bodies import Writer
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
from destinations.language.template import META, SETTINGS
from destinations.language.values import Scope, sha256

UNKNOWN = "0" * 64
"""What an answer will give, where only the length of a body matters: few ids are longer."""
CHUNK = 50_000
"""Rows rendered at once: enough for Polars to be quick, few enough to be held."""


@dataclass(frozen=True)
class Rendered:
    rows: pl.DataFrame
    """The rows as they were given."""
    request: Request


def steps_of(operation: OperationSpec) -> tuple[Step, ...]:
    """The operation's requests: its steps, or itself."""
    return operation.steps or (operation,)


def request_without_rows(spec: Spec, step: Step, settings: Mapping[str, Any]) -> Request:
    """A request that names settings alone, such as the spec's check."""
    constants = {f"settings.{name}": value for name, value in settings.items()}
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

    def requests(self, rows: pl.DataFrame) -> Iterator[Rendered]:
        """The first step's request for every row or batch, in order, losing no row."""
        batch = self.declaration.batch
        for group in self._groups(rows, batch):
            size = CHUNK if batch is None else batch.rows * max(1, CHUNK // batch.rows)
            for chunk in group.iter_slices(size):
                if chunk.is_empty():
                    continue
                if batch is None:
                    yield from self._one_each(chunk)
                elif self.carrier == 0:
                    yield from self._in_batches(self.steps[0], chunk, batch)
                else:
                    for part in self._parted(chunk, batch):
                        yield Rendered(part, self.following(0, part, {}))

    def following(self, position: int, rows: pl.DataFrame, captures: Mapping[str, Any]) -> Request:
        """A later step's request for the rows of one delivery.

        Args:
            captures: what earlier answers gave, ``step.name`` -> value.
        """
        whole = Batch(rows=rows.height, docs="")
        (rendered,) = self._in_batches(self.steps[position], rows, whole, captures)
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
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        constants = {**self._constants, "meta.now": now, **extra}
        hashed = frozenset(name for name, declared in self._fields.items() if declared.hash)
        scope = Scope(dict(frame.schema), constants, frozenset(self._fields), hashed)
        return Writer(scope, self.declaration.nulls)

    def _one_each(self, rows: pl.DataFrame) -> Iterator[Rendered]:
        frame = self._named(rows)
        writer = self._writer(frame, {"meta.delivery": self._delivery_of_row(rows)})
        for position, request in enumerate(each_row(self.steps[0], frame, writer)):
            yield Rendered(rows.slice(position, 1), request)

    def _in_batches(
        self,
        template: StepTemplate,
        rows: pl.DataFrame,
        batch: Batch,
        captures: Mapping[str, Any] | None = None,
    ) -> Iterator[Rendered]:
        frame = self._named(rows)
        writer = self._writer(frame, {"meta.delivery": DELIVERY, **(captures or {})})

        def delivery(start: int, end: int) -> str:
            return delivery_id(self.operation, rows.slice(start, end - start))

        for start, length, request in in_batches(
            template,
            frame,
            writer,
            rows=batch.rows,
            size=batch.bytes,
            delivery=delivery if self._uses_delivery else None,
        ):
            yield Rendered(rows.slice(start, length), request)

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
