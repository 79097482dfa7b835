"""Amazon Redshift: one table, merged from a temporary one.

``merge`` as in https://docs.aws.amazon.com/redshift/latest/dg/r_MERGE.html: its source is a table,
its target has no alias. Rows are inserted into the temporary table many at a time
(https://docs.aws.amazon.com/redshift/latest/dg/c_best-practices-multi-row-inserts.html). Names are
lower case there; date-times are UTC without a zone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from destinations.adapters import tables
from destinations.adapters.extras import require
from destinations.adapters.previews import previewed
from destinations.adapters.staged import SOURCE, StagedServer
from destinations.adapters.table_driver import Fault, TableDriver
from destinations.driver import Driver, Operation, Shown

MOST_MARKS = 30_000
"""Bound values of one statement; the protocol takes 32767."""
TRANSIENT = ("08", "40", "53", "55", "57", "58")
DATA = ("22", "23")
UNREADABLE = ("invalid digit", "too long", "overflow", "out of range")
"""Words of Redshift's own errors of values, which carry XX000 as an internal error does."""
STALE = ("42P01", "42703")
MADE_MEANWHILE = ("42P07", "42701")


class Settings(BaseModel):
    """What a connection to Redshift says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        description="Endpoint of the cluster or workgroup.",
        examples=["acme.123456789012.eu-central-1.redshift-serverless.amazonaws.com"],
    )
    port: int = Field(default=5439, ge=1, le=65535, description="Port of the endpoint.")
    username: str = Field(description="Who logs in.", examples=["storeroom"])
    password: SecretStr = Field(description="Password of the user.")
    database: str = Field(description="Database of the table.", min_length=1, examples=["dev"])
    table_schema: str = Field(default="public", description="Schema of the table.", min_length=1)
    table: str = Field(
        description="Table that holds the audience.",
        min_length=1,
        max_length=127,
        examples=["loyal_customers"],
    )
    key_column: str = Field(
        default="profile_id", description="Column that holds the sync's key.", min_length=1
    )
    create_table: bool = Field(
        default=True, description="Create the table and missing columns; false leaves DDL to you."
    )
    batch_rows: int = Field(default=5_000, ge=1, description="Most rows of one transaction.")
    timeout_seconds: int = Field(default=120, ge=1, description="Most seconds of one statement.")


class RedshiftServer(StagedServer):
    name = "Redshift"
    dialect: tables.Dialect = "redshift"
    text = "varchar(65535)"
    key_type = "varchar(255)"
    mark = "%s"
    transactional = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        url = f"redshift://{settings.host}:{settings.port}/{settings.database}"
        super().__init__(
            url, settings.table_schema, settings.table, settings.key_column, settings.create_table
        )

    @functools.cached_property
    def _redshift(self) -> Any:
        return require("redshift_connector", "redshift")

    def fold(self, name: str) -> str:
        return name.lower()

    def problems(self, rows: pl.DataFrame, /) -> pl.Expr:
        # https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html
        texts = [name for name, dtype in rows.schema.items() if dtype == pl.String]
        long = pl.any_horizontal((pl.col(texts).str.len_bytes() > 65_535).fill_null(False))
        return pl.when(long).then(pl.lit("a text has more than 65535 bytes, the most of a column"))

    def connect(self) -> Any:
        settings = self._settings
        return self._redshift.connect(
            host=settings.host,
            port=settings.port,
            user=settings.username,
            password=settings.password.get_secret_value(),
            database=settings.database,
            ssl=True,
            sslmode="verify-full",
            timeout=settings.timeout_seconds,
            application_name="storeroom",
        )

    def columns(self, connection: Any) -> dict[str, str]:
        with connection.cursor() as cursor:
            cursor.execute(
                "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a"
                " join pg_class c on c.oid = a.attrelid"
                " join pg_namespace n on n.oid = c.relnamespace"
                " where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped",
                (self.schema, self.bare_table),
            )
            return {str(name): str(kind) for name, kind in cursor.fetchall()}

    def cast(self, value: str, kind: str | None) -> str:
        """A cast to a length would cut: texts stay as they are, and the column refuses them."""
        if kind is None or kind.startswith(("character", "varchar", "text", "bpchar")):
            return value
        return f"json_parse({value})" if kind == "super" else f"cast({value} as {kind})"

    def fill(self, cursor: Any, sql: str, rows: list[tuple[Any, ...]]) -> None:
        head, values = sql.split(" values ")
        step = max(1, MOST_MARKS // len(rows[0]))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            bound = [value for row in part for value in row]
            cursor.execute(f"{head} values {', '.join([values] * len(part))}", bound)

    def merging(self, names: list[str], source: str) -> Iterator[tuple[str, Any]]:
        yield f"drop table if exists {SOURCE}", None
        yield f"create temporary table {SOURCE} as {source}", None
        key = tables.quote(names[0])
        on = f"{self.table}.{key} = s.{key}"
        yield tables.merge(self.table, names, f"{SOURCE} as s", on=on), None

    def fault(self, error: Exception) -> Fault | None:
        if isinstance(error, OSError):
            return Fault.LOST
        if not isinstance(error, self._redshift.Error):
            return None
        said = error.args[0] if error.args else ""
        code = str(said.get("C", "")) if isinstance(said, dict) else ""
        if code in STALE:
            return Fault.STALE
        if code in MADE_MEANWHILE or code.startswith(TRANSIENT):
            return Fault.PASSING
        if code.startswith("XX"):
            text = str(said).lower()
            return Fault.DATA if any(one in text for one in UNREADABLE) else Fault.PASSING
        if code.startswith(DATA):
            return Fault.DATA
        return Fault.CLOSED if code else Fault.LOST

    def who(self, connection: Any) -> str:
        with connection.cursor() as cursor:
            cursor.execute("select current_user")
            (user,) = cursor.fetchone()
        return f"database {self._settings.database} as {user}"


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    require("redshift_connector", "redshift")
    return _driver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(_driver(settings), operation, rows)


def _driver(settings: Settings) -> TableDriver:
    return TableDriver(RedshiftServer(settings), settings.batch_rows, 16 << 20)
