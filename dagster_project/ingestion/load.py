"""One landing file into one load: read, judge, write, account."""

# ruff: noqa: S608 - SQL is built of quoted names and checked expressions, in a locked session
from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from dagster_project.ingestion import raw_zone
from dagster_project.ingestion.calls import KEYS, classify
from dagster_project.ingestion.engine import Connection, identifier, literal, open_engine, query
from dagster_project.ingestion.lines import line_chunks, problem_row
from dagster_project.ingestion.mapping import (
    MappingError,
    Tally,
    add_json_rows,
    add_rows,
    count_filtered,
    make_calls,
)
from dagster_project.ingestion.sources import Source
from dagster_project.ingestion.streams import read_blocks
from dagster_project.ingestion.tables import LINE, UnreadableError, csv_rows, parquet_rows

BUFFER_BYTES = 64 << 20
NO_ROW = (
    "bad_json", "not_an_object", "not_utf8", "nul_character", "too_long", "damaged_file",
)  # fmt: skip
"""Reasons for which a line of JSON is no row that a mapping could be applied to."""
REPEATED = ("type", "event", "source", "file", "file_digest", "reason", "detail", "loaded_at")
"""Columns of the raw zone worth a dictionary; in the others it costs half the time of writing."""


@dataclass(frozen=True)
class LandedFile:
    """A version of a file in the landing zone."""

    name: str
    """Path relative to the landing zone."""
    path: Path
    source: Source
    digest: str
    bytes: int
    stamp: str
    """See :func:`.landing.stamp_of`."""


@dataclass
class Counts:
    """What became of a file's rows; see :mod:`.raw_zone` for the identities."""

    lines: int = 0
    events: int = 0
    rejected: int = 0
    mapped: int = 0
    filtered: int = 0
    rejected_lines: int = 0


class LoadWriter:
    """The four files of a load in the making, and the scratch database beside them."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self.folder = folder
        self.now = now
        self.engine = open_engine(folder.parent / "rows.duckdb")
        self.rejected_by_reason: dict[str, int] = {}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._buffers: dict[str, list[pa.Table]] = {
            name: [_table(pl.DataFrame(schema=schema))] for name, schema in raw_zone.TABLES.items()
        }
        self._sizes = dict.fromkeys(raw_zone.TABLES, 0)
        self.rows = dict.fromkeys(raw_zone.TABLES, 0)

    def add(self, table: str, frame: pl.DataFrame) -> int:
        """Append rows; columns that the frame lacks are null. Returns how many."""
        schema = raw_zone.TABLES[table]
        missing = [
            pl.lit(None, dtype=t).alias(n) for n, t in schema.items() if n not in frame.columns
        ]
        frame = frame.with_columns(missing).select(pl.col(n).cast(t) for n, t in schema.items())
        self._buffers[table].append(_table(frame))
        self._sizes[table] += self._buffers[table][-1].nbytes
        self.rows[table] += len(frame)
        if self._sizes[table] > BUFFER_BYTES:
            self._flush(table)
        return len(frame)

    def add_events(self, frame: pl.DataFrame, source: str, file: str) -> int:
        stamped = frame.with_columns(
            pl.lit(source).alias("source"),
            pl.lit(file).alias("file"),
            pl.lit(self.now).alias("loaded_at"),
        )
        return self.add("events", stamped)

    def add_rejected(self, frame: pl.DataFrame, file: LandedFile) -> int:
        """Append rejections: ``line``, ``reason``, ``detail``, ``raw``."""
        for reason, count in frame.group_by("reason").len().iter_rows():
            self.rejected_by_reason[reason] = self.rejected_by_reason.get(reason, 0) + count
        stamped = frame.with_columns(
            pl.lit(file.source.name).alias("source"),
            pl.lit(file.name).alias("file"),
            pl.lit(file.digest).alias("file_digest"),
            pl.lit(self.now).alias("rejected_at"),
        )
        return self.add("rejected", stamped)

    def finish(self) -> None:
        """Write out what is buffered; the four files are complete then."""
        for table in raw_zone.TABLES:
            self._flush(table)
            self._writers.pop(table).close()

    def __enter__(self) -> LoadWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()
        for writer in self._writers.values():
            writer.close()

    def _flush(self, table: str) -> None:
        rows = pa.concat_tables(self._buffers[table])
        if table not in self._writers:
            path = self.folder / f"{table}.parquet"
            repeated = [name for name in rows.schema.names if name in REPEATED]
            self._writers[table] = pq.ParquetWriter(
                path, rows.schema, compression="zstd", use_dictionary=repeated
            )
        self._writers[table].write_table(rows)
        self._buffers[table], self._sizes[table] = [rows.schema.empty_table()], 0


def _table(frame: pl.DataFrame) -> pa.Table:
    """A copy of the rows alone: a frame keeps all the text of the chunk that it was chosen from."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def digest_of(path: Path) -> str:
    """SHA-256 of the file as it lies there, compressed or not."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_file(file: LandedFile, writer: LoadWriter) -> Counts:
    """Read one file into the load, with its row in files.parquet.

    What cannot be read at all is one rejection without a line, and counts as one line.

    Raises:
        OSError: the file cannot be opened any more.
    """
    try:
        counts = read_file(file, writer)
    except WholeFileError as error:
        row = problem_row(None, "", error.reason, str(error))
        rejected = writer.add_rejected(row.rename({"problem": "reason", "text": "raw"}), file)
        counts = Counts(lines=1, rejected=rejected, rejected_lines=1)
    add_file_row(file, counts, writer)
    return counts


def add_file_row(file: LandedFile, counts: Counts, writer: LoadWriter) -> None:
    """Put the file's account into files.parquet, once it adds up."""
    account(file.name, counts, file.source)
    row = {
        "source": file.source.name,
        "file": file.name,
        "digest": file.digest,
        "bytes": file.bytes,
        **vars(counts),
        "loaded_at": writer.now,
    }
    writer.add("files", pl.DataFrame([row], schema=raw_zone.FILES))


