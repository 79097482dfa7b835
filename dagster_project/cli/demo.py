"""``storeroom demo``: a shop's first two days, from raw events to several destinations."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import dagster as dg
import orjson
from cyclopts import App, Parameter, validators
from rich.table import Table

from dagster_project.cli.accounting import terms
from dagster_project.cli.execute import Summary, load_definitions, run_job
from dagster_project.cli.output import Exit, err, out, print_json, progress_bar
from dagster_project.demo import generate
from dagster_project.warehouse import manifest
from dagster_project.warehouse.writer import reading
from destinations.connections import SANDBOX_URL_VARIABLE
from destinations.errors import ConfigurationError
from destinations.paths import landing_dir, sandbox_dir, state_dir, warehouse_path

app = App(name="demo", help_format="plaintext")

MARKER = "demo.json"


@dataclass(frozen=True)
class Stage:
    """What one run of the demo came to."""

    title: str
    summary: Summary
    seconds: float
    sizes: dict[str, int]
    """Rows of ``profiles`` and of each segment."""


@app.default
def run(
    *,
    users: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 2000,
    days: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 2,
    seed: int = 7,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> Exit:
    """Generate a shop's events day by day, run everything, and show what travelled.

    The last run has nothing new and sends nothing. Runs again from scratch each time;
    it never touches a state folder that a demo did not make.

    Parameters
    ----------
    users
        People in the shop's population.
    days
        Days to play, one run each.
    seed
        The same seed makes the same shop.
    json
        Print one JSON object per run instead of the table.
    """
    _fresh_state(users=users, days=days, seed=seed)
    stages = []
    with _sandbox(), progress_bar(quiet=json):
        definitions = load_definitions()
        for day in range(1, days + 1):
            generate(landing_dir(), day, users=users, seed=seed)
            stages.append(_stage(definitions, f"day {day}"))
            if not stages[-1].summary.success:
                break
        else:
            stages.append(_stage(definitions, "nothing new"))
    if json:
        print_json(_as_json(stage) for stage in stages)
    else:
        out.print(_table(stages))
    failures = [error for stage in stages for error in stage.summary.errors]
    for error in failures:
        err.print(f"Failed: {error}", style="red", markup=False, soft_wrap=True)
    if failures or not all(stage.summary.success for stage in stages):
        return Exit.FAILED
    if not json:
        out.print(
            "\nLook at the lineage with `dagster dev`, and at what the destinations hold with "
            "`storeroom sandbox`."
        )
    return Exit.DONE


def _fresh_state(**made_with: int) -> None:
    state = state_dir()
    marker = state / MARKER
    if state.exists() and any(state.iterdir()) and not marker.exists():
        raise ConfigurationError(
            f"{state} holds state that no demo made; the demo would have to replace it.",
            "Set STOREROOM_STATE to another folder, or remove this one yourself.",
        )
    if state.exists():
        for entry in state.iterdir():
            if entry.name != MARKER:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    state.mkdir(parents=True, exist_ok=True)
    marker.write_bytes(
        orjson.dumps({**made_with, "at": datetime.now(UTC).isoformat(timespec="seconds")})
    )


@contextmanager
def _sandbox() -> Iterator[None]:
    """A sandbox of the demo's own on a free port, beside any that already runs."""
    from destinations.sandbox import serve

    before = os.environ.get(SANDBOX_URL_VARIABLE)
    with serve(0, sandbox_dir()) as server:
        os.environ[SANDBOX_URL_VARIABLE] = server.url
        try:
            yield
        finally:
            if before is None:
                del os.environ[SANDBOX_URL_VARIABLE]
            else:
                os.environ[SANDBOX_URL_VARIABLE] = before


def _stage(definitions: dg.Definitions, title: str) -> Stage:
    started = time.monotonic()
    summary = run_job(definitions, "everything", tags={"storeroom/started_by": "demo"})
    return Stage(title, summary, time.monotonic() - started, _sizes() if summary.success else {})


def _sizes() -> dict[str, int]:
    segments = [
        node["name"]
        for node in manifest.read()["nodes"].values()
        if node["resource_type"] == "model" and "segments" in node["fqn"][1:-1]
    ]
    with reading(warehouse_path()) as warehouse:
        return {
            table: warehouse.table(table).count("*").fetchall()[0][0]
            for table in ["profiles", *sorted(segments)]
        }


def _table(stages: list[Stage]) -> Table:
    table = Table(title="The demo shop", title_justify="left", header_style="bold")
    table.add_column("", no_wrap=True)
    for stage in stages:
        table.add_column(stage.title, justify="right")

    def numbers(label: str, key: tuple[str, str], name: str) -> None:
        found = (stage.summary.materialised.get(key, {}).get(name, 0) for stage in stages)
        table.add_row(label, *(f"{number:,}" for number in found))

    numbers("landing files loaded", ("raw", "loaded_files"), "files")
    numbers("events", ("raw", "events"), "events")
    numbers("rejected lines", ("raw", "rejected_events"), "rejected")
    table.add_section()
    for number, place in enumerate(stages[0].sizes):
        if number == 1:
            table.add_row("[bold]segments[/]")
        table.add_row(place, *(f"{stage.sizes.get(place, 0):,}" for stage in stages))
    table.add_section()
    table.add_row("[bold]syncs[/]")
    by_sync = [{row["sync"]: row for row in stage.summary.syncs()} for stage in stages]
    for name in sorted({name for rows in by_sync for name in rows}):
        table.add_row(
            name.replace("/audience_", "/"),
            *("\n".join(terms(rows[name])) if name in rows else "-" for rows in by_sync),
        )
    table.add_section()
    sent = (sum(row["requests"] for row in rows.values()) for rows in by_sync)
    table.add_row("requests and writes", *(f"{number:,}" for number in sent))
    table.add_row("seconds", *(f"{stage.seconds:.1f}" for stage in stages))
    return table


def _as_json(stage: Stage) -> dict[str, Any]:
    return {
        "stage": stage.title,
        "success": stage.summary.success,
        "seconds": round(stage.seconds, 2),
        "sizes": stage.sizes,
        "ingest": {
            **stage.summary.materialised.get(("raw", "events"), {}),
            **stage.summary.materialised.get(("raw", "rejected_events"), {}),
            **stage.summary.materialised.get(("raw", "loaded_files"), {}),
        },
        "syncs": stage.summary.syncs(),
        "errors": stage.summary.errors,
    }
