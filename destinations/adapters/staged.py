"""Warehouses that are written through a temporary table: Snowflake, Redshift.

The rows of a delivery go as text into a temporary table, and from there with one ``merge`` into the
target, which casts them to its own types: all of them or none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from destinations.adapters import tables
from destinations.adapters.rendering import text_ready
from destinations.adapters.table_driver import Batch, times_as_text

STAGE = "storeroom_stage"
SOURCE = "storeroom_source"


class StagedServer:
    """What these warehouses do alike; the rest is in the modules of their names."""

    name: str
    dialect: tables.Dialect
    text: str
    """The type of a column of the temporary table."""
    key_type: str
    mark: str
    """Stands for a bound value."""
    concurrency = 2

    def __init__(self, url: str, schema: str, table: str, key: str, create_table: bool) -> None:
        self.url = url
        self.schema, self.bare_table, self.key = map(self.fold, (schema, table, key))
        self.table = tables.quote(self.schema, self.bare_table)
        self.create_table = create_table

    def fold(self, name: str) -> str:
        return name

    def values(self, rows: pl.DataFrame) -> pl.DataFrame:
        return text_ready(times_as_text(rows)).cast(pl.String)

    def problems(self, _rows: pl.DataFrame, /) -> pl.Expr:
        return pl.lit(None, dtype=pl.String)

    def cast(self, value: str, kind: str | None) -> str:
        """A staged text in the type of its column (null where that is not known)."""
        raise NotImplementedError

    def columns(self, connection: Any) -> dict[str, str]:
        raise NotImplementedError

    def ddl(self, schema: pl.Schema, exists: bool) -> list[str]:
        wanted = {
            self.fold(name): tables.column_type(kind, self.dialect) for name, kind in schema.items()
        }
        if exists:
            return tables.add_columns(self.table, wanted)
        return [tables.create_table(self.table, self.key, self.key_type, wanted)]

    def execute(self, connection: Any, sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    def write(self, connection: Any, batch: Batch) -> Mapping[int, str]:
        self._run(connection, self.writing(batch))
        return {}

    def remove(self, connection: Any, keys: list[str], types: Mapping[str, str]) -> None:
        self._run(connection, self.removing(keys, types))

    def _run(self, connection: Any, statements: Iterator[tuple[str, Any]]) -> None:
        with connection.cursor() as cursor:
            for sql, rows in statements:
                if rows is None:
                    cursor.execute(sql)
                else:
                    self.fill(cursor, sql, rows)

    def fill(self, cursor: Any, sql: str, rows: list[tuple[Any, ...]]) -> None:
        cursor.executemany(sql, rows)

    def staging(self, width: int, rows: list[tuple[Any, ...]]) -> Iterator[tuple[str, Any]]:
        columns = ", ".join(f"c{number} {self.text}" for number in range(width))
        yield f"drop table if exists {STAGE}", None
        yield f"create temporary table {STAGE} ({columns})", None
        yield f"insert into {STAGE} values ({', '.join([self.mark] * width)})", rows  # noqa: S608 - fixed names

    def writing(self, batch: Batch) -> Iterator[tuple[str, Any]]:
        yield from self.staging(len(batch.names), batch.rows.rows())
        casts = ", ".join(
            f"{self.cast(f'c{number}', batch.types.get(name))} as {tables.quote(name)}"
            for number, name in enumerate(batch.names)
        )
        yield from self.merging(batch.names, f"select {casts} from {STAGE}")  # noqa: S608 - quoted names

    def merging(self, names: list[str], source: str) -> Iterator[tuple[str, Any]]:
        yield tables.merge(f"{self.table} as t", names, f"({source}) as s"), None

    def removing(self, keys: list[str], types: Mapping[str, str], /) -> Iterator[tuple[str, Any]]:
        yield from self.staging(1, [(key,) for key in keys])
        value = self.cast("c0", types.get(self.key))
        wanted = f"select {value} from {STAGE}"  # noqa: S608 - fixed names
        yield f"delete from {self.table} where {tables.quote(self.key)} in ({wanted})", None  # noqa: S608 - quoted names

    def commit(self, connection: Any) -> None:
        connection.commit()

    def rollback(self, connection: Any) -> None:
        connection.rollback()

    def close(self, connection: Any) -> None:
        connection.close()
