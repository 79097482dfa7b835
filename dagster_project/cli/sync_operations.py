"""``storeroom syncs resend``, ``forget``, ``move`` and ``delete-person``: for whoever operates syncs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dagster_project import operations
from dagster_project.cli.output import Exit, out, print_json, print_rows, progress_bar
from dagster_project.cli.syncs import Json, chosen
from destinations.errors import ConfigurationError
from destinations.sync.operations import Assumption

Flag = Annotated[bool, Parameter(negative=())]


def resend(
    *,
    connection: str,
    audience: str,
    everything: Annotated[bool, Parameter(name="--all", negative=())] = False,
    since: str | None = None,
    keys: Path | None = None,
    rejected: Flag = False,
    reason: str | None = None,
    run: Annotated[bool, Parameter(name="--run", negative=())] = False,
    as_json: Json = False,
) -> Exit:
    """Have the next run send rows again, although their content has not changed.

    Parameters
    ----------
    connection
        Name of the connection.
    audience
        Name of the audience.
    everything
        Every row that the destination holds.
    since
        Rows of which it said something since this date (2026-01-31 or 2026-01-31T08:00Z).
    keys
        A file of keys: one a line, or the first column of a CSV or Parquet file.
    rejected
        Rows that it refused last.
    reason
        Of those, only where its words hold this text.
    run
        Run the sync at once.
    as_json
        Print one JSON object.
    """
    (sync,) = chosen(connection, audience)
    choice, named = operations.choice_of(
        everything=everything,
        since=None if since is None else operations.moment_of(since),
        keys=keys,
        rejected=rejected,
        reason=reason,
    )
    found = operations.resend_rows(sync, choice, named)
    if as_json:
        print_json([{"sync": sync.name, "marked": found.rows, "waiting": found.total,
                     "unknown": found.unknown}])  # fmt: skip
    else:
        unknown = f" {found.unknown:,} keys were never sent." if found.unknown else ""
        when = "" if run else " The next run sends them."
        out.print(f"{found.rows:,} rows of {sync.name} are marked to be sent again.{when}{unknown}")
    if not run:
        return Exit.DONE
    from dagster_project.cli import syncs

    return syncs.run(connection=connection, audience=audience, as_json=as_json)


def forget(*, connection: str, audience: str, yes: Flag = False) -> Exit:
    """Drop a sync's ledger: the next run sends everything. Nothing is sent now.

    Parameters
    ----------
    connection
        Name of the connection.
    audience
        Name of the audience; the sync may be declared no longer.
    yes
        Really do it; without it, say what would be forgotten.
    """
    held = operations.forget_sync(connection, audience, yes=yes)
    out.print(f"Forgot the {held:,} rows that {connection}/{audience} held.")
    return Exit.DONE


def move(
    *,
    audience: str,
    source: Annotated[str, Parameter(name="--from")],
    target: Annotated[str, Parameter(name="--to")],
    assume: Assumption,
    yes: Flag = False,
) -> Exit:
    """Go on from another connection's ledger, or at the changed target of the same connection.

    Parameters
    ----------
    audience
        Name of the audience.
    source
        Connection whose ledger is taken.
    target
        Connection that the sync declares now; the same as --from where its target changed.
    assume
        What the new place holds: the same rows (only differences are sent), or none (all are).
    yes
        With --assume empty on the same connection: leave what the old target holds.
    """
    (sync,) = chosen(target, audience)
    found = operations.move_sync(sync, source, assume, yes=yes)
    if assume == "same":
        out.print(f"{found.kept:,} rows count as held by {sync.name}; the next run sends changes.")
    else:
        out.print(
            f"The next run of {sync.name} sends everything; {found.held:,} rows stay at the old "
            "place, and nobody takes them out."
        )
    return Exit.DONE


def delete_person(key: str, *, yes: Flag = False, as_json: Json = False) -> Exit:
    """Delete one person at every destination, keep them from being sent again, and prove it.

    Parameters
    ----------
    key
        The person's key in the audiences (profile_id).
    yes
        Really do it.
    as_json
        Print the proof as one JSON object.
    """
    if not yes:
        names = ", ".join(sync.name for sync in chosen(None, None))
        raise ConfigurationError(
            f"This deletes the person at every destination that holds them ({names}).",
            "Add --yes if that is meant.",
        )
    with progress_bar(quiet=as_json):
        proof = operations.delete_person(key)
    if as_json:
        print_json([proof])
    else:
        columns = {"sync": "sync", "operation": "asked", "answer": "answer", "said": "said",
                   "at": "at"}  # fmt: skip
        print_rows(proof["asked"], columns, as_json=False)
        done = "deleted" if proof["complete"] else "NOT yet deleted everywhere; ask again"
        out.print(f"\nPerson {proof['person'][:16]}…: {done}.", soft_wrap=True)
        out.print(f"What remains: {proof['remains']}.", soft_wrap=True)
    return Exit.DONE if proof["complete"] else Exit.INCOMPLETE
