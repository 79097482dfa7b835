"""SQL that the database adapters share, and finding the rows a database refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import polars as pl

from destinations.adapters.rendering import mapped_fields, operation_problems
from destinations.driver import KEY, Capabilities, Operation

Dialect = Literal[
    "postgres", "sqlite", "duckdb", "mysql", "mssql", "oracle", "snowflake", "redshift",
]  # fmt: skip
WRITES = frozenset({Operation.UPSERT, Operation.ADD})
Quote = Callable[[str], str]

_KINDS = ("boolean", "integer", "huge", "float", "date", "datetime", "nested", "text")
_TYPES: dict[Dialect, tuple[str, ...]] = {  # in the order of _KINDS
    "postgres": (
        "boolean", "bigint", "numeric(38, 0)", "double precision", "date",
        "timestamp with time zone", "jsonb", "text",
    ),
    "sqlite": ("boolean", "integer", "text", "real", "text", "text", "text", "text"),
    "duckdb": ("boolean", "bigint", "hugeint", "double", "date", "timestamp", "json", "varchar"),
    "mysql": (
        "boolean", "bigint", "decimal(38, 0)", "double", "date", "datetime(6)", "json", "longtext",
    ),
    "mssql": (
        "bit", "bigint", "decimal(38, 0)", "float", "date", "datetime2(6)", "nvarchar(max)",
        "nvarchar(max)",
    ),
    "oracle": (
        "number(1)", "number(19)", "number(38)", "binary_double", "date", "timestamp(6)", "clob",
        "varchar2(4000)",
    ),
    "snowflake": (
        "boolean", "bigint", "number(38, 0)", "double", "date", "timestamp_ntz(6)", "variant",
        "varchar",
    ),
    "redshift": (
        "boolean", "bigint", "decimal(38, 0)", "double precision", "date", "timestamp", "super",
        "varchar(65535)",
    ),
}  # fmt: skip


def quote(*names: str) -> str:
    """Identifiers in double quotes, joined by dots; any name is safe."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def column_type(dtype: pl.DataType, dialect: Dialect) -> str:
    """The type of a new column for values of ``dtype``; decimals keep precision and scale."""
    if isinstance(dtype, pl.Decimal):
        return f"decimal({dtype.precision}, {dtype.scale})"
    if isinstance(dtype, (pl.UInt64, pl.Int128)):
        kind = "huge"
    elif isinstance(dtype, pl.Datetime):
        kind = "datetime"
    elif isinstance(dtype, pl.Date):
        kind = "date"
    elif isinstance(dtype, pl.Boolean):
        kind = "boolean"
    elif dtype.is_integer():
        kind = "integer"
    elif dtype.is_float():
        kind = "float"
    else:
        kind = "nested" if dtype.is_nested() else "text"
    return _TYPES[dialect][_KINDS.index(kind)]


def written_fields(rows: pl.DataFrame, key_column: str) -> list[str]:
    """The mapped fields without one of the key column's own name."""
    return [name for name in mapped_fields(rows) if name != key_column]


def problems(
    capabilities: Capabilities, operation: Operation, rows: pl.DataFrame, key_column: str
) -> pl.Series:
    """Rows in which a mapped field named like the key column is not the row's key."""
    if operation not in WRITES or key_column not in mapped_fields(rows):
        return operation_problems(capabilities, operation, rows)
    differs = pl.col(key_column).cast(pl.String).ne_missing(pl.col(KEY))
    text = f"field '{key_column}' is the table's key column and must be the sync's key"
    return rows.select(pl.when(differs).then(pl.lit(text)).alias("problem")).to_series()


def create_table(table: str, key: str, key_type: str, columns: Mapping[str, str]) -> str:
    """``table`` is already quoted; ``columns`` maps plain names to types."""
    others = "".join(f", {quote(name)} {kind}" for name, kind in columns.items())
    return f"create table if not exists {table} ({quote(key)} {key_type} primary key{others})"


def add_columns(table: str, columns: Mapping[str, str]) -> list[str]:
    return [
        f"alter table {table} add column {quote(name)} {kind}" for name, kind in columns.items()
    ]


def upsert(table: str, key: str, fields: Sequence[str], source: str) -> str:
    """Insert the rows of ``source`` (a select or values), or update those the table has."""
    names = ", ".join(map(quote, [key, *fields]))
    updates = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in fields)
    action = f"do update set {updates}" if updates else "do nothing"
    return f"insert into {table} ({names}) {source} on conflict ({quote(key)}) {action}"


def merge(
    table: str, names: Sequence[str], source: str, quoted: Quote = quote, on: str = ""
) -> str:
    """Update the rows of ``table`` that ``source`` (aliased ``s``) has, and insert the others.

    Args:
        table: quoted, with the alias ``t``.
        names: the key column, then the fields; the source names its columns alike.
        source: a query in brackets, or a table; with the alias ``s``.
        on: when a row of ``t`` is one of ``s``, if not by equal keys.
    """
    key, fields = quoted(names[0]), [quoted(name) for name in names[1:]]
    updates = ", ".join(f"{name} = s.{name}" for name in fields)
    matched = f" when matched then update set {updates}" if fields else ""
    columns = ", ".join([key, *fields])
    values = ", ".join(f"s.{name}" for name in [key, *fields])
    return (
        f"merge into {table} using {source} on {on or f't.{key} = s.{key}'}{matched}"  # noqa: S608 - quoted names
        f" when not matched then insert ({columns}) values ({values})"
    )


def refused_rows(height: int, attempt: Callable[[int, int], str | None]) -> dict[int, str]:
    """Positions of the rows that the database refuses, with its words; the others have landed.

    ``attempt(start, stop)`` writes those rows all or none and returns the
    database's words where it refused. One refused row costs about
    2 x log2(height) further attempts.
    """
    refused: dict[int, str] = {}
    waiting = [(0, height)]
    while waiting:
        start, stop = waiting.pop()
        message = attempt(start, stop)
        if message is None:
            continue
        if stop - start == 1:
            refused[start] = message
        else:
            half = (start + stop) // 2
            waiting += [(half, stop), (start, half)]
    return refused
