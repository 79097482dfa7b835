"""What a destination held at any moment: versions that have ended, kept beside a sync's ledger.

::

    history-<run>-<n>.parquet    one row per version that a run ended (``ENDED``), sorted by key

The ledger's state says of each key since when its content stands and which run brought it
(``changed_at``, ``changed_run``). When a run changes or removes it, the version that was held
is written here with its beginning and end, so a run costs what it changed. Small files are
merged, and versions that ended before the time kept (``STOREROOM_HISTORY_DAYS``) are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from destinations.driver import KEY
from destinations.errors import StoreroomError
from destinations.sync.fold import ENDED
from destinations.sync.head import read_head
from destinations.sync.ledger import Ledger

HELD: dict[str, pl.DataType] = {
    name: dtype for name, dtype in ENDED.items() if name not in ("valid_to", "ended_by")
} | {"valid_to": ENDED["valid_to"]}


@dataclass(frozen=True)
class Held:
    """What a destination held at a moment.

    ``rows``: ``_key``, ``hash`` (of the content; null where nothing was acknowledged),
    ``remote_id``, ``maybe`` (something was sent and never answered), ``run`` that last changed
    it by then, ``valid_from`` and ``valid_to`` (null: it stands to this day), sorted by key.
    """

    at: datetime
    rows: pl.LazyFrame
    interrupted: bool
    """Whether a run is under way, or was killed: what it did is not in here yet."""


def held_on(state: Path, connection: str, audience: str, at: datetime) -> Held:
    """What the destination of a sync held at ``at``, as far as it said so. Takes no lock.

    Raises:
        StoreroomError: the sync never ran, or the history does not go back so far.
        LedgerError: it cannot be read.
    """
    folder, at = state / connection / audience, at.astimezone(UTC)
    head = read_head(folder)
    if head.last_run is None:
        raise StoreroomError(f"Sync '{connection}/{audience}' has never run.")
    if head.history_from is not None and at < datetime.fromisoformat(head.history_from):
        raise StoreroomError(
            f"The history of sync '{connection}/{audience}' goes back to {head.history_from}.",
            "Ask for a later moment. How long it is kept says STOREROOM_HISTORY_DAYS.",
        )
    by_then = pl.col("valid_from").fill_null(datetime(1970, 1, 1, tzinfo=UTC)) <= at
    rows = versions(Ledger(folder, head)).filter(
        by_then & (pl.col("valid_to").is_null() | (pl.col("valid_to") > at))
    )
    return Held(at, rows.sort(KEY), head.journal is not None)


def versions(ledger: Ledger) -> pl.LazyFrame:
    """Every version that was ever held and is kept; ``valid_to`` is null where it still stands."""
    there = pl.col("hash").is_not_null() | pl.col("maybe")
    standing = (
        ledger.state()
        .filter(there)
        .select(
            *(KEY, "hash", "remote_id", "maybe"),
            run="changed_run",
            valid_from="changed_at",
            valid_to=pl.lit(None, dtype=HELD["valid_to"]),
        )
    )
    return pl.concat([standing, *(part.select(*HELD) for part in ledger.history())])
