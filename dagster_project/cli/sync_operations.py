"""What operates syncs without running them: ``resend``, ``forget``, ``move``, ``delete-person``, …"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import polars as pl
from cyclopts import Parameter

from dagster_project import operations
from dagster_project.cli.output import Exit, out, print_json, print_rows, progress_bar
from dagster_project.cli.syncs import Json, chosen
from destinations.driver import KEY
from destinations.errors import ConfigurationError
from destinations.paths import audiences_dir, syncs_dir
from destinations.sync.history import held_on
from destinations.sync.operations import Assumption
from destinations.sync.reseal import reseal

SHOWN = 50

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


def encrypt() -> Exit:
    """Encrypt everything that syncs keep, or encrypt it anew with the first key."""
    with progress_bar(quiet=False):
        found = reseal(audiences_dir(), syncs_dir())
    out.print(
        f"{found.files:,} files were encrypted with key {found.key}, {found.current:,} were already."
    )
    return Exit.DONE


def readmit(
    keys: tuple[str, ...] = (),
    *,
    identifier: tuple[str, ...] = (),
    as_json: Json = False,
) -> Exit:
    """Let deleted people be sent again: the next runs add them where audiences hold them.

    Parameters
    ----------
    keys
        Their keys in the audiences (profile_id).
    identifier
        Identifiers by which they were deleted, such as an e-mail address.
    as_json
        Print one JSON object.
    """
    if not keys and not identifier:
        raise ConfigurationError("Nobody is named.", "Give a key, or --identifier.")
    found = operations.readmit_people(keys, identifier)
    if as_json:
        print_json([{"readmitted": found}])
        return Exit.DONE
    out.print(f"{len(found):,} of {len(keys) + len(identifier):,} were on the list and are off it.")
    return Exit.DONE


def held(
    connection: str,
    audience: str,
    *,
    on: str,
    key: str | None = None,
    save: Path | None = None,
    as_json: Json = False,
) -> Exit:
    """Show what a destination held at a moment: keys, hashes, remote ids, and the runs that put them.

    Parameters
    ----------
    connection
        Name of the connection.
    audience
        Name of the audience; the sync may be declared no longer.
    on
        The moment (2026-01-31T08:00Z); a date stands for the end of that day (UTC).
    key
        Only this key.
    save
        Write everything to this Parquet file instead.
    as_json
        Print one JSON object a line.
    """
    found = held_on(syncs_dir(), connection, audience, operations.end_of(on))
    rows = found.rows if key is None else found.rows.filter(pl.col(KEY) == key)
    if save is not None:
        rows.sink_parquet(save, engine="streaming")
    else:
        names = ("hash", "remote_id", "run", "valid_from", "valid_to")
        shown = rows if as_json else rows.head(SHOWN)
        listed = shown.rename({KEY: "key"}).collect(engine="streaming").to_dicts()
        columns = {name: name for name in ("key", *names)}
        print_rows(listed, columns, as_json=as_json)
    if not as_json:
        count = rows.select(pl.len()).collect(engine="streaming").item()
        out.print(f"{connection}/{audience} held {count:,} rows at {found.at:%Y-%m-%d %H:%M} UTC.")
        if found.interrupted:
            out.print("A run is under way, or was killed: what it did is not in this yet.")
    return Exit.DONE
