"""``storeroom syncs``: what is declared, what a run would send, running one, and its history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from dagster_project.cli.accounting import summary
from dagster_project.cli.output import Exit, out, print_json, print_rows
from dagster_project.declarations import Sync, load, select
from dagster_project.warehouse import manifest
from destinations.paths import audiences_dir, syncs_dir
from destinations.sync.snapshot import current
from destinations.sync.status import pause as pause_sync
from destinations.sync.status import read_status

app = App(name="syncs", help_format="plaintext")

# Named, not imported: a listing must not wait for what only some commands need.
for _name, _place, _help in (
    ("plan", "sync_plans:plan", "Show what a run would send, row by row; nothing is sent."),
    ("apply", "sync_plans:apply", "Run exactly what a saved plan says."),
    ("explain", "sync_explain:explain", "Say why a person is, or is not, at a destination."),
    ("resend", "sync_operations:resend", "Send rows again that were sent already."),
    ("forget", "sync_operations:forget", "Drop what is known of a destination; nothing is sent."),
    ("move", "sync_operations:move", "Go on from another connection or a changed target."),
    ("delete-person", "sync_operations:delete_person", "Delete a person everywhere, with proof."),
    ("readmit", "sync_operations:readmit", "Let a deleted person be sent again."),
    ("held", "sync_operations:held", "Show what a destination held at a moment."),
    ("encrypt", "sync_operations:encrypt", "Encrypt what syncs keep, or rotate the key."),
):
    app.command(f"dagster_project.cli.{_place}", name=_name, help=_help)

Json = Annotated[bool, Parameter(name="--json", negative=())]

REPORT_COLUMNS = {
    "sync": "sync",
    "status": "status",
    "account": "accounting",
    "requests": "requests",
}


def chosen(connection: str | None, audience: str | None) -> list[Sync]:
    """Declared syncs of a connection and an audience; None stands for any.

    Raises:
        ConfigurationError: there is none.
    """
    return select(load(manifest.ensure()), connection, audience)


@app.command(name="list")
def list_all(
    *, connection: str | None = None, audience: str | None = None, as_json: Json = False
) -> Exit:
    """List the declared syncs.

    Parameters
    ----------
    connection
        Only this connection.
    audience
        Only this audience.
    as_json
        Print one JSON object a line.
    """
    rows = [
        {
            "sync": sync.name,
            "connection": sync.connection.name,
            "audience": sync.audience.name,
            "destination": sync.connection.destination,
            "mode": sync.config.mode,
            "cadence": sync.config.cadence,
            "consent": sync.connection.consent,
            "fields": list(sync.config.mapping),
            "where": sync.config.where,
            "declared_in": sync.audience.origin,
        }
        for sync in chosen(connection, audience)
    ]
    columns = ["sync", "destination", "mode", "cadence", "consent"]
    print_rows(rows, {name: name for name in columns}, as_json=as_json)
    return Exit.DONE


@app.command
def run(
    *,
    connection: str | None = None,
    audience: str | None = None,
    allow_guards: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> Exit:
    """Run syncs on the audiences as last published, recorded in Dagster like any other run.

    Parameters
    ----------
    connection
        Only this connection.
    audience
        Only this audience.
    allow_guards
        Run this once even though a guard would stop it.
    as_json
        Print one JSON object a line.
    """
    return run_chosen(chosen(connection, audience), allow_guards=allow_guards, as_json=as_json)


def run_chosen(
    syncs: Sequence[Sync], *, allow_guards: bool, as_json: bool, plan: Path | None = None
) -> Exit:
    """Run these syncs, recorded in Dagster, and print what they did.

    Args:
        plan: a saved plan; exactly what it says is done, or nothing.
    """
    from dagster_project.cli.run import run_and_report
    from dagster_project.defs.syncs import ALLOW_GUARDS_TAG, PLAN_TAG, asset_key

    tags = {ALLOW_GUARDS_TAG: "true"} if allow_guards else {}
    if plan is not None:
        tags[PLAN_TAG] = str(plan.resolve())
    assets = [asset_key(sync) for sync in syncs]
    return run_and_report("syncs", as_json=as_json, assets=assets, tags=tags)


@app.command
def status(
    *, connection: str | None = None, audience: str | None = None, as_json: Json = False
) -> Exit:
    """Show the last run of each sync, and why rows were rejected or deferred.

    Parameters
    ----------
    connection
        Only this connection.
    audience
        Only this audience.
    as_json
        Print one JSON object a line.
    """
    known = {(row["connection"], row["audience"]): row for row in read_status(syncs_dir())}
    rows = []
    for sync in chosen(connection, audience):
        found = known.get((sync.connection.name, sync.audience.name), {})
        snapshot = current(audiences_dir(), sync.audience.name)
        last = found.get("last") or {}
        behind = snapshot is not None and last.get("snapshot") != snapshot.version
        rows.append(
            {
                **last,
                "sync": sync.name,
                "status": last.get("status", "never ran"),
                "account": summary(last),
                "paused": found.get("paused", False),
                "interrupted": found.get("interrupted", False),
                "behind": behind,
            }
        )
    if as_json:
        print_json(rows)
        return Exit.DONE
    print_rows(rows, REPORT_COLUMNS, as_json=False)
    for row in rows:
        if row["paused"]:
            out.print(f"{row['sync']} is paused.")
        if row["behind"]:
            out.print(f"{row['sync']} has not seen the audience as last published.")
        for reason in row.get("reasons", []):
            out.print(
                f"{row['sync']}: {reason['rows']:,} {reason['fate']}: {reason['message']}",
                markup=False,
                soft_wrap=True,
            )
    return Exit.DONE


@app.command
def pause(connection: str, audience: str) -> Exit:
    """Refuse runs of a sync until it is resumed.

    Parameters
    ----------
    connection
        Name of the connection.
    audience
        Name of the audience.
    """
    return _pause(connection, audience, paused=True)


@app.command
def resume(connection: str, audience: str) -> Exit:
    """Let a paused sync run again.

    Parameters
    ----------
    connection
        Name of the connection.
    audience
        Name of the audience.
    """
    return _pause(connection, audience, paused=False)


def _pause(connection: str, audience: str, *, paused: bool) -> Exit:
    (sync,) = chosen(connection, audience)
    pause_sync(syncs_dir(), connection, audience, paused)
    out.print(f"{sync.name} is {'paused' if paused else 'resumed'}.")
    return Exit.DONE
