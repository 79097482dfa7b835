"""Groups of rows into calls, where an unreadable value costs its own group and no other.

DuckDB stops a query at the first value that it cannot read, whatever group it belongs to. So the
query over all groups is only the first attempt. If it stops, what the aggregates compute from each
row is tried row by row, all rows at once, and groups with a row that fails are set aside. What can
fail beyond that (a sum that overflows, a cast of a total) is found by halving the groups: a few
evaluations for each group that fails.
"""

# ruff: noqa: S608 - SQL is built of quoted names and checked expressions, in a locked session
from __future__ import annotations

from collections.abc import Iterator

import duckdb
import polars as pl

from dagster_project.ingestion import call_sql
from dagster_project.ingestion.engine import Connection, literal, query
from dagster_project.ingestion.expressions import aggregate_arguments
from dagster_project.ingestion.failures import UNREADABLE, rejections, words_of
from dagster_project.ingestion.sources import Call
from dagster_project.ingestion.tables import LINE

_GROUP = '"=group"'


def group_calls(engine: Connection, call: Call) -> Iterator[pl.DataFrame]:
    """Frames of the calls (see :mod:`.call_sql`), and of those that failed (:mod:`.failures`).

    Raises:
        duckdb.Error: the expressions do not fit the columns, whatever values they hold.
    """
    try:
        yield query(engine, call_sql.grouped(call, "rows"))
    except UNREADABLE:
        yield from _group_by_group(engine, call)


def _group_by_group(engine: Connection, call: Call) -> Iterator[pl.DataFrame]:
    key = call_sql.tried(f"row({', '.join(call_sql.group_keys(call))})")
    engine.execute(
        f"""create or replace table members as {call_sql.tested(call, "rows")},
        keyed as (select * exclude (passes), {key} as "=key" from tested where passes)
        select * exclude ("=key"), "=key" is not null as "=has_key",
            dense_rank() over (order by "=key") as {_GROUP}
        from keyed order by {_GROUP}"""
    )
    try:
        yield from _without_key(engine, call)
        yield from _with_unreadable_rows(engine, call)
        low, high = engine.execute(f"select min({_GROUP}), max({_GROUP}) from members").fetchall()[
            0
        ]
        if low is not None:
            yield from _by_halves(engine, call, low, high)
    finally:
        engine.execute("drop table members")


def _without_key(engine: Connection, call: Call) -> Iterator[pl.DataFrame]:
    """Rows that belong to no group, because an expression of `group_by` fails on them."""
    keys = call_sql.group_keys(call)
    failed = query(
        engine,
        f"select {LINE} as line, [{LINE}] as lines, {LINE} as shown, "
        f'{call_sql.first_failing(keys)} as part from members where not "=has_key"',
    )
    if len(failed):
        parts = [(f"group_by[{i}]", sql) for i, sql in enumerate(keys)]
        yield rejections(engine, failed, parts)
        engine.execute('delete from members where not "=has_key"')


def _with_unreadable_rows(engine: Connection, call: Call) -> Iterator[pl.DataFrame]:
    parts = [
        (key, sql)
        for key, text in call.expressions()
        if key != "where" and not key.startswith("group_by")
        for sql in aggregate_arguments(engine, text)
    ]
    failing = call_sql.first_failing([sql for _, sql in parts])
    try:
        failed = query(
            engine,
            f"""with tried as (select {LINE}, {_GROUP}, {failing} as part from members)
            select min({LINE}) as line, list({LINE}) as lines,
                min({LINE}) filter (where part is not null) as shown,
                arg_min(part, {LINE}) filter (where part is not null) as part, {_GROUP} as number
            from tried group by {_GROUP} having count(part) > 0 order by line""",
        )
    except duckdb.Error:
        # An argument that cannot stand alone: the halving finds what is wrong.
        return
    if len(failed):
        yield rejections(engine, failed.drop("number"), parts)
        engine.register("failed", failed.select("number").to_arrow())
        engine.execute(f"delete from members where {_GROUP} in (select number from failed)")
        engine.unregister("failed")


def _by_halves(engine: Connection, call: Call, low: int, high: int) -> Iterator[pl.DataFrame]:
    """Calls of the groups with these numbers."""
    rows = f"(select * from members where {_GROUP} between {low} and {high})"
    try:
        yield query(engine, call_sql.grouped(call, rows))
    except UNREADABLE as error:
        if low < high:
            middle = (low + high) // 2
            yield from _by_halves(engine, call, low, middle)
            yield from _by_halves(engine, call, middle + 1, high)
            return
        detail = f"the call of these rows cannot be made: {words_of(error)}"
        yield query(
            engine,
            f"select min({LINE}) as line, list({LINE}) as lines, min({LINE}) as shown, "
            f"'' as text, 'expression_failed' as problem, {literal(detail)} as detail from {rows}",
        )
