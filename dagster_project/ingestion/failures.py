"""What DuckDB says of rows on which an expression fails."""

# ruff: noqa: S608 - SQL is built of quoted names and checked expressions, in a locked session
from __future__ import annotations

import duckdb
import polars as pl

from dagster_project.ingestion.engine import Connection, query
from dagster_project.ingestion.expressions import columns_of
from dagster_project.ingestion.tables import LINE

MOST_WORDS = 100
"""Different values that DuckDB is asked about, per expression: each takes a query."""
UNREADABLE = (duckdb.DataError, duckdb.InvalidInputException)
"""Errors that are the fault of a value; every other one is the fault of the mapping."""


def words_of(error: duckdb.Error) -> str:
    """The first line of an error: what follows it points into our SQL."""
    return str(error).partition("\n")[0][:500]


def rejections(
    engine: Connection, failed: pl.DataFrame, parts: list[tuple[str, str]]
) -> pl.DataFrame:
    """Calls that could not be made, with the reason in words.

    Args:
        failed: ``line``, ``lines``, ``shown`` (the row on which an expression fails), ``part``.
        parts: by the number in ``part``, the key in the mapping and the SQL that fails.

    Returns:
        ``line``, ``lines``, ``shown``, ``text`` (empty), ``problem``, ``detail``.
    """
    asked = pl.concat(
        [
            _asked(engine, failed.filter(pl.col("part") == part), *parts[part])
            for part in failed["part"].unique().sort()
        ]
    )
    return failed.join(asked, on=["line", "shown"], how="left").select(
        "line",
        "lines",
        "shown",
        pl.lit("").alias("text"),
        pl.lit("expression_failed").alias("problem"),
        "detail",
    )


def _asked(engine: Connection, failed: pl.DataFrame, key: str, sql: str) -> pl.DataFrame:
    """``line``, ``shown``, ``detail``. The same value is asked about once."""
    names = [row[0] for row in engine.execute("describe rows").fetchall()]
    read = {name.lower() for name in columns_of(engine, sql)}
    columns = ", ".join(f'"{name}"' for name in names if name.lower() in read and '"' not in name)
    values = query(
        engine,
        f"select line, shown, to_json(struct_pack(n := 0{', ' + columns if columns else ''}))::varchar "
        f"as value from failed join rows on {LINE} = shown",
        failed=failed.select("line", "shown"),
    )
    words = {}
    for value, shown in (
        values.group_by("value")
        .agg(pl.col("shown").min())
        .sort("shown")
        .head(MOST_WORDS)
        .iter_rows()
    ):
        try:
            engine.execute(f"select {sql} from rows where {LINE} = {shown}").fetchall()
        except duckdb.Error as error:
            words[value] = ": " + words_of(error)
    said = pl.col("value").replace_strict(words, default="", return_dtype=pl.String)
    detail = pl.format("`{}` fails on line {}{}", pl.lit(key), "shown", said)
    return values.select("line", "shown", detail.alias("detail"))
