"""PostgreSQL: one table, one transaction per delivery.

Rows are copied as text into a temporary table and merged with
``insert ... on conflict`` (https://www.postgresql.org/docs/current/sql-copy.html,
https://www.postgresql.org/docs/current/sql-insert.html). The text is cast to
the target's own types in that second step, so that a bad value and a broken
constraint are found alike: by savepoints that narrow down to the row.
"""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Iterator
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from destinations.adapters import tables
from destinations.adapters.extras import require
from destinations.adapters.outcomes import in_doubt, later, refused, row_by_row, stopped, words
from destinations.adapters.pool import Pool
from destinations.adapters.previews import previewed, sql_shown, without_login
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

NULL = r"\N"
NOT_A_DSN = "the dsn is not a connection URI that libpq can read"
STAGE = '"storeroom_stage"'

# Classes and codes of https://www.postgresql.org/docs/current/errcodes-appendix.html
TRANSIENT = ("08", "40", "53", "55", "57", "58", "XX")
DATA = ("22", "23", "54", "P0")
STALE_SCHEMA = ("42P01", "42703")
# A refused connection carries no code, only libpq's text.
NO_ENTRY = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "denied",
)


class Settings(BaseModel):
    """What a connection to PostgreSQL says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dsn: SecretStr = Field(
        description="Connection URI: postgresql://user:password@host:5432/database?sslmode=require",
        examples=["postgresql://storeroom:secret@127.0.0.1:5432/crm"],
    )
    table: str = Field(
        description="Table that holds the audience.",
        min_length=1,
        max_length=63,
        examples=["loyal_customers"],
    )
    table_schema: str = Field(
        default="public", description="Schema of the table.", min_length=1, max_length=63
    )
    key_column: str = Field(
        default="profile_id",
        description="Primary key column: holds the sync's key.",
        min_length=1,
        max_length=63,
    )
    create_table: bool = Field(
        default=True, description="Create the table and missing columns; false leaves DDL to you."
    )
    batch_rows: int = Field(default=10_000, ge=1, description="Most rows of one transaction.")
    timeout_seconds: int = Field(default=60, ge=1, description="Most seconds of one statement.")
    connect_timeout_seconds: int = Field(default=10, ge=2, description="Most seconds to connect.")


class PostgresDriver:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._table = tables.quote(settings.table_schema, settings.table)
        self._pool: Pool[Any] = Pool(self._connect, lambda connection: connection.close())
        self._columns: dict[str, str] = {}
        self._columns_lock = threading.Lock()

    @functools.cached_property
    def _psycopg(self) -> Any:
        return require("psycopg", "postgres")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operations=tables.WRITES | {Operation.REMOVE, Operation.DELETE},
            batch_rows=self._settings.batch_rows,
            clears=True,
            batch_bytes=64 << 20,
        )

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        problems = tables.problems(self.capabilities, operation, rows, self._settings.key_column)
        texts = [name for name, dtype in rows.schema.items() if dtype == pl.String]
        has_nul = pl.any_horizontal(pl.col(texts).str.contains("\0", literal=True).fill_null(False))
        rule = "PostgreSQL text cannot hold the character NUL (U+0000)"
        nul = rows.select(pl.when(has_nul).then(pl.lit(rule))).to_series()
        return pl.select(pl.coalesce(problems, nul).alias("problem")).to_series()

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        limits = self.capabilities
        render = self._rendered if operation in tables.WRITES else _rendered_keys
        return within_limits(operation, rows, render, limits.batch_rows, limits.batch_bytes)

    def _rendered(self, rows: pl.DataFrame) -> tuple[bytes, int]:
        """CSV as COPY reads it: position, key, fields; every text quoted, so that NULL is told apart."""
        fields = tables.written_fields(rows, self._settings.key_column)
        positions = pl.int_range(pl.len()).alias("position")
        frame = pl.concat(
            [rows.select(positions, pl.col(KEY)), text_ready(rows.select(fields))],
            how="horizontal",
        )
        frame.columns = [str(number) for number in range(frame.width)]
        buffer = io.BytesIO()
        frame.write_csv(buffer, include_header=False, quote_style="non_numeric", null_value=NULL)
        content = buffer.getvalue()
        return content, len(content)

    def send(self, delivery: Delivery) -> Outcome:
        try:
            connection = self._pool.borrow()
        except self._psycopg.ProgrammingError:
            return stopped(delivery, NOT_A_DSN)  # its own message may quote the password
        except self._psycopg.Error as error:
            closed = any(text in str(error) for text in NO_ENTRY)
            return stopped(delivery, error) if closed else later(delivery, error)
        committing = False
        try:
            self._prepare(connection, delivery)
            verdicts = self._write(connection, delivery)
            committing = True
            connection.commit()
        except self._psycopg.Error as error:
            outcome = self._verdict(delivery, error, committing)
            self._pool.drop(connection)
            return outcome
        self._pool.give_back(connection)
        sample = {"request": f"{delivery.operation} {delivery.rows.height} rows in {self._table}"}
        return row_by_row(delivery, verdicts, sample)

    def _verdict(self, delivery: Delivery, error: Any, committing: bool) -> Outcome:
        code = error.sqlstate or ""
        if committing and (not code or code.startswith(TRANSIENT)):
            return in_doubt(delivery, error)
        message = error.diag.message_primary or str(error)
        if code in STALE_SCHEMA:
            with self._columns_lock:
                self._columns = {}
            if self._settings.create_table:
                return later(delivery, message)
        if not code or code.startswith(TRANSIENT):
            return later(delivery, message)
        return refused(delivery, message) if code.startswith(DATA) else stopped(delivery, message)

    def _prepare(self, connection: Any, delivery: Delivery) -> None:
        """Know the table's columns; make the table and the columns that are missing."""
        timeout = f"set statement_timeout = {self._settings.timeout_seconds * 1000}"
        connection.execute(timeout)
        fields = tables.written_fields(delivery.rows, self._settings.key_column)
        writes = delivery.operation in tables.WRITES
        with self._columns_lock:
            if self._columns and (not writes or set(fields) <= set(self._columns)):
                return
            columns = self._read_columns(connection)
            missing = not columns or not set(fields) <= set(columns)
            if writes and self._settings.create_table and missing:
                # Across processes too: "if not exists" alone does not stop two creators.
                connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [self._table])
                columns = self._read_columns(connection)
                for sql in self._ddl(delivery.rows.select(fields).schema, columns):
                    connection.execute(sql)
                columns = self._read_columns(connection)
            connection.commit()
            self._columns = columns

    def _ddl(self, schema: pl.Schema, columns: dict[str, str]) -> list[str]:
        wanted = {name: tables.column_type(dtype, "postgres") for name, dtype in schema.items()}
        if not columns:
            key = self._settings.key_column
            return [tables.create_table(self._table, key, "text", wanted)]
        return tables.add_columns(
            self._table, {name: kind for name, kind in wanted.items() if name not in columns}
        )

    def _read_columns(self, connection: Any) -> dict[str, str]:
        """Column to type; without length, because an explicit cast to varchar(5) cuts silently."""
        return dict(
            connection.execute(
                "select attname, format_type(atttypid, -1) from pg_attribute"
                " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
                [self._table],
            ).fetchall()
        )

    def _write(self, connection: Any, delivery: Delivery) -> dict[int, tuple[Status, str]]:
        if delivery.operation in tables.WRITES:
            sql, between = self._staged(connection, delivery), True
        elif not self._columns:
            return {}  # no table, so nobody is in it
        else:
            sql, between = self._removal(), False

        def attempt(start: int, stop: int) -> str | None:
            values = (start, stop) if between else (delivery.payload[start:stop],)
            try:
                with connection.transaction():
                    connection.execute(sql, values)
            except self._psycopg.Error as error:
                if not (error.sqlstate or "").startswith(DATA):
                    raise
                return words(error.diag.message_primary or str(error))
            return None

        refusals = tables.refused_rows(delivery.rows.height, attempt)
        return {position: (Status.REJECTED, message) for position, message in refusals.items()}

    def _removal(self) -> str:
        key = self._settings.key_column
        keys = f"%s::text[]::{self._columns.get(key, 'text')}[]"
        return f"delete from {self._table} where {tables.quote(key)} = any({keys})"  # noqa: S608 - quoted names

    def _staged(self, connection: Any, delivery: Delivery) -> str:
        """Copy the payload into the stage; the statement that merges positions [%s, %s) of it."""
        stage, source, merge = self._merging(delivery.rows)
        connection.execute(stage)
        with connection.cursor() as cursor, cursor.copy(source) as copy:
            copy.write(delivery.payload)
        return merge

    def _merging(self, rows: pl.DataFrame) -> tuple[str, str, str]:
        """The statements that make the stage, fill it, and merge positions [%s, %s) of it."""
        key = self._settings.key_column
        names = [key, *tables.written_fields(rows, key)]
        columns = ", ".join(f"c{number} text" for number in range(len(names)))
        stage = f"create temporary table {STAGE} (position integer primary key, {columns}) on commit drop"
        source = f"copy {STAGE} from stdin (format csv, null '{NULL}')"
        # A column the table lacks keeps its text: the server then names it in its refusal.
        values = ", ".join(
            f"c{number}::{self._columns.get(name, 'text')}" for number, name in enumerate(names)
        )
        select = f"select {values} from {STAGE} where position >= %s and position < %s"  # noqa: S608 - types of the server
        names_sql = tables.upsert(self._table, key, names[1:], "{source}").replace("%", "%%")
        return stage, source, names_sql.replace("{source}", select)

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        """The statements of a delivery to a table that is not there yet."""
        url = without_login(self._settings.dsn.get_secret_value())
        if delivery.operation not in tables.WRITES:
            yield sql_shown(url, self._removal(), [delivery.payload])
            return
        schema = delivery.rows.select(
            tables.written_fields(delivery.rows, self._settings.key_column)
        ).schema
        self._columns = {
            name: tables.column_type(kind, "postgres") for name, kind in schema.items()
        }
        if self._settings.create_table:
            yield from (sql_shown(url, ddl) for ddl in self._ddl(schema, {}))
        stage, source, merge = self._merging(delivery.rows)
        yield sql_shown(url, stage)
        yield sql_shown(url, source, delivery.payload.decode().splitlines())
        yield sql_shown(url, merge, [0, delivery.rows.height])

    def check(self) -> str:
        connection = None
        try:
            connection = self._pool.borrow()
            row = connection.execute(
                "select current_user, current_database(), current_setting('server_version')"
            ).fetchone()
            columns = self._read_columns(connection)
            connection.rollback()
        except self._psycopg.Error as error:
            self._pool.drop(connection)
            unreadable = isinstance(error, self._psycopg.ProgrammingError) and connection is None
            raise StoreroomError(
                f"PostgreSQL refused: {NOT_A_DSN if unreadable else words(error)}.",
                "Mend the connection's dsn, or the server.",
            ) from None
        self._pool.give_back(connection)
        if columns and self._settings.key_column not in columns:
            raise StoreroomError(
                f"Table {self._table} has no column '{self._settings.key_column}'.",
                f"Set key_column to one of: {', '.join(columns)}.",
            )
        if not columns and not self._settings.create_table:
            raise StoreroomError(f"Table {self._table} does not exist.", "Set create_table: true.")
        state = f"{len(columns)} columns" if columns else "to be created"
        return f"PostgreSQL {row[2]}, database {row[1]} as {row[0]}; table {self._table}: {state}"

    def _connect(self) -> Any:
        return self._psycopg.connect(
            self._settings.dsn.get_secret_value(),
            connect_timeout=self._settings.connect_timeout_seconds,
            application_name="storeroom",
            # A host that vanished in silence is noticed within a minute.
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )

    def close(self) -> None:
        self._pool.close()


def _rendered_keys(rows: pl.DataFrame) -> tuple[list[str], int]:
    return rows[KEY].to_list(), int(rows[KEY].str.len_bytes().sum())


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    require("psycopg", "postgres")
    return PostgresDriver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(PostgresDriver(settings), operation, rows)
