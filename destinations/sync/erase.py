"""Deletes a person at a destination, and keeps the record that proves it.

The list of deleted people (suppression.py) is written first, so that no later run sends the
person whatever happens next. Then every sync that holds the key, or may hold it, asks its
destination through the same journal as any run: killed at any point, asking again goes on.
What a destination has not answered stays in its ledger, with the fields to name the person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson
import polars as pl

from destinations.driver import HASH, KEY, REMOTE_ID, Driver, Operation
from destinations.sync.chunks import leavers_of, leavers_to_send, with_ids
from destinations.sync.config import SyncConfig
from destinations.sync.deliver import Sender, Work
from destinations.sync.durable import Target, locked, names, place, scan
from destinations.sync.engine import Run, opened
from destinations.sync.hashes import PATTERN
from destinations.sync.head import HEAD, read_head
from destinations.sync.identity import identifier_columns
from destinations.sync.ledger import Ledger
from destinations.sync.lines import append
from destinations.sync.marks import MARKS, read_marks
from destinations.sync.pace import Pace
from destinations.sync.plan import ROW
from destinations.sync.report import hide_in_reports
from destinations.sync.snapshot import current, publish
from destinations.sync.tally import DELIVERED, REJECTED, Tally

DELETIONS = "deletions.jsonl"

Answer = Literal["deleted", "removed", "refused", "unanswered", "never_sent", "not_asked"]


@dataclass(frozen=True)
class Asked:
    """What one destination was asked, and what it said.

    ``deleted`` and ``removed`` (taken out of the audience, where the destination offers no
    delete): it said so. ``refused``, ``unanswered``: it may still hold the person. ``never_sent``:
    this sync never sent them. ``not_asked``: it could not be asked; ``said`` tells why.
    """

    sync: str
    answer: Answer
    said: str
    at: str
    operation: str | None = None
    requests: int = 0

    @property
    def settled(self) -> bool:
        return self.answer in ("deleted", "removed", "never_sent")


def erase(
    config: SyncConfig,
    driver: Driver,
    consent_column: str | None,
    audiences: Path,
    state: Path,
    key: str,
    place_name: str = "",
) -> Asked:
    """Ask one destination to delete one person, if its ledger holds them or may.

    Raises:
        LockedError: the sync is running now.
        StoreroomError: it could not run at all (see ``run_sync``).
    """
    now = datetime.now(UTC)
    with opened(config, driver, consent_column, audiences, state, now, place=place_name) as run:
        held = run.ledger.state().filter(pl.col(KEY) == key).collect()
        there = held.filter(pl.col("hash").is_not_null() | pl.col("maybe"))
        if there.is_empty():
            return Asked(config.name, "never_sent", "The ledger does not hold them.", _stamp())
        operation = _operation(driver)
        if operation is None:
            offered = ", ".join(sorted(driver.capabilities.operations))
            said = f"The destination offers neither delete nor remove (it offers {offered})."
            return Asked(config.name, "not_asked", said, _stamp())
        return _ask(run, operation, there)


def identifiers_of(
    config: SyncConfig, driver: Driver, audiences: Path, state: Path, key: str
) -> set[str]:
    """By which identifiers the destination of a sync knows a person, now or by what was sent last.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    columns = identifier_columns(config, driver.capabilities)
    snapshot = current(audiences, config.audience)
    if not columns or snapshot is None:
        return set()
    folder = state / config.connection / config.audience
    ledger, keys = Ledger(folder, read_head(folder)), pl.Series(KEY, [key])
    found = [
        leavers_of(keys, config, snapshot.scan(), None),
        leavers_of(keys, config, ledger.seen(), ledger.leavers()),
    ]
    values = {str(value) for rows in found for value in rows.select(columns).row(0) if value}
    return {value for value in values if value.strip()}


def _operation(driver: Driver) -> Operation | None:
    offered = driver.capabilities.operations
    wanted = (Operation.DELETE, Operation.REMOVE)
    return next((operation for operation in wanted if operation in offered), None)


def _ask(run: Run, operation: Operation, held: pl.DataFrame) -> Asked:
    rows = _named(run, held)
    _, leavers = run.plan()
    tally, pace = Tally(), Pace(run.policy)
    place_print = run.config.place_fingerprint(run.place)
    journal = run.ledger.begin(run.id, run.snapshot, leavers, place_print)
    try:
        work = Work(operation, "remove", with_ids(rows, operation.value, run.snapshot))
        Sender(run.driver, journal, tally, pace).run([[work]])
    finally:
        journal.close()
        run.ledger.settle()
    told = "; ".join(message for _, message in tally.reasons)
    if tally.fate(DELIVERED, "remove"):
        # The old base still names the key; after this no file of the ledger does.
        run.ledger.compact()
        deleted = operation is Operation.DELETE
        said = (
            "It said so." if deleted else "It offers no delete; it was taken out of the audience."
        )
        answer: Answer = "deleted" if deleted else "removed"
    elif tally.fate(REJECTED, "remove"):
        answer, said = "refused", told
    else:
        answer, said = "unanswered", told or pace.stopped or "no answer"
    return Asked(run.config.name, answer, said, _stamp(), operation.value, tally.requests)


