"""Lines of text out of blocks of bytes, numbered, in chunks of bounded size.

A chunk is a frame with one row per line that is not blank:

===========  ======  ===========================================================
column       dtype   meaning
===========  ======  ===========================================================
``line``     Int64   number of the line in the file, from 1, blank lines counted
``text``     String  the line, without surrounding blanks
``problem``  String  reason code if the bytes alone condemn the line, else null
``detail``   String  the problem in words, else null
===========  ======  ===========================================================
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from dagster_project.ingestion.streams import DamagedError

CHUNK_BYTES = 32 << 20
MAX_LINE_BYTES = 1 << 20
"""Longest call. Segment takes 32 KB (https://segment.com/docs/connections/spec/common/)."""
SHOWN_CHARACTERS = 4096
"""Kept of a line that is too long to be kept."""

SCHEMA: dict[str, pl.DataType] = {
    "line": pl.Int64(),
    "text": pl.String(),
    "problem": pl.String(),
    "detail": pl.String(),
}
_BOM = b"\xef\xbb\xbf"


def problem_row(line: int | None, text: str, problem: str, detail: str) -> pl.DataFrame:
    """A chunk of one condemned line."""
    return pl.DataFrame(
        {"line": [line], "text": [text], "problem": [problem], "detail": [detail]}, schema=SCHEMA
    )


def line_chunks(
    blocks: Iterable[bytes], chunk_bytes: int | None = None, max_line: int | None = None
) -> Iterator[pl.DataFrame]:
    """Cut blocks into chunks of whole lines; a break in the stream becomes the last line.

    Memory stays within a small multiple of ``chunk_bytes``, however long a line is.
    """
    chunk_bytes = chunk_bytes or CHUNK_BYTES
    max_line = max_line or MAX_LINE_BYTES
    parts: list[bytes] = []
    size, line, discarding, damage = 0, 1, False, None
    stream = iter(blocks)
    while True:
        try:
            block = next(stream, None)
        except DamagedError as error:
            damage, block = str(error), None
        if block is None:
            break
        if discarding:
            end = block.find(b"\n")
            if end < 0:
                continue
            block, discarding = block[end:], False
        parts.append(block)
        size += len(block)
        if size < chunk_bytes:
            continue
        data = b"".join(parts)
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            yield _frame(whole, line, max_line)
            line += whole.count(b"\n") + 1
        elif len(rest) > max_line:
            rest, discarding = rest[: max_line + 1], True
        parts, size = [rest], len(rest)
    data = b"".join(parts)
    if damage is None:
        if data:
            yield _frame(data, line, max_line)
        return
    whole, newline, rest = data.rpartition(b"\n")
    if newline:
        yield _frame(whole, line, max_line)
        line += whole.count(b"\n") + 1
    shown = rest[: SHOWN_CHARACTERS * 4].decode("utf-8", "backslashreplace")[:SHOWN_CHARACTERS]
    yield problem_row(line, shown.replace("\0", "\\x00"), "damaged_file", damage)


def _frame(data: bytes, first: int, max_line: int) -> pl.DataFrame:
    if first == 1:
        data = data.removeprefix(_BOM)
    lines = _split(data)
    try:
        # The cast only checks: neither it nor Polars copies what is UTF-8.
        text, intact = pl.Series(pl.from_arrow(lines.cast(pa.large_string()))), True
    except pa.ArrowInvalid:
        shown_text = data.decode("utf-8", "backslashreplace").encode()
        text = pl.Series(pl.from_arrow(_split(shown_text).cast(pa.large_string())))
        intact = False
    text = text.rename("text")
    frame = text.str.strip_chars(" \t\r").to_frame().with_row_index("line", offset=first)
    frame = frame.with_columns(
        pl.col("line").cast(pl.Int64),
        pl.lit(None, dtype=pl.String).alias("problem"),
        pl.lit(None, dtype=pl.String).alias("detail"),
    )
    if not intact:
        # A line that came out otherwise than it went in had such bytes.
        changed = pl.Series(pl.from_arrow(lines)) != text.cast(pl.Binary)
        shown = "bytes that are not UTF-8, shown as \\xNN"
        frame = _condemn(frame, changed, "not_utf8", f"the line has {shown}")
    if b"\0" in data:
        has_nul = frame["text"].str.contains("\0", literal=True)
        frame = _condemn(frame, has_nul, "nul_character", "the line has a NUL byte, shown as \\x00")
        frame = frame.with_columns(pl.col("text").str.replace_all("\0", "\\x00", literal=True))
    long = frame["text"].str.len_bytes() > max_line
    if long.any():
        frame = _condemn(frame, long, "too_long", f"the line has more than {max_line} bytes")
        cut = pl.when(long).then(pl.col("text").str.head(SHOWN_CHARACTERS)).otherwise("text")
        frame = frame.with_columns(cut.alias("text"))
    blank = (frame["text"] == "") & frame["problem"].is_null()
    return (frame.filter(~blank) if blank.any() else frame).select(*SCHEMA)


def _split(data: bytes) -> pa.LargeBinaryArray:
    offsets = pa.py_buffer(struct.pack("=qq", 0, len(data)))
    whole = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(data)])
    return pc.list_flatten(pc.split_pattern(whole, b"\n"))


def _condemn(frame: pl.DataFrame, guilty: pl.Series, problem: str, detail: str) -> pl.DataFrame:
    """Give the guilty rows that are not condemned yet this problem."""
    fresh = guilty & frame["problem"].is_null()
    return frame.with_columns(
        pl.when(fresh).then(pl.lit(problem)).otherwise("problem").alias("problem"),
        pl.when(fresh).then(pl.lit(detail)).otherwise("detail").alias("detail"),
    )
