"""``storeroom run``: one whole pass, the same job that the schedules run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from cyclopts import App, Parameter
from dagster import AssetKey
from rich.markup import escape

from dagster_project.cli import accounting
from dagster_project.cli.execute import Summary, load_definitions, run_job
from dagster_project.cli.output import Exit, err, out, print_json, print_rows, progress_bar
from dagster_project.cli.syncs import REPORT_COLUMNS

app = App(name="run", help_format="plaintext")


@app.default
def run(
    *,
    job: Literal["everything", "hourly", "daily", "syncs"] = "everything",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> Exit:
    """Ingest, build the warehouse and run the syncs.

    Parameters
    ----------
    job
        Which syncs: everything, those a schedule would take, or the syncs alone.
    json
        Print one JSON object for the ingestion and one for each sync.
    """
    return run_and_report(job, as_json=json)


def run_and_report(
    job: str,
    *,
    as_json: bool,
    assets: Sequence[AssetKey] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Exit:
    """Run a job, or only these assets of it, and print what it did."""
    with progress_bar(quiet=as_json):
        told = {"storeroom/started_by": "cli", **(tags or {})}
        summary = run_job(load_definitions(), job, assets=assets, tags=told)
    report(summary, as_json=as_json)
    return exit_code(summary)


def report(summary: Summary, *, as_json: bool) -> None:
    """Print what was ingested, each sync's accounting, and every error in plain words."""
    events = summary.materialised.get(("raw", "events"), {})
    rejected = summary.materialised.get(("raw", "rejected_events"), {})
    if as_json:
        if events:
            print_json([{"stage": "ingest", **events, **rejected}])
        print_json({"stage": "sync", **row} for row in summary.syncs())
    else:
        if events:
            out.print(
                f"Ingested {events.get('events', 0):,} events, "
                f"rejected {rejected.get('rejected', 0):,} lines."
            )
        if summary.syncs():
            rows = [{**row, "account": accounting.summary(row)} for row in summary.syncs()]
            print_rows(rows, REPORT_COLUMNS, as_json=False)
    for check in summary.failed_checks:
        err.print(f"[red]Check failed:[/] {escape(check)}", soft_wrap=True)
    for error in summary.errors:
        err.print(f"[bold red]Failed:[/] {escape(error)}", soft_wrap=True)


def exit_code(summary: Summary) -> Exit:
    """Failed, busy, incomplete (rejected or deferred rows), or done."""
    if not summary.success:
        return Exit.BUSY if summary.busy else Exit.FAILED
    if any(row["status"] != "ok" for row in summary.syncs()):
        return Exit.INCOMPLETE
    return Exit.DONE
