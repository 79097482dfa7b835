"""Two streams sorted by key, side by side, a bounded number of rows at a time.

A join would hash both sides whole and hold one of them. Here both are cut at the same keys,
and within a cut the rows that both have are found by 64-bit hashes of the keys and then
compared as they stand: what remains of both sides must be equal, key by key, or a real join
decides. So nothing rests on a hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from destinations.driver import KEY

CHUNK_ROWS = 100_000


@dataclass(frozen=True)
class Cut:
    """Rows of both sides between two keys, each side in its order.

    ``both`` holds the columns of left and right for keys that both have; ``left`` and
    ``right`` what the other side lacks.
    """

    both: pl.DataFrame
    left: pl.DataFrame
    right: pl.DataFrame


def aligned(left: Iterator[pl.DataFrame], right: Iterator[pl.DataFrame]) -> Iterator[Cut]:
    """Go through two streams of frames; no key is null, and in ``right`` none stands twice.

    Args:
        left, right: sorted by ``_key``, no other column common to both; each gives at least one
            frame, be it empty (see :func:`batches`).

    Raises:
        ValueError: ``right`` is out of order or names a key twice.
    """
    ours, theirs = _Side(left), _Side(right, strict=True)
    while ours.rows is not None or theirs.rows is not None:
        # Up to the smaller last key both sides are known whole, whatever comes next.
        last = min(side.last for side in (ours, theirs) if side.last is not None)
        yield _cut(ours.take(last), theirs.take(last))


def batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """``rows`` in their order, a bounded number at a time, after an empty frame of their schema."""
    yield pl.DataFrame(schema=rows.collect_schema())
    yield from rows.collect_batches(chunk_size=CHUNK_ROWS, maintain_order=True, engine="streaming")


def slices(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """:func:`batches` for what stands in one file: nothing is read ahead."""
    yield pl.DataFrame(schema=rows.collect_schema())
    first = 0
    while (frame := rows.slice(first, CHUNK_ROWS).collect(engine="streaming")).height:
        yield frame
        first += CHUNK_ROWS


class _Side:
    """One stream; ``rows`` is what was read of it and not taken yet, None at its end."""

    def __init__(self, frames: Iterator[pl.DataFrame], strict: bool = False) -> None:
        self._frames = frames
        self._strict = strict
        self._before: str | None = None
        self.rows: pl.DataFrame | None = next(frames)
        self._empty = self.rows.clear()
        if self.rows.is_empty():
            self._next()

    @property
    def last(self) -> str | None:
        return None if self.rows is None else self.rows[KEY][-1]

    def take(self, upto: str) -> pl.DataFrame:
        """Rows with keys up to ``upto``, at most all that were read."""
        if self.rows is None:
            return self._empty
        count = int(self.rows[KEY].search_sorted(upto, side="right"))
        taken, self.rows = self.rows.head(count), self.rows.slice(count)
        if self.rows.is_empty():
            self._next()
        return taken

    def _next(self) -> None:
        self.rows = None
        for frame in self._frames:
            if frame.height:
                self._check(frame[KEY])
                self.rows = frame
                return

    def _check(self, keys: pl.Series) -> None:
        if not self._strict:
            return
        first = self._before is None or keys[0] > self._before
        if not first or not (keys.head(-1) < keys.slice(1)).all():
            raise ValueError("keys are out of order, or one stands twice")
        self._before = keys[-1]


def _cut(left: pl.DataFrame, right: pl.DataFrame) -> Cut:
    ours, theirs = left[KEY].hash(), right[KEY].hash()
    in_both, in_ours = ours.is_in(theirs.implode()), theirs.is_in(ours.implode())
    known, found = left.filter(in_both), right.filter(in_ours)
    if known[KEY].equals(found[KEY]):
        return Cut(known.hstack(found.drop(KEY)), left.filter(~in_both), right.filter(~in_ours))
    # A key stands twice on the left, or two keys share a hash.
    return Cut(
        left.join(right, on=KEY, how="inner", maintain_order="left"),
        left.join(right, on=KEY, how="anti", maintain_order="left"),
        right.join(left, on=KEY, how="anti", maintain_order="left"),
    )
