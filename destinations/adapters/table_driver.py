"""One table of a database that is reached by a library: what MySQL, SQL Server, Oracle and the
warehouses do alike.

A :class:`Server` says what one kind of database does its own way: how to connect, to read a
table's columns, to write rows and to take some out, and what its errors mean. A delivery is
written in transactions of their own; where the database refuses one for its data, parts of it are
tried until only the refused rows are left. Every write can be said again without harm.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import polars as pl

from destinations.adapters import tables
from destinations.adapters.outcomes import in_doubt, later, refused, row_by_row, stopped, words
from destinations.adapters.pool import Pool
from destinations.adapters.previews import sql_shown
from destinations.adapters.rendering import mapped_fields, within_limits
from destinations.driver import (
    KEY,
    Capabilities,
    Delivery,
    Operation,
    Outcome,
    Shown,
    Status,
)
from destinations.errors import StoreroomError


class Fault(StrEnum):
    """What an error of the database means for the rows that were being written."""

    DATA = "data"  # it refused a value, or a row by a constraint
    WHOLE = "whole"  # it refused the statement for its content, and hung up
    PASSING = "passing"  # not now
    LOST = "lost"  # the connection broke, or the answer never came
    STALE = "stale"  # the table or a column is not there (any more)
    CLOSED = "closed"  # nobody gets in, or nobody may write: somebody has to mend it


@dataclass(frozen=True)
class Batch:
    """Rows as the table takes them: columns by the table's names, the key first."""

    rows: pl.DataFrame
    types: Mapping[str, str]
    """The types of the table's columns, as the database names them."""

    @property
    def names(self) -> list[str]:
        return self.rows.columns

    def part(self, start: int, stop: int) -> Batch:
        return Batch(self.rows[start:stop], self.types)


