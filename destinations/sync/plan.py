"""The difference between a published audience and what the destination holds.

Every snapshot row gets exactly one class, checked in this order:

=============  ==================================================================
class          meaning
=============  ==================================================================
``null_key``   rejected: the key is null
``duplicate``  rejected, all copies: the key stands more than once
``deleted``    withheld: the person was deleted and must not be sent again
``filtered``   the sync's ``where`` is not true for it
``withheld``   the person has not given the consent that the connection asks for
``not_sent``   counts as filtered: the mode does not send this change
``unchanged``  the destination acknowledged this very content
``in_doubt``   deferred: sent before without an answer, and sending twice would do harm
``add``        to be sent, not held yet
``update``     to be sent, held with other content
=============  ==================================================================

Removes are rows that are (or may be) held while their key is not in the audience any
more, or is there but filtered or withheld: as the destination is concerned they left.
A duplicate key is left as it is until the audience names it once.

Only keys, hashes and row numbers are held in memory; fields are read when they are sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from destinations.driver import HASH, KEY, REMOTE_ID
from destinations.sync.config import Mode, SyncConfig
from destinations.sync.content import with_hash
from destinations.sync.snapshot import Snapshot
from destinations.sync.suppression import NOBODY, SUPPRESSED, Suppression

ROW = "_row"
CLASS = "_class"
_FILTERED = ("filtered", "withheld", "deleted")
_AGAIN = "_again"
_WANTED = ("add", "update", "unchanged", "in_doubt")


class AccountingError(RuntimeError):
    """Rows do not add up: a fault of Storeroom or of a driver, never of the user."""


@dataclass(frozen=True)
class Plan:
    """What one run has to do.

    ``wanted``: ``_row`` UInt32 (position in the snapshot), ``_key``, ``_hash``, ``_remote_id``
    String, ``_class`` String (``add``, ``update``, ``unchanged`` or ``in_doubt``), in snapshot
    order.
    ``removes``: the same columns, ``_row`` null where the row is not in the snapshot.
    ``absent``: keys held and not in the snapshot at all, whatever the mode.
    ``lapsed``: keys whose earlier refusal no longer matters.
    """

    counts: dict[str, int]
    wanted: pl.DataFrame
    removes: pl.DataFrame
    absent: pl.Series
    lapsed: pl.Series
    held: int
    duplicates: list[str]
    """A few of the duplicate keys."""
    merged: pl.Series = field(default_factory=lambda: pl.Series(KEY, [], dtype=pl.String))
    """Held keys that left and whose person stays under another key (see shared.py)."""

    @property
    def sends(self) -> pl.DataFrame:
        """Rows of ``wanted`` to be sent."""
        return self.wanted.filter(pl.col(CLASS).is_in(["add", "update"]))


def make_plan(
    snapshot: Snapshot,
    config: SyncConfig,
    consent_column: str | None,
    state: pl.LazyFrame,
    hold_doubts: bool,
    suppression: Suppression = NOBODY,
    again: pl.Series | None = None,
) -> Plan:
    """Compare ``snapshot`` with the ledger's ``state``.

    Args:
        hold_doubts: leave rows sent without an answer alone instead of sending them again.
        suppression: people who may not be sent any more.
        again: keys of rows to be sent although they are held, or in doubt.
    """
    rows = _classified(snapshot, config, consent_column, suppression)
    held = state.select(KEY, "maybe", "refused", old_hash="hash", old_remote="remote_id").collect(
        engine="streaming"
    )
    asked = pl.lit(False) if again is None else pl.col(KEY).is_in(again.implode())
    both = _side_by_side(rows, held).with_columns(asked.alias(_AGAIN))

    present = both.filter(pl.col(ROW).is_not_null()).with_columns(
        _class_of(config.mode, hold_doubts)
    )
    at_destination = pl.col("old_hash").is_not_null() | pl.col("maybe").fill_null(False)
    absent = both.filter(pl.col(ROW).is_null() & pl.col("absent") & at_destination)
    out = present.filter(pl.col(CLASS).is_in(_FILTERED) & at_destination)
    columns = [ROW, KEY, HASH, REMOTE_ID, CLASS]
    removes = pl.concat([absent, out]).select(
        ROW,
        KEY,
        pl.col("old_hash").alias(HASH),
        pl.col("old_remote").alias(REMOTE_ID),
        pl.lit("remove").alias(CLASS),
    )
    wanted = present.filter(pl.col(CLASS).is_in(_WANTED))
    lapsed = pl.concat(
        [
            both.filter(pl.col(ROW).is_null() & pl.col("absent") & ~at_destination),
            present.filter(pl.col(CLASS).is_in([*_FILTERED, "unchanged"]))
            .filter(
                pl.col("refused").is_not_null() & ~(pl.col(CLASS).is_in(_FILTERED) & at_destination)
            )
            .select(both.columns),
        ]
    )
    repeated = rows.filter(pl.col(CLASS) == "duplicate")
    counts = dict(present[CLASS].value_counts().iter_rows())
    counts["null_key"] = rows[KEY].null_count()
    counts["duplicate"] = repeated.height
    if sum(counts.values()) != snapshot.rows:
        raise AccountingError(f"{snapshot.path}: {snapshot.rows} rows, but classes {counts}")
    return Plan(
        counts=counts,
        wanted=wanted.select(pl.col(ROW), KEY, HASH, pl.col("old_remote").alias(REMOTE_ID), CLASS),
        removes=(removes if config.mode.removes else removes.clear()).select(columns),
        absent=absent[KEY],
        lapsed=lapsed[KEY],
        held=held["old_hash"].count(),
        duplicates=repeated[KEY].unique().head(5).to_list(),
    )


def mapped(config: SyncConfig, change: str, schema: pl.Schema) -> list[pl.Expr]:
    """One expression per mapped field, over the audience's columns; absent columns read as null."""
    expressions = []
    for name, source in config.mapping.items():
        if source.column is None:
            value = source.constant
            if source.is_event:
                value = source.exited if change == "remove" else source.entered
            expression = pl.lit(value)
        elif source.column in schema:
            expression = pl.col(source.column)
        else:
            expression = pl.lit(None)
        expressions.append(expression.alias(name))
    return expressions