def _named(run: Run, held: pl.DataFrame) -> pl.DataFrame:
    """The row with the fields that name the person there: as sent last, else as they are now."""
    ledger, config = run.ledger, run.config
    keys = held[KEY]
    columns = sorted(set(config.columns.values()) - {config.key})
    fields = leavers_of(keys, config, ledger.seen(), ledger.leavers())
    if not columns or fields.select(pl.all_horizontal(pl.col(columns).is_null()).all()).item():
        fields = leavers_of(keys, config, run.snapshot.scan(), None)
    wanted = held.select(
        pl.lit(None, dtype=pl.UInt32).alias(ROW),
        KEY,
        pl.col("hash").alias(HASH),
        pl.col("remote_id").alias(REMOTE_ID),
    )
    return pl.concat(list(leavers_to_send(wanted, fields, config)))


def purge(audience: str, audiences: Path, state: Path, key: str, unsettled: Iterable[str]) -> int:
    """Take a person's rows out of everything that is kept of an audience; returns files rewritten.

    Syncs in ``unsettled`` keep what names the person there until the destination has answered.

    Raises:
        LockedError: a sync of the audience is running now.
    """
    folders = [(state / name).parent for name in names(state, f"*/{audience}/{HEAD}")]
    rewritten = 0
    with ExitStack() as locks:
        for folder in folders:
            locks.enter_context(locked(folder, f"Sync '{folder.parent.name}/{audience}'"))
        rewritten += _purge_snapshots(audience, audiences, key)
        snapshot = current(audiences, audience)
        for folder in folders:
            if f"{folder.parent.name}/{audience}" in unsettled:
                continue
            rewritten += _purge_ledger(Ledger.open(folder), snapshot.key if snapshot else KEY, key)
            rewritten += hide_in_reports(folder, key)
            for hashes in folder.glob(PATTERN):
                hashes.unlink()
    return rewritten


def _purge_ledger(ledger: Ledger, column: str, key: str) -> int:
    rewritten = ledger.forget_history(key)
    seen, leavers = ledger.seen(), ledger.leavers()
    if seen is not None and _names(seen, column, key):
        rewritten += 1
        ledger.replace(seen=_sink(_others(seen, column, key)))
    if leavers is not None and _names(leavers, KEY, key):
        rewritten += 1
        ledger.replace(leavers=_sink(_others(leavers, KEY, key)))
    marks = read_marks(ledger.folder)
    if marks is not None and _names(marks.lazy(), KEY, key):
        rewritten += 1
        place(ledger.folder / MARKS, _others(marks.lazy(), KEY, key).collect().write_parquet)
    return rewritten


def _purge_snapshots(audience: str, audiences: Path, key: str) -> int:
    snapshot = current(audiences, audience)
    if snapshot is None:
        return 0
    text = pl.col(snapshot.key).cast(pl.String)
    others = snapshot.scan().filter(text.ne_missing(pl.lit(key)))
    rewritten = 0
    if others.select(pl.len()).collect().item() < snapshot.rows:
        publish(audiences, audience, snapshot.key, others.sink_parquet)
        rewritten += 1
    home = audiences / audience
    with locked(home, f"Publishing audience '{audience}'", wait=True):
        for name in names(home, "2*.parquet"):
            rows = scan(home / name)
            if _names(rows, snapshot.key, key):
                rewritten += 1
                place(home / name, _sink(_others(rows, snapshot.key, key)))
    return rewritten


def _names(rows: pl.LazyFrame, column: str, key: str) -> bool:
    if column not in rows.collect_schema():
        return False
    theirs = pl.col(column).cast(pl.String).eq_missing(pl.lit(key))
    return not rows.filter(theirs).head(1).collect().is_empty()


def _others(rows: pl.LazyFrame, column: str, key: str) -> pl.LazyFrame:
    return rows.filter(pl.col(column).cast(pl.String).ne_missing(pl.lit(key)))


def _sink(rows: pl.LazyFrame) -> Callable[[Target], object]:
    return lambda temporary: rows.sink_parquet(temporary, compression="zstd")


def keep_proof(state: Path, person: str, asked: Iterable[Asked], purged: int) -> dict[str, Any]:
    """Append what was asked and answered to ``deletions.jsonl``; ``person`` is the key's hash."""
    proof = {
        "person": person,
        "at": _stamp(),
        "asked": [asdict(one) for one in asked],
        "files_purged": purged,
    }
    with locked(state, "The list of deleted people", wait=True):
        append(state / DELETIONS, orjson.dumps(proof))
    return proof


def _stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