def account(file: str, counts: Counts, source: Source) -> None:
    """Assert that no row of the file is missing.

    Raises:
        AssertionError: a fault of this program; the load must not be published.
    """
    complete = counts.lines == counts.mapped + counts.filtered + counts.rejected_lines
    if not source.calls:
        complete = complete and counts.lines == counts.events + counts.rejected
    if not complete:
        raise AssertionError(f"{file}: rows are missing from the account {counts}")


class WholeFileError(Exception):
    """Nothing of the file was written, for this reason."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_file(file: LandedFile, writer: LoadWriter) -> Counts:
    """Events and rejections of one file into the load.

    Raises:
        WholeFileError: the file cannot be read, or not as its source says.
        OSError: the file cannot be opened any more.
    """
    kind = file.source.format_of(file.name)
    if kind is None:
        raise WholeFileError(
            "unsupported_format",
            "the name ends in none of .jsonl .ndjson .json .csv .tsv .parquet (and .gz, .zst); "
            "rename it, or state `format:` in its source",
        )
    if file.bytes == 0:
        raise WholeFileError("empty_file", "the file has no bytes")
    try:
        if file.source.calls:
            return _read_mapped(file, writer, kind)
        return _read_calls(file, writer, kind)
    except UnreadableError as error:
        raise WholeFileError("unreadable_file", str(error)) from None
    except MappingError as error:
        raise WholeFileError("mapping_failed", str(error)) from None
    finally:
        writer.engine.execute("drop table if exists rows")


def _read_calls(file: LandedFile, writer: LoadWriter, kind: str) -> Counts:
    counts = Counts()
    for chunk in _chunks(file, kind, writer.engine):
        judged = classify(writer.engine, chunk, writer.now)
        counts.lines += len(chunk)
        if judged["reason"].null_count() < len(judged):
            bad = judged.filter(pl.col("reason").is_not_null())
            counts.rejected += writer.add_rejected(bad, file)
            judged = judged.filter(pl.col("reason").is_null())
        counts.events += writer.add_events(judged, file.source.name, file.name)
    if kind == "jsonl" and counts.lines == 0:
        raise WholeFileError("empty_file", "the file has only blank lines")
    counts.mapped, counts.rejected_lines = counts.events, counts.rejected
    return counts


def _chunks(file: LandedFile, kind: str, engine: Connection) -> Iterator[pl.DataFrame]:
    if kind == "jsonl":
        yield from line_chunks(read_blocks(file.path))
        return
    for rows, problems in (csv_rows if kind == "csv" else parquet_rows)(file.path):
        if len(rows):
            yield _call_lines(engine, rows)
        if problems is not None and len(problems):
            yield problems


def _call_lines(engine: Connection, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose columns are named like the keys of a call, as lines of JSON."""
    named = {name.replace("_", "").lower(): name for name in reversed(rows.columns)}
    if "type" not in named:
        raise UnreadableError(
            f"it has no column `type` (it has {', '.join(rows.columns[:-1][:30])}); "
            "declare `calls:` in its source to say what its rows mean"
        )
    pairs = []
    for key in KEYS:
        if (name := named.get(key.lower())) is None:
            continue
        column = identifier(name)
        if key in ("properties", "traits", "context") and rows.schema[name] == pl.String:
            column = (
                f"case when json_valid({column}) then {column}::json else to_json({column}) end"
            )
        pairs.append(f"{literal(key)}, {column}")
    return query(
        engine,
        f"select {LINE} as line, json_object({', '.join(pairs)})::varchar as text, "
        "null::varchar as problem, null::varchar as detail from rows",
        rows=rows,
    )