def _classified(
    snapshot: Snapshot, config: SyncConfig, consent_column: str | None, suppression: Suppression
) -> pl.DataFrame:
    """``_row``, ``_key``, ``_hash``, ``_class`` (null: wanted) of every row, sorted by key."""
    scan = snapshot.scan()
    schema = scan.collect_schema()
    fields = mapped(config, "add", schema)
    wanted = pl.sql_expr(config.where) if config.where is not None else pl.lit(True)
    consented = pl.col(consent_column) if consent_column is not None else pl.lit(True)
    rows = scan.with_row_index(ROW).select(
        pl.col(ROW),
        pl.col(config.key).cast(pl.String).alias(KEY),
        pl.when(~wanted.fill_null(False))
        .then(pl.lit("filtered"))
        .when(~consented.fill_null(False))
        .then(pl.lit("withheld"))
        .otherwise(pl.lit(None, dtype=pl.String))
        .alias(CLASS),
        *fields,
    )
    types = {name: dtype for name, dtype in rows.collect_schema().items() if name in config.mapping}
    hashed = with_hash(rows, types, HASH).select(ROW, KEY, HASH, CLASS)
    if suppression.deleted:
        deleted = pl.when(SUPPRESSED).then(pl.lit("deleted")).otherwise(pl.col(CLASS))
        marked = suppression.marked(hashed).with_columns(deleted.alias(CLASS))
        hashed = marked.drop(SUPPRESSED)
    frame = hashed.collect(engine="streaming")
    if not frame[KEY].is_sorted():
        frame = frame.sort(KEY)
    same = pl.col(KEY) == pl.col(KEY).shift(1)
    twice = (same | same.shift(-1)).fill_null(False)
    return frame.with_columns(
        pl.when(twice).then(pl.lit("duplicate")).otherwise(pl.col(CLASS)).alias(CLASS)
    )


def _side_by_side(rows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Rows whose key stands once, each with what is held of it, and held keys besides (``_row`` null).

    Both sides are sorted, so equal keys become neighbours in one merge; a join would
    hash both sides. ``absent`` tells a held key that the snapshot does not have.
    """
    # The first of several equal keys stands for all: none of them is sent.
    first = pl.col(KEY).ne_missing(pl.col(KEY).shift(1))
    left = rows.filter(pl.col(KEY).is_not_null() & first).with_columns(
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in held.schema.items() if name != KEY
    )
    right = held.select(
        pl.lit(None, dtype=pl.get_index_type()).alias(ROW),
        KEY,
        pl.lit(None, dtype=pl.String).alias(HASH),
        pl.lit(None, dtype=pl.String).alias(CLASS),
        "maybe",
        "refused",
        "old_hash",
        "old_remote",
    )
    both = left.lazy().merge_sorted(right.lazy(), key=KEY).collect()
    is_right = pl.col(ROW).is_null()
    before = pl.col(KEY).shift(1) == pl.col(KEY)
    after = pl.col(KEY).shift(-1) == pl.col(KEY)
    if both.select((is_right & after.fill_null(False)).any()).item():
        raise AccountingError("the ledger names a key twice, or the merge is out of order")
    return (
        both.with_columns(
            pl.when(is_right).then(name).when(after).then(pl.col(name).shift(-1)).alias(name)
            for name in ("maybe", "refused", "old_hash", "old_remote")
        )
        .with_columns((is_right & ~before.fill_null(False)).alias("absent"))
        .filter(pl.col(CLASS).is_null() | (pl.col(CLASS) != "duplicate"))
        .filter(pl.col(ROW).is_not_null() | pl.col("absent"))
    )


def _class_of(mode: Mode, hold_doubts: bool) -> pl.Expr:
    held = pl.col("old_hash").is_not_null()
    doubt = pl.col("maybe").fill_null(False)
    again = pl.col(_AGAIN)
    same = (pl.col("old_hash") == pl.col(HASH)).fill_null(False) & ~doubt
    if mode is Mode.FULL_REFRESH:
        same = pl.lit(False)
    elif mode is Mode.APPEND_EVENT:
        same = held & ~doubt
    same &= ~again
    change = pl.when(held).then(pl.lit("update")).otherwise(pl.lit("add"))
    if mode is Mode.ADD_ONLY:
        change = pl.when(held & ~doubt & ~again).then(pl.lit("not_sent")).otherwise(pl.lit("add"))
    elif mode is Mode.UPDATE_ONLY:
        change = pl.when(held | doubt).then(pl.lit("update")).otherwise(pl.lit("not_sent"))
    elif mode is Mode.REMOVE_ONLY:
        change = pl.lit("not_sent")
    elif mode is Mode.APPEND_EVENT:
        change = pl.lit("add")
    return (
        pl.when(pl.col(CLASS).is_not_null())
        .then(pl.col(CLASS))
        .when(same)
        .then(pl.lit("unchanged"))
        .when(doubt & pl.lit(hold_doubts) & ~again)
        .then(pl.lit("in_doubt"))
        .otherwise(change)
        .alias(CLASS)
    )
