"""The raw zone: immutable folders of loaded events, each there as a whole or not at all.

``raw/loads/load_seq=00000001/`` holds four Parquet files:

events.parquet
    message_id, type, event, user_id, anonymous_id, previous_id, group_id String; timestamp,
    sent_at, received_at Datetime (UTC); properties, traits, context String (JSON text); source,
    file String; line Int64; loaded_at Datetime (UTC).
rejected.parquet
    source, file, file_digest String; line Int64 (null: the file as a whole); reason, detail, raw
    String; rejected_at Datetime (UTC).
files.parquet
    source, file, digest (SHA-256) String; bytes, lines, events, rejected, mapped, filtered,
    rejected_lines Int64; loaded_at Datetime (UTC).
replayed.parquet
    file_digest String; line Int64; replayed_at Datetime (UTC): rejections that a later load took.

Every row of files.parquet keeps these, or the load is not written:

- events = its rows in events.parquet; rejected = its rows in rejected.parquet
- lines = mapped + filtered + rejected_lines: each row read became part of a call, or was left out
  by the ``where`` of every call, or went only into rejected calls (or was none to begin with)
- without a mapping: mapped = events, filtered = 0 and lines = events + rejected

Load 0 is empty and always there, so that a glob over the loads never comes up empty.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from destinations.errors import LockedError

_TIME = pl.Datetime("us")
_COUNT = pl.Int64()
EVENTS: dict[str, pl.DataType] = {
    **dict.fromkeys(
        ("message_id", "type", "event", "user_id", "anonymous_id", "previous_id", "group_id"),
        pl.String(),
    ),
    **dict.fromkeys(("timestamp", "sent_at", "received_at"), _TIME),
    **dict.fromkeys(("properties", "traits", "context", "source", "file"), pl.String()),
    "line": _COUNT,
    "loaded_at": _TIME,
}
REJECTED: dict[str, pl.DataType] = {
    **dict.fromkeys(("source", "file", "file_digest"), pl.String()),
    "line": _COUNT,
    **dict.fromkeys(("reason", "detail", "raw"), pl.String()),
    "rejected_at": _TIME,
}
FILES: dict[str, pl.DataType] = {
    **dict.fromkeys(("source", "file", "digest"), pl.String()),
    **dict.fromkeys(
        ("bytes", "lines", "events", "rejected", "mapped", "filtered", "rejected_lines"), _COUNT
    ),
    "loaded_at": _TIME,
}
REPLAYED: dict[str, pl.DataType] = {
    "file_digest": pl.String(),
    "line": _COUNT,
    "replayed_at": _TIME,
}
TABLES = {"events": EVENTS, "rejected": REJECTED, "files": FILES, "replayed": REPLAYED}


def loads_dir(raw: Path) -> Path:
    return raw / "loads"


def load_dir(raw: Path, load_seq: int) -> Path:
    return loads_dir(raw) / f"load_seq={load_seq:08d}"


def unfinished_dir(raw: Path) -> Path:
    """Where a load is made before it is renamed into place: outside every reader's glob."""
    return raw / "unfinished"


def ensure_raw(raw: Path) -> None:
    """Make the raw zone with its empty load 0, if it is not there."""
    if load_dir(raw, 0).is_dir():
        return
    with locked(raw):
        if not load_dir(raw, 0).is_dir():
            _make_load_zero(raw)


def _make_load_zero(raw: Path) -> None:
    folder = new_folder(raw)
    for name, schema in TABLES.items():
        pl.DataFrame(schema=schema).write_parquet(folder / f"{name}.parquet")
    publish(raw, folder, 0)


@contextmanager
def locked(raw: Path) -> Iterator[None]:
    """Hold the raw zone for writing; what a killed writer left unfinished is removed.

    The lock belongs to the process and goes with it, however it ends.

    Raises:
        LockedError: another process holds it.
    """
    raw.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(raw / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise LockedError(
                f"Process {holder} is loading into {raw}.",
                "Wait until it has ended, then run again.",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        shutil.rmtree(unfinished_dir(raw), ignore_errors=True)
        yield
    finally:
        os.close(descriptor)


def next_load_seq(raw: Path) -> int:
    """One more than the newest load; to be asked under the lock."""
    taken = [int(path.name.partition("=")[2]) for path in loads_dir(raw).glob("load_seq=*")]
    return max(taken, default=0) + 1


def new_folder(raw: Path) -> Path:
    """An empty folder for a load in the making."""
    shutil.rmtree(unfinished_dir(raw), ignore_errors=True)
    folder = unfinished_dir(raw) / "load"
    folder.mkdir(parents=True)
    loads_dir(raw).mkdir(exist_ok=True)
    return folder


def publish(raw: Path, folder: Path, load_seq: int) -> None:
    """Make a finished folder visible as a load: on disk first, then by its one name."""
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)
    folder.rename(load_dir(raw, load_seq))
    _sync(loads_dir(raw))


def scan(raw: Path, table: str) -> pl.LazyFrame:
    """All rows of one of the four tables, with ``load_seq`` Int64."""
    return pl.scan_parquet(
        f"{loads_dir(raw)}/load_seq=*/{table}.parquet",
        hive_partitioning=True,
        hive_schema={"load_seq": pl.Int64},
    )


def open_rejections(raw: Path) -> pl.LazyFrame:
    """Rejected rows nobody has dealt with: the columns of rejected.parquet and ``load_seq``.

    A rejection is closed when a replay took it, or when its file was loaded again later with
    other content.
    """
    newest = (
        scan(raw, "files")
        .sort("load_seq")
        .group_by("file")
        .agg(pl.col("load_seq").last().alias("newest_seq"), pl.col("digest").last().alias("newest"))
    )
    replayed = scan(raw, "replayed").select("file_digest", "line").unique()
    return (
        scan(raw, "rejected")
        .join(replayed, on=["file_digest", "line"], how="anti", nulls_equal=True)
        .join(newest, on="file", how="left")
        .filter(
            ~(
                (pl.col("newest") != pl.col("file_digest"))
                & (pl.col("newest_seq") > pl.col("load_seq"))
            ).fill_null(False)
        )
        .select(*REJECTED, "load_seq")
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