class Server(Protocol):
    """One kind of database, for one connection and one table."""

    name: str
    """The product, for messages."""
    url: str
    """Where the table is, without a login, for previews."""
    table: str
    """The table, quoted."""
    key: str
    """Its key column, as it is named there."""
    create_table: bool
    transactional: bool
    """Whether a connection that breaks before ``commit`` leaves nothing."""
    concurrency: int

    def fold(self, name: str) -> str:
        """A new column's name for a field."""
        ...

    def values(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The same columns in the types that ``write`` takes."""
        ...

    def problems(self, _rows: pl.DataFrame, /) -> pl.Expr:
        """Text of the rule that a row breaks, null where none."""
        ...

    def connect(self) -> Any: ...

    def columns(self, connection: Any) -> dict[str, str]:
        """Column to type, empty where there is no table."""
        ...

    def ddl(self, schema: pl.Schema, exists: bool) -> list[str]:
        """What makes the table with these columns, or adds them to it."""
        ...

    def execute(self, connection: Any, sql: str) -> None: ...

    def write(self, connection: Any, batch: Batch) -> Mapping[int, str]:
        """Insert or update; positions of rows refused alone, where the database names them."""
        ...

    def remove(self, connection: Any, keys: list[str], types: Mapping[str, str]) -> None: ...

    def commit(self, connection: Any) -> None: ...

    def rollback(self, connection: Any) -> None: ...

    def close(self, connection: Any) -> None: ...

    def fault(self, error: Exception) -> Fault | None:
        """What an error means; None for one that is not the database's."""
        ...

    def writing(self, batch: Batch) -> Iterator[tuple[str, Any]]:
        """The statements of ``write``, each with what is bound to it."""
        ...

    def removing(self, keys: list[str], _types: Mapping[str, str], /) -> Iterator[tuple[str, Any]]:
        """The statements of ``remove``."""
        ...

    def who(self, connection: Any) -> str:
        """Version, and who we are there."""
        ...


class MistakenKeyError(Exception):
    """The database took a row for another's: reading the keys back shows it."""


class TableDriver:
    """A driver for any :class:`Server`."""

    def __init__(self, server: Server, batch_rows: int, batch_bytes: int) -> None:
        self._server = server
        self._batch_rows = batch_rows
        self._batch_bytes = batch_bytes
        self._pool: Pool[Any] = Pool(server.connect, server.close)
        self._columns: dict[str, str] = {}
        self._columns_lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operations=tables.WRITES | {Operation.REMOVE, Operation.DELETE},
            batch_rows=self._batch_rows,
            batch_bytes=self._batch_bytes,
            concurrency=self._server.concurrency,
            clears=True,
        )

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        found = tables.problems(self.capabilities, operation, rows, self._server.key)
        own = rows.select(self._server.problems(rows).alias("problem")).to_series()
        return pl.select(pl.coalesce(found, own).alias("problem")).to_series()

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        def render(part: pl.DataFrame) -> tuple[pl.DataFrame, int]:
            fields = _fields(part, self._server.key) if operation in tables.WRITES else []
            values = self._server.values(part.select(KEY, *fields))
            return values, int(values.estimated_size())

        return within_limits(operation, rows, render, self._batch_rows, self._batch_bytes)

    def send(self, delivery: Delivery) -> Outcome:
        connection, committing = None, [False]
        try:
            connection = self._pool.borrow()
            columns = self._prepare(connection, delivery)
            verdicts = self._write(connection, delivery, columns, committing)
        except StoreroomError as error:
            self._drop(connection)
            return stopped(delivery, error.message)
        except Exception as error:
            fault = self._server.fault(error)
            if fault is None:
                raise
            self._drop(connection)
            return self._verdict(delivery, error, fault, connection is not None, committing[0])
        self._pool.give_back(connection)
        sample = {
            "request": f"{delivery.operation} {delivery.rows.height} rows in {self._server.table}"
        }
        return row_by_row(delivery, verdicts, sample)

    def _verdict(
        self, delivery: Delivery, error: Exception, fault: Fault, connected: bool, committing: bool
    ) -> Outcome:
        if fault is Fault.STALE:
            with self._columns_lock:
                self._columns = {}
            return later(delivery, error) if self._server.create_table else stopped(delivery, error)
        if fault is Fault.LOST and connected and (committing or not self._server.transactional):
            return in_doubt(delivery, error)
        if fault in (Fault.LOST, Fault.PASSING):
            return later(delivery, error)
        return stopped(delivery, error) if fault is Fault.CLOSED else refused(delivery, error)

    def _prepare(self, connection: Any, delivery: Delivery) -> dict[str, str]:
        """The table's columns; the table and the columns that are missing are made before."""
        server, writes = self._server, delivery.operation in tables.WRITES
        schema = delivery.rows.select(_fields(delivery.rows, server.key) if writes else []).schema
        with self._columns_lock:
            if not self._columns or _missing(schema, self._columns):
                columns = server.columns(connection)
                missing = _missing(schema, columns)
                if writes and server.create_table and (missing or not columns):
                    for sql in server.ddl(missing, bool(columns)):
                        server.execute(connection, sql)
                    columns = server.columns(connection)
                server.commit(connection)
                self._columns = columns
            return self._columns

    def _write(
        self,
        connection: Any,
        delivery: Delivery,
        columns: Mapping[str, str],
        committing: list[bool],
    ) -> dict[int, tuple[Status, str]]:
        server = self._server
        batch = self._batch(delivery.payload, columns)
        writes = delivery.operation in tables.WRITES
        if not columns and not writes:
            return {}  # no table, so nobody is in it
        alone: dict[int, str] = {}

        def attempt(start: int, stop: int) -> str | None:
            part = batch.part(start, stop)
            try:
                if writes:
                    named = server.write(connection, part)
                else:
                    named = {}
                    server.remove(connection, part.rows.to_series(0).to_list(), columns)
                committing[0] = True
                server.commit(connection)
                committing[0] = False
            except Exception as error:
                if (
                    not isinstance(error, MistakenKeyError)
                    and server.fault(error) is not Fault.DATA
                ):
                    raise
                committing[0] = False
                server.rollback(connection)
                return words(error)
            alone.update({start + position: words(text) for position, text in named.items()})
            return None

        refusals = tables.refused_rows(delivery.rows.height, attempt) | alone
        return {position: (Status.REJECTED, message) for position, message in refusals.items()}

    def _batch(self, values: pl.DataFrame, columns: Mapping[str, str]) -> Batch:
        known = {name.lower(): name for name in columns}
        names = {
            name: name if name in columns else known.get(name.lower(), self._server.fold(name))
            for name in values.columns[1:]
        }
        names[KEY] = known.get(self._server.key.lower(), self._server.key)
        if len({name.lower() for name in names.values()}) < len(names):
            raise StoreroomError(
                f"Two mapped fields are one column of {self._server.table}.",
                "Names that differ in case alone are the same column there: map one of them.",
            )
        return Batch(values.rename(names), columns)

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        """The statements of a delivery to a table that is not there yet."""
        server = self._server
        columns: dict[str, str] = {}
        if delivery.operation not in tables.WRITES:
            statements = server.removing(delivery.payload.to_series(0).to_list(), columns)
        else:
            schema = delivery.rows.select(_fields(delivery.rows, server.key)).schema
            if server.create_table:
                yield from (sql_shown(server.url, sql) for sql in server.ddl(schema, False))
            statements = server.writing(self._batch(delivery.payload, columns))
        yield from (sql_shown(server.url, sql, bound) for sql, bound in statements)

    def check(self) -> str:
        server, connection = self._server, None
        try:
            connection = self._pool.borrow()
            who = server.who(connection)
            columns = server.columns(connection)
            server.rollback(connection)
        except StoreroomError:
            self._drop(connection)
            raise
        except Exception as error:
            if server.fault(error) is None:
                raise
            self._drop(connection)
            raise StoreroomError(
                f"{server.name} refused: {words(error)}.",
                "Mend the connection's address or login, or the server.",
            ) from None
        self._pool.give_back(connection)
        if columns and server.key.lower() not in {name.lower() for name in columns}:
            raise StoreroomError(
                f"Table {server.table} has no column '{server.key}'.",
                f"Set key_column to one of: {', '.join(columns)}.",
            )
        if not columns and not server.create_table:
            raise StoreroomError(f"Table {server.table} does not exist.", "Set create_table: true.")
        state = f"{len(columns)} columns" if columns else "to be created"
        return f"{server.name} {who}; table {server.table}: {state}"

    def _drop(self, connection: Any) -> None:
        if connection is not None:
            self._pool.drop(connection)

    def close(self) -> None:
        self._pool.close()


