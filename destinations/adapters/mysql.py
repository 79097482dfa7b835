"""MySQL and what speaks its protocol (MariaDB, SingleStore): one table.

Upserts as in https://dev.mysql.com/doc/refman/8.4/en/insert-on-duplicate.html, in strict mode
(https://dev.mysql.com/doc/refman/8.4/en/sql-mode.html#sql-mode-strict), where a value that does
not fit is refused and never cut. Date-times are UTC without a zone. An upsert there updates
whatever row has the same value in any unique column, or a key that the collation takes for the
same: where that can be, keys are read back, so that no row stands for another.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from destinations.adapters import tables
from destinations.adapters.extras import require
from destinations.adapters.previews import previewed
from destinations.adapters.rendering import text_ready
from destinations.adapters.table_driver import (
    Batch,
    Fault,
    MistakenKeyError,
    TableDriver,
    not_finite,
    times_as_text,
)
from destinations.driver import KEY, Driver, Operation, Shown

# https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html and client-error-
# reference.html; 4025 is MariaDB's: https://mariadb.com/kb/en/mariadb-error-code-reference/
DATA = {
    1048, 1062, 1216, 1217, 1264, 1265, 1292, 1364, 1366, 1367, 1406, 1411, 1416, 1426, 1439, 1441,
    1451, 1452, 1525, 1557, 1644, 1690, 3140, 3141, 3819, 3903, 4025,
}  # fmt: skip
PACKET_TOO_LARGE = 1153
STALE = {1054, 1146}
MADE_MEANWHILE = {1050, 1060}
PASSING = {1021, 1037, 1040, 1041, 1053, 1114, 1158, 1159, 1160, 1161, 1203, 1205, 1206, 1213, 1226,
           1290, 1317, 1836, 1927, 1969, 3024}  # fmt: skip
BROKEN = {2002, 2003, 2006, 2013, 2014, 2055}
SAVED = "STRICT_ALL_TABLES,ANSI_QUOTES"


class Settings(BaseModel):
    """What a connection to MySQL, MariaDB or SingleStore says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(description="Host name of the server.", examples=["db.example.com"])
    port: int = Field(default=3306, ge=1, le=65535, description="Port of the server.")
    username: str = Field(description="Who logs in.", examples=["storeroom"])
    password: SecretStr = Field(default=SecretStr(""), description="Password of the user.")
    tls: Literal["verify", "require", "off"] = Field(
        default="verify",
        description="verify: encrypted, the server's certificate checked; require: encrypted only; "
        "off: in clear, for servers on this machine.",
    )
    ca_file: Path | None = Field(
        default=None, description="CA certificates of the server (PEM), if not the system's own."
    )
    database: str = Field(
        description="Database of the table.", min_length=1, max_length=64, examples=["crm"]
    )
    table: str = Field(
        description="Table that holds the audience.",
        min_length=1,
        max_length=64,
        examples=["loyal_customers"],
    )
    key_column: str = Field(
        default="profile_id",
        description="Primary key column: holds the sync's key (at most 255 characters).",
        min_length=1,
        max_length=64,
    )
    create_table: bool = Field(
        default=True, description="Create the table and missing columns; false leaves DDL to you."
    )
    batch_rows: int = Field(default=5_000, ge=1, description="Most rows of one transaction.")
    timeout_seconds: int = Field(default=60, ge=1, description="Most seconds of one statement.")
    connect_timeout_seconds: int = Field(default=10, ge=1, description="Most seconds to connect.")


