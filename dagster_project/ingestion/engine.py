"""DuckDB sessions for untrusted input: no files, no network, no extensions, no settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import polars as pl

Connection = Any  # duckdb.DuckDBPyConnection: the package is left out of type checking


def open_engine(database: Path | None = None) -> Connection:
    """A DuckDB session that can compute and can reach nothing outside itself.

    Args:
        database: a scratch file, so that a table larger than memory can spill; in memory without.
    """
    connection = duckdb.connect(":memory:" if database is None else str(database))
    for setting in (
        "set TimeZone = 'UTC'",
        "set autoinstall_known_extensions = false",
        "set autoload_known_extensions = false",
        "set python_enable_replacements = false",
        "set enable_external_access = false",
        "set lock_configuration = true",
    ):
        connection.execute(setting)
    return connection


def query(connection: Connection, sql: str, **tables: pl.DataFrame) -> pl.DataFrame:
    """Run one statement over frames that it may name, and return its rows."""
    for name, frame in tables.items():
        connection.register(name, frame.to_arrow())
    try:
        return pl.DataFrame(connection.sql(sql).to_arrow_table())
    finally:
        for name in tables:
            connection.unregister(name)


def literal(text: str) -> str:
    """``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """``name`` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
