"""Landing zone to raw zone: every version of every file once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson

from dagster_project.ingestion import raw_zone
from dagster_project.ingestion.load import Counts, LandedFile, LoadWriter, digest_of, load_file
from dagster_project.ingestion.report import IngestReport, lateness_of
from dagster_project.ingestion.sources import Source, Sources, discover
from destinations.errors import StoreroomError

LOAD_BYTES = 256 << 20
"""Landing bytes after which a load is closed and the next begun."""
SETTLED_NS = 2_000_000_000
"""A file younger than this could change again without a new time stamp on a coarse clock."""


@dataclass(frozen=True)
class Progress:
    """How far an ingestion is: files and bytes done, of all that are to be loaded."""

    files: int
    files_total: int
    bytes: int
    bytes_total: int


class _ChangedError(Exception):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


def ingest(
    sources: Sources,
    landing: Path,
    raw: Path,
    now: datetime,
    on_progress: Callable[[Progress], None] | None = None,
) -> IngestReport:
    """Load what is new in the landing zone: files not seen yet, or with other content than before.

    A version of a file (path and SHA-256 of its bytes) is loaded once, however often the run is
    killed and repeated: a load is there as a whole or not at all, and holds the list of its files.
    Files that are still being written wait: see :func:`.sources.discover`.

    Args:
        now: time of the load, with a time zone; calls more than a day ahead of it are rejected.
        on_progress: called after every file.

    Raises:
        StoreroomError: there is no landing folder.
        LockedError: another process is loading into the same raw zone.
    """
    started = time.monotonic()
    moment = utc(now)
    if not landing.is_dir():
        raise StoreroomError(
            f"The landing zone {landing} does not exist.",
            "Create the folder and put event files there, or set STOREROOM_LANDING to another.",
        )
    raw_zone.ensure_raw(raw)
    with raw_zone.locked(raw):
        stamps = _Stamps(raw)
        owners, unmatched = discover(sources, landing)
        fresh, skipped, waiting = _fresh_files(owners, landing, _loaded(raw), stamps)
        report = IngestReport(files_skipped=skipped, unmatched=tuple(unmatched), waiting=waiting)
        total = sum(file.bytes for file in fresh)
        done_files = done_bytes = 0

        def advance(file: LandedFile) -> None:
            nonlocal done_files, done_bytes
            done_files, done_bytes = done_files + 1, done_bytes + file.bytes
            if on_progress:
                on_progress(
                    Progress(min(done_files, len(fresh)), len(fresh), min(done_bytes, total), total)
                )

        for batch in _batches(fresh):
            report = _load(raw, batch, moment, report, advance)
        stamps.save()
    return replace(
        report,
        lateness=lateness_of(raw, report.load_seqs),
        seconds=time.monotonic() - started,
    )


def utc(moment: datetime) -> datetime:
    """UTC without a zone, as the raw zone keeps times.

    Raises:
        ValueError: the time has no zone.
    """
    if moment.tzinfo is None:
        raise ValueError("give the time of the load with a time zone")
    return moment.astimezone(UTC).replace(tzinfo=None)


def stamp_of(path: Path) -> str:
    """Changes whenever the file's bytes do: a write moves ctime, which nobody can set back."""
    status = path.stat()
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


class _Stamps:
    """Which stamp had which digest: a shortcut that may be deleted at any time."""

    def __init__(self, raw: Path) -> None:
        self._path = raw / "stamps.json"
        try:
            known = orjson.loads(self._path.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            known = {}
        self._known: dict[str, object] = known if isinstance(known, dict) else {}
        self._used: dict[str, list[str]] = {}

    def digest(self, name: str, path: Path) -> tuple[str, str]:
        """Stamp and digest of a file, from memory where the stamp is known."""
        stamp = stamp_of(path)
        match self._known.get(name):
            case [known, str(digest)] if known == stamp:
                self._used[name] = [stamp, digest]
                return stamp, digest
        digest = digest_of(path)
        if stamp_of(path) != stamp:
            raise _ChangedError(name, "it changed while it was read")
        # A file that changed a moment ago may change again within the same tick of the clock.
        if time.time_ns() - path.stat().st_ctime_ns > SETTLED_NS:
            self._used[name] = [stamp, digest]
        return stamp, digest

    def save(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        temporary.write_bytes(orjson.dumps(self._used))
        temporary.replace(self._path)


def _loaded(raw: Path) -> set[tuple[str, str]]:
    return set(raw_zone.scan(raw, "files").select("file", "digest").collect().iter_rows())


def _fresh_files(
    owners: dict[str, Source], landing: Path, loaded: set[tuple[str, str]], stamps: _Stamps
) -> tuple[list[LandedFile], int, dict[str, str]]:
    fresh, skipped, waiting = [], 0, {}
    for name, source in owners.items():
        path = landing / name
        try:
            stamp, digest = stamps.digest(name, path)
            size = path.stat().st_size
        except (OSError, _ChangedError) as error:
            waiting[name] = str(error)
            continue
        if (name, digest) in loaded:
            skipped += 1
        else:
            fresh.append(LandedFile(name, path, source, digest, size, stamp))
    return fresh, skipped, waiting


def _batches(files: list[LandedFile]) -> Iterator[list[LandedFile]]:
    batch: list[LandedFile] = []
    for file in files:
        if batch and sum(f.bytes for f in batch) + file.bytes > LOAD_BYTES:
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


def _load(
    raw: Path,
    batch: list[LandedFile],
    now: datetime,
    report: IngestReport,
    advance: Callable[[LandedFile], None],
) -> IngestReport:
    """Write one load; a file that changes under our hands is left out and the load made anew."""
    waiting = dict(report.waiting)
    while batch:
        folder = raw_zone.new_folder(raw)
        lines = events = filtered = 0
        try:
            with LoadWriter(folder, now) as writer:
                for file in batch:
                    counts = _load_unchanged(file, writer)
                    lines, events = lines + counts.lines, events + counts.events
                    filtered += counts.filtered
                    advance(file)
                writer.finish()
        except _ChangedError as error:
            waiting[error.name] = str(error)
            batch = [file for file in batch if file.name != error.name]
            continue
        seq = raw_zone.next_load_seq(raw)
        raw_zone.publish(raw, folder, seq)
        rejected = dict(report.rejected)
        for reason, count in writer.rejected_by_reason.items():
            rejected[reason] = rejected.get(reason, 0) + count
        return replace(
            report,
            load_seqs=(*report.load_seqs, seq),
            files_loaded=report.files_loaded + len(batch),
            lines=report.lines + lines,
            events=report.events + events,
            filtered=report.filtered + filtered,
            rejected=rejected,
            bytes=report.bytes + sum(file.bytes for file in batch),
            waiting=waiting,
        )
    return replace(report, waiting=waiting)


def _load_unchanged(file: LandedFile, writer: LoadWriter) -> Counts:
    try:
        if stamp_of(file.path) != file.stamp:
            raise _ChangedError(file.name, "it changed while it was read")
        counts = load_file(file, writer)
        if stamp_of(file.path) != file.stamp:
            raise _ChangedError(file.name, "it changed while it was read")
    except OSError as error:
        raise _ChangedError(file.name, str(error)) from None
    return counts