def _read_mapped(file: LandedFile, writer: LoadWriter, kind: str) -> Counts:
    tally, counts = Tally(), Counts()
    counts.lines, broken = fill_rows(file, writer, kind)
    if kind == "jsonl" and counts.lines == 0:
        raise WholeFileError("empty_file", "the file has only blank lines")
    # Gathered first: where the mapping fails at the end, none of the file may be in the load.
    made = list(make_calls(writer.engine, file.source.calls, writer.now, tally))
    for frame in made:
        counts.events += writer.add_events(frame, file.source.name, file.name)
    for frame in [*broken, tally.merged_rejections()]:
        counts.rejected += writer.add_rejected(frame, file)
    counts.mapped = len(tally.mapped())
    counts.rejected_lines = len(tally.rejected()) + sum(map(len, broken))
    counts.filtered = count_filtered(writer.engine, file.source.calls)
    return counts


def fill_rows(file: LandedFile, writer: LoadWriter, kind: str) -> tuple[int, list[pl.DataFrame]]:
    """Rows of the file into the scratch table, for :func:`.mapping.make_calls`.

    Returns:
        Lines read, and those that are no rows: ``line``, ``reason``, ``detail``, ``raw``.
    """
    lines, broken = 0, []
    if kind == "jsonl":
        objects = [pl.DataFrame(schema={"line": pl.Int64, "text": pl.String})]
        for chunk in line_chunks(read_blocks(file.path)):
            judged = classify(writer.engine, chunk, writer.now)
            no_row = judged.filter(pl.col("reason").is_in(NO_ROW))
            broken.append(no_row.select("line", "reason", "detail", "raw"))
            rows = chunk.filter(~pl.col("line").is_in(no_row["line"].implode()))
            objects.append(rows.select("line", "text"))
            lines += len(chunk)
        add_json_rows(writer.engine, pl.concat(objects), file.source.calls)
        return lines, broken
    for rows, problems in (csv_rows if kind == "csv" else parquet_rows)(file.path):
        add_rows(writer.engine, rows)
        lines += len(rows)
        if problems is not None and len(problems):
            renamed = problems.rename({"problem": "reason", "text": "raw"})
            broken.append(renamed.select("line", "reason", "detail", "raw"))
            lines += len(problems)
    return lines, broken
