"""Rows rendered by columns: JSON and plain text per value, files, and deliveries within limits.

Text forms are the same in every format: date-times are ISO 8601 in UTC
(``2026-01-02T03:04:05.000000Z``, naive ones are taken as UTC), decimals keep
all their digits (in JSON as strings), lists and structs are JSON, binary is
base64. JSON knows no NaN or infinity: they are written as null there.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from typing import Any, Literal

import polars as pl

from destinations.driver import KEY, META_COLUMNS, Capabilities, Delivery, Operation

OPERATION = "_operation"
FileFormat = Literal["csv", "jsonl", "parquet"]
DATE_TIME = "%Y-%m-%dT%H:%M:%S%.6fZ"


def mapped_fields(rows: pl.DataFrame) -> list[str]:
    """The mapped fields, in their order."""
    return [name for name in rows.columns if name not in META_COLUMNS]


def operation_problems(
    capabilities: Capabilities, operation: Operation, rows: pl.DataFrame
) -> pl.Series:
    """Null for every row, unless the destination lacks the operation altogether."""
    rule = None if operation in capabilities.operations else f"it has no operation '{operation}'"
    return pl.repeat(rule, rows.height, dtype=pl.String, eager=True).alias("problem")


def _plain(value: pl.Expr, dtype: Any) -> pl.Expr:
    """A value in types that JSON can say, nested ones included."""
    if isinstance(dtype, pl.Datetime):
        in_utc = value.dt.convert_time_zone("UTC") if dtype.time_zone else value
        return in_utc.dt.to_string(DATE_TIME)
    if isinstance(dtype, (pl.Time, pl.Duration)):
        return value.dt.to_string("iso")
    if isinstance(dtype, pl.Binary):
        return value.bin.encode("base64")
    if isinstance(dtype, (pl.Categorical, pl.Enum, pl.Null)):
        return value.cast(pl.String)
    if isinstance(dtype, pl.Array):
        return _plain(value.arr.to_list(), pl.List(dtype.inner))
    if isinstance(dtype, pl.List):
        return value.list.eval(_plain(pl.element(), dtype.inner))
    if isinstance(dtype, pl.Struct):
        parts = [
            _plain(value.struct.field(part.name), part.dtype).alias(part.name)
            for part in dtype.fields
        ]
        return pl.when(value.is_not_null()).then(pl.struct(parts))
    return value


def json_ready(rows: pl.DataFrame) -> pl.DataFrame:
    """The same columns in types that JSON can say."""
    return rows.select(
        _plain(pl.col(name), dtype).alias(name) for name, dtype in rows.schema.items()
    )


def text_ready(rows: pl.DataFrame) -> pl.DataFrame:
    """The same columns as numbers, booleans and text; nested values as JSON text."""
    plain = json_ready(rows)
    return plain.select(
        _nested_text(name) if dtype.is_nested() else pl.col(name)
        for name, dtype in plain.schema.items()
    )


def _nested_text(name: str) -> pl.Expr:
    """Only structs encode to JSON: ``{"v":...}`` around any value is cut off again."""
    encoded = pl.struct(pl.col(name).alias("v")).struct.json_encode()
    bare = encoded.str.slice(len('{"v":')).str.head(-1)
    return pl.when(pl.col(name).is_not_null()).then(bare).alias(name)


def json_objects(rows: pl.DataFrame) -> pl.Series:
    """One JSON object per row (String), all columns as keys, nulls as null."""
    plain = json_ready(rows)
    return plain.select(pl.struct(plain.columns).struct.json_encode().alias("json")).to_series()


def labelled(operation: Operation, rows: pl.DataFrame) -> pl.DataFrame:
    """``_operation``, ``_key`` and the mapped fields: what a file's or topic's reader needs."""
    return rows.select(
        pl.lit(operation.value).alias(OPERATION), pl.col(KEY), *map(pl.col, mapped_fields(rows))
    )


def file_bytes(frame: pl.DataFrame, file_format: FileFormat, compress: bool) -> bytes:
    """The frame as one file, gzipped if asked (the same bytes for the same rows)."""
    buffer = io.BytesIO()
    if file_format == "parquet":
        frame.write_parquet(buffer, compression="zstd")
    elif file_format == "jsonl":
        json_ready(frame).write_ndjson(buffer)
    else:
        text_ready(frame).write_csv(buffer)
    content = buffer.getvalue()
    return gzip.compress(content, mtime=0) if compress else content


def file_suffix(file_format: FileFormat, compress: bool) -> str:
    return f".{file_format}.gz" if compress else f".{file_format}"


def within_limits(
    operation: Operation,
    rows: pl.DataFrame,
    render: Callable[[pl.DataFrame], tuple[Any, int]],
    max_rows: int,
    max_bytes: int | None = None,
) -> Iterator[Delivery]:
    """Deliveries of at most ``max_rows`` rows and ``max_bytes`` rendered bytes, in order.

    A single row over ``max_bytes`` still makes a delivery: refusing it is the
    destination's to say. ``render`` gives the payload and its size in bytes.
    """
    if rows.is_empty():
        return
    waiting = [rows.slice(start, max_rows) for start in range(0, rows.height, max_rows)][::-1]
    while waiting:
        part = waiting.pop()
        payload, size = render(part)
        if max_bytes is not None and size > max_bytes and part.height > 1:
            half = part.height // 2
            waiting += [part.slice(half), part.slice(0, half)]
        else:
            yield Delivery(operation, part, payload, size)
