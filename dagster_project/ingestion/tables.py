"""Rows of CSV and Parquet files, numbered, in chunks of bounded size.

The number of a row stands in the column ``_line``: in Parquet it is the row's ordinal from 1; in
CSV the header is line 1 and every record one more, so that it is the line of the file unless
values hold line breaks or lines are empty. CSV values are text, and an empty one is null.
"""

# ruff: noqa: S608 - SQL is built of quoted names and checked expressions, in a locked session
from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from dagster_project.ingestion.engine import identifier, open_engine, query
from dagster_project.ingestion.lines import SHOWN_CHARACTERS, problem_row
from dagster_project.ingestion.streams import BLOCK, DamagedError, read_blocks

LINE = "_line"
PARQUET_ROWS = 65_536
CSV_BLOCK = 8 << 20
"""Also the longest CSV record."""
_DELIMITERS = ",;\t|"


class UnreadableError(Exception):
    """Nothing of the file can be read as what it is meant to be."""


def parquet_rows(path: Path) -> Iterator[tuple[pl.DataFrame, pl.DataFrame | None]]:
    """Chunks of rows with ``_line``, each beside the rows condemned on the way (see :mod:`.lines`).

    Raises:
        UnreadableError: before the first chunk.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError(f"it is no readable Parquet file: {_first_line(error)}") from None
    _check_names(file.schema_arrow.names)
    line = 1
    batches = file.iter_batches(PARQUET_ROWS)
    while True:
        try:
            batch = next(batches, None)
            frame = None if batch is None else pl.DataFrame(pl.from_arrow(pa.table(batch)))
        except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as error:
            empty = pl.DataFrame(schema={LINE: pl.Int64})
            yield empty, problem_row(line, "", "damaged_file", _first_line(error))
            return
        if frame is None:
            break
        numbers = pl.int_range(line, line + pl.len(), dtype=pl.Int64).alias(LINE)
        yield frame.with_columns(numbers), None
        line += len(frame)
    if line == 1:
        empty = pl.DataFrame(pl.from_arrow(file.schema_arrow.empty_table()))
        yield empty.with_columns(pl.lit(None, dtype=pl.Int64).alias(LINE)), None


def csv_rows(path: Path) -> Iterator[tuple[pl.DataFrame, pl.DataFrame | None]]:
    """As :func:`parquet_rows`; the delimiter is the one of ``, ; tab |`` most used in the header.

    Raises:
        UnreadableError: there is no usable header, or a record cannot be told from the next.
    """
    stream = _Stream(path)
    header = stream.readline()
    try:
        text = header.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UnreadableError("the header is not UTF-8") from None
    delimiter = max(_DELIMITERS, key=text.count)
    names = [name.strip() for name in next(csv.reader([text], delimiter=delimiter), [])]
    _check_names(names)
    if all(name == "" for name in names):
        raise UnreadableError("the first line is empty; it must name the columns")
    condemned: list[tuple[int, str, str]] = []

    def note(row: pa.csv.InvalidRow) -> str:
        detail = f"the row has {row.actual_columns} fields, the header {row.expected_columns}"
        text = row.text[:SHOWN_CHARACTERS].replace("\0", "\\x00")
        condemned.append((row.number + 1, text, detail))
        return "skip"

    line, skipped = 2, set[int]()
    for batch, failure in _csv_batches(stream, names, delimiter, note):
        # The reader parses ahead of what it hands out: a number may belong to the next batch.
        skipped |= {number for number, _, _ in condemned}
        problems = [problem_row(number, text, "bad_row", why) for number, text, why in condemned]
        condemned.clear()
        if batch is None:
            line = max(line, *(number + 1 for number in skipped), 0)
            if broken := failure or stream.damage:
                shown = stream.cut_off.decode("utf-8", "backslashreplace")[:SHOWN_CHARACTERS]
                shown = shown.replace("\0", "\\x00")
                problems.append(problem_row(line, shown, "damaged_file", broken))
            rows = pl.DataFrame(schema={**dict.fromkeys(names, pl.String), LINE: pl.Int64})
        else:
            span = batch.num_rows + len(skipped)
            numbers = pl.Series(LINE, range(line, line + span), dtype=pl.Int64)
            numbers = numbers.filter(~numbers.is_in(list(skipped))).head(batch.num_rows)
            line = numbers[-1] + 1 if len(numbers) else line
            skipped = {number for number in skipped if number >= line}
            rows, bad = _texts(pl.DataFrame(pl.from_arrow(pa.table(batch))), numbers)
            problems.append(bad)
        yield rows, pl.concat(problems) if problems else None


def _csv_batches(
    stream: _Stream, names: list[str], delimiter: str, note: Callable[[pa.csv.InvalidRow], str]
) -> Iterator[tuple[pa.RecordBatch | None, str | None]]:
    """Record batches of binary columns; at the end None, with the reason if it broke off."""
    try:
        reader = pa.csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            read_options=pa.csv.ReadOptions(
                use_threads=False, block_size=CSV_BLOCK, column_names=names
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()), check_utf8=False
            ),
        )
        for batch in reader:
            yield batch, None
    except pa.ArrowException as error:
        if "Empty CSV file" not in str(error):
            yield None, f"the CSV cannot be read on: {_first_line(error)}"
            return
    yield None, None


def _texts(rows: pl.DataFrame, numbers: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Binary columns as text, empty as null; rows that are not UTF-8 or hold a NUL stand apart."""
    names = rows.columns
    try:
        texts = rows.with_columns(pl.all().cast(pl.String))
        not_utf8 = pl.repeat(False, len(rows), eager=True)
    except pl.exceptions.PolarsError:
        decoded = ", ".join(
            f"try(decode({identifier(name)})) as {identifier(name)}" for name in names
        )
        with open_engine() as engine:
            texts = query(engine, f"select {decoded} from rows", rows=rows)
        not_utf8 = texts.select(pl.any_horizontal(pl.all().is_null())).to_series()
    nul = texts.select(pl.any_horizontal(pl.all().str.contains("\0", literal=True))).to_series()
    nul = nul.fill_null(False)
    texts = texts.with_columns(pl.all().replace("", None), numbers)
    problem = pl.when(not_utf8).then(pl.lit("not_utf8")).otherwise(pl.lit("nul_character"))
    detail = (
        pl.when(not_utf8)
        .then(pl.lit("the row has a value that is not UTF-8, left out here"))
        .otherwise(pl.lit("the row has a NUL byte, shown as \\x00"))
    )
    shown = pl.struct(names).struct.json_encode().str.replace_all("\\u0000", "\\x00", literal=True)
    bad = texts.select(
        pl.col(LINE).alias("line"),
        shown.alias("text"),
        problem.alias("problem"),
        detail.alias("detail"),
    ).filter(not_utf8 | nul)
    return texts.filter(~(not_utf8 | nul)), bad