def _fields(rows: pl.DataFrame, key: str) -> list[str]:
    """The mapped fields without one of the key column's own name, in any case."""
    return [name for name in mapped_fields(rows) if name.lower() != key.lower()]


def _missing(schema: pl.Schema, columns: Mapping[str, str]) -> pl.Schema:
    known = {name.lower() for name in columns}
    return pl.Schema({name: kind for name, kind in schema.items() if name.lower() not in known})


def not_finite(rows: pl.DataFrame) -> pl.Expr:
    """The rule that NaN and infinity break, for databases without them."""
    floats = [name for name, dtype in rows.schema.items() if dtype.is_float()]
    if not floats:
        return pl.lit(None, dtype=pl.String)
    odd = pl.any_horizontal((~pl.col(name).is_finite()).fill_null(False) for name in floats)
    return pl.when(odd).then(pl.lit("a number is NaN or infinite, which this database cannot hold"))


def times_as_text(rows: pl.DataFrame) -> pl.DataFrame:
    """Date-times as SQL literals in UTC (``2026-01-02 03:04:05.000000``), dates as ISO text."""
    changed = [
        (
            pl.col(name).dt.convert_time_zone("UTC") if dtype.time_zone else pl.col(name)
        ).dt.to_string("%Y-%m-%d %H:%M:%S%.6f")
        for name, dtype in rows.schema.items()
        if isinstance(dtype, pl.Datetime)
    ]
    return rows.with_columns(changed).with_columns(pl.selectors.date().dt.to_string("iso"))
