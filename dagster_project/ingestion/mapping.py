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

from dagster_project.ingestion.calls import classify
from dagster_project.ingestion.engine import Connection, identifier, literal, query
from dagster_project.ingestion.expressions import columns_of
from dagster_project.ingestion.sources import Call
from dagster_project.ingestion.tables import LINE

CHUNK_ROWS = 65_536
_KEYS = {
    "message_id": "messageId",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "previous_id": "previousId",
    "group_id": "groupId",
    "timestamp": "timestamp",
}
_OBJECTS = ("properties", "traits", "context")


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
                # Small results are judged together: a query costs more than their rows.
                waiting.append(
                    made.with_columns(
                        pl.lit(call.require_identity).alias("require_identity"),
                        pl.lit(not call.group_by).alias("single"),
                    )
                )
                if sum(map(len, waiting)) >= CHUNK_ROWS:
                    yield _judge(engine, pl.concat(waiting), now, tally)
                    waiting.clear()
        if sum(map(len, waiting)):
            yield _judge(engine, pl.concat(waiting), now, tally)
    except duckdb.Error as error:
        raise MappingError(str(error).partition("\n")[0][:500]) from None


def count_filtered(engine: Connection, calls: tuple[Call, ...]) -> int:
    """Rows that the ``where`` of every call leaves out (not those on which one fails)."""
    left_out = " and ".join(f"not ({_passes(call)})" for call in calls)
    rows = engine.execute(f"select count(*) from rows where {left_out}").fetchall()
    return int(rows[0][0])


def _judge(engine: Connection, made: pl.DataFrame, now: datetime, tally: Tally) -> pl.DataFrame:
    # The same line may stand in several calls: judged under a number of its own.
    made = made.with_row_index("id").with_columns(pl.col("id").cast(pl.Int64))
    chunk = made.select(pl.col("id").alias("line"), "text", "problem", "detail", "require_identity")
    judged = (
        classify(engine, chunk, now)
        .rename({"line": "id"})
        .join(made.select("id", "line", "lines", "single"), on="id", how="left")
    )
    good = judged.filter(pl.col("reason").is_null())
    bad = judged.filter(pl.col("reason").is_not_null())
    tally.accepted.append(good["lines"].explode())
    if len(bad):
        tally.failed.append(bad["lines"].explode())
        # A row is shown as it stood in the file, so that the mapping can be tried on it again.
        rows = query(
            engine,
            f"select {LINE} as line, to_json(r)::varchar as row from "
            f"(select * from rows where {LINE} in (select line from bad)) r",
            bad=bad.filter("single").select("line"),
        )
        raw = pl.when("single").then("row").otherwise("raw").alias("raw")
        bad = bad.join(rows, on="line", how="left").with_columns(raw)
        tally.rejections.append(bad.sort("id").select("line", "reason", "detail", "raw"))
    return good.drop("id", "lines", "single", "reason", "detail", "raw")


def _queries(engine: Connection, call: Call) -> Iterator[pl.DataFrame]:
    """Frames of ``line``, ``lines`` List(Int64), ``text``, ``problem``, ``detail``."""
    if call.group_by:
        tested = _tested(call, "rows")
        if call.where:
            failed = query(
                engine, f"{tested} select {LINE} as line from tested where passes is null"
            )
            yield _failed_where(failed)
        made = query(engine, f"{tested} {_grouped(call)}")
        yield from made.iter_slices(CHUNK_ROWS)
        return
    first, last = engine.execute(f"select min({LINE}), max({LINE}) from rows").fetchall()[0]
    for start in range(first or 1, (last or 0) + 1, CHUNK_ROWS):
        part = f"(select * from rows where {LINE} between {start} and {start + CHUNK_ROWS - 1})"
        tested = _tested(call, part)
        if call.where:
            failed = query(
                engine, f"{tested} select {LINE} as line from tested where passes is null"
            )
            yield _failed_where(failed)
        yield query(engine, f"{tested} {_single(call)}")


def _passes(call: Call) -> str:
    """SQL of what ``where`` says of a row, null where it fails."""
    if call.where is None:
        return "true"
    # try() is null where the expression fails.
    return f"try({{'v': coalesce(cast(({call.where}\n) as boolean), false)}}).v"


def _tested(call: Call, rows: str) -> str:
    return f"with tested as (select *, {_passes(call)} as passes from {rows})"


def _failed_where(failed: pl.DataFrame) -> pl.DataFrame:
    return failed.select(
        "line",
        pl.concat_list("line").alias("lines"),
        pl.lit("").alias("text"),
        pl.lit("expression_failed").alias("problem"),
        pl.lit("the expression of `where` fails on this row").alias("detail"),
    )


def _single(call: Call) -> str:
    fields = _fields(call)
    tried = ", ".join(
        f"try({{'v': {sql}}}) as {identifier('=' + key)}" for key, sql in fields.items()
    )
    failed = " ".join(f"when {identifier('=' + key)} is null then {literal(key)}" for key in fields)
    text = _text(call, {key: f"{identifier('=' + key)}.v" for key in fields})
    return f"""
    , made as (select {LINE}, {tried} from tested where passes),
    marked as (select *, case {failed} end as failed from made)
    select {LINE} as line, [{LINE}] as lines, coalesce({text}, '') as text,
        case when failed is not null then 'expression_failed' end as problem,
        'the expression of ' || failed || ' fails on this row' as detail
    from marked"""


def _grouped(call: Call) -> str:
    groups = ", ".join(f"({text}\n)" for text in call.group_by)
    return f"""
    select min({LINE}) as line, list({LINE}) as lines, {_text(call, _fields(call))} as text,
        null::varchar as problem, null::varchar as detail
    from tested where passes group by {groups} order by line"""


def _fields(call: Call) -> dict[str, str]:
    """SQL of each part of the call that rows decide."""
    fields = {
        key: f"cast(({getattr(call, key)}\n) as varchar)" for key in _KEYS if getattr(call, key)
    }
    for key in _OBJECTS:
        if members := getattr(call, key):
            pairs = ", ".join(f"{literal(name)}, ({text}\n)" for name, text in members.items())
            fields[key] = f"json_object({pairs})"
    return fields


def _text(call: Call, fields: dict[str, str]) -> str:
    """SQL of the call as a line of JSON."""
    pairs = ["'type'", literal(call.type)]
    if call.event:
        pairs += ["'event'" if call.type == "track" else "'name'", literal(call.event)]
    for key, sql in fields.items():
        pairs += [literal(_KEYS.get(key, key)), sql]
    return f"json_object({', '.join(pairs)})::varchar"


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
