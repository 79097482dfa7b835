"""Files that appear in the landing zone in one step, whole and always with the same bytes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import polars as pl
import pyarrow.parquet
import zstandard

Append = Callable[[pl.DataFrame], object]
"""Adds rows to a file that is being written."""


@contextmanager
def appearing(path: Path) -> Iterator[IO[bytes]]:
    """A file written under a dot-name that no reader takes, then renamed; none if it stays empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        yield file
    if partial.stat().st_size:
        partial.replace(path)
    else:
        # Of an earlier run with other people: collectors write no file of a day without calls.
        path.unlink(missing_ok=True)
        partial.unlink()


def _lines(rows: pl.DataFrame, separator: str = ",", quoted: bool = True) -> memoryview:
    buffer = io.BytesIO()
    rows.write_csv(
        buffer,
        include_header=False,
        separator=separator,
        quote_style="necessary" if quoted else "never",
        datetime_format="%Y-%m-%dT%H:%M:%SZ",
    )
    return buffer.getbuffer()


def as_text(rows: pl.DataFrame) -> memoryview:
    """The single text column of ``rows``, one line each, as it stands."""
    return _lines(rows, quoted=False)


def zipped(text: bytes | memoryview) -> bytes:
    """Compress with gzip, without a clock in its header, so that the same text is the same file."""
    return gzip.compress(text, compresslevel=1, mtime=0)


@contextmanager
def gzip_lines(path: Path) -> Iterator[Append]:
    """Rows of one text column as gzip members, one per slice: readers take them as one text."""
    with appearing(path) as file:
        yield lambda rows: file.write(zipped(as_text(rows))) if rows.height else 0


@contextmanager
def zstd_lines(path: Path) -> Iterator[Append]:
    """Rows of one text column as zstd frames, one per slice: readers take them as one text."""
    compressor = zstandard.ZstdCompressor(level=3)
    with appearing(path) as file:
        yield lambda rows: file.write(compressor.compress(as_text(rows))) if rows.height else 0


@contextmanager
def csv(path: Path, columns: list[str]) -> Iterator[Append]:
    with appearing(path) as file:
        file.write((",".join(columns) + "\n").encode())
        yield lambda rows: file.write(_lines(rows))


@contextmanager
def parquet(path: Path, empty: pl.DataFrame) -> Iterator[Append]:
    """One row group per slice, in the columns of ``empty``."""
    with (
        appearing(path) as file,
        pyarrow.parquet.ParquetWriter(
            cast("str", file), empty.to_arrow().schema, compression="zstd"
        ) as writer,
    ):
        yield lambda rows: writer.write_table(rows.to_arrow())
