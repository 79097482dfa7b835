"""Killed at random moments and run again, everything ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dagster_project.demo import generate

pytestmark = pytest.mark.end_to_end

KILLS_A_DAY = 10
USERS = 150
CLOCK_COLUMNS = {"loaded_at", "rejected_at", "load_seq", "loaded_seq", "updated_seq"}
"""When and in which load something came: the one thing that a killed run may change."""
SYNC_TABLES = Path(__file__).parents[2] / "dbt" / "models" / "observability" / "syncs"
"""Models that tell of runs, of which there are more where runs were killed."""


@pytest.mark.timeout(1500)
def test_killed_twenty_times(make_project: Callable[[str], Any]) -> None:
    undisturbed, killed = make_project("undisturbed"), make_project("killed")
    draw = random.Random(20)
    moments: list[str] = []
    for day in (1, 2):
        for project in (undisturbed, killed):
            generate(project.state / "landing", day, users=USERS)
        started = time.monotonic()
        undisturbed.storeroom("run", exits=(0, 3))
        lasts = time.monotonic() - started
        for number in range(KILLS_A_DAY):
            # Spread over the whole run, later ones later, so that each finds something to do.
            share = (number + draw.random()) / KILLS_A_DAY
            moments.append(
                kill_after(killed, 3.0 + share * (lasts - 3.0), whole=draw.random() < 0.7)
            )
        killed.storeroom("run", exits=(0, 3))

    assert len([moment for moment in moments if moment == "killed"]) >= KILLS_A_DAY
    assert warehouse(killed.state) == warehouse(undisturbed.state)
    assert rejected(killed.state) == rejected(undisturbed.state)
    for destination in sorted({c for c, _ in targets(undisturbed.sandbox.state_file)}):
        assert members(killed, destination) == members(undisturbed, destination), destination
    assert table(killed.state) == table(undisturbed.state)
    for sync in killed.rows("syncs", "status"):
        assert sync["status"] in {"ok", "rejected"}, sync
        assert not sync["interrupted"]


def kill_after(project: Any, seconds: float, whole: bool) -> str:
    """Start a run and SIGKILL it: with its children, or (dbt may live on) without them."""
    process = project.start("run")
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        if whole:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()
        return "killed"
    process.communicate()
    return "done before"


def warehouse(state: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every table, sorted, without the columns that tell the time of loading."""
    of_runs = [path.stem for path in SYNC_TABLES.glob("*.sql")]
    with duckdb.connect(str(state / "warehouse" / "storeroom.duckdb"), read_only=True) as found:
        columns: dict[str, list[str]] = {}
        for name, column in found.execute(
            "select table_name, column_name from information_schema.columns "
            "where table_name not like 'obs_%' and not list_contains($1, table_name) "
            "order by table_name, ordinal_position",
            [of_runs],
        ).fetchall():
            if column not in CLOCK_COLUMNS:
                columns.setdefault(name, []).append(f'"{column}"')
        return {
            name: found.execute(f'select {", ".join(chosen)} from "{name}" order by all').fetchall()
            for name, chosen in columns.items()
        }


def rejected(state: Path) -> list[tuple[Any, ...]]:
    files = state / "raw" / "loads" / "*" / "rejected.parquet"
    return duckdb.sql(
        f"select source, file, line, reason, raw from read_parquet('{files}') order by all"
    ).fetchall()


def targets(file: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(file) as found:
        return found.execute("select distinct destination, target from members").fetchall()


def members(project: Any, destination: str) -> list[tuple[Any, ...]]:
    """What the sandbox's destination holds, without the ids it gave out by order of arrival."""
    with sqlite3.connect(project.sandbox.state_file) as found:
        return found.execute(
            "select target, identity, key, fields from members where destination = ? "
            "order by target, identity, key",
            [destination],
        ).fetchall()


def table(state: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(state / "reporting.sqlite") as found:
        return found.execute("select * from loyal_customers order by profile_id").fetchall()
