"""From a run's events to the state of each key they touch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from destinations.driver import KEY
from destinations.sync.journal import (
    ACCEPTED,
    CLAIM,
    FORGET,
    IN_DOUBT,
    REJECTED,
    Frame,
    read_journal,
)

EVENTS_AT_ONCE = 500_000
"""About as many events of a journal are folded together."""

_TIME = pl.Datetime("us", "UTC")

STATE: dict[str, pl.DataType] = {
    KEY: pl.String(),
    "state": pl.String(),
    "hash": pl.String(),
    "remote_id": pl.String(),
    "maybe": pl.Boolean(),
    "refused": pl.String(),
    "tried": pl.String(),
    "message": pl.String(),
    "attempts": pl.UInt32(),
    "first_at": _TIME,
    "last_at": _TIME,
}


def fold(events: pl.DataFrame, state: pl.LazyFrame) -> pl.DataFrame:
    """New state of every key in ``events``, sorted by key: columns of ``STATE`` and ``gone``.

    Args:
        events: one run's journal, in order, ``forget`` events first. Within a run a key is accepted once at most, and
            its claim is answered before it is claimed again: only a last claim can be open.
        state: the state before that run.

    An acceptance settles all doubt about its key. A claim without answer, or an answer that
    could not be read, makes the key ``maybe`` until an acceptance; "not now" and refusals
    change nothing about what may be there from earlier sends.
    """
    events = events.with_row_index("i")
    last = events.unique(KEY, keep="last")
    keys = last.select(KEY, last_at=pl.col("at"))
    accepted = _last(events, ACCEPTED).select(
        KEY,
        a="i",
        a_hash="hash",
        a_remote="remote_id",
        a_remove=pl.col("change") == "remove",
        a_at="at",
    )
    rejected = (
        events.filter(pl.col("event") == REJECTED)
        .group_by(KEY, maintain_order=True)
        .agg(
            r=pl.col("i").last(),
            r_change=pl.col("change").last(),
            r_hash=pl.col("hash").last(),
            r_message=pl.col("message").last(),
            r_count=pl.len().cast(pl.UInt32),
        )
    )
    doubtful = pl.concat([_last(events, IN_DOUBT), last.filter(pl.col("event") == CLAIM)])
    doubtful = doubtful.group_by(KEY).agg(d=pl.col("i").max(), d_message=pl.col("message").max())
    forgotten = _last(events, FORGET).select(KEY, f="i")
    touched = pl.col(KEY).is_between(pl.lit(keys[KEY].min()), pl.lit(keys[KEY].max()))
    near = state.filter(touched).join(keys.lazy().select(KEY), on=KEY, how="semi")
    before = near.collect(engine="streaming")

    rows = keys.lazy()
    for part in (before.rename({"last_at": "before_at"}), accepted, rejected, doubtful, forgotten):
        rows = rows.join(part.lazy(), on=KEY, how="left")

    none = pl.lit(None, dtype=pl.String)
    fresh = pl.col("a").is_not_null()
    gone = fresh & pl.col("a_remove")
    doubted = (
        pl.col("d").is_not_null() & (pl.col("d") > pl.col("a").fill_null(0)).fill_null(False)
    ) | (pl.col("d").is_not_null() & ~fresh)
    refused_now = pl.col("r").is_not_null() & (
        pl.col("r") >= pl.max_horizontal(pl.col("a").fill_null(0), pl.col("f").fill_null(0))
    )
    refused_before = pl.col("refused").is_not_null() & ~fresh & pl.col("f").is_null()
    rows = rows.with_columns(
        hash=pl.when(gone).then(none).when(fresh).then("a_hash").otherwise("hash"),
        remote_id=pl.when(gone).then(none).otherwise(pl.coalesce("a_remote", "remote_id")),
        maybe=doubted | (pl.col("maybe").fill_null(False) & ~fresh),
        attempts=pl.when(refused_now)
        .then(
            pl.col("r_count")
            + pl.when(refused_before).then(pl.col("attempts")).otherwise(0).cast(pl.UInt32)
        )
        .when(refused_before)
        .then("attempts")
        .otherwise(0)
        .cast(pl.UInt32),
        refused=pl.when(refused_now).then("r_change").when(refused_before).then("refused"),
        tried=pl.when(refused_now).then("r_hash").when(refused_before).then("tried"),
        message=pl.when(refused_now)
        .then("r_message")
        .when(doubted)
        .then("d_message")
        .when(refused_before)
        .then("message"),
        first_at=pl.when(gone).then(None).otherwise(pl.coalesce("first_at", "a_at")),
    )
    rows = rows.with_columns(
        state=pl.when("maybe")
        .then(pl.lit("doubt"))
        .when(pl.col("refused").is_not_null())
        .then(pl.lit("rejected"))
        .otherwise(pl.lit("held")),
        gone=pl.col("hash").is_null() & ~pl.col("maybe") & pl.col("refused").is_null(),
    )
    return rows.select(*STATE, "gone").sort(KEY).collect()


def stretches(path: Path, frames: list[Frame]) -> Iterator[pl.DataFrame]:
    """A journal's events by stretches of keys, in the order of the keys, each in the order in
    which they were written. However long the journal, few events are held at a time.

    Runs send in the order of keys, so a stretch's events stand in few frames.
    """
    count = sum(frame.events for frame in frames)
    firsts = sorted(frame.first for frame in frames)
    # Frames are much alike in size: every so many first keys stand for as many events.
    step = max(1, round(len(firsts) * EVENTS_AT_ONCE / count))
    bounds: list[str] = sorted(set(firsts[step::step]))
    for low, high in zip([None, *bounds], [*bounds, None], strict=True):
        meant = [
            frame
            for frame in frames
            if (low is None or frame.last >= low) and (high is None or frame.first < high)
        ]
        events = read_journal(path, meant)
        if low is not None:
            events = events.filter(pl.col(KEY) >= low)
        if high is not None:
            events = events.filter(pl.col(KEY) < high)
        if events.height:
            yield events


def _last(events: pl.DataFrame, event: str) -> pl.DataFrame:
    return events.filter(pl.col("event") == event).unique(KEY, keep="last")
