"""What a destination holds of a sync, key by key: the one source of every later decision.

::

    syncs/<connection>/<audience>/
        head.json                 which files count; replaced in one step
        base-<run>.parquet        state of every key, sorted by key
        delta-<run>.parquet       what later runs changed, sorted by key, newest last
        journal-<run>             the run under way, or killed (see journal.py)
        seen-<run>.parquet        the snapshot the last run planned on (a hard link)
        leavers-<run>.parquet     mapped columns, as sent last, of held rows that left the audience
                                  or stand in it under another identifier (see identity.py)
        history-<run>-<n>.parquet what was held until a run changed it (see history.py)
        again.parquet             keys of rows to be sent again (see resend.py)
        runs.jsonl                one report a line

State columns (``STATE``): ``hash`` is the content the destination acknowledged (null where
it acknowledged none), ``remote_id`` its own id, ``maybe`` whether something may be there
that we do not know of (sent, never answered), ``refused`` the change it refused last
(``add``, ``update``, ``remove``; null where none), ``tried`` the content it refused,
``message`` its words, ``attempts`` how often, ``first_at``/``last_at`` when it first and
last accepted or answered, ``run`` and ``request`` which run and how manyth of its requests that
was, ``changed_at``/``changed_run`` since when and by which run what is held stands.
``state`` names the row for people: held, rejected, doubt.

Where state is in object storage, a process that takes the sync over from a dead one first
writes ``head.json`` with its own name (``fence``) and seals the journal: a zombie can then
replace neither, and so sends nothing any more.

The state holds keys and hashes, no field values. ``seen`` and ``leavers`` hold what a
removal needs to name a person who is in the audience no longer.

After a kill :meth:`Ledger.open` folds the journal that was left: answered rows count as
answered, and claimed rows without an answer become ``maybe``. They are sent again while
they are wanted and taken out once they are not, so nothing is orphaned.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from destinations.driver import KEY
from destinations.errors import LedgerError
from destinations.paths import history_days
from destinations.sync.durable import (
    Target,
    discard,
    kept,
    names,
    place,
    place_json,
    scan,
    share,
    sweep,
)
from destinations.sync.fold import STATE, fold, stretches
from destinations.sync.head import HEAD, Ended, Head, Part, read_head
from destinations.sync.journal import ACCEPTED, Frame, Journal, frames_of, restore
from destinations.sync.marks import clear_marks, read_marks
from destinations.sync.remote import lease_of, remote_of
from destinations.sync.snapshot import Snapshot, next_version

MAX_DELTAS = 8
COMPACT_FRACTION = 0.2
COMPACT_ROWS = 10_000
"""Deltas beyond this share of the base, and beyond these rows, are merged into a new base."""
ROWS_PER_GROUP = 100_000
HISTORY = "history-"
MAX_SMALL = 16
"""Files of history of fewer than these rows are merged when there are more of them."""
MERGED_ROWS = 500_000
COUNTED = ("base-", "delta-", "journal-", "seen-", "leavers-", HISTORY)


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
        lease = lease_of(folder)
        forced = lease is not None and lease.forced
        if lease is not None and lease.forced and ledger.head.last_run is not None:
            ledger._move(fence=lease.token)
        if ledger.head.journal is not None:
            restore(folder / ledger.head.journal, seal=forced)
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
        state = (
            _whole(self._part(self.head.base)).select(list(STATE))
            if self.head.base
            else pl.LazyFrame(schema=STATE)
        )
        for part in self.head.deltas:
            delta = _whole(self._part(part)).collect()
            kept = state.join(delta.lazy().select(KEY), on=KEY, how="anti", maintain_order="left")
            live = delta.filter(~pl.col("gone")).select(list(STATE))
            state = kept.merge_sorted(live.lazy(), key=KEY)
        return state

    def seen(self) -> pl.LazyFrame | None:
        """The snapshot the last run planned on."""
        return scan(self.folder / self.head.seen) if self.head.seen else None

    def leavers(self) -> pl.LazyFrame | None:
        """Columns of rows that had left by the last run, or stood there under another identifier,
        and were still held: ``_key`` and mapped ones.
        """
        return scan(self.folder / self.head.leavers) if self.head.leavers else None

    def history(self) -> list[pl.LazyFrame]:
        """Versions that have ended (``ENDED``), file by file.

        Raises:
            LedgerError: a file is gone or its bytes are not those that were written.
        """
        return [self._part(part) for part in self.head.history]

    def begin(self, run: str, snapshot: Snapshot, leavers: pl.DataFrame, where: str) -> Journal:
        """Open the run's journal; from here on a kill is settled by the next :meth:`open`."""
        run_ = self._named(run)
        seen, left = f"seen-{run_}.parquet", f"leavers-{run_}.parquet"
        share(snapshot.path, self.folder / seen)
        place(self.folder / left, leavers.write_parquet)
        journal = Journal(self.folder / f"journal-{run_}")
        self._move(
            journal=f"journal-{run_}",
            seen=seen,
            leavers=left,
            last_run=run,
            place=where,
            settled={},
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
        state, name, ended = self.state(), self._named(run), list[Ended]()
        folded = self._folded(path, frames, state, run, ended)
        if self.head.base is None:
            live = (delta.filter(~pl.col("gone")).select(list(STATE)) for delta in folded)
            self._move(base=self._append(f"base-{name}", live), journal=None)
            return
        leavers = self._leavers_left(path, frames)
        part = self._append(f"delta-{name}", folded)
        deltas = (*self.head.deltas, part)
        self._move(deltas=deltas, journal=None, **leavers, **self._kept_history(ended, run))
        self._tidy()
        bound = max(COMPACT_FRACTION * self.head.base.rows, COMPACT_ROWS)
        if len(deltas) > MAX_DELTAS or sum(delta.rows for delta in deltas) > bound:
            self.compact()

    def note(self, settled: dict[str, Any]) -> None:
        """Record what a run proved that left nothing over."""
        self._move(settled=settled)

    def compact(self) -> None:
        """Merge the deltas into a new base."""
        name = f"base-{self._named(self.head.last_run)}-{len(self.head.deltas)}"
        self._move(base=self._write(name, self.state()), deltas=())
        self._tidy()

    def pause(self, paused: bool) -> None:
        """Refuse runs of this sync, or allow them again."""
        self._move(paused=paused)

    def point(self, where: str) -> None:
        """Held rows are to be found at another place from now on."""
        self._move(place=where, settled={})

    def forget_history(self, key: str) -> int:
        """Take a key out of the history; returns files rewritten."""
        history, rewritten = list[Ended](), 0
        for number, part in enumerate(self.head.history):
            rows = self._part(part)
            if rows.filter(pl.col(KEY) == key).head(1).collect().is_empty():
                history.append(part)
                continue
            rewritten += 1
            left = rows.filter(pl.col(KEY) != key).collect()
            if left.height:
                name = f"{HISTORY}{self._named(self.head.last_run)}-without-{number}-{part.rows}"
                history.append(self._ended(name, left))
        if rewritten:
            self._move(history=tuple(history))
            self._tidy()
        return rewritten

    def rename(self, names: dict[str, str]) -> None:
        """Files that were written anew, with the same content, count from now on: old name -> new."""

        def renamed(part: Part) -> dict[str, Any]:
            file = names.get(part.file, part.file)
            same = file == part.file
            return {"file": file, "sha256": part.sha256 if same else _digest(self.folder / file)}

        head = self.head
        self._move(
            base=None if head.base is None else replace(head.base, **renamed(head.base)),
            deltas=tuple(replace(part, **renamed(part)) for part in head.deltas),
            history=tuple(replace(part, **renamed(part)) for part in head.history),
            seen=names.get(head.seen or "", head.seen),
            leavers=names.get(head.leavers or "", head.leavers),
        )
        self._tidy()

    def replace(self, **files: Callable[[Target], object]) -> None:
        """Write ``seen`` or ``leavers`` anew, under a new name: copies are fetched once a name."""
        moved = {}
        for which, write in files.items():
            name = f"{which}-{self._named(self.head.last_run)}-{secrets.token_hex(4)}.parquet"
            place(self.folder / name, write)
            moved[which] = name
        self._move(**moved)
        self._tidy()

    def _leavers_left(self, path: Path, frames: list[Frame]) -> dict[str, Any]:
        """The leavers without those of which the destination took something: who was taken out is
        not there any more, and of who was written ``seen`` says what was sent last.
        """
        leavers = self.leavers()
        if leavers is None or leavers.head(1).collect().is_empty():
            return {}
        known = leavers.select(KEY).collect(engine="streaming")
        out = pl.concat(
            [
                known.join(events.filter(pl.col("event") == ACCEPTED), on=KEY, how="semi")
                for events in stretches(path, frames)
            ]
        )
        if out.is_empty():
            return {}
        left = leavers.join(out.lazy(), on=KEY, how="anti").collect(engine="streaming")
        name = f"leavers-{self._named(self.head.last_run)}-left.parquet"
        place(self.folder / name, left.write_parquet)
        return {"leavers": name}

    def _folded(
        self,
        path: Path,
        frames: list[Frame],
        state: pl.LazyFrame,
        run: str,
        ended: list[Ended],
    ) -> Iterator[pl.DataFrame]:
        """What a run made of the keys it touched; files of what ended are added to ``ended``."""
        for events in stretches(path, frames):
            folded = fold(events, state, run)
            if folded.ended.height and history_days():
                name = f"{HISTORY}{self._named(run)}-{len(ended)}"
                ended.append(self._ended(name, folded.ended))
            yield folded.rows

    def _ended(self, name: str, rows: pl.DataFrame) -> Ended:
        part = self._append(name, iter([rows]))
        last: datetime = rows["valid_to"].max()  # type: ignore[assignment]
        return Ended(**asdict(part), until=last.isoformat())

    def _kept_history(self, ended: list[Ended], run: str) -> dict[str, Any]:
        """The history with what a run ended, without what is too old, small files merged."""
        days = history_days()
        since = datetime.now(UTC) - timedelta(days=days)
        oldest = since.isoformat()
        parts = [part for part in (*self.head.history, *ended) if part.until >= oldest]
        dropped = len(parts) < len(self.head.history) + len(ended) or not days
        small = [part for part in parts if part.rows < MERGED_ROWS]
        if len(small) > MAX_SMALL:
            rows = pl.concat([self._part(part) for part in small]).filter(
                pl.col("valid_to") >= since
            )
            merged = self._ended(f"{HISTORY}{self._named(run)}-merged", rows.sort(KEY).collect())
            parts = [part for part in parts if part not in small] + [merged]
            dropped |= merged.rows < sum(part.rows for part in small)
        start = self.head.history_from
        if dropped and (start is None or start < oldest):
            start = oldest
        return {"history": tuple(parts), "history_from": start}

    def _named(self, run: str | None) -> str:
        """A run as part of file names: no two processes write the same one."""
        return f"{run}-{self.head.fence}" if self.head.fence else str(run)

    def _part(self, part: Part) -> pl.LazyFrame:
        path = self.folder / part.file
        found = _digest(path)
        if found != part.sha256 and remote_of(path) is not None:
            # The copy may be damaged, and what it is a copy of not.
            path.unlink(missing_ok=True)
            found = _digest(path)
        if found != part.sha256:
            what = "is gone" if found is None else "is damaged (its checksum differs)"
            raise LedgerError(f"{path} {what}.", "Restore it from a backup of the state folder.")
        return scan(path)

    def _write(self, name: str, rows: pl.LazyFrame) -> Part:
        path = self.folder / f"{name}.parquet"
        sink: Callable[[Target], object] = lambda temporary: rows.sink_parquet(  # noqa: E731
            temporary, compression="zstd", row_group_size=ROWS_PER_GROUP, engine="streaming"
        )
        place(path, sink)
        return self._described(path)

    def _described(self, path: Path) -> Part:
        count = scan(path).select(pl.len()).collect().item()
        return Part(file=path.name, rows=count, sha256=str(_digest(path)))

    def _append(self, name: str, parts: Iterator[pl.DataFrame]) -> Part:
        """:meth:`_write` for parts that follow each other in the order of their keys."""

        def write(temporary: Target) -> None:
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
        for name in names(self.folder, "*"):
            if name.startswith(COUNTED) and name not in kept:
                discard(self.folder / name)
        for path in self.folder.iterdir():
            if path.name.startswith(COUNTED) and path.name not in kept:
                path.unlink(missing_ok=True)


def _digest(path: Path) -> str | None:
    """SHA-256 of a file's bytes; None where it is gone."""
    try:
        with kept(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _whole(state: pl.LazyFrame) -> pl.LazyFrame:
    """State as a Storeroom before there was a history wrote it, with what it lacks."""
    lacking = STATE.keys() - state.collect_schema().keys()
    if not lacking:
        return state
    since = {"changed_at": pl.col("first_at")}
    none = {name: pl.lit(None, dtype=STATE[name]) for name in lacking}
    return state.with_columns(**none).with_columns(**since)
