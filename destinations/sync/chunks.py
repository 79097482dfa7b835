"""Reads the rows of a plan back from Parquet, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from destinations.driver import HASH, ID, KEY, META_COLUMNS, REMOTE_ID
from destinations.sync.config import SyncConfig
from destinations.sync.content import with_hash
from destinations.sync.marks import MARK
from destinations.sync.plan import CLASS, ROW, mapped
from destinations.sync.snapshot import Snapshot

CHUNK_ROWS = 50_000


def rows_to_send(
    wanted: pl.DataFrame,
    change: str,
    snapshot: Snapshot,
    config: SyncConfig,
    size: int = CHUNK_ROWS,
) -> Iterator[pl.DataFrame]:
    """Rows of one class of a plan, with their fields; what drivers take lacks only ``_id``.

    Args:
        wanted: ``Plan.sends`` or ``Plan.removes``; rows without ``_row`` are passed over.
    """
    chosen = wanted.filter((pl.col(CLASS) == change) & pl.col(ROW).is_not_null()).sort(ROW)
    scan = snapshot.scan()
    fields = mapped(config, change, scan.collect_schema())
    for chunk in chosen.iter_slices(size):
        first = chunk[ROW][0]
        span = scan.slice(first, chunk[ROW][-1] - first + 1)
        numbered = span.with_row_index(ROW, offset=first).select(ROW, *fields)
        yield (
            numbered.join(chunk.lazy(), on=ROW, how="inner", maintain_order="left")
            .select(KEY, HASH, REMOTE_ID, *config.mapping)
            .collect(engine="streaming")
        )


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
    if seen is not None:
        keyed = seen.with_columns(pl.col(config.key).cast(pl.String).alias(KEY))
        sources.append(keyed)
    if leavers is not None:
        sources.append(leavers)
    parts = []
    for source in sources:
        known = [name for name in columns if name in source.collect_schema()]
        part = source.select(KEY, *known).join(wanted, on=KEY, how="semi")
        parts.append(part.unique(KEY, keep="first").collect(engine="streaming"))
    if parts:
        rows = pl.concat(parts, how="diagonal_relaxed").unique(KEY, keep="first")
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