class MysqlServer:
    name = "MySQL"
    transactional = True
    concurrency = 4

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.url = f"mysql://{settings.host}:{settings.port}/{settings.database}"
        self.table = tables.quote(settings.database, settings.table)
        self.key = settings.key_column
        self.create_table = settings.create_table
        self._read_back = False

    @functools.cached_property
    def _errors(self) -> Any:
        return require("pymysql.err", "mysql")

    def fold(self, name: str) -> str:
        return name

    def values(self, rows: pl.DataFrame) -> pl.DataFrame:
        return text_ready(times_as_text(rows)).with_columns(pl.selectors.decimal().cast(pl.String))

    def problems(self, rows: pl.DataFrame) -> pl.Expr:
        # https://dev.mysql.com/doc/refman/8.4/en/char.html: comparison ignores spaces at the end
        padded = pl.when(pl.col(KEY).str.ends_with(" ")).then(
            pl.lit("the key ends in a space, which MySQL does not tell from the key without it")
        )
        return pl.coalesce(padded, not_finite(rows))

    def connect(self) -> Any:
        settings = self._settings
        context: dict[str, Any] = {"ssl_disabled": True}
        if settings.tls != "off":
            made = ssl.create_default_context(cafile=settings.ca_file)
            if settings.tls == "require":
                made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
            context = {"ssl": made}
        connection = require("pymysql", "mysql").connect(
            host=settings.host,
            port=settings.port,
            user=settings.username,
            password=settings.password.get_secret_value(),
            database=settings.database,
            charset="utf8mb4",
            sql_mode=SAVED,
            connect_timeout=settings.connect_timeout_seconds,
            read_timeout=settings.timeout_seconds,
            write_timeout=settings.timeout_seconds,
            autocommit=False,
            **context,
        )
        self.execute(connection, "set time_zone = '+00:00'")
        return connection

    def columns(self, connection: Any) -> dict[str, str]:
        with connection.cursor() as cursor:
            cursor.execute(
                "select column_name, column_type, collation_name from information_schema.columns"
                " where table_schema = %s and table_name = %s order by ordinal_position",
                [self._settings.database, self._settings.table],
            )
            found = cursor.fetchall()
        collation = next((one[2] for one in found if one[0].lower() == self.key.lower()), None)
        exact = not collation or str(collation).endswith(("_bin", "_cs"))
        self._read_back = not exact or self._has_another_unique_key(connection)
        return {name: kind for name, kind, _ in found}

    def _has_another_unique_key(self, connection: Any) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "select count(*) from information_schema.statistics where table_schema = %s"
                " and table_name = %s and non_unique = 0 and lower(column_name) <> lower(%s)",
                [self._settings.database, self._settings.table, self.key],
            )
            return bool(cursor.fetchone()[0])

    def ddl(self, schema: pl.Schema, exists: bool) -> list[str]:
        wanted = {name: tables.column_type(kind, "mysql") for name, kind in schema.items()}
        if exists:
            return tables.add_columns(self.table, wanted)
        key_type = "varchar(255) character set utf8mb4 collate utf8mb4_bin"
        return [tables.create_table(self.table, self.key, key_type, wanted)]

    def execute(self, connection: Any, sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    def write(self, connection: Any, batch: Batch) -> Mapping[int, str]:
        ((sql, rows),) = self.writing(batch)
        with connection.cursor() as cursor:
            cursor.executemany(sql, rows)  # many rows a statement, within the packet's size
            keys = batch.rows.to_series(0).to_list()
            if self._read_back and set(self._there(cursor, keys)) != set(keys):
                raise MistakenKeyError(
                    f"it stands for another row there: column {self.key} takes its key for the"
                    " other's, or both have the same value in a unique column"
                )
        return {}

    def remove(self, connection: Any, keys: list[str], types: Mapping[str, str]) -> None:
        with connection.cursor() as cursor:
            gone = sorted(set(self._there(cursor, keys)) & set(keys)) if self._read_back else keys
            for sql, bound in self.removing(gone, types):
                cursor.execute(sql, bound)

    def _there(self, cursor: Any, keys: list[str]) -> list[str]:
        column = tables.quote(self.key)
        cursor.execute(f"select {column} from {self.table} where {column} in %s", [keys])  # noqa: S608 - quoted names
        return [key for (key,) in cursor.fetchall()]

    def writing(self, batch: Batch) -> Iterator[tuple[str, Any]]:
        names = [tables.quote(name) for name in batch.names]
        updates = [f"{name} = values({name})" for name in names[1:]] or [f"{names[0]} = {names[0]}"]
        marks = ", ".join(["%s"] * len(names))
        # A % in a name must survive the client's formatting.
        columns, changes = (", ".join(part).replace("%", "%%") for part in (names, updates))
        table = self.table.replace("%", "%%")
        yield (
            f"insert into {table} ({columns}) values ({marks}) on duplicate key update {changes}",  # noqa: S608 - quoted names
            batch.rows.rows(),
        )

    def removing(self, keys: list[str], _types: Mapping[str, str], /) -> Iterator[tuple[str, Any]]:
        if keys:
            key, table = (name.replace("%", "%%") for name in (tables.quote(self.key), self.table))
            yield f"delete from {table} where {key} in %s", [keys]  # noqa: S608 - quoted names

    def commit(self, connection: Any) -> None:
        connection.commit()

    def rollback(self, connection: Any) -> None:
        connection.rollback()

    def close(self, connection: Any) -> None:
        connection.close()

    def fault(self, error: Exception) -> Fault | None:
        if isinstance(error, (OSError, EOFError)):
            return Fault.LOST
        if not isinstance(error, self._errors.Error):
            return None
        code = error.args[0] if error.args else 0
        known = [
            (DATA, Fault.DATA), ({PACKET_TOO_LARGE}, Fault.WHOLE), (STALE, Fault.STALE),
            (PASSING | MADE_MEANWHILE, Fault.PASSING), (BROKEN, Fault.LOST),
        ]  # fmt: skip
        found = next((fault for codes, fault in known if code in codes), None)
        if found is None and isinstance(
            error, (self._errors.DataError, self._errors.IntegrityError)
        ):
            return Fault.DATA
        if found is None and isinstance(error, self._errors.InterfaceError):
            return Fault.LOST
        return found or Fault.CLOSED

    def who(self, connection: Any) -> str:
        with connection.cursor() as cursor:
            cursor.execute("select version(), current_user()")
            version, user = cursor.fetchone()
        return f"{version}, database {self._settings.database} as {user}"


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    require("pymysql", "mysql")
    return _driver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(_driver(settings), operation, rows)


def _driver(settings: Settings) -> TableDriver:
    return TableDriver(MysqlServer(settings), settings.batch_rows, 16 << 20)
