"""SQLite: one table of one file, one transaction per delivery.

Upserts as in https://www.sqlite.org/lang_upsert.html. Dates and date-times are
ISO 8601 text, booleans 0 and 1, decimals have numeric affinity
(https://www.sqlite.org/datatype3.html).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from destinations.adapters import tables
from destinations.adapters.outcomes import later, row_by_row, stopped, words
from destinations.adapters.previews import previewed, sql_shown
from destinations.adapters.rendering import text_ready, within_limits
from destinations.driver import (
    KEY,
    Capabilities,
    Delivery,
    Driver,
    Operation,
    Outcome,
    Shown,
    Status,
)
from destinations.errors import StoreroomError

BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
# OverflowError: an integer over 64 bits, refused by the binding rather than the database.
DATA_ERRORS = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError)


class Settings(BaseModel):
    """What a connection to SQLite says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(
        description="The database file; created if absent, its folder is not.",
        examples=["/var/lib/storeroom/audiences.sqlite"],
    )
    table: str = Field(
        description="Table that holds the audience.", min_length=1, examples=["loyal_customers"]
    )
    key_column: str = Field(
        default="profile_id", description="Primary key column: holds the sync's key.", min_length=1
    )
    batch_rows: int = Field(default=10_000, ge=1, description="Most rows of one transaction.")
    timeout_seconds: float = Field(
        default=10, gt=0, description="Most seconds to wait for another writer's lock."
    )


class SqliteDriver:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._table = tables.quote(settings.table)
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operations=tables.WRITES | {Operation.REMOVE, Operation.DELETE},
            batch_rows=self._settings.batch_rows,
            clears=True,
            concurrency=1,  # SQLite has one writer
        )

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        return tables.problems(self.capabilities, operation, rows, self._settings.key_column)

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        render = self._rendered if operation in tables.WRITES else _rendered_keys
        return within_limits(operation, rows, render, self._settings.batch_rows)

    def _rendered(self, rows: pl.DataFrame) -> tuple[list[tuple[Any, ...]], int]:
        """Parameter tuples, the form the binding takes: key, fields."""
        fields = tables.written_fields(rows, self._settings.key_column)
        frame = text_ready(rows.select(KEY, *fields)).with_columns(
            pl.selectors.date().dt.to_string("iso"), pl.selectors.decimal().cast(pl.String)
        )
        return frame.rows(), int(frame.estimated_size())

    def send(self, delivery: Delivery) -> Outcome:
        with self._lock:
            try:
                connection = self._connect()
                connection.execute("begin immediate")
                verdicts = self._write(connection, delivery)
                connection.execute("commit")
            except sqlite3.Error as error:
                self._disconnect()  # and roll back
                # The low byte is the primary code: https://www.sqlite.org/rescode.html
                code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
                return later(delivery, error) if code in BUSY else stopped(delivery, error)
        sample = {"request": f"{delivery.operation} {delivery.rows.height} rows in {self._table}"}
        return row_by_row(delivery, verdicts, sample)

    def _write(
        self, connection: sqlite3.Connection, delivery: Delivery
    ) -> dict[int, tuple[Status, str]]:
        if delivery.operation in tables.WRITES:
            fields = tables.written_fields(delivery.rows, self._settings.key_column)
            self._make_table(connection, delivery.rows.select(fields).schema)
        elif not self._columns(connection):
            return {}  # no table, so nobody is in it
        statement = self._statement(delivery)

        def attempt(start: int, stop: int) -> str | None:
            connection.execute("savepoint slice")
            try:
                connection.executemany(statement, delivery.payload[start:stop])
            except DATA_ERRORS as error:
                connection.execute("rollback to slice")
                return words(error)
            finally:
                connection.execute("release slice")
            return None

        refusals = tables.refused_rows(delivery.rows.height, attempt)
        return {position: (Status.REJECTED, message) for position, message in refusals.items()}

    def _statement(self, delivery: Delivery) -> str:
        """What is executed for each row's values."""
        key = self._settings.key_column
        if delivery.operation not in tables.WRITES:
            return f"delete from {self._table} where {tables.quote(key)} = ?"  # noqa: S608 - quoted names
        fields = tables.written_fields(delivery.rows, key)
        marks = ", ".join("?" * (len(fields) + 1))
        return tables.upsert(self._table, key, fields, f"values ({marks})")

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        """The statements of a delivery to a table that is not there yet."""
        url = f"sqlite://{self._settings.path.as_posix()}"
        if delivery.operation in tables.WRITES:
            fields = tables.written_fields(delivery.rows, self._settings.key_column)
            schema = delivery.rows.select(fields).schema
            yield from (sql_shown(url, ddl) for ddl in self._ddl(schema, []))
        yield sql_shown(url, self._statement(delivery), delivery.payload)

    def _make_table(self, connection: sqlite3.Connection, schema: pl.Schema) -> None:
        for statement in self._ddl(schema, self._columns(connection)):
            connection.execute(statement)

    def _ddl(self, schema: pl.Schema, columns: list[str]) -> list[str]:
        wanted = {name: tables.column_type(dtype, "sqlite") for name, dtype in schema.items()}
        if not columns:
            key = self._settings.key_column
            return [tables.create_table(self._table, key, "text not null", wanted)]
        known = {name.lower() for name in columns}
        missing = {name: kind for name, kind in wanted.items() if name.lower() not in known}
        return tables.add_columns(self._table, missing)

    def _columns(self, connection: sqlite3.Connection) -> list[str]:
        found = connection.execute(
            "select name from pragma_table_info(?)", [self._settings.table]
        ).fetchall()
        return [name for (name,) in found]

    def check(self) -> str:
        with self._lock:
            try:
                columns = self._columns(self._connect())
            except sqlite3.Error as error:
                self._disconnect()
                raise StoreroomError(
                    f"SQLite cannot open {self._settings.path}: {words(error)}.",
                    "Its folder must exist and be writable, and the file be a database.",
                ) from None
        if columns and self._settings.key_column not in columns:
            raise StoreroomError(
                f"Table {self._table} has no column '{self._settings.key_column}'.",
                f"Set key_column to one of: {', '.join(columns)}.",
            )
        state = f"{len(columns)} columns" if columns else "to be created"
        return (
            f"SQLite {sqlite3.sqlite_version}, {self._settings.path}; table {self._table}: {state}"
        )

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(
                self._settings.path,
                timeout=self._settings.timeout_seconds,
                isolation_level=None,
                check_same_thread=False,
            )
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        with self._lock:
            self._disconnect()


def _rendered_keys(rows: pl.DataFrame) -> tuple[list[tuple[str]], int]:
    return rows.select(KEY).rows(), int(rows[KEY].str.len_bytes().sum())


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    return SqliteDriver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(SqliteDriver(settings), operation, rows)
