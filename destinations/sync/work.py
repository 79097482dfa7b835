"""The rows of a plan, in the order in which they are sent, with the operation each asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl

from destinations.driver import KEY, Operation
from destinations.errors import ConfigurationError
from destinations.sync.accounting import WRITES
from destinations.sync.chunks import leavers_to_send, rows_to_send, with_ids
from destinations.sync.config import SyncConfig
from destinations.sync.deliver import Work
from destinations.sync.hashes import CLASS
from destinations.sync.identity import NOT_CLEARED
from destinations.sync.journal import ACCEPTED, Journal, read_journal
from destinations.sync.plan import Plan
from destinations.sync.snapshot import Snapshot
from destinations.sync.tally import Tally
from destinations.sync.validation import operation_for

Ready = Callable[[str, pl.DataFrame], pl.DataFrame]


def cleared(plan: Plan, journal: Journal, tally: Tally) -> Ready | None:
    """Defers rows whose record under an old identifier the destination has not taken out."""
    if plan.moved.is_empty():
        return None
    out: list[pl.Series] = []

    def ready(change: str, rows: pl.DataFrame) -> pl.DataFrame:
        if not out:
            events = read_journal(journal.path)
            taken = (pl.col("event") == ACCEPTED) & (pl.col("change") == "remove")
            left = pl.col(KEY).is_in(events.filter(taken)[KEY].implode())
            out.append(plan.moved.to_frame(KEY).filter(~left)[KEY])
        waits = pl.col(KEY).is_in(out[0].implode())
        tally.defer(change, rows.filter(waits), NOT_CLEARED)
        return rows.filter(~waits)

    return ready


def phases_of(
    plan: Plan,
    leavers: pl.DataFrame,
    config: SyncConfig,
    snapshot: Snapshot,
    offered: frozenset[Operation],
    marks: pl.DataFrame | None,
    ready: Ready | None = None,
) -> Iterator[Iterator[Work]]:
    """First every remove, then adds and updates, read from the snapshot as they are taken up.

    All removes come first: a person who left under one key and came back under another must
    not be taken out after being put in.

    Args:
        leavers: fields of held rows that are not in the snapshot.
        offered: operations that the destination has.
        marks: rows that are sent again because somebody asked for it.
        ready: asked of rows to be written, once every remove is answered: those that may be.
    """

    def removes() -> Iterator[Work]:
        if plan.removes.is_empty():
            return
        operation = _operation(config, "remove", offered)
        for rows in leavers_to_send(plan.removes, leavers, config):
            yield Work(operation, "remove", with_ids(rows, "remove", snapshot, marks))
        for rows in rows_to_send(plan, "remove", snapshot, config):
            yield Work(operation, "remove", with_ids(rows, "remove", snapshot, marks))

    def writes() -> Iterator[Work]:
        for change in WRITES:
            if (plan.sends[CLASS] == change).any():
                operation = _operation(config, change, offered)
                for rows in rows_to_send(plan, change, snapshot, config):
                    if ready is not None:
                        rows = ready(change, rows)
                    yield Work(operation, change, with_ids(rows, change, snapshot, marks))

    yield removes()
    yield writes()


def _operation(config: SyncConfig, change: str, offered: frozenset[Operation]) -> Operation:
    operation = operation_for(config, change, offered)
    if operation is None:
        raise ConfigurationError(
            f"Sync '{config.name}': the destination cannot {change} rows.",
            "Validate the sync before it runs.",
        )
    return operation
