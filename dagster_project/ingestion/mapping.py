"""Rows of a table into calls, by the expressions of the source.

The rows of a file stand in a scratch DuckDB table ``rows`` (columns of the file and ``_line``);
each declared call is one query over it, and what comes out is judged like any other call.

A row is *mapped* when it became part of at least one accepted call, *filtered* when no call's
``where`` took it, and otherwise rejected: every row is exactly one of the three. A rejected
call stands at the smallest line of its rows; several at one line are one rejection.
"""

# ruff: noqa: S608 - SQL is built of quoted names and checked expressions, in a locked session
from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import duckdb
import polars as pl

from dagster_project.ingestion import call_sql
from dagster_project.ingestion.calls import classify
from dagster_project.ingestion.engine import Connection, identifier, literal, query
from dagster_project.ingestion.expressions import columns_of
from dagster_project.ingestion.failures import rejections, words_of
from dagster_project.ingestion.groups import group_calls
from dagster_project.ingestion.sources import Call
from dagster_project.ingestion.tables import LINE

CHUNK_ROWS = 65_536


class MappingError(Exception):
    """The mapping does not fit the file: a column it names is not there, or a type is wrong."""


@dataclass
class Tally:
    """Row numbers by what became of them; gathered while the calls are made."""

    accepted: list[pl.Series] = field(default_factory=list)
    failed: list[pl.Series] = field(default_factory=list)
    rejections: list[pl.DataFrame] = field(default_factory=list)

    def mapped(self) -> pl.Series:
        return _distinct(self.accepted)

    def rejected(self) -> pl.Series:
        """Rows that went into rejected calls only."""
        failed = _distinct(self.failed)
        return failed.filter(~failed.is_in(self.mapped().implode()))

    def merged_rejections(self) -> pl.DataFrame:
        """``line``, ``reason``, ``detail``, ``raw``: one row per line."""
        schema = {"line": pl.Int64, "reason": pl.String, "detail": pl.String, "raw": pl.String}
        return (
            pl.concat([pl.DataFrame(schema=schema), *self.rejections])
            .group_by("line", maintain_order=True)
            .agg(
                pl.col("reason").first(),
                pl.col("detail").str.join("; "),
                pl.col("raw").first(),
            )
        )


def add_rows(engine: Connection, rows: pl.DataFrame) -> None:
    """Put a chunk of rows into the scratch table, which the first chunk makes."""
    engine.register("chunk", rows.to_arrow())
    exists = engine.execute("select 1 from duckdb_tables() where table_name = 'rows'").fetchall()
    engine.execute(
        "insert into rows by name select * from chunk"
        if exists
        else "create table rows as from chunk"
    )
    engine.unregister("chunk")


def add_json_rows(engine: Connection, lines: pl.DataFrame, calls: tuple[Call, ...]) -> None:
    """Make the scratch table of JSON objects: a text column per key, objects as JSON text.

    A key that a mapping names and no object has is null: objects may leave keys out.

    Args:
        lines: ``line`` Int64 and ``text`` String, JSON objects all.
    """
    found = query(engine, "select distinct unnest(json_keys(text)) as key from lines", lines=lines)
    keys = {name.lower(): name for name in sorted(found["key"].to_list()) if '"' not in name}
    for call in calls:
        for _, text in call.expressions():
            for name in columns_of(engine, text):
                keys.setdefault(name.lower(), name)
    keys.pop(LINE, None)
    columns = "".join(
        f", text ->> {literal('$.' + identifier(name))} as {identifier(name)}"
        for name in keys.values()
    )
    add_rows(engine, query(engine, f"select line as {LINE}{columns} from lines", lines=lines))


def make_calls(
    engine: Connection, calls: tuple[Call, ...], now: datetime, tally: Tally
) -> Iterator[pl.DataFrame]:
    """Accepted calls as frames of :func:`.classify`; everything else goes to ``tally``.

    Raises:
        MappingError: the mapping cannot be carried out on this file.
    """
    columns = [row[0] for row in engine.execute("describe rows").fetchall()]
    for call in calls:
        _check_columns(engine, call, columns)
    waiting: list[pl.DataFrame] = []
    try:
        for call in calls:
            for made in _queries(engine, call):
                for part in made.iter_slices(CHUNK_ROWS):
                    # Small results are judged together: a query costs more than their rows.
                    waiting.append(_complete(part, call))
                    if sum(map(len, waiting)) >= CHUNK_ROWS:
                        yield _judge(engine, pl.concat(waiting), now, tally)
                        waiting.clear()
        if sum(map(len, waiting)):
            yield _judge(engine, pl.concat(waiting), now, tally)
    except duckdb.Error as error:
        raise MappingError(words_of(error)) from None


