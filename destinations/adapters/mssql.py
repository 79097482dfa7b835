"""Microsoft SQL Server, Azure SQL and what speaks their protocol: one table.

The rows of a delivery travel as one JSON text, which the server reads as a table
(https://learn.microsoft.com/en-us/sql/t-sql/functions/openjson-transact-sql, SQL Server 2016 and
newer) and merges (https://learn.microsoft.com/en-us/sql/t-sql/statements/merge-transact-sql) under
``holdlock``, so that two writers cannot both insert a key. A value that does not fit is refused and
never cut. Date-times are UTC without a zone.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from destinations.adapters import tables
from destinations.adapters.extras import require
from destinations.adapters.previews import previewed
from destinations.adapters.rendering import text_ready
from destinations.adapters.table_driver import Batch, Fault, TableDriver, not_finite, times_as_text
from destinations.driver import Driver, Operation, Shown

# https://learn.microsoft.com/en-us/sql/relational-databases/errors-events/database-engine-events-and-errors
DATA = {206, 220, 232, 241, 242, 245, 248, 257, 295, 515, 544, 547, 2601, 2627, 2628, 8114,
        8115, 8152, 9420, 13609, 13810}  # fmt: skip
PASSING = {701, 1204, 1205, 1222, 3635, 3960, 8645, 8651, 9002, 10928, 10929, 40197, 40501, 40613,
           49918, 49919, 49920, 2714, 2705}  # fmt: skip
STALE = {207, 208}
EXACT = "Latin1_General_100_BIN2"
"""A binary collation: every two keys that differ are two."""
CONNECTION_FAILED = {20002, 20009}
BROKEN = {20003, 20004, 20006, 20047}


class Settings(BaseModel):
    """What a connection to SQL Server says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(description="Host name of the server.", examples=["db.example.com"])
    port: int = Field(default=1433, ge=1, le=65535, description="Port of the server.")
    username: str = Field(description="Who logs in.", examples=["storeroom"])
    password: SecretStr = Field(description="Password of the user.")
    encryption: Literal["require", "request", "off"] = Field(
        default="require", description="require: TLS or nothing; request: TLS where there is some."
    )
    database: str = Field(description="Database of the table.", min_length=1, examples=["crm"])
    table_schema: str = Field(
        default="dbo", description="Schema of the table.", min_length=1, max_length=128
    )
    table: str = Field(
        description="Table that holds the audience.",
        min_length=1,
        max_length=128,
        examples=["loyal_customers"],
    )
    key_column: str = Field(
        default="profile_id",
        description="Primary key column: holds the sync's key (at most 255 characters).",
        min_length=1,
        max_length=128,
    )
    create_table: bool = Field(
        default=True, description="Create the table and missing columns; false leaves DDL to you."
    )
    batch_rows: int = Field(default=5_000, ge=1, description="Most rows of one transaction.")
    timeout_seconds: int = Field(default=60, ge=1, description="Most seconds of one statement.")
    connect_timeout_seconds: int = Field(default=10, ge=1, description="Most seconds to connect.")


