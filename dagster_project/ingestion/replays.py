"""Rejected rows tried again, under the rules and mappings of today."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from dagster_project.ingestion import raw_zone
from dagster_project.ingestion.calls import REASONS, classify
from dagster_project.ingestion.landing import stamp_of, utc
from dagster_project.ingestion.load import (
    NO_ROW,
    Counts,
    LandedFile,
    LoadWriter,
    WholeFileError,
    add_file_row,
    digest_of,
    fill_rows,
    read_file,
)
from dagster_project.ingestion.mapping import MappingError, Tally, add_json_rows, make_calls
from dagster_project.ingestion.report import IngestReport, lateness_of
from dagster_project.ingestion.sources import Source, Sources
from dagster_project.ingestion.tables import UnreadableError
from destinations.errors import ConfigurationError

SLICE_ROWS = 65_536


@dataclass(frozen=True)
class _Group:
    """Open rejections of one version of one file."""

    file: LandedFile
    rows: pl.DataFrame
    """Columns of rejected.parquet."""
    whole: bool
    """The file was rejected as a whole."""


def replay(
    sources: Sources,
    landing: Path,
    raw: Path,
    now: datetime,
    reason: str | None = None,
    file: str | None = None,
) -> IngestReport:
    """Try open rejections again; what is accepted now goes into a new load and is closed.

    Calls are read from the text kept with the rejection, and so are rows of JSON and CSV under a
    mapping without groups. Everything else (rows of Parquet, groups of rows, files rejected as a
    whole) is read from the landing zone again, and stays open if the file is there no more.

    Args:
        now: time of the load, with a time zone.
        reason: only rejections with this reason code.
        file: only rejections of this file (path relative to the landing zone).

    Raises:
        ConfigurationError: there is no such reason.
        LockedError: another process is loading into the same raw zone.
    """
    if reason is not None and reason not in REASONS:
        raise ConfigurationError(
            f"There is no reason '{reason}'.", f"Reasons are: {', '.join(REASONS)}."
        )
    started = time.monotonic()
    moment = utc(now)
    raw_zone.ensure_raw(raw)
    with raw_zone.locked(raw):
        chosen = raw_zone.open_rejections(raw)
        if reason is not None:
            chosen = chosen.filter(pl.col("reason") == reason)
        if file is not None:
            chosen = chosen.filter(pl.col("file") == file)
        keys = chosen.group_by("source", "file", "file_digest").len().sort("file").collect()
        asked = int(keys["len"].sum())
        total = Counts()
        with LoadWriter(raw_zone.new_folder(raw), moment) as writer:
            for name, path, digest, _ in keys.iter_rows():
                if (source := sources.named(name)) is None:
                    continue
                landed = _landed(landing, path, source, digest)
                of_file = (pl.col("file") == path) & (pl.col("file_digest") == digest)
                rows = chosen.filter(of_file).collect()
                for whole in (True, False):
                    part = rows.filter(pl.col("line").is_null() == whole)
                    if len(part):
                        _replay_group(_Group(landed, part, whole), writer, total)
            writer.finish()
        taken = writer.rows["replayed"]
        seqs: tuple[int, ...] = ()
        if taken:
            seqs = (raw_zone.next_load_seq(raw),)
            raw_zone.publish(raw, writer.folder, *seqs)
        else:
            shutil.rmtree(writer.folder)
    return IngestReport(
        load_seqs=seqs,
        files_loaded=writer.rows["files"],
        lines=total.lines,
        events=writer.rows["events"],
        filtered=total.filtered,
        rejected=writer.rejected_by_reason,
        replayed=taken,
        still_rejected=asked - taken,
        lateness=lateness_of(raw, seqs),
        seconds=time.monotonic() - started,
    )


def _landed(landing: Path, name: str, source: Source, digest: str) -> LandedFile:
    """The file as it was loaded; without a stamp if it is gone or has other content now."""
    path = landing / name
    try:
        stamp, size = stamp_of(path), path.stat().st_size
        unchanged = digest_of(path) == digest and stamp_of(path) == stamp
    except OSError:
        unchanged, stamp, size = False, "", 0
    return LandedFile(name, path, source, digest, size, stamp if unchanged else "")


def _replay_group(group: _Group, writer: LoadWriter, total: Counts) -> None:
    if group.whole:
        _replay_whole(group, writer, total)
    elif group.file.source.calls:
        _replay_mapped(group, writer)
    else:
        for rows in group.rows.iter_slices(SLICE_ROWS):
            chunk = rows.select(
                "line",
                pl.col("raw").fill_null("").alias("text"),
                pl.lit(None, dtype=pl.String).alias("problem"),
                pl.lit(None, dtype=pl.String).alias("detail"),
            )
            judged = classify(writer.engine, chunk, writer.now)
            _accept(group, judged.filter(pl.col("reason").is_null()), writer)


def _replay_whole(group: _Group, writer: LoadWriter, total: Counts) -> None:
    """Read the file anew, as if it had just come."""
    if not group.file.stamp:
        return
    try:
        counts = read_file(group.file, writer)
    except (WholeFileError, OSError):
        return
    add_file_row(group.file, counts, writer)
    total.lines += counts.lines
    total.filtered += counts.filtered
    _close(group, pl.DataFrame({"line": [None]}, schema={"line": pl.Int64}), writer)


def _replay_mapped(group: _Group, writer: LoadWriter) -> None:
    file, tally = group.file, Tally()
    kind = file.source.format_of(file.name)
    grouped = any(call.group_by for call in file.source.calls)
    try:
        if kind == "parquet" or grouped:
            if not file.stamp or kind is None:
                return
            fill_rows(file, writer, kind)
        else:
            rows = group.rows.filter(~pl.col("reason").is_in([*NO_ROW, "bad_row"]))
            lines = rows.select("line", pl.col("raw").alias("text"))
            add_json_rows(writer.engine, lines, file.source.calls)
        made = list(make_calls(writer.engine, file.source.calls, writer.now, tally))
    except (MappingError, UnreadableError, OSError):
        return
    finally:
        writer.engine.execute("drop table if exists rows")
    if not made:
        return
    failed = tally.merged_rejections()["line"]
    events = pl.concat(made)
    asked = events["line"].is_in(group.rows["line"].implode())
    _accept(group, events.filter(asked & ~events["line"].is_in(failed.implode())), writer)


def _accept(group: _Group, events: pl.DataFrame, writer: LoadWriter) -> None:
    writer.add_events(events, group.file.source.name, group.file.name)
    _close(group, events.select("line").unique(), writer)


def _close(group: _Group, lines: pl.DataFrame, writer: LoadWriter) -> None:
    writer.add(
        "replayed",
        lines.with_columns(
            pl.lit(group.file.digest).alias("file_digest"), pl.lit(writer.now).alias("replayed_at")
        ),
    )
