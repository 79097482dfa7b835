"""What a destination holds of a sync, key by key: the one source of every later decision.

::

    syncs/<connection>/<audience>/
        head.json                 which files count; replaced in one step
        base-<run>.parquet        state of every key, sorted by key
        delta-<run>.parquet       what later runs changed, sorted by key, newest last
        journal-<run>             the run under way, or killed (see journal.py)
        seen-<run>.parquet        the snapshot the last run planned on (a hard link)
        leavers-<run>.parquet     mapped columns of held rows that left the audience
        again.parquet             keys of rows to be sent again (see resend.py)
        runs.jsonl                one report a line

State columns (``STATE``): ``hash`` is the content the destination acknowledged (null where
it acknowledged none), ``remote_id`` its own id, ``maybe`` whether something may be there
that we do not know of (sent, never answered), ``refused`` the change it refused last
(``add``, ``update``, ``remove``; null where none), ``tried`` the content it refused,
``message`` its words, ``attempts`` how often, ``first_at``/``last_at`` when it first and
last accepted or answered. ``state`` names the row for people: held, rejected, doubt.

The state holds keys and hashes, no field values. ``seen`` and ``leavers`` hold what a
removal needs to name a person who is in the audience no longer.

After a kill :meth:`Ledger.open` folds the journal that was left: answered rows count as
answered, and claimed rows without an answer become ``maybe``. They are sent again while
they are wanted and taken out once they are not, so nothing is orphaned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow.parquet as pq

from destinations.driver import KEY
from destinations.sync.durable import place, place_json, share, sweep
from destinations.sync.fold import STATE, fold, stretches
from destinations.sync.journal import Journal, LedgerError, frames_of
from destinations.sync.marks import clear_marks, read_marks
from destinations.sync.snapshot import Snapshot, next_version

FORMAT = 1
HEAD = "head.json"
MAX_DELTAS = 8
COMPACT_FRACTION = 0.2
COMPACT_ROWS = 10_000
"""Deltas beyond this share of the base, and beyond these rows, are merged into a new base."""
ROWS_PER_GROUP = 100_000


@dataclass(frozen=True)
class Part:
    """One Parquet file of the state, with the checksum of its bytes."""

    file: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Head:
    """The head pointer: every file that counts, and what the last run found out."""

    format: int = FORMAT
    base: Part | None = None
    deltas: tuple[Part, ...] = ()
    journal: str | None = None
    seen: str | None = None
    leavers: str | None = None
    last_run: str | None = None
    place: str | None = None
    """Fingerprint of key and target: where held rows are to be found."""
    settled: dict[str, Any] = field(default_factory=dict)
    """What the last run proved, if it left nothing over: the next may be spared."""
    paused: bool = False

    @property
    def files(self) -> set[str]:
        parts = [part.file for part in (self.base, *self.deltas) if part is not None]
        return {*parts, *(name for name in (self.journal, self.seen, self.leavers) if name)}


def read_head(folder: Path) -> Head:
    """The head of a sync's folder; an empty one where it never ran.

    Raises:
        LedgerError: it cannot be read, or a newer Storeroom wrote it.
    """
    path = folder / HEAD
    try:
        found = orjson.loads(path.read_bytes())
        if found["format"] > FORMAT:
            raise LedgerError(
                f"{path} was written by a newer Storeroom (format {found['format']}, "
                f"this one knows {FORMAT}).",
                "Install that version or a newer one.",
            )
        found["base"] = Part(**found["base"]) if found["base"] else None
        found["deltas"] = tuple(Part(**part) for part in found["deltas"])
        return Head(**found)
    except FileNotFoundError:
        return Head()
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise LedgerError(
            f"{path} cannot be read: {error!r}.", "Restore it from a backup of the state folder."
        ) from None


class Ledger:
    """A sync's ledger, opened by whoever holds the folder's lock."""

    def __init__(self, folder: Path, head: Head) -> None:
        self.folder = folder
        self.head = head

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Open, settle a run that was killed, and delete files that no longer count.

        Raises:
            LedgerError: the ledger is damaged or from a newer version.
        """
        folder.mkdir(parents=True, exist_ok=True)
        ledger = cls(folder, read_head(folder))
        sweep(folder)
        if ledger.head.journal is not None:
            ledger.settle()
        ledger._tidy()
        return ledger

    def next_run(self, now: datetime) -> str:
        """An id for a new run; ids sort by time even if the clock goes back."""
        return next_version(self.head.last_run, now.astimezone(UTC))

    def state(self) -> pl.LazyFrame:
        """State of every key, sorted by key (columns of ``STATE``).

        Raises:
            LedgerError: a file is gone or its bytes are not those that were written.
        """
        state = self._part(self.head.base) if self.head.base else pl.LazyFrame(schema=STATE)
        for part in self.head.deltas:
            delta = self._part(part).collect()
            kept = state.join(delta.lazy().select(KEY), on=KEY, how="anti", maintain_order="left")
            live = delta.filter(~pl.col("gone")).select(list(STATE))
            state = kept.merge_sorted(live.lazy(), key=KEY)
        return state

    def seen(self) -> pl.LazyFrame | None:
        """The snapshot the last run planned on."""
        return pl.scan_parquet(self.folder / self.head.seen) if self.head.seen else None

    def leavers(self) -> pl.LazyFrame | None:
        """Columns of rows that had left by the last run and were still held: ``_key`` and mapped ones."""
        return pl.scan_parquet(self.folder / self.head.leavers) if self.head.leavers else None

    def begin(self, run: str, snapshot: Snapshot, leavers: pl.DataFrame, where: str) -> Journal:
        """Open the run's journal; from here on a kill is settled by the next :meth:`open`."""
        seen, left = f"seen-{run}.parquet", f"leavers-{run}.parquet"
        share(snapshot.path, self.folder / seen)
        place(self.folder / left, leavers.write_parquet)
        journal = Journal(self.folder / f"journal-{run}")
        self._move(
            journal=f"journal-{run}", seen=seen, leavers=left, last_run=run, place=where, settled={}
        )
        self._tidy()
        return journal

    def settle(self) -> None:
        """Fold the run's journal into the state and close the run."""
        run = self.head.last_run
        if self.head.journal is None or run is None:
            return
        path = self.folder / self.head.journal
        frames = frames_of(path)
        if not frames:
            self._move(journal=None)
            return
        if read_marks(self.folder) is not None:
            for events in stretches(path, frames):
                clear_marks(self.folder, events)
        state = self.state()
        folded = (fold(events, state) for events in stretches(path, frames))
        if self.head.base is None:
            live = (delta.filter(~pl.col("gone")).select(list(STATE)) for delta in folded)
            self._move(base=self._append(f"base-{run}", live), journal=None)
            return
        part = self._append(f"delta-{run}", folded)
        deltas = (*self.head.deltas, part)
        self._move(deltas=deltas, journal=None)
        bound = max(COMPACT_FRACTION * self.head.base.rows, COMPACT_ROWS)
        if len(deltas) > MAX_DELTAS or sum(delta.rows for delta in deltas) > bound:
            self.compact()

    def note(self, settled: dict[str, Any]) -> None:
        """Record what a run proved that left nothing over."""
        self._move(settled=settled)

    def compact(self) -> None:
        """Merge the deltas into a new base."""
        name = f"base-{self.head.last_run}-{len(self.head.deltas)}"
        self._move(base=self._write(name, self.state()), deltas=())
        self._tidy()

    def pause(self, paused: bool) -> None:
        """Refuse runs of this sync, or allow them again."""
        self._move(paused=paused)

    def point(self, where: str) -> None:
        """Held rows are to be found at another place from now on."""
        self._move(place=where, settled={})

    def _part(self, part: Part) -> pl.LazyFrame:
        path = self.folder / part.file
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            digest = "gone"
        if digest != part.sha256:
            what = "is gone" if digest == "gone" else "is damaged (its checksum differs)"
            raise LedgerError(f"{path} {what}.", "Restore it from a backup of the state folder.")
        return pl.scan_parquet(path, glob=False)

    def _write(self, name: str, rows: pl.LazyFrame) -> Part:
        path = self.folder / f"{name}.parquet"
        sink: Callable[[Path], object] = lambda temporary: rows.sink_parquet(  # noqa: E731
            temporary, compression="zstd", row_group_size=ROWS_PER_GROUP, engine="streaming"
        )
        place(path, sink)
        return self._described(path)

    def _described(self, path: Path) -> Part:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        count = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
        return Part(file=path.name, rows=count, sha256=digest)

    def _append(self, name: str, parts: Iterator[pl.DataFrame]) -> Part:
        """:meth:`_write` for parts that follow each other in the order of their keys."""

        def write(temporary: Path) -> None:
            first = next(parts)
            schema = first.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
            with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
                for part in chain([first], parts):
                    table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
                    writer.write_table(table, row_group_size=ROWS_PER_GROUP)

        path = self.folder / f"{name}.parquet"
        place(path, write)
        return self._described(path)

    def _move(self, **changes: Any) -> None:
        head = replace(self.head, **changes)
        place_json(self.folder / HEAD, head)
        self.head = head

    def _tidy(self) -> None:
        kept = self.head.files
        for pattern in ("base-*", "delta-*", "journal-*", "seen-*", "leavers-*"):
            for path in self.folder.glob(pattern):
                if path.name not in kept:
                    path.unlink(missing_ok=True)
