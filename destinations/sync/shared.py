"""People who left under one key and are in the audience under another.

Two profiles become one: a key vanishes, and its e-mail address stands in another row. A
destination that knows people by that address would take the other row's person out. Such a
row is let go instead: the ledger forgets it, nothing is sent for it, and the row that stays
is written once more, because the two wrote to the same record.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from destinations.driver import KEY, REMOTE_ID, Capabilities
from destinations.sync.config import Mode, SyncConfig
from destinations.sync.hashes import CLASS
from destinations.sync.plan import CLASSES, ROW, Plan
from destinations.sync.snapshot import Snapshot
from destinations.sync.validation import changes_of


def identifying_columns(config: SyncConfig, capabilities: Capabilities) -> list[str]:
    """Audience columns that tell the destination who is meant: of each group it requires, the
    first mapped one. Empty where it requires none, or a constant stands for one.
    """
    columns = []
    for group in capabilities.required:
        field = next((field for field in group if field in config.mapping), None)
        column = None if field is None else config.columns.get(field)
        if column is None:
            return []
        columns.append(column)
    return columns


def let_go(
    plan: Plan,
    leavers: pl.DataFrame,
    snapshot: Snapshot,
    config: SyncConfig,
    capabilities: Capabilities,
    state: pl.LazyFrame,
) -> Plan:
    """``plan`` without removes of people who stay under another key (they become ``merged``).

    Args:
        leavers: mapped audience columns of held rows that are not in the snapshot.
        state: of the ledger.
    """
    columns = identifying_columns(config, capabilities)
    if not columns or plan.removes.is_empty() or config.mode is Mode.APPEND_EVENT:
        return plan
    names = [f"_id{number}" for number in range(len(columns))]
    identifiers = [
        pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase().alias(name)
        for column, name in zip(columns, names, strict=True)
    ]
    rows = snapshot.scan().with_row_index(ROW).select(ROW, *identifiers)
    absent = plan.removes.filter(pl.col(ROW).is_null()).lazy().select(KEY)
    present = plan.removes.filter(pl.col(ROW).is_not_null()).lazy().select(ROW, KEY)
    leaving = pl.concat(
        [
            leavers.lazy().select(KEY, *identifiers).join(absent, on=KEY, how="semi"),
            rows.join(present, on=ROW, how="inner").select(KEY, *names),
        ]
    )
    staying = plan.rest.lazy().filter(pl.col(CLASS) != "in_doubt").select(ROW)
    found = rows.join(leaving, on=names, how="inner").join(staying, on=ROW, how="anti")
    pairs = (
        found.select(ROW, KEY)
        .join(plan.sends.lazy(), on=ROW, how="left")
        .join(plan.rest.lazy().rename({CLASS: "held_back"}), on=ROW, how="left")
        .collect(engine="streaming")
    )
    if pairs.is_empty():
        return plan
    merged = pairs[KEY].unique()
    stays = plan.removes.filter(~pl.col(KEY).is_in(merged.implode()))
    plan = replace(plan, removes=stays, merged=merged)
    if "update" not in changes_of(config.mode):
        return plan
    unchanged = pl.col(CLASS).is_null() & pl.col("held_back").is_null()
    return written_again(plan, pairs.filter(unchanged)[ROW].unique(), state)


def written_again(plan: Plan, again: pl.Series, state: pl.LazyFrame) -> Plan:
    """``plan`` with unchanged rows among its updates."""
    counts = dict(plan.counts)
    counts["unchanged"] = counts.get("unchanged", 0) - len(again)
    counts["update"] = counts.get("update", 0) + len(again)
    rows = again.to_frame(ROW).with_columns(pl.lit("update", dtype=CLASSES).alias(CLASS))
    keys = plan.hashes.with_row_index(ROW).join(rows.lazy(), on=ROW, how="semi").select(ROW, KEY)
    known = state.filter(pl.col("remote_id").is_not_null()).select(KEY, "remote_id")
    remote_ids = keys.join(known, on=KEY, how="inner").select(
        ROW, pl.col("remote_id").alias(REMOTE_ID)
    )
    return replace(
        plan,
        counts=counts,
        sends=pl.concat([plan.sends, rows]).sort(ROW),
        remote_ids=pl.concat([plan.remote_ids, remote_ids.collect(engine="streaming")]),
    )
