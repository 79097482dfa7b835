"""Reads the rows of a plan back from Parquet, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from destinations.driver import HASH, ID, KEY, META_COLUMNS, REMOTE_ID
from destinations.sync.config import SyncConfig
from destinations.sync.content import with_hash
from destinations.sync.fields import mapped
from destinations.sync.hashes import CLASS
from destinations.sync.marks import MARK
from destinations.sync.plan import ROW, Plan
from destinations.sync.snapshot import Snapshot

CHUNK_ROWS = 50_000
WINDOW_ROWS = 100_000
"""Rows of a snapshot read at once, however few of them are sent."""


def rows_to_send(
    plan: Plan,
    change: str,
    snapshot: Snapshot,
    config: SyncConfig,
    size: int = CHUNK_ROWS,
) -> Iterator[pl.DataFrame]:
    """Rows of one change of a plan, with their fields; what drivers take lacks only ``_id``.

    Removes whose row is in the snapshot no longer are passed over.
    """
    scan = snapshot.scan()
    fields = mapped(config, change, scan.collect_schema())
    if change == "remove":
        chosen = plan.removes.filter(pl.col(ROW).is_not_null()).sort(ROW)
    else:
        chosen = plan.sends.filter(pl.col(CLASS) == change).select(ROW)
    ready: list[pl.DataFrame] = []
    count = 0
    for first, part in _windows(chosen):
        # Not a plain select: constants alone would make one row of many.
        rows = _at(scan.with_columns(fields).select(*config.mapping), first, part)
        if change == "remove":
            named = part.select(KEY, HASH, REMOTE_ID)
        else:
            known = part.join(plan.remote_ids, on=ROW, how="left", maintain_order="left")
            named = _at(plan.hashes.select(KEY, HASH), first, part).hstack(known.select(REMOTE_ID))
        ready.append(named.hstack(rows))
        count += part.height
        if count >= size:
            together = pl.concat(ready)
            whole = count - count % size
            yield from together.head(whole).iter_slices(size)
            ready, count = [together.slice(whole)], count - whole
    if count:
        yield pl.concat(ready)


def _windows(chosen: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """``chosen`` (sorted by ``_row``) by stretches of the snapshot, each with its first row."""
    at = 0
    while at < chosen.height:
        first = int(chosen[ROW][at])
        first -= first % WINDOW_ROWS
        end = int(chosen[ROW].search_sorted(first + WINDOW_ROWS, side="left"))
        yield first, chosen.slice(at, end - at)
        at = end


def _at(rows: pl.LazyFrame, first: int, part: pl.DataFrame) -> pl.DataFrame:
    """The rows of a stretch that ``part`` numbers."""
    stretch = rows.slice(first, WINDOW_ROWS).collect(engine="streaming")
    return stretch if part.height == stretch.height else stretch[part[ROW] - first]


def leavers_to_send(
    wanted: pl.DataFrame, leavers: pl.DataFrame, config: SyncConfig, size: int = CHUNK_ROWS
) -> Iterator[pl.DataFrame]:
    """Removes whose row is in the snapshot no longer, with their last known fields."""
    chosen = wanted.filter(pl.col(ROW).is_null())
    rows = chosen.join(leavers, on=KEY, how="left", maintain_order="left")
    fields = mapped(config, "remove", leavers.schema)
    yield from rows.select(KEY, HASH, REMOTE_ID, *fields).iter_slices(size)


def with_ids(
    rows: pl.DataFrame, change: str, snapshot: Snapshot, marks: pl.DataFrame | None = None
) -> pl.DataFrame:
    """``rows`` with ``_id``: key, content, what changes, and the rows it follows from.

    The occasion is the version since which the audience stands as it does: a second try on
    the same rows gives the same ids, even when a build published them again meanwhile; a
    person who left and comes back gets another, and so does a row that is sent again because
    somebody asked for it (``marks``): a destination must not take it for a mere second try.
    """
    occasion = {"_change": pl.lit(change), "_since": pl.lit(snapshot.since)}
    if marks is not None:
        rows = rows.join(marks, on=KEY, how="left", maintain_order="left")
        asked = pl.when(pl.col(MARK).is_not_null()).then(pl.concat_str(pl.lit("/"), MARK))
        occasion["_since"] = pl.concat_str(pl.lit(snapshot.since), asked.otherwise(pl.lit("")))
    parts: dict[str, pl.DataType] = dict.fromkeys((KEY, HASH, *occasion), pl.String())
    named = rows.lazy().with_columns(**occasion).pipe(with_hash, parts, ID)
    unsent = {*META_COLUMNS, *occasion, *((MARK,) if marks is not None else ())}
    return named.select(*META_COLUMNS, pl.exclude(*unsent)).collect()


def leavers_of(
    absent: pl.Series,
    config: SyncConfig,
    seen: pl.LazyFrame | None,
    leavers: pl.LazyFrame | None,
) -> pl.DataFrame:
    """Last known audience columns of held rows that left: ``_key`` and every mapped column.

    They stand in the snapshot of the run before, or among its leavers; what is in neither
    is known by its key alone.
    """
    columns = sorted(set(config.columns.values()))
    found = pl.DataFrame(absent.alias(KEY))
    wanted = found.lazy()
    sources = []
    if found.is_empty():
        seen = leavers = None
    # What a leaver was sent last counts, also where the audience said otherwise meanwhile.
    if leavers is not None:
        sources.append(leavers)
    if seen is not None:
        keyed = seen.with_columns(pl.col(config.key).cast(pl.String).alias(KEY))
        sources.append(keyed)
    parts = []
    for source in sources:
        known = [name for name in columns if name in source.collect_schema()]
        part = source.select(KEY, *known).join(wanted, on=KEY, how="semi")
        parts.append(part.unique(KEY, keep="first").collect(engine="streaming"))
    if parts:
        rows = pl.concat(parts, how="diagonal_relaxed").unique(
            KEY, keep="first", maintain_order=True
        )
        found = found.join(rows, on=KEY, how="left", maintain_order="left")
    if config.key in columns:
        key = pl.col(KEY)
        if config.key in found.columns:
            key = key.cast(found.schema[config.key], strict=False)
            found = found.with_columns(pl.col(config.key).fill_null(key))
        else:
            found = found.with_columns(key.alias(config.key))
    missing = [name for name in columns if name not in found.columns]
    return found.with_columns(pl.lit(None).alias(name) for name in missing)
