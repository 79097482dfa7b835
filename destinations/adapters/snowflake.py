"""Snowflake: one table, merged from a temporary one.

``merge`` as in https://docs.snowflake.com/en/sql-reference/sql/merge. Rows are bound to one insert
into the temporary table; the connector sends many through a stage of its own
(https://docs.snowflake.com/en/developer-guide/python-connector/python-connector-example#binding-data).
Names without capital letters are those of Snowflake's own case (``email`` is the column EMAIL).
Every statement commits itself; the merge takes all rows of a delivery or none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from destinations.adapters import tables
from destinations.adapters.extras import require
from destinations.adapters.oracle import folded
from destinations.adapters.previews import previewed
from destinations.adapters.staged import StagedServer
from destinations.adapters.table_driver import Fault, TableDriver
from destinations.driver import Driver, Operation, Shown
from destinations.errors import StoreroomError

NESTED = {"VARIANT", "OBJECT", "ARRAY"}
# Numbers of the server's answers, as its documentation and its connectors name them.
DATA = {100035, 100038, 100040, 100046, 100051, 100069, 100071, 100072, 100078, 100080, 100090,
        100096, 100097, 100132, 100145}  # fmt: skip
STALE = {904, 2003}
PASSING = {604, 625, 2002, 606}
CLOSED_NUMBERS = {3001, 250001, 251001, 390100, 390144, 390201, 390422}


class Settings(BaseModel):
    """What a connection to Snowflake says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    account: str = Field(
        description="Account identifier: organisation-account.",
        pattern=r"^[A-Za-z0-9_.-]+$",
        examples=["acme-analytics"],
    )
    username: str = Field(description="Who logs in.", examples=["STOREROOM"])
    private_key: SecretStr | None = Field(
        default=None, description="Private key of the user (PEM text, PKCS#8, not encrypted)."
    )
    password: SecretStr | None = Field(
        default=None, description="Password or programmatic access token, where no key is given."
    )
    role: str | None = Field(default=None, description="Role, if not the user's default.")
    warehouse: str = Field(description="Virtual warehouse that computes.", examples=["LOADING"])
    database: str = Field(description="Database of the table.", min_length=1, examples=["CRM"])
    table_schema: str = Field(default="PUBLIC", description="Schema of the table.", min_length=1)
    table: str = Field(
        description="Table that holds the audience; without capital letters in Snowflake's own case.",
        min_length=1,
        examples=["loyal_customers"],
    )
    key_column: str = Field(
        default="profile_id", description="Column that holds the sync's key.", min_length=1
    )
    create_table: bool = Field(
        default=True, description="Create the table and missing columns; false leaves DDL to you."
    )
    batch_rows: int = Field(default=50_000, ge=1, description="Most rows of one merge.")
    timeout_seconds: int = Field(default=300, ge=1, description="Most seconds of one statement.")

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if (self.private_key is None) == (self.password is None):
            raise ValueError("give private_key or password")
        return self


class SnowflakeServer(StagedServer):
    name = "Snowflake"
    dialect: tables.Dialect = "snowflake"
    text = "varchar"
    key_type = "varchar"
    mark = "?"
    transactional = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        url = f"snowflake://{settings.account}/{settings.database}"
        super().__init__(
            url, settings.table_schema, settings.table, settings.key_column, settings.create_table
        )

    @functools.cached_property
    def _connector(self) -> Any:
        return require("snowflake.connector", "snowflake")

    def fold(self, name: str) -> str:
        return folded(name)

    def connect(self) -> Any:
        settings = self._settings
        login: dict[str, Any] = (
            {"private_key": _der(settings.private_key)}
            if settings.private_key
            else {"password": settings.password.get_secret_value() if settings.password else ""}
        )
        return self._connector.connect(
            account=settings.account,
            user=settings.username,
            role=settings.role,
            warehouse=settings.warehouse,
            database=settings.database,
            schema=self.schema,
            autocommit=True,
            login_timeout=30,
            network_timeout=settings.timeout_seconds,
            paramstyle="qmark",
            session_parameters={
                "TIMEZONE": "UTC",
                "STATEMENT_TIMEOUT_IN_SECONDS": settings.timeout_seconds,
                "QUERY_TAG": "storeroom",
            },
            **login,
        )

    def columns(self, connection: Any) -> dict[str, str]:
        with connection.cursor() as cursor:
            cursor.execute(
                "select column_name, data_type from information_schema.columns"
                " where table_schema = ? and table_name = ? order by ordinal_position",
                (self.schema, self.bare_table),
            )
            return dict(cursor.fetchall())

    def cast(self, value: str, kind: str | None) -> str:
        """Texts become the column's type when they are assigned; only nested ones are read first."""
        return f"parse_json({value})" if kind in NESTED else value

    def fault(self, error: Exception) -> Fault | None:
        errors = self._connector.errors
        if isinstance(error, OSError):
            return Fault.LOST
        if not isinstance(error, errors.Error):
            return None
        number = getattr(error, "errno", None)
        if number in DATA:
            return Fault.DATA
        if number in STALE:
            return Fault.STALE
        if number in PASSING:
            return Fault.PASSING
        if number in CLOSED_NUMBERS or isinstance(error, errors.ProgrammingError):
            return Fault.CLOSED
        return Fault.LOST

    def who(self, connection: Any) -> str:
        with connection.cursor() as cursor:
            cursor.execute("select current_version(), current_user(), current_role()")
            version, user, role = cursor.fetchone()
        return f"{version}, database {self._settings.database} as {user} ({role})"


def _der(key: SecretStr) -> bytes:
    """The key as the connector takes it.

    Raises:
        StoreroomError: it is none.
    """
    serialization = require("cryptography.hazmat.primitives.serialization", "snowflake")
    try:
        loaded = serialization.load_pem_private_key(key.get_secret_value().encode(), password=None)
    except (ValueError, TypeError):
        raise StoreroomError(
            "private_key is not the text of an unencrypted PEM file.",
            "Give the whole text of the file, with its first and last line.",
        ) from None
    der: bytes = loaded.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return der


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    require("snowflake.connector", "snowflake")
    return _driver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(_driver(settings), operation, rows)


def _driver(settings: Settings) -> TableDriver:
    return TableDriver(SnowflakeServer(settings), settings.batch_rows, 64 << 20)
