"""People whose identifier changed under the same key: the old one is taken out, then the new one put in.

A destination that knows people by e-mail address takes a changed address for somebody new, and
keeps the old record for ever. So the row is removed as it was sent last and then added, in this
order, and the add waits until the destination said that the old record is out. What was sent
last stands in the snapshot that the run before planned on, or among its leavers, which carry it
on for as long as the old record may be there.

Not where the old identifier belongs to another row that stays: that row is written once more
instead. Nor where the destination changes a record in place, by the id that it gave it.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from destinations.driver import HASH, KEY, REMOTE_ID, Capabilities
from destinations.sync.chunks import leavers_of
from destinations.sync.config import Mode, SyncConfig
from destinations.sync.hashes import CLASS
from destinations.sync.plan import CLASSES, ROW, Plan
from destinations.sync.shared import written_again
from destinations.sync.snapshot import Snapshot
from destinations.sync.suppression import comparable
from destinations.sync.validation import changes_of, operation_for

NOT_CLEARED = "its record under the old identifier has not been taken out yet"
_SENT = ["add", "update"]


def identifier_columns(config: SyncConfig, capabilities: Capabilities) -> list[str]:
    """Audience columns by whose values the destination knows who is meant."""
    mapped = config.columns
    return sorted({mapped[field] for field in capabilities.identifiers if field in mapped})


def identity_columns(config: SyncConfig, capabilities: Capabilities) -> list[str]:
    """:func:`identifier_columns`; none where the key is among them, for then they never change."""
    columns = identifier_columns(config, capabilities)
    return [] if config.key in columns else columns


def with_changed_identities(
    plan: Plan,
    snapshot: Snapshot,
    config: SyncConfig,
    capabilities: Capabilities,
    state: pl.LazyFrame,
    seen: pl.LazyFrame | None,
    leavers: pl.LazyFrame | None,
) -> tuple[Plan, pl.DataFrame | None]:
    """``plan`` with a remove for each record under an old identifier.

    Args:
        state: of the ledger.
        seen: the snapshot that the run before planned on.
        leavers: its leavers.

    Returns:
        The plan, and ``_key`` and mapped columns, as sent last, of rows in the snapshot that are
        held under another identifier (None where there are none).
    """
    columns = identity_columns(config, capabilities)
    removable = operation_for(config, "remove", capabilities.operations) is not None
    if not columns or not removable or config.mode is Mode.APPEND_EVENT or seen is None:
        return plan, None
    held = _held(plan, state)
    if capabilities.writes_by_remote_id:
        held = held.filter(pl.col("remote_id").is_null())
    if held.is_empty():
        return plan, None
    before = leavers_of(held[KEY], config, seen, leavers)
    names = [f"_now{number}" for number in range(len(columns))]
    now = snapshot.scan().with_row_index(ROW)
    now = now.select(ROW, *(_comparable(c).alias(n) for c, n in zip(columns, names, strict=True)))
    found = before.join(held, on=KEY, how="inner").join(
        now.join(held.lazy().select(ROW), on=ROW, how="semi").collect(engine="streaming"),
        on=ROW,
        how="inner",
    )
    pairs = list(zip(columns, names, strict=True))
    known = pl.any_horizontal(pl.col(column).is_not_null() for column in columns)
    other = pl.any_horizontal(_comparable(c).ne_missing(pl.col(n)) for c, n in pairs)
    found = found.filter(known & other)
    if found.is_empty():
        return plan, None
    return _taken_out(plan, found, now, pairs, config, state), found.select(before.columns)


def _comparable(column: str) -> pl.Expr:
    return comparable(pl.col(column))


def _held(plan: Plan, state: pl.LazyFrame) -> pl.DataFrame:
    """Rows of the snapshot that are, or may be, held with other content: ``_row``, ``_key``,
    ``_class``, and the ledger's ``hash`` and ``remote_id``.
    """
    removes = plan.removes.filter(pl.col(ROW).is_not_null())
    rows = pl.concat(
        [
            plan.sends.select(ROW, CLASS),
            plan.rest.select(ROW, CLASS),
            removes.select(ROW, pl.lit("remove", dtype=CLASSES).alias(CLASS)),
        ]
    ).unique(ROW, keep="last")
    keys = plan.hashes.select(KEY).with_row_index(ROW)
    there = state.filter(pl.col("hash").is_not_null() | pl.col("maybe"))
    return (
        keys.join(rows.lazy(), on=ROW, how="inner")
        .join(there.select(KEY, "hash", "remote_id"), on=KEY, how="inner")
        .unique(KEY, keep="none")
        .collect(engine="streaming")
    )


def _taken_out(
    plan: Plan,
    found: pl.DataFrame,
    now: pl.LazyFrame,
    pairs: list[tuple[str, str]],
    config: SyncConfig,
    state: pl.LazyFrame,
) -> Plan:
    sent = found.filter(pl.col(CLASS).cast(pl.String).is_in(_SENT))
    old = sent.select(
        KEY, pl.col(ROW).alias("_own"), *(_comparable(column).alias(n) for column, n in pairs)
    )
    gone = plan.rest.lazy().filter(pl.col(CLASS) != "in_doubt").select(ROW)
    staying = now.join(gone, on=ROW, how="anti")
    names = [name for _, name in pairs]
    theirs = _elsewhere(staying, old, names)
    sharing = pl.concat([_elsewhere(staying, old, [name]) for name in names])
    out = sent.join(theirs, on=KEY, how="anti")
    plan = _as_removes(plan, out, found)
    idle = sharing.join(plan.sends, on=ROW, how="anti")[ROW].unique()
    writes = "update" in changes_of(config.mode)
    return written_again(plan, idle, state) if writes and len(idle) else plan


def _elsewhere(staying: pl.LazyFrame, old: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Old identifiers that stand in another row: ``_key`` of the old one, ``_row`` of the other."""
    both = staying.join(old.lazy(), on=names, how="inner")
    return both.filter(pl.col(ROW) != pl.col("_own")).select(KEY, ROW).collect(engine="streaming")


def _as_removes(plan: Plan, out: pl.DataFrame, found: pl.DataFrame) -> Plan:
    """Rows of ``out`` are removed, as sent last, and then added; removes of ``found`` name what
    was sent last too.
    """
    removes = out.select(
        pl.lit(None, dtype=pl.UInt32).alias(ROW),
        KEY,
        pl.col("hash").alias(HASH),
        pl.col("remote_id").alias(REMOTE_ID),
    )
    left = pl.col(KEY).is_in(found[KEY].implode())
    as_sent = pl.when(left).then(pl.lit(None, dtype=pl.UInt32)).otherwise(pl.col(ROW))
    moved = pl.col(ROW).is_in(out[ROW].implode())
    counts = dict(plan.counts)
    updates = plan.sends.filter(moved & (pl.col(CLASS) == "update")).height
    counts["update"] = counts.get("update", 0) - updates
    counts["add"] = counts.get("add", 0) + updates
    add = pl.lit("add", dtype=CLASSES)
    return replace(
        plan,
        counts=counts,
        sends=plan.sends.with_columns(pl.when(moved).then(add).otherwise(CLASS).alias(CLASS)),
        remote_ids=plan.remote_ids.filter(~moved),
        removes=pl.concat([plan.removes.with_columns(as_sent.alias(ROW)), removes]),
        moved=out[KEY],
    )
