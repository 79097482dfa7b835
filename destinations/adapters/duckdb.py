"""DuckDB: one table of one file, written from Arrow.

Upserts as in https://duckdb.org/docs/stable/sql/statements/insert. DuckDB has
no savepoints: where it refuses a delivery, parts of it are tried in
transactions of their own until only the refused rows are left. The file is
locked while it is open (https://duckdb.org/docs/stable/connect/concurrency),
so it is opened for each delivery and closed after it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from destinations.adapters import tables
from destinations.adapters.outcomes import later, row_by_row, stopped, words
from destinations.adapters.previews import previewed, sql_shown
from destinations.adapters.rendering import json_ready, text_ready, within_limits
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

POSITION = "storeroom_position"
PASSING = (
    duckdb.TransactionException,
    duckdb.OutOfMemoryException,
    duckdb.InterruptException,
    duckdb.ConnectionException,
)


class Settings(BaseModel):
    """What a connection to DuckDB says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(
        description="The database file; created if absent, its folder is not.",
        examples=["/var/lib/storeroom/audiences.duckdb"],
    )
    table: str = Field(
        description="Table that holds the audience.", min_length=1, examples=["loyal_customers"]
    )
    table_schema: str = Field(default="main", description="Schema of the table.", min_length=1)
    key_column: str = Field(
        default="profile_id", description="Primary key column: holds the sync's key.", min_length=1
    )
    batch_rows: int = Field(default=100_000, ge=1, description="Most rows of one transaction.")


class DuckdbDriver:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._table = tables.quote(settings.table_schema, settings.table)
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operations=tables.WRITES | {Operation.REMOVE, Operation.DELETE},
            batch_rows=self._settings.batch_rows,
            clears=True,
            concurrency=1,
        )

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        return tables.problems(self.capabilities, operation, rows, self._settings.key_column)

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        writes = operation in tables.WRITES

        def render(part: pl.DataFrame) -> tuple[Any, int]:
            fields = tables.written_fields(part, self._settings.key_column) if writes else []
            table = (
                _columns_for_duckdb(part.select(KEY, *fields)).with_row_index(POSITION).to_arrow()
            )
            return table, table.nbytes

        return within_limits(operation, rows, render, self._settings.batch_rows)

    def send(self, delivery: Delivery) -> Outcome:
        with self._lock:
            try:
                with self._connect() as connection:
                    verdicts = self._write(connection, delivery)
            except duckdb.Error as error:
                passing = isinstance(error, PASSING) or "lock" in str(error).lower()
                return later(delivery, error) if passing else stopped(delivery, error)
        sample = {"request": f"{delivery.operation} {delivery.rows.height} rows in {self._table}"}
        return row_by_row(delivery, verdicts, sample)

    def _write(self, connection: Any, delivery: Delivery) -> dict[int, tuple[Status, str]]:
        connection.register("storeroom_rows", delivery.payload)
        columns = self._columns(connection)
        if delivery.operation in tables.WRITES:
            fields = tables.written_fields(delivery.rows, self._settings.key_column)
            for ddl in self._ddl(delivery.rows.select(fields).schema, columns):
                connection.execute(ddl)
        elif not columns:
            return {}  # no table, so nobody is in it
        statement = self._statement(delivery, columns)

        def attempt(start: int, stop: int) -> str | None:
            try:
                connection.execute(statement, [start, stop]).fetchall()
            except (
                duckdb.ConstraintException,
                duckdb.ConversionException,
                duckdb.OutOfRangeException,
                duckdb.InvalidInputException,
            ) as error:
                return words(error)
            return None

        refusals = tables.refused_rows(delivery.rows.height, attempt)
        return {position: (Status.REJECTED, message) for position, message in refusals.items()}

    def _statement(self, delivery: Delivery, columns: Mapping[str, str]) -> str:
        """What writes or deletes the rows of a window of positions; ``columns`` are the table's."""
        key = self._settings.key_column
        window = f"{POSITION} >= ? and {POSITION} < ?"
        if delivery.operation not in tables.WRITES:
            value = f"cast({tables.quote(KEY)} as {columns.get(key, 'varchar')})"
            keys = f"select {value} from storeroom_rows where {window}"  # noqa: S608 - quoted names
            return f"delete from {self._table} where {tables.quote(key)} in ({keys})"  # noqa: S608 - quoted names
        fields = tables.written_fields(delivery.rows, key)
        names = ", ".join(map(tables.quote, [KEY, *fields]))
        source = f"select {names} from storeroom_rows where {window}"  # noqa: S608 - quoted names
        return tables.upsert(self._table, key, fields, source)

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        """The statements of a delivery to a table that is not there yet, with the rows they read."""
        url = f"duckdb://{self._settings.path.as_posix()}"
        if delivery.operation in tables.WRITES:
            fields = tables.written_fields(delivery.rows, self._settings.key_column)
            schema = delivery.rows.select(fields).schema
            yield from (sql_shown(url, ddl) for ddl in self._ddl(schema, {}))
        parameters = {
            "storeroom_rows": delivery.payload.to_pylist(),
            "window": [0, delivery.rows.height],
        }
        yield sql_shown(url, self._statement(delivery, {}), parameters)

    def _ddl(self, schema: pl.Schema, columns: Mapping[str, str]) -> list[str]:
        wanted = {name: tables.column_type(dtype, "duckdb") for name, dtype in schema.items()}
        if not columns:
            key = self._settings.key_column
            return [tables.create_table(self._table, key, "varchar", wanted)]
        known = {name.lower() for name in columns}
        missing = {name: kind for name, kind in wanted.items() if name.lower() not in known}
        return tables.add_columns(self._table, missing)

    def _columns(self, connection: Any) -> dict[str, str]:
        found = connection.execute(
            "select column_name, data_type from duckdb_columns()"
            " where database_name = current_database() and lower(schema_name) = lower(?) and lower(table_name) = lower(?)",
            [self._settings.table_schema, self._settings.table],
        ).fetchall()
        return dict(found)

    def check(self) -> str:
        with self._lock:
            try:
                with self._connect() as connection:
                    columns = self._columns(connection)
            except duckdb.Error as error:
                raise StoreroomError(
                    f"DuckDB cannot open {self._settings.path}: {words(error)}.",
                    "Its folder must exist, and nothing else may have the file open for writing.",
                ) from None
        if columns and self._settings.key_column not in columns:
            raise StoreroomError(
                f"Table {self._table} has no column '{self._settings.key_column}'.",
                f"Set key_column to one of: {', '.join(columns)}.",
            )
        state = f"{len(columns)} columns" if columns else "to be created"
        version = duckdb.__version__
        return f"DuckDB {version}, {self._settings.path}; table {self._table}: {state}"

    def _connect(self) -> Any:
        return duckdb.connect(str(self._settings.path))

    def close(self) -> None:
        """Nothing stays open between deliveries."""


def _columns_for_duckdb(rows: pl.DataFrame) -> pl.DataFrame:
    """Nested values and times as text; dates, date-times (naive UTC) and decimals as they are."""
    native = [
        name for name, dtype in rows.schema.items() if isinstance(dtype, (pl.Datetime, pl.Decimal))
    ]
    as_text = text_ready(json_ready(rows))
    in_utc = (
        pl.selectors.datetime(time_zone="*").dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    )
    return as_text.with_columns(rows.select(native).with_columns(in_utc).get_columns())


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    return DuckdbDriver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(DuckdbDriver(settings), operation, rows)
