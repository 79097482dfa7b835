"""What an operator does to syncs: the functions that the command line and Dagster's jobs call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from dagster_project.declarations import Sync, load, select
from dagster_project.progress import announce
from dagster_project.warehouse import manifest
from destinations.errors import ConfigurationError, LockedError, StoreroomError
from destinations.paths import audiences_dir, syncs_dir
from destinations.sync import resend
from destinations.sync.erase import Asked, erase, identifiers_of, keep_proof, purge
from destinations.sync.operations import Assumption, Moved, forget, held_rows, move
from destinations.sync.resend import Marked
from destinations.sync.status import read_status
from destinations.sync.suppression import readmit, suppress

WHAT_REMAINS = (
    "a salted hash of the key, by which no later run sends the person; this proof; and what "
    "syncs do not own: landing files, raw events, the warehouse, run logs and backups"
)


def declared(connection: str, audience: str) -> Sync:
    """One declared sync.

    Raises:
        ConfigurationError: there is no such sync.
    """
    (sync,) = select(load(manifest.ensure()), connection, audience)
    return sync


def choice_of(
    *,
    everything: bool = False,
    since: datetime | None = None,
    keys: Path | None = None,
    rejected: bool = False,
    reason: str | None = None,
) -> tuple[resend.Choice, int | None]:
    """Which rows are meant, and how many keys were named where keys were.

    Raises:
        ConfigurationError: none or several ways were named, or the file of keys cannot be read.
    """
    ways = [everything, since is not None, keys is not None, rejected]
    if sum(ways) != 1 or (reason is not None and not rejected):
        raise ConfigurationError(
            "Say which rows to send again, in one way.",
            "Use --all, --since DATE, --keys FILE or --rejected (with --reason TEXT for some).",
        )
    if since is not None:
        at = since if since.tzinfo is not None else since.replace(tzinfo=UTC)
        return resend.since(at), None
    if keys is not None:
        named = keys_in(keys)
        return resend.among(named), len(named)
    return (resend.rejected(reason) if rejected else resend.everything), None


def keys_in(path: Path) -> pl.Series:
    """The keys of a file, each once: the first column of a Parquet file or a CSV with a heading,
    else one key a line.

    Raises:
        ConfigurationError: it cannot be read, or names no key.
    """
    try:
        if path.suffix == ".parquet":
            found = pl.read_parquet(path, glob=False).to_series(0).cast(pl.String)
        elif path.suffix == ".csv":
            found = pl.read_csv(path, glob=False, infer_schema=False).to_series(0)
        else:
            found = pl.Series("key", path.read_text(encoding="utf-8").splitlines(), dtype=pl.String)
    except (OSError, UnicodeError, pl.exceptions.PolarsError, IndexError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as a list of keys: {error}.",
            "Write one key a line, or give a CSV or Parquet file with the keys in its first column.",
        ) from None
    found = found.str.strip_chars().drop_nulls().unique(maintain_order=True)
    found = found.filter(found != "")
    if found.is_empty():
        raise ConfigurationError(f"{path} names no key.", "Write one key a line.")
    return found


def resend_rows(sync: Sync, choice: resend.Choice, named: int | None = None) -> Marked:
    """Have the next run of a sync send rows again (see :func:`destinations.sync.resend.mark`)."""
    return resend.mark(sync.config, syncs_dir(), choice, datetime.now(UTC), named)


def forget_sync(connection: str, audience: str, *, yes: bool) -> int:
    """Drop a sync's ledger, declared or not; how many rows it held.

    Raises:
        ConfigurationError: ``yes`` is false; says what would be forgotten.
    """
    if not yes:
        held = held_rows(syncs_dir(), connection, audience)
        raise ConfigurationError(
            f"Sync '{connection}/{audience}' would forget {held:,} rows that its destination "
            "holds: they are sent again, and who left is never taken out.",
            "Add --yes if that is meant.",
        )
    return forget(syncs_dir(), connection, audience)


def move_sync(sync: Sync, source: str, assume: Assumption, *, yes: bool = False) -> Moved:
    """Go on from another connection's ledger, or from a changed target's.

    Raises:
        ConfigurationError: the ledger of a changed target would be dropped without ``yes``.
    """
    if assume == "empty" and source == sync.connection.name and not yes:
        held = held_rows(syncs_dir(), source, sync.audience.name)
        raise ConfigurationError(
            f"{held:,} rows stay at the old target of '{sync.name}', and nobody takes them out.",
            "Add --yes if that is meant.",
        )
    return move(sync.config, sync.place, source, assume, audiences_dir(), syncs_dir())


def delete_person(key: str) -> dict[str, Any]:
    """Delete one person at every destination that holds them, and keep the proof.

    Returns:
        The proof: ``person`` (hash of the key), ``at``, ``asked`` (one entry per sync, as
        :class:`Asked`), ``files_purged``, ``complete`` and ``remains``.
    """
    state, syncs = syncs_dir(), load(manifest.ensure())
    suppression = suppress(state, [key], datetime.now(UTC))
    # Also by the addresses they are known by: they may come back under another key.
    suppress(state, [key], datetime.now(UTC), _identifiers(syncs, key))
    asked = []
    for number, sync in enumerate(syncs, start=1):
        announce("delete", sync.name, number, len(syncs))
        asked.append(_asked(sync, key))
    known = {sync.name for sync in syncs}
    asked += _undeclared(key, known)
    open_ = [one.sync for one in asked if not one.settled]
    purged = 0
    for audience in sorted({one.sync.split("/")[1] for one in asked}):
        try:
            purged += purge(audience, audiences_dir(), state, key, open_)
        except LockedError as error:
            said = f"Its files still name the person: {error}"
            asked.append(Asked(f"*/{audience}", "not_asked", said, datetime.now(UTC).isoformat()))
            open_.append(audience)
    proof = keep_proof(state, suppression.hash_of(key), asked, purged)
    return {**proof, "complete": not open_, "remains": WHAT_REMAINS}


def readmit_people(keys: Sequence[str], identifiers: Sequence[str]) -> list[str]:
    """Take people off the list of the deleted; those named that stood on it."""
    return readmit(syncs_dir(), list(keys), list(identifiers))


def end_of(text: str) -> datetime:
    """A moment; of a date, its last one (UTC).

    Raises:
        ConfigurationError: it is neither.
    """
    moment = moment_of(text)
    if len(text) > len("2026-01-31"):
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.replace(hour=23, minute=59, second=59, microsecond=999_999, tzinfo=UTC)


def moment_of(text: str) -> datetime:
    """An ISO date or date-time.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"'{text}' is no date.", "Write 2026-01-31 or 2026-01-31T08:00Z."
        ) from None