class SqlServer:
    name = "SQL Server"
    transactional = True
    concurrency = 4

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.url = f"mssql://{settings.host}:{settings.port}/{settings.database}"
        self.table = tables.quote(settings.table_schema, settings.table)
        self.key = settings.key_column
        self.create_table = settings.create_table
        self._collation = EXACT

    @functools.cached_property
    def _pymssql(self) -> Any:
        return require("pymssql", "mssql")

    def fold(self, name: str) -> str:
        return name

    def values(self, rows: pl.DataFrame) -> pl.DataFrame:
        """All as text: the server converts to the column's type, numbers of JSON lose digits."""
        return text_ready(times_as_text(rows)).cast(pl.String)

    def problems(self, rows: pl.DataFrame) -> pl.Expr:
        return not_finite(rows)

    def connect(self) -> Any:
        settings = self._settings
        return self._pymssql.connect(
            server=settings.host,
            port=str(settings.port),
            user=settings.username,
            password=settings.password.get_secret_value(),
            database=settings.database,
            timeout=settings.timeout_seconds,
            login_timeout=settings.connect_timeout_seconds,
            encryption=settings.encryption,
            appname="storeroom",
            charset="UTF-8",
        )

    def columns(self, connection: Any) -> dict[str, str]:
        with connection.cursor() as cursor:
            cursor.execute(
                "select column_name, data_type, collation_name from information_schema.columns"
                " where table_schema = %s and table_name = %s order by ordinal_position",
                (self._settings.table_schema, self._settings.table),
            )
            found = cursor.fetchall()
        own = next((one[2] for one in found if one[0].lower() == self.key.lower()), None)
        self._collation = own or EXACT
        return {name: kind for name, kind, _ in found}

    def ddl(self, schema: pl.Schema, exists: bool) -> list[str]:
        wanted = {name: tables.column_type(kind, "mssql") for name, kind in schema.items()}
        if exists:
            return [
                f"alter table {self.table} add {tables.quote(name)} {kind}"
                for name, kind in wanted.items()
            ]
        # A binary collation: by the usual ones `a` and `A` are one key.
        key = f"{tables.quote(self.key)} nvarchar(255) collate {EXACT}"
        others = "".join(f", {tables.quote(name)} {kind} null" for name, kind in wanted.items())
        return [f"create table {self.table} ({key} not null primary key{others})"]

    def execute(self, connection: Any, sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    def write(self, connection: Any, batch: Batch) -> Mapping[int, str]:
        ((sql, bound),) = self.writing(batch)
        with connection.cursor() as cursor:
            cursor.execute(sql, tuple(bound))
        return {}

    def remove(self, connection: Any, keys: list[str], types: Mapping[str, str]) -> None:
        ((sql, bound),) = self.removing(keys, types)
        with connection.cursor() as cursor:
            cursor.execute(sql, tuple(bound))

    def writing(self, batch: Batch) -> Iterator[tuple[str, Any]]:
        quoted = [tables.quote(name) for name in batch.names]
        columns = ", ".join(
            f"{name} nvarchar(max) '$.c{number}'" for number, name in enumerate(quoted)
        )
        source = f"(select * from openjson(%s) with ({columns})) as s"  # noqa: S608 - quoted names
        on = self._same(quoted[0], f"s.{quoted[0]}")
        sql = tables.merge(f"{self.table} with (holdlock) as t", batch.names, source, on=on)
        plain = batch.rows.rename({name: f"c{number}" for number, name in enumerate(batch.names)})
        yield _one_mark(sql) + ";", [plain.write_json()]

    def removing(self, keys: list[str], _types: Mapping[str, str], /) -> Iterator[tuple[str, Any]]:
        same = self._same(tables.quote(self.key), "s.value")
        sql = f"delete t from {self.table} as t join openjson(%s) as s on {same}"
        yield _one_mark(sql), [json.dumps(keys)]

    def _same(self, key: str, value: str) -> str:
        """The key column's own collation finds the row by its index; where that takes ``a`` and
        ``A`` for one, the exact one keeps a row from standing for another.
        """
        exact = f"t.{key} = {value} collate {EXACT}"
        return (
            exact
            if self._collation == EXACT
            else f"t.{key} = {value} collate {self._collation} and {exact}"
        )

    def commit(self, connection: Any) -> None:
        connection.commit()

    def rollback(self, connection: Any) -> None:
        connection.rollback()

    def close(self, connection: Any) -> None:
        connection.close()

    def fault(self, error: Exception) -> Fault | None:
        if not isinstance(error, self._pymssql.Error):
            return Fault.LOST if isinstance(error, OSError) else None
        code = _code(error)
        known = [
            (DATA, Fault.DATA), (PASSING | CONNECTION_FAILED, Fault.PASSING), (STALE, Fault.STALE),
            (BROKEN, Fault.LOST),
        ]  # fmt: skip
        found = next((fault for codes, fault in known if code in codes), None)
        if found is None and isinstance(error, self._pymssql.InterfaceError):
            return Fault.LOST
        return found or Fault.CLOSED

    def who(self, connection: Any) -> str:
        with connection.cursor() as cursor:
            cursor.execute("select serverproperty('ProductVersion'), suser_sname()")
            version, user = cursor.fetchone()
        return f"{version}, database {self._settings.database} as {user}"


def _one_mark(sql: str) -> str:
    """The statement with its one mark: a % in a name must survive the client's formatting."""
    before, mark, after = sql.partition("openjson(%s)")
    return before.replace("%", "%%") + mark + after.replace("%", "%%")


def _code(error: Exception) -> int:
    """The server's number: the client gives it alone, or with its text as a pair in a pair."""
    first: Any = error.args[0] if error.args else 0
    while isinstance(first, tuple) and first:
        first = first[0]
    return first if isinstance(first, int) else 0


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    require("pymssql", "mssql")
    return _driver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(_driver(settings), operation, rows)


def _driver(settings: Settings) -> TableDriver:
    return TableDriver(SqlServer(settings), settings.batch_rows, 16 << 20)
