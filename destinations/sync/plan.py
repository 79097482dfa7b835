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

Both sides are read in the order of their keys, a bounded number of rows at a time. What is
held in memory is the row numbers of what is to be done; keys, hashes and fields are read
again when they are sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from destinations.driver import HASH, KEY, REMOTE_ID
from destinations.sync.aligned import aligned, batches, slices
from destinations.sync.config import Mode
from destinations.sync.hashes import CLASS
from destinations.sync.snapshot import Snapshot

ROW = "_row"
_FILTERED = ("filtered", "withheld", "deleted")
_AGAIN = "_again"
_WANTED = ("add", "update", "unchanged", "in_doubt")
CUTS_AT_ONCE = 4
"""Few rows of a cut need a second look, and every look costs more than they do."""
_BY_CONTENT = frozenset(Mode) - {Mode.FULL_REFRESH, Mode.APPEND_EVENT}
"""Modes in which a row whose content is held is left alone."""
CLASSES = pl.Enum(["null_key", "duplicate", "not_sent", *_FILTERED, *_WANTED, "remove"])


class AccountingError(RuntimeError):
    """Rows do not add up: a fault of Storeroom or of a driver, never of the user."""


@dataclass(frozen=True)
class Plan:
    """What one run has to do.

    ``sends``: ``_row`` UInt32 (position in the snapshot) and ``_class`` (``CLASSES``: ``add``
    or ``update``), in snapshot order; ``remote_ids``: ``_row`` and ``_remote_id`` String of
    those that have one.
    ``rest``: ``_row`` and ``_class`` of rows that are neither sent nor unchanged.
    ``removes``: ``_row`` (null where the row is not in the snapshot), ``_key``, ``_hash`` (what
    is held), ``_remote_id``.
    ``absent``: keys held and not in the snapshot at all, whatever the mode.
    ``lapsed``: keys whose earlier refusal no longer matters.
    ``hashes``: ``_key``, ``_hash`` and ``_class`` of every row of the snapshot (hashes.py).
    """

    counts: dict[str, int]
    sends: pl.DataFrame
    remote_ids: pl.DataFrame
    rest: pl.DataFrame
    removes: pl.DataFrame
    absent: pl.Series
    lapsed: pl.Series
    held: int
    duplicates: list[str]
    """A few of the duplicate keys."""
    hashes: pl.LazyFrame
    merged: pl.Series = field(default_factory=lambda: pl.Series(KEY, [], dtype=pl.String))
    """Held keys that left and whose person stays under another key (see shared.py)."""
    moved: pl.Series = field(default_factory=lambda: pl.Series(KEY, [], dtype=pl.String))
    """Keys that are removed and then added, because their identifier changed (see identity.py)."""

    @property
    def wanted(self) -> int:
        """Rows that the destination should hold."""
        return sum(self.counts.get(name, 0) for name in _WANTED)


def make_plan(
    snapshot: Snapshot,
    hashes: pl.LazyFrame,
    state: pl.LazyFrame,
    mode: Mode,
    hold_doubts: bool,
    again: pl.Series | None = None,
) -> Plan:
    """Compare ``snapshot`` with the ledger's ``state``.

    Args:
        hashes: of the snapshot's rows (see :func:`destinations.sync.hashes.hashed`).
        hold_doubts: leave rows sent without an answer alone instead of sending them again.
        again: keys of rows to be sent although they are held, or in doubt.

    Raises:
        AccountingError: the rows do not add up, or the ledger is out of order.
    """
    making = _Making(mode, hold_doubts, again)
    held = state.select(KEY, "maybe", "refused", old_hash="hash", old_remote="remote_id")
    try:
        for cut in aligned(making.rows_of(hashes), making.held_of(held)):
            making.compare(cut.both, cut.left, cut.right)
    except ValueError as error:
        raise AccountingError(f"the ledger cannot be compared: {error}") from error
    making.settle()
    if sum(making.counts.values()) != snapshot.rows:
        raise AccountingError(
            f"{snapshot.path}: {snapshot.rows} rows, but classes {dict(making.counts)}"
        )
    return making.plan(hashes)