def count_filtered(engine: Connection, calls: tuple[Call, ...]) -> int:
    """Rows that the ``where`` of every call leaves out (not those on which one fails)."""
    left_out = " and ".join(f"not ({call_sql.passes(call)})" for call in calls)
    rows = engine.execute(f"select count(*) from rows where {left_out}").fetchall()
    return int(rows[0][0])


def _judge(engine: Connection, made: pl.DataFrame, now: datetime, tally: Tally) -> pl.DataFrame:
    # The same line may stand in several calls: judged under a number of its own.
    made = made.with_row_index("id").with_columns(pl.col("id").cast(pl.Int64))
    chunk = made.select(pl.col("id").alias("line"), "text", "problem", "detail", "require_identity")
    judged = (
        classify(engine, chunk, now)
        .rename({"line": "id"})
        .join(made.select("id", "line", "lines", "shown"), on="id", how="left")
    )
    good = judged.filter(pl.col("reason").is_null())
    bad = judged.filter(pl.col("reason").is_not_null())
    tally.accepted.append(good["lines"].explode())
    if len(bad):
        tally.failed.append(bad["lines"].explode())
        # A row is shown as it stood in the file, so that the mapping can be tried on it again.
        rows = query(
            engine,
            f"select {LINE} as shown, to_json(r)::varchar as row from "
            f"(select * from rows where {LINE} in (select shown from bad)) r",
            bad=bad.select("shown").drop_nulls(),
        )
        bad = bad.join(rows, on="shown", how="left").with_columns(
            pl.coalesce("row", "raw").alias("raw")
        )
        tally.rejections.append(bad.sort("id").select("line", "reason", "detail", "raw"))
    return good.drop("id", "lines", "shown", "reason", "detail", "raw")


def _queries(engine: Connection, call: Call) -> Iterator[pl.DataFrame]:
    """Calls as :mod:`.call_sql` makes them, and those that failed as :mod:`.failures` tells them."""
    first, last = engine.execute(f"select min({LINE}), max({LINE}) from rows").fetchall()[0]
    for start in range(first or 1, (last or 0) + 1, CHUNK_ROWS):
        part = f"(select * from rows where {LINE} between {start} and {start + CHUNK_ROWS - 1})"
        if call.where:
            failed = query(engine, call_sql.failed_conditions(call, part))
            yield from _failed(engine, failed, [("where", call_sql.where(call))])
        if not call.group_by:
            made = query(engine, call_sql.single(call, part))
            failed = made.filter(pl.col("part").is_not_null())
            yield made.filter(pl.col("part").is_null()).select(
                "line", "lines", "text", shown="line"
            )
            failed = failed.select("line", "lines", "part", shown="line")
            yield from _failed(engine, failed, list(call_sql.fields(call).items()))
    if call.group_by:
        yield from group_calls(engine, call)


def _failed(
    engine: Connection, failed: pl.DataFrame, parts: list[tuple[str, str]]
) -> Iterator[pl.DataFrame]:
    if len(failed):
        yield rejections(engine, failed, parts)


def _complete(made: pl.DataFrame, call: Call) -> pl.DataFrame:
    """All the columns that :func:`_judge` reads."""
    columns = {"shown": pl.Int64, "problem": pl.String, "detail": pl.String}
    absent = [
        pl.lit(None, dtype=t).alias(name) for name, t in columns.items() if name not in made.columns
    ]
    return made.with_columns(absent).select(
        "line",
        "lines",
        "shown",
        "text",
        "problem",
        "detail",
        pl.lit(call.require_identity).alias("require_identity"),
    )


def _check_columns(engine: Connection, call: Call, columns: list[str]) -> None:
    known = {name.lower() for name in columns}
    for key, text in call.expressions():
        for name in sorted(columns_of(engine, text)):
            if name.lower() in known:
                continue
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(columns[:30])}."
            raise MappingError(f"{key} names the column `{name}`, which the file lacks; {hint}")


def _distinct(parts: list[pl.Series]) -> pl.Series:
    whole = [pl.Series("line", [], dtype=pl.Int64), *(part.alias("line") for part in parts)]
    return pl.concat(whole).unique()
