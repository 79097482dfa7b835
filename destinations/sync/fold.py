"""From a run's events to the state of each key they touch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
    "run": pl.String(),
    "request": pl.UInt32(),
    "changed_at": _TIME,
    "changed_run": pl.String(),
}

ENDED: dict[str, pl.DataType] = {
    KEY: pl.String(),
    "hash": pl.String(),
    "remote_id": pl.String(),
    "maybe": pl.Boolean(),
    "run": pl.String(),
    "valid_from": _TIME,
    "valid_to": _TIME,
    "ended_by": pl.String(),
}
"""What a destination held of a key until a run changed it (see history.py)."""
_WAS = "was_"
_COMPARED = ("hash", "remote_id", "maybe")


@dataclass(frozen=True)
class Folded:
    """``rows``: new state of every key that a run touched, sorted by key: columns of ``STATE`` and
    ``gone``. ``ended``: what was held of them before, where that is other now (``ENDED``).
    """

    rows: pl.DataFrame
    ended: pl.DataFrame


def fold(events: pl.DataFrame, state: pl.LazyFrame, run: str) -> Folded:
    """What a run made of every key in ``events``.

    Args:
        events: one run's journal, in order, ``forget`` events first. A key's claim is answered
            before it is claimed again: only a last claim can be open. Within a run a key is
            accepted once at most, or twice: as a remove, then as an add under another identifier.
        state: the state before that run.
        run: its id.

    An acceptance settles all doubt about its key. A claim without answer, or an answer that
    could not be read, makes the key ``maybe`` until an acceptance; "not now" and refusals
    change nothing about what may be there from earlier sends.
    """
    events = events.with_row_index("i")
    last = events.unique(KEY, keep="last")
    answered = events.filter(pl.col("request").is_not_null()).unique(KEY, keep="last")
    keys = last.select(KEY, last_at=pl.col("at")).join(
        answered.select(KEY, "request"), on=KEY, how="left"
    )
    taken_out = _last(events.filter(pl.col("change") == "remove"), ACCEPTED).select(KEY, x="i")
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
    before = near.drop("run", "request").with_columns(
        *(pl.col(name).alias(_WAS + name) for name in _COMPARED)
    )

    rows = keys.lazy()
    parts = (
        before.rename({"last_at": "before_at"}).collect(engine="streaming"),
        *(accepted, taken_out, rejected, doubtful, forgotten),
    )
    for part in parts:
        rows = rows.join(part.lazy(), on=KEY, how="left")

    none = pl.lit(None, dtype=pl.String)
    fresh = pl.col("a").is_not_null()
    gone = fresh & pl.col("a_remove")
    anew = fresh & (pl.col("x") < pl.col("a")).fill_null(False)
    doubted = (
        pl.col("d").is_not_null() & (pl.col("d") > pl.col("a").fill_null(0)).fill_null(False)
    ) | (pl.col("d").is_not_null() & ~fresh)
    refused_now = pl.col("r").is_not_null() & (
        pl.col("r") >= pl.max_horizontal(pl.col("a").fill_null(0), pl.col("f").fill_null(0))
    )
    refused_before = pl.col("refused").is_not_null() & ~fresh & pl.col("f").is_null()
    rows = rows.with_columns(
        hash=pl.when(gone).then(none).when(fresh).then("a_hash").otherwise("hash"),
        remote_id=pl.when(gone)
        .then(none)
        .when(anew)
        .then("a_remote")
        .otherwise(pl.coalesce("a_remote", "remote_id")),
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
        first_at=pl.when(gone)
        .then(None)
        .when(anew)
        .then("a_at")
        .otherwise(pl.coalesce("first_at", "a_at")),
    )
    rows = rows.with_columns(
        state=pl.when("maybe")
        .then(pl.lit("doubt"))
        .when(pl.col("refused").is_not_null())
        .then(pl.lit("rejected"))
        .otherwise(pl.lit("held")),
        gone=pl.col("hash").is_null() & ~pl.col("maybe") & pl.col("refused").is_null(),
    )
    is_other = pl.any_horizontal(pl.col(name).ne_missing(pl.col(_WAS + name)) for name in _COMPARED)
    this = pl.lit(run)
    rows = rows.with_columns(
        is_other.alias("is_other"),
        pl.col("changed_at").alias(_WAS + "from"),
        pl.col("changed_run").alias(_WAS + "run"),
        run=this,
        changed_at=pl.when(is_other).then(pl.coalesce("a_at", "last_at")).otherwise("changed_at"),
        changed_run=pl.when(is_other).then(this).otherwise("changed_run"),
    )
    found = rows.sort(KEY).collect()
    there = pl.col(_WAS + "hash").is_not_null() | pl.col(_WAS + "maybe")
    ended = found.filter(pl.col("is_other") & there).select(
        KEY,
        *(pl.col(_WAS + name).alias(name) for name in _COMPARED),
        pl.col(_WAS + "run").alias("run"),
        pl.col(_WAS + "from").alias("valid_from"),
        pl.col("changed_at").alias("valid_to"),
        pl.col("changed_run").alias("ended_by"),
    )
    return Folded(found.select(*STATE, "gone"), ended)


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
