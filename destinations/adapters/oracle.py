"""Oracle Database: one table, merged row by row in one round trip.

The rows of a delivery are bound as arrays to one ``merge``
(https://docs.oracle.com/en/database/oracle/oracle-database/23/sqlrf/MERGE.html) in batch error mode
(https://python-oracledb.readthedocs.io/en/latest/user_guide/batch_statement.html): the database
names each row it refuses and takes the others. Names without capital letters are those of Oracle's
own case (``email`` is the column EMAIL). Oracle knows no empty text: it is null there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from destinations.adapters import tables
from destinations.adapters.extras import require
from destinations.adapters.previews import previewed
from destinations.adapters.rendering import text_ready
from destinations.adapters.table_driver import Batch, Fault, TableDriver, times_as_text
from destinations.driver import KEY, Driver, Operation, Shown

# https://docs.oracle.com/en/error-help/db/
DATA = {1, 910, 1400, 1407, 1401, 1426, 1438, 1722, 1830, 1839, 1840, 1841, 1843, 1847, 1858, 1861,
        2290, 2291, 2292, 12899, 1461, 6502, 20000, 40441}  # fmt: skip
PASSING = {54, 60, 955, 1430, 1033, 1034, 1089, 1109, 1653, 1654, 3136, 4020, 8177, 12516, 12518,
           12519, 12520, 30006}  # fmt: skip
STALE = {904, 942}
BROKEN = {28, 603, 1012, 1041, 1092, 2396, 3113, 3114, 3135, 12170, 12537, 12541, 12543, 12545,
          12547, 12571}  # fmt: skip


class Settings(BaseModel):
    """What a connection to Oracle Database says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dsn: str = Field(
        description="host:port/service_name; tcps://host:port/service_name with TLS.",
        pattern=r"^[^@\s]+$",
        examples=["tcps://db.example.com:2484/crm"],
    )
    username: str = Field(description="Who logs in.", examples=["storeroom"])
    password: SecretStr = Field(description="Password of the user.")
    table_schema: str | None = Field(
        default=None, description="Schema of the table, if not the user's own.", min_length=1
    )
    table: str = Field(
        description="Table that holds the audience; without capital letters in Oracle's own case.",
        min_length=1,
        max_length=128,
        pattern=r'^[^"]+$',
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


def folded(name: str) -> str:
    """As Oracle and Snowflake take a name that is not quoted."""
    return name.upper() if name == name.lower() else name


class OracleServer:
    name = "Oracle"
    transactional = True
    concurrency = 4

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._schema = folded(settings.table_schema or settings.username)
        self._table = folded(settings.table)
        self.url = f"oracle://{settings.dsn.rpartition('://')[2]}"
        self.table = quoted(self._schema, self._table)
        self.key = folded(settings.key_column)
        self.create_table = settings.create_table

    @functools.cached_property
    def _oracledb(self) -> Any:
        return require("oracledb", "oracle")

    def fold(self, name: str) -> str:
        return folded(name)

    def values(self, rows: pl.DataFrame) -> pl.DataFrame:
        """All as text: the server converts to the column's type, by the formats of the session."""
        flags = pl.selectors.boolean().cast(pl.Int8)  # number(1)
        return text_ready(times_as_text(rows.with_columns(flags))).cast(pl.String)

    def problems(self, _rows: pl.DataFrame, /) -> pl.Expr:
        return pl.when(pl.col(KEY) == "").then(pl.lit("the key is empty, which is null in Oracle"))

    def connect(self) -> Any:
        settings = self._settings
        connection = self._oracledb.connect(
            user=settings.username,
            password=settings.password.get_secret_value(),
            dsn=settings.dsn,
            tcp_connect_timeout=settings.connect_timeout_seconds,
        )
        connection.call_timeout = settings.timeout_seconds * 1000
        formats = {
            "nls_numeric_characters": ".,",
            "nls_date_format": "YYYY-MM-DD",
            "nls_timestamp_format": "YYYY-MM-DD HH24:MI:SS.FF6",
            "nls_timestamp_tz_format": "YYYY-MM-DD HH24:MI:SS.FF6",
            "time_zone": "+00:00",
        }
        for name, value in formats.items():
            self.execute(connection, f"alter session set {name} = '{value}'")
        return connection

    def columns(self, connection: Any) -> dict[str, str]:
        with connection.cursor() as cursor:
            cursor.execute(
                "select column_name, data_type from all_tab_columns"
                " where owner = :1 and table_name = :2 order by column_id",
                [self._schema, self._table],
            )
            return dict(cursor.fetchall())

    def ddl(self, schema: pl.Schema, exists: bool) -> list[str]:
        wanted = {folded(name): tables.column_type(kind, "oracle") for name, kind in schema.items()}
        columns = [f"{quoted(name)} {kind}" for name, kind in wanted.items()]
        if exists:
            return [f"alter table {self.table} add ({', '.join(columns)})"]
        key = f"{quoted(self.key)} varchar2(255 char) primary key"
        return [f"create table {self.table} ({', '.join([key, *columns])})"]

    def execute(self, connection: Any, sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    def write(self, connection: Any, batch: Batch) -> Mapping[int, str]:
        ((sql, rows),) = self.writing(batch)
        with connection.cursor() as cursor:
            # Lengths first: the type of a bound array is that of its longest value.
            cursor.setinputsizes(*(_size(batch.rows[name]) for name in batch.names))
            cursor.executemany(sql, rows, batcherrors=True)
            found = {error.offset: (error.code, error.message) for error in cursor.getbatcherrors()}
        serious = [message for code, message in found.values() if code not in DATA]
        if serious:
            raise self._oracledb.DatabaseError(serious[0])
        return {position: message for position, (_, message) in found.items()}

    def remove(self, connection: Any, keys: list[str], types: Mapping[str, str]) -> None:
        ((sql, rows),) = self.removing(keys, types)
        with connection.cursor() as cursor:
            cursor.executemany(sql, rows)

    def writing(self, batch: Batch) -> Iterator[tuple[str, Any]]:
        marks = ", ".join(
            f":{number} as {quoted(name)}" for number, name in enumerate(batch.names, start=1)
        )
        source = f"(select {marks} from dual) s"  # noqa: S608 - quoted names
        yield tables.merge(f"{self.table} t", batch.names, source, quoted), batch.rows.rows()

    def removing(self, keys: list[str], _types: Mapping[str, str], /) -> Iterator[tuple[str, Any]]:
        sql = f"delete from {self.table} where {quoted(self.key)} = :1"  # noqa: S608 - quoted names
        yield sql, [(key,) for key in keys]

    def commit(self, connection: Any) -> None:
        connection.commit()

    def rollback(self, connection: Any) -> None:
        connection.rollback()

    def close(self, connection: Any) -> None:
        connection.close()

    def fault(self, error: Exception) -> Fault | None:
        if isinstance(error, OSError):
            return Fault.LOST
        if not isinstance(error, self._oracledb.Error):
            return None
        said = error.args[0] if error.args else None
        code, full = getattr(said, "code", 0), getattr(said, "full_code", str(said))
        known = [
            (DATA, Fault.DATA), (PASSING, Fault.PASSING), (STALE, Fault.STALE), (BROKEN, Fault.LOST),
        ]  # fmt: skip
        found = next((fault for codes, fault in known if code in codes), None)
        # The client's own: https://python-oracledb.readthedocs.io/en/latest/user_guide/exception_handling.html
        lost = full.startswith(("DPY-1", "DPY-4011", "DPY-4024", "DPY-6"))
        return found or (Fault.LOST if lost else Fault.CLOSED)

    def who(self, connection: Any) -> str:
        return f"{connection.version}, as {self._settings.username}"


def quoted(*names: str) -> str:
    """Identifiers; Oracle takes none with a double quote in it."""
    return tables.quote(*(name.replace('"', "'") for name in names))


def _size(values: pl.Series) -> int:
    """Most bytes of a value, at least one."""
    longest = values.str.len_bytes().max()
    return max(int(longest), 1) if isinstance(longest, int) else 1


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    require("oracledb", "oracle")
    return _driver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(_driver(settings), operation, rows)


def _driver(settings: Settings) -> TableDriver:
    return TableDriver(OracleServer(settings), settings.batch_rows, 16 << 20)
