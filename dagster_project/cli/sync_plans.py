"""``storeroom syncs plan`` and ``apply``: see exactly what a run would do, then do exactly that."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from dagster_project.cli.output import Exit, out, print_json, print_rows, progress_bar
from dagster_project.cli.syncs import Json, chosen, run_chosen
from dagster_project.declarations import Sync
from dagster_project.progress import announce
from destinations.errors import ConfigurationError
from destinations.paths import audiences_dir, syncs_dir
from destinations.sync.footing import read_plans, save_plans
from destinations.sync.foresight import Foresight, foresee

COLUMNS = {
    "sync": "sync",
    "status": "status",
    "rows": "read",
    "planned_adds": "adds",
    "planned_updates": "updates",
    "removes": "removes",
    "unchanged": "unchanged",
    "filtered": "filtered",
    "withheld": "withheld",
    "rejected": "rejected",
}


def plan(
    *,
    connection: str | None = None,
    audience: str | None = None,
    requests: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
    show_values: Annotated[bool, Parameter(negative=())] = False,
    save: Path | None = None,
    as_json: Json = False,
) -> Exit:
    """Show what a run would send, row by row and request by request; nothing is sent.

    Parameters
    ----------
    connection
        Only this connection.
    audience
        Only this audience.
    requests
        Render this many of the first requests of each sync.
    show_values
        Leave people's data readable; it is masked otherwise.
    save
        Write the plan to this file, for `storeroom syncs apply`.
    as_json
        Print one JSON object a line.
    """
    found = []
    syncs = chosen(connection, audience)
    with progress_bar(quiet=as_json):
        for number, sync in enumerate(syncs, start=1):
            announce("plan", sync.name, number, len(syncs))
            found.append(_foreseen(sync, requests, show_values))
    if save is not None:
        save_plans(save, [{"footing": plan.footing, "counts": plan.counts} for plan in found])
    if as_json:
        print_json(_as_json(plan) for plan in found)
    else:
        print_rows([plan.report.as_row() for plan in found], COLUMNS, as_json=False)
        for plan_ in found:
            _show(plan_)
        if save is not None:
            out.print(f"Saved. Run exactly this with `storeroom syncs apply {save}`.", markup=False)
    guarded = any(plan.report.status == "guarded" for plan in found)
    return Exit.INCOMPLETE if guarded else Exit.DONE


def apply(
    file: Path,
    *,
    allow_guards: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> Exit:
    """Run exactly the syncs of a saved plan; refuse where anything it stood on changed.

    Parameters
    ----------
    file
        What `storeroom syncs plan --save` wrote.
    allow_guards
        Run this once even though a guard would stop it.
    as_json
        Print one JSON object a line.
    """
    declared = {sync.name: sync for sync in chosen(None, None)}
    planned = [footing.sync for footing, _ in read_plans(file)]
    gone = [name for name in planned if name not in declared]
    if gone:
        raise ConfigurationError(
            f"{file} plans sync '{gone[0]}', which is declared no longer.",
            "Plan anew: `storeroom syncs plan --save FILE`.",
        )
    syncs = [declared[name] for name in planned]
    return run_chosen(syncs, allow_guards=allow_guards, as_json=as_json, plan=file)


def _foreseen(sync: Sync, requests: int, show_values: bool) -> Foresight:
    driver = sync.driver()
    try:
        return foresee(
            sync.config,
            driver,
            sync.consent_column,
            audiences_dir(),
            syncs_dir(),
            datetime.now(UTC),
            place=sync.place,
            requests=requests,
            show_values=show_values,
        )
    finally:
        driver.close()


def _as_json(plan: Foresight) -> dict[str, Any]:
    return plan.report.as_row() | {"changes": plan.rows, "would_send": plan.requests}


def _show(plan: Foresight) -> None:
    report = plan.report
    if report.status == "guarded":
        _say(f"{report.sync}: {report.message}")
    for reason in report.reasons:
        if reason.fate != "deferred":
            _say(f"{report.sync}: {reason.rows:,} {reason.fate}: {reason.message}")
    if plan.rows or plan.requests:
        out.print(f"\n[bold]{report.sync}[/]")
    for row in plan.rows:
        values = ", ".join(f"{n}={v}" for n, v in row["values"].items() if v is not None)
        broken = f" (would be rejected: {row['rule']})" if "rule" in row else ""
        _say(f"  {row['change']} {row['key']}: {values}{broken}")
    for request in plan.requests:
        show_request(request)


def show_request(request: dict[str, Any]) -> None:
    """Print one rendered request, or what stands for it where the driver speaks otherwise."""
    size = f"{request['rows']:,} rows, {request['bytes']:,} bytes"
    if "method" not in request:
        _say(f"  {request['operation']}: {size}")
        return
    _say(f"  {request['method']} {request['url']} ({request['operation']}, {size})")
    if request["body"]:
        _say(f"    {request['body']}")


def _say(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)
