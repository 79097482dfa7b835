"""Rows to be sent again although the destination acknowledged them.

``again.parquet`` beside a sync's ledger names them by key. The ledger itself is left as it
is: what is held stays held, and a mark goes only when the destination accepts the row anew,
so neither a kill nor an outage forgets one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from destinations.driver import KEY
from destinations.errors import ConfigurationError, StoreroomError
from destinations.sync.config import Mode, SyncConfig
from destinations.sync.durable import locked, place, present
from destinations.sync.head import HEAD, read_head
from destinations.sync.ledger import Ledger
from destinations.sync.marks import MARK, MARKS, read_marks

Choice = Callable[[pl.LazyFrame], pl.LazyFrame]
"""From a ledger's state to the rows of it that are meant."""


@dataclass(frozen=True)
class Marked:
    """What was marked: ``rows`` now, ``total`` with what waited already, ``unknown`` keys that
    the ledger does not know (they were never sent: the next run adds them if they are wanted).
    """

    rows: int
    total: int
    unknown: int = 0


def everything(state: pl.LazyFrame) -> pl.LazyFrame:
    """Every row that is, or may be, at the destination."""
    return state.filter(pl.col("hash").is_not_null() | pl.col("maybe"))


def since(moment: datetime) -> Choice:
    """Rows of which the destination said something at or after ``moment``."""
    at = moment.astimezone(UTC)
    return lambda state: everything(state).filter(pl.col("last_at") >= at)


def among(keys: pl.Series) -> Choice:
    """Rows with these keys."""
    wanted = keys.cast(pl.String).drop_nulls().unique()
    return lambda state: everything(state).filter(pl.col(KEY).is_in(wanted.implode()))


def rejected(reason: str | None = None) -> Choice:
    """Rows that the destination refused last; with ``reason`` only those whose words hold it."""

    def choose(state: pl.LazyFrame) -> pl.LazyFrame:
        refused = state.filter(pl.col("refused").is_not_null())
        if reason is None:
            return refused
        words = pl.col("message").fill_null("").str.to_lowercase()
        return refused.filter(words.str.contains(reason.lower(), literal=True))

    return choose


def mark(
    config: SyncConfig, state: Path, choice: Choice, now: datetime, keys: int | None = None
) -> Marked:
    """Have the next run of a sync send rows again.

    Args:
        state: folder of all syncs.
        keys: how many keys were named, to tell how many of them are unknown.

    Raises:
        LockedError: the sync is running now.
        ConfigurationError: its mode sends no rows.
        StoreroomError: it never ran.
    """
    if config.mode is Mode.REMOVE_ONLY:
        raise ConfigurationError(
            f"Sync '{config.name}' has `mode: remove_only`, which sends no rows.",
            "Write `mode: mirror` or `mode: upsert`.",
        )
    folder = state / config.connection / config.audience
    if not present(folder / HEAD):
        raise StoreroomError(
            f"Sync '{config.name}' has never run: there is nothing to send again.",
            "Run it: `storeroom syncs run`.",
        )
    with locked(folder, f"Sync '{config.name}'"):
        ledger = Ledger.open(folder)
        chosen = choice(ledger.state()).select(KEY).collect(engine="streaming")
        before = read_marks(folder)
        stamp = ledger.next_run(now)
        rows = chosen.with_columns(pl.lit(stamp).alias(MARK))
        if before is not None:
            rows = pl.concat([rows, before]).unique(KEY, keep="first")
        if rows.height:
            place(folder / MARKS, rows.sort(KEY).write_parquet)
    unknown = 0 if keys is None else keys - chosen.height
    return Marked(chosen.height, rows.height, unknown)


def holds(folder: Path, key: str) -> bool:
    """Whether a ledger says that its destination holds a key, or may."""
    state = Ledger(folder, read_head(folder)).state()
    theirs = everything(state).filter(pl.col(KEY) == key).head(1)
    return not theirs.collect().is_empty()
