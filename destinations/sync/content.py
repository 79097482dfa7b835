"""Content hashes: the same values give the same hash in every run and with every library version.

A row's hash is the first 32 hex digits of SHA-256 over a canonical text that stands
here in full, so that it can be recomputed anywhere (``hashlib``, DuckDB's ``sha256``)::

    <8 hex digits of SHA-256 over the JSON list of field names, sorted>
    then per field, in that order:  ~  where null, else  <bytes of text>:<text>

The lengths keep values from running into each other ("ab","c" is not "a","bc").
The names are part of it, so that a changed mapping changes every row.
"""

from __future__ import annotations

import hashlib

import orjson
import polars as pl
import polars_hash as plh

_TEXT = "__canonical"


def canonical(name: str, dtype: pl.DataType) -> pl.Expr:
    """Text of a column that depends on its values alone (String, null where null).

    Booleans 0/1; floats as the bits of their 64-bit form (how floats are printed may
    change, bits do not); dates as days, times and date-times as whole microseconds (UTC)
    since midnight or 1970; binary as hex; lists and structs as JSON.
    """
    column = pl.col(name)
    if dtype.is_float():
        # One zero and one NaN: their signs and payloads are nothing a destination is told.
        real = (
            pl.when(column == 0).then(0.0).otherwise(column.cast(pl.Float64)).fill_nan(float("nan"))
        )
        return real.reinterpret(dtype=pl.UInt64).cast(pl.String)
    if dtype == pl.Boolean:
        return column.cast(pl.Int8).cast(pl.String)
    if dtype == pl.Date:
        return column.cast(pl.Int32).cast(pl.String)
    if isinstance(dtype, pl.Datetime):
        return column.dt.timestamp("us").cast(pl.String)
    if isinstance(dtype, pl.Duration):
        return column.dt.total_microseconds().cast(pl.String)
    if dtype == pl.Time:
        return (column.cast(pl.Int64) // 1000).cast(pl.String)
    if dtype == pl.Binary:
        return column.bin.encode("hex")
    if dtype.is_nested():
        wrapped = pl.struct(column.alias("v")).struct.json_encode()
        return pl.when(column.is_null()).then(None).otherwise(wrapped)
    return column.cast(pl.String)


def canonical_row(schema: dict[str, pl.DataType]) -> pl.Expr:
    """The canonical text of whole rows (String, never null)."""
    names = sorted(schema)
    head = hashlib.sha256(orjson.dumps(names)).hexdigest()[:8]
    pieces = []
    for name in names:
        text = canonical(name, schema[name])
        length = text.str.len_bytes().cast(pl.String)
        pieces.append(
            pl.when(text.is_null())
            .then(pl.lit("~"))
            .otherwise(pl.concat_str([length, pl.lit(":"), text]))
        )
    return pl.concat_str([pl.lit(head), *pieces])


def with_hash(frame: pl.LazyFrame, schema: dict[str, pl.DataType], name: str) -> pl.LazyFrame:
    """``frame`` with the content hash of the columns in ``schema`` as column ``name`` (String)."""
    text = frame.with_columns(canonical_row(schema).alias(_TEXT))
    return text.with_columns(plh.col(_TEXT).chash.sha2_256().str.head(32).alias(name)).drop(_TEXT)


def frame_digest(frame: pl.LazyFrame) -> str:
    """One digest for a set of rows, whatever their order (32 hex digits, in one streaming pass).

    Row hashes (xxHash64, two seeds) are added up in halves of 32 bits, which cannot
    overflow before four billion rows, and the sums are hashed with names and row count.
    """
    schema = dict(frame.collect_schema())
    text = frame.select(canonical_row(schema).alias(_TEXT))
    hashed = text.select(
        plh.col(_TEXT).nchash.xxh3_64(seed=0).alias("a"),
        plh.col(_TEXT).nchash.xxh3_64(seed=1).alias("b"),
    )
    half = pl.lit(1 << 32, dtype=pl.UInt64)
    sums = hashed.select(
        pl.len().alias("rows"),
        *((pl.col(c) // half).sum().alias(f"{c}_high") for c in "ab"),
        *((pl.col(c) % half).sum().alias(f"{c}_low") for c in "ab"),
    ).collect(engine="streaming")
    document = [sorted((name, str(dtype)) for name, dtype in schema.items()), sums.row(0)]
    return hashlib.sha256(orjson.dumps(document)).hexdigest()[:32]