def _check_names(names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise UnreadableError(f"two columns are named '{name}' (case does not count)")
        if name.lower() == LINE:
            raise UnreadableError(f"a column is named '{LINE}', which stands for the row's number")
        seen.add(name.lower())


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]


class _Stream:
    """Blocks as the file that the CSV reader asks for; ends before a row that was cut off."""

    closed = False

    def __init__(self, path: Path) -> None:
        self._blocks = read_blocks(path)
        self._buffer = b""
        self.damage: str | None = None
        self.cut_off = b""

    def _fill(self) -> bool:
        if self.damage:
            return False
        try:
            block = next(self._blocks, b"")
        except DamagedError as error:
            self.damage = str(error)
            whole, newline, self.cut_off = self._buffer.rpartition(b"\n")
            self._buffer = whole + newline
            return False
        self._buffer += block
        return bool(block)

    def readline(self) -> bytes:
        while b"\n" not in self._buffer and len(self._buffer) < CSV_BLOCK and self._fill():
            pass
        first, newline, self._buffer = self._buffer.partition(b"\n")
        return first + newline

    def read(self, size: int = -1) -> bytes:
        # One block more than asked for is kept back, so that a cut row is still in hand.
        while len(self._buffer) < size + BLOCK and self._fill():
            pass
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._blocks = iter(())