def unsettled(proof: dict[str, Any]) -> str:
    """The destinations that may still hold the person, and why."""
    answers: Sequence[dict[str, Any]] = proof["asked"]
    settled = ("deleted", "removed", "never_sent")
    return " ".join(f"{a['sync']}: {a['said']}" for a in answers if a["answer"] not in settled)


def _identifiers(syncs: Sequence[Sync], key: str) -> set[str]:
    found: set[str] = set()
    for sync in syncs:
        try:
            driver = sync.driver()
        except StoreroomError:
            continue  # asking it says why
        try:
            found |= identifiers_of(sync.config, driver, audiences_dir(), syncs_dir(), key)
        finally:
            driver.close()
    return found


def _asked(sync: Sync, key: str) -> Asked:
    if not any(
        (row["connection"], row["audience"]) == (sync.connection.name, sync.audience.name)
        for row in read_status(syncs_dir())
    ):
        return Asked(sync.name, "never_sent", "It never ran.", _now())
    try:
        driver = sync.driver()
        try:
            return erase(
                sync.config,
                driver,
                sync.consent_column,
                audiences_dir(),
                syncs_dir(),
                key,
                sync.place,
            )
        finally:
            driver.close()
    except StoreroomError as error:
        # One destination that cannot be asked must not keep the others from being asked.
        return Asked(sync.name, "not_asked", str(error), _now())


def _undeclared(key: str, declared_names: set[str]) -> list[Asked]:
    """Syncs that ran once and are declared no longer: nobody knows how to ask them."""
    found = []
    for row in read_status(syncs_dir()):
        name = f"{row['connection']}/{row['audience']}"
        if name in declared_names:
            continue
        if resend.holds(syncs_dir() / row["connection"] / row["audience"], key):
            said = (
                "It holds the person and is declared no longer. Declare it again, then ask again."
            )
            found.append(Asked(name, "not_asked", said, _now()))
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