class _Making:
    """A plan as it grows, cut by cut."""

    def __init__(self, mode: Mode, hold_doubts: bool, again: pl.Series | None) -> None:
        self.counts: Counter[str] = Counter({"null_key": 0, "duplicate": 0})
        self._mode = mode
        self._again = pl.lit(False) if again is None else pl.col(KEY).is_in(again.implode())
        self._nobody_again = again is None
        self._class_of = _class_of(mode, hold_doubts)
        self._held = 0
        self._duplicates: list[str] = []
        self._open: list[pl.DataFrame] = []
        self._gone: list[pl.DataFrame] = []
        self._sends = [pl.DataFrame(schema={ROW: pl.UInt32, CLASS: CLASSES})]
        self._rest = [*self._sends]
        self._remotes = [pl.DataFrame(schema={ROW: pl.UInt32, REMOTE_ID: pl.String})]
        self._removes = [pl.DataFrame(schema=_REMOVES)]
        self._absent = [pl.Series(KEY, [], dtype=pl.String)]
        self._lapsed = [*self._absent]

    def rows_of(self, hashes: pl.LazyFrame) -> Iterator[pl.DataFrame]:
        """The snapshot's rows, numbered; those without a key are counted here."""
        first = 0
        for frame in slices(hashes):
            numbered = frame.with_row_index(ROW, offset=first)
            first += frame.height
            lacking = frame[KEY].null_count()
            if lacking:
                self.counts["null_key"] += lacking
                none = numbered.filter(pl.col(KEY).is_null())
                self._rest.append(_classed(none, pl.lit("null_key")))
                numbered = numbered.filter(pl.col(KEY).is_not_null())
            yield numbered

    def held_of(self, held: pl.LazyFrame) -> Iterator[pl.DataFrame]:
        """The ledger's rows; those that the destination holds are counted here."""
        for frame in batches(held):
            self._held += frame["old_hash"].count()
            yield frame

    def compare(self, both: pl.DataFrame, new: pl.DataFrame, gone: pl.DataFrame) -> None:
        """Rows whose keys are on both sides, in the snapshot alone, in the ledger alone."""
        if self._mode in _BY_CONTENT and self._nobody_again:
            # Nearly every row, nearly always: nothing of it needs a second look.
            same = (both[HASH] == both["old_hash"]).fill_null(False)
            for odd in (CLASS, "refused"):
                if both[odd].null_count() < both.height:
                    same &= both[odd].is_null()
            if both["maybe"].any():
                same &= ~both["maybe"].fill_null(False)
            self.counts["unchanged"] += int(same.sum())
            both = both.filter(~same)
        self._open += [both, new]
        self._gone.append(gone)
        if len(self._gone) >= CUTS_AT_ONCE:
            self.settle()

    def settle(self) -> None:
        """Judge what was put off."""
        if any(rows.height for rows in self._open):
            self._judge(pl.concat(self._open, how="diagonal"))
        if any(rows.height for rows in self._gone):
            self._left(pl.concat(self._gone))
        self._open, self._gone = [], []

    def _judge(self, rows: pl.DataFrame) -> None:
        twice = rows.filter(pl.col(CLASS) == "duplicate")
        if twice.height:
            # A key that stands twice counts by rows; it may be held, and stays as it is.
            self.counts["duplicate"] += twice.height
            names = [*self._duplicates, *twice[KEY].unique(maintain_order=True).head(5)]
            self._duplicates = list(dict.fromkeys(names))[:5]
            self._rest.append(_classed(twice, pl.col(CLASS)))
            rows = rows.filter(pl.col(CLASS).ne_missing("duplicate"))
        rows = rows.with_columns(self._again.alias(_AGAIN)).with_columns(self._class_of)
        self.counts.update(dict(rows[CLASS].value_counts().iter_rows()))
        sends = rows.filter(pl.col(CLASS).is_in(["add", "update"]))
        self._sends.append(_classed(sends, pl.col(CLASS)))
        known = sends.filter(pl.col("old_remote").is_not_null())
        remotes = known.select(ROW, pl.col("old_remote").alias(REMOTE_ID))
        self._remotes.append(_alone(remotes))
        idle = rows.filter(~pl.col(CLASS).is_in(["add", "update"]))
        if idle.is_empty():
            return
        self._rest.append(_classed(idle.filter(pl.col(CLASS) != "unchanged"), pl.col(CLASS)))
        out = pl.col(CLASS).is_in(_FILTERED)
        self._removes.append(_alone(_removed(idle.filter(out & _AT_DESTINATION))))
        lapsed = pl.col("refused").is_not_null() & ~(out & _AT_DESTINATION)
        ended = idle.filter((out | (pl.col(CLASS) == "unchanged")) & lapsed)
        self._lapsed.append(_alone(ended.select(KEY))[KEY])

    def _left(self, gone: pl.DataFrame) -> None:
        gone = _alone(gone)
        there = gone.filter(_AT_DESTINATION)
        self._absent.append(there[KEY])
        numbered = there.with_columns(pl.lit(None, dtype=pl.UInt32).alias(ROW))
        self._removes.append(_removed(numbered))
        self._lapsed.append(gone.filter(~_AT_DESTINATION)[KEY])

    def plan(self, hashes: pl.LazyFrame) -> Plan:
        removes = pl.concat(self._removes)
        return Plan(
            counts=dict(self.counts),
            sends=pl.concat(self._sends).sort(ROW),
            remote_ids=pl.concat(self._remotes),
            rest=pl.concat(self._rest),
            removes=removes if self._mode.removes else removes.clear(),
            absent=pl.concat(self._absent),
            lapsed=pl.concat(self._lapsed),
            held=self._held,
            duplicates=self._duplicates,
            hashes=hashes,
        )


_REMOVES: dict[str, pl.DataType] = {
    ROW: pl.UInt32(),
    **dict.fromkeys((KEY, HASH, REMOTE_ID), pl.String()),
}
_AT_DESTINATION = pl.col("old_hash").is_not_null() | pl.col("maybe").fill_null(False)


def _classed(rows: pl.DataFrame, name: pl.Expr) -> pl.DataFrame:
    return rows.select(ROW, name.cast(CLASSES).alias(CLASS))


def _removed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        ROW, KEY, pl.col("old_hash").alias(HASH), pl.col("old_remote").alias(REMOTE_ID)
    )


def _alone(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with strings of their own: those picked from a frame keep all strings of it in memory."""
    table: pa.Table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    return pl.DataFrame(table, schema=rows.schema)


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
