"""The journal of one run: what was about to be sent, and what the destination said of it.

An append-only file of frames, each ``b"SRJ1" + length + CRC-32 + payload``, which is an Arrow
IPC stream or, for few events, a JSON object of columns. A worker writes the *claim* of its next delivery together with the *answers* to its last one
and goes on when both are on the disk; workers that arrive meanwhile share one sync (group
commit). So at a kill exactly the rows that are claimed and not answered may or may not be
at the destination: at most one delivery per worker, known by key.

Only the last frame can be torn, for nothing is written before its forerunner is synced. A
torn tail is dropped on reading (nobody acted on it); damage before it is an error.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import polars as pl

from destinations.driver import HASH, KEY
from destinations.errors import LedgerError
from destinations.sync.durable import sync_folder
from destinations.sync.remote import SEAL, Segments, remote_of
from destinations.sync.sealing import sealed, unsealed

MAGIC = b"SRJ1"
FEW = 500
"""Up to so many events are written as JSON."""
_HEAD = struct.Struct("<4sII")

CLAIM = "claim"  # about to be sent
ACCEPTED = "accepted"
REJECTED = "rejected"
RETRY = "retry"  # answered "not now": it is not there
IN_DOUBT = "in_doubt"  # sent, no answer
FORGET = "forget"  # an earlier refusal that no longer matters

EVENTS: dict[str, pl.DataType] = {
    KEY: pl.String(),
    "event": pl.String(),
    "change": pl.String(),
    "hash": pl.String(),
    "remote_id": pl.String(),
    "message": pl.String(),
    "at": pl.Datetime("us", "UTC"),
    "request": pl.UInt32(),
}


@dataclass(frozen=True)
class Entry:
    """Events of one delivery, still as lists: one frame is built per commit, not per delivery,
    which is what makes one row per request affordable.
    """

    keys: list[str]
    events: list[str]
    change: str | None = None
    hashes: list[str | None] | None = None
    remote_ids: list[str | None] | None = None
    messages: list[str | None] | None = None
    request: int | None = None
    at: int = field(default_factory=lambda: time.time_ns() // 1000)
    """Microseconds since 1970."""


def claims(keys: Iterable[str], change: str) -> Entry:
    """These rows are about to be sent."""
    named = list(keys)
    return Entry(named, [CLAIM] * len(named), change)


def forgets(keys: pl.Series) -> Entry:
    """Earlier refusals of these keys no longer matter."""
    return Entry(keys.to_list(), [FORGET] * len(keys))


def merges(keys: pl.Series) -> Entry:
    """Held keys let go because their person stays under another key: gone without a request."""
    return Entry(keys.to_list(), [ACCEPTED] * len(keys), "remove")


def rejections(rows: pl.DataFrame, change: str) -> Entry:
    """Rows refused before sending; ``rows`` has ``_key``, ``_hash`` and ``message``."""
    return Entry(
        rows[KEY].to_list(),
        [REJECTED] * rows.height,
        change,
        hashes=rows[HASH].to_list(),
        messages=rows["message"].to_list(),
    )


def answers(
    results: pl.DataFrame, hashes: Iterable[str | None], change: str, request: int | None = None
) -> Entry:
    """One answer: ``results`` in the shape of ``Outcome.results``, in the order of ``hashes``.

    Args:
        request: the how manyth of the run's requests it answers.
    """
    return Entry(
        results[KEY].to_list(),
        results["status"].to_list(),
        change,
        hashes=list(hashes),
        remote_ids=results["remote_id"].to_list(),
        messages=results["message"].to_list(),
        request=request,
    )


def accepted(
    keys: list[str],
    hashes: list[str | None],
    change: str,
    remote_id: str | None,
    request: int | None = None,
) -> Entry:
    """One answer that accepts every row."""
    remote_ids: list[str | None] | None = None if remote_id is None else [remote_id]
    return Entry(
        keys, [ACCEPTED] * len(keys), change, hashes=hashes, remote_ids=remote_ids, request=request
    )


def _payload_of(entries: list[Entry]) -> bytes:
    """Entries as a frame's payload: Arrow, or JSON where they are so few that building columns
    would take longer than writing them.
    """
    if sum(len(entry.keys) for entry in entries) > FEW:
        buffer = io.BytesIO()
        frame = pl.DataFrame(_columns_of(entries), schema=EVENTS)
        frame.write_ipc_stream(buffer, compression="lz4")
        return buffer.getvalue()
    return orjson.dumps(_columns_of(entries))


def _columns_of(entries: list[Entry]) -> dict[str, list[Any]]:
    """Entries as columns in the shape of ``EVENTS``, times in microseconds since 1970."""
    columns: dict[str, list[Any]] = {name: [] for name in EVENTS}
    for entry in entries:
        nothing = [None] * len(entry.keys)
        columns[KEY] += entry.keys
        columns["event"] += entry.events
        columns["change"] += [entry.change] * len(entry.keys)
        columns["hash"] += entry.hashes or nothing
        columns["remote_id"] += entry.remote_ids or nothing
        columns["message"] += entry.messages or nothing
        columns["request"] += [entry.request] * len(entry.keys)
        columns["at"] += [entry.at] * len(entry.keys)
    return columns


def _read(payloads: Iterable[bytes]) -> Iterator[pl.DataFrame]:
    """The events of payloads, in order; few frames, whatever they were written as."""
    columns: dict[str, list[Any]] = {name: [] for name in EVENTS}
    for payload in payloads:
        if payload[:1] == b"{":
            for name, values in orjson.loads(payload).items():
                columns[name] += values
            continue
        if columns[KEY]:
            yield pl.DataFrame(columns, schema=EVENTS)
            columns = {name: [] for name in EVENTS}
        yield pl.read_ipc_stream(io.BytesIO(payload))
    if columns[KEY]:
        yield pl.DataFrame(columns, schema=EVENTS)


def _keys_of(payload: bytes) -> tuple[int, str, str]:
    """How many events a payload holds, and the smallest and the greatest of their keys."""
    if payload[:1] == b"{":
        keys = orjson.loads(payload)[KEY]
        return (len(keys), min(keys), max(keys)) if keys else (0, "", "")
    column = pl.read_ipc_stream(io.BytesIO(payload), columns=[KEY])[KEY]
    return (len(column), str(column.min()), str(column.max())) if len(column) else (0, "", "")


class Journal:
    """Open for appending by many threads; see the module's text for the format."""

    def __init__(self, path: Path) -> None:
        self.path = path
        remote = remote_of(path)
        self._segments = None if remote is None else Segments(remote)
        if self._segments is not None:
            self._segments.begin()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        sync_folder(path.parent)
        self._turn = threading.Condition()
        self._waiting: list[Entry] = []
        self._arrived = 0
        self._durable = 0
        self._writing = False
        self._broken: OSError | LedgerError | None = None

    def commit(self, entries: list[Entry]) -> None:
        """Append events in this order; returns when they are durable.

        Raises:
            LedgerError: they are not (disk full, read-only …); nothing can be appended any more.
        """
        if not entries:
            return
        with self._turn:
            self._waiting.extend(entries)
            self._arrived += 1
            ticket = self._arrived
            while self._writing and self._durable < ticket and self._broken is None:
                self._turn.wait()
            if self._durable >= ticket:
                return
            self._raise_if_broken()
            batch, upto = self._waiting, self._arrived
            self._waiting, self._writing = [], True
        failure: OSError | LedgerError | None = None
        try:
            self._append(_payload_of(batch))
        except (OSError, LedgerError) as error:
            failure = error
        finally:
            with self._turn:
                self._writing = False
                self._broken = failure
                if failure is None:
                    self._durable = upto
                self._turn.notify_all()
        self._raise_if_broken()

    def _append(self, payload: bytes) -> None:
        payload = sealed(payload)
        frame = _HEAD.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload
        if self._segments is not None:
            self._segments.add(frame)
        view = memoryview(frame)
        while view:
            view = view[os.write(self._file, view) :]
        if self._segments is None:
            os.fdatasync(self._file)

    def _raise_if_broken(self) -> None:
        if isinstance(self._broken, LedgerError):
            raise LedgerError(self._broken.message, self._broken.fix)
        if self._broken is not None:
            raise LedgerError(
                f"{self.path} cannot be written: {self._broken.strerror}.",
                "Make room or mend the disk, then run again: nothing is lost, "
                "and what was under way is settled then.",
            )

    def close(self) -> None:
        os.close(self._file)


@dataclass(frozen=True)
class Frame:
    """Where one frame's events stand in a journal, and the keys they are about."""

    start: int
    length: int
    events: int
    first: str
    last: str
    """Smallest and greatest key."""


def restore(path: Path, *, seal: bool) -> None:
    """Put the copy of a killed run's journal together from its segments in object storage.

    Args:
        seal: keep its writer, which may still be alive somewhere, from adding to it.

    Raises:
        LedgerError: one of them is gone.
    """
    remote = remote_of(path)
    if remote is None:
        return
    segments = Segments(remote)
    if seal and segments.parts():
        segments.seal()
    found = segments.parts()
    if not found:
        path.unlink(missing_ok=True)
        return
    with path.open("wb") as file:
        for key in found:
            body = segments.get(key)
            if body != SEAL:
                file.write(body)


def frames_of(path: Path) -> list[Frame]:
    """The frames of a journal, in order; a torn last one is left out.

    Raises:
        LedgerError: the journal is gone, or a frame before the last one is damaged.
    """
    frames: list[Frame] = []
    with _opened(path) as file:
        size, position = os.fstat(file.fileno()).st_size, 0
        while position < size:
            payload = _payload(file, position)
            if payload is None:
                if _intact_frame_after(file, position + 1):
                    raise LedgerError(
                        f"{path} is damaged at byte {position}, and readable again behind it.",
                        "Restore it from a backup of the state folder.",
                    )
                break
            count, least, most = _keys_of(unsealed(payload, str(path)))
            if count:
                frames.append(Frame(position, len(payload), count, least, most))
            position += _HEAD.size + len(payload)
    return frames


def read_journal(path: Path, frames: Iterable[Frame] | None = None) -> pl.DataFrame:
    """Events of a journal, in order (columns of ``EVENTS``): all of them, or those of some frames.

    Raises:
        LedgerError: the journal is gone, or a frame before the last one is damaged.
    """
    payloads = _payloads(path, frames_of(path) if frames is None else frames)
    return pl.concat([pl.DataFrame(schema=EVENTS), *_read(payloads)])


def _payloads(path: Path, frames: Iterable[Frame]) -> Iterator[bytes]:
    with _opened(path) as file:
        for frame in frames:
            payload = _payload(file, frame.start)
            if payload is None:
                raise LedgerError(
                    f"{path} is damaged at byte {frame.start}.",
                    "Restore it from a backup of the state folder.",
                )
            yield unsealed(payload, str(path))


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise LedgerError(
            f"{path} is gone, and with it what a killed run had sent.",
            "Restore it from a backup of the state folder.",
        ) from None


def _payload(file: BinaryIO, position: int) -> bytes | None:
    file.seek(position)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    magic, length, checksum = _HEAD.unpack(head)
    if magic != MAGIC or length > os.fstat(file.fileno()).st_size - file.tell():
        return None
    payload = file.read(length)
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None


def _intact_frame_after(file: BinaryIO, start: int) -> bool:
    file.seek(start)
    # Only a torn or damaged journal comes here: its rest may be read whole.
    data = file.read()
    found = data.find(MAGIC)
    while found >= 0:
        if _payload(file, start + found) is not None:
            return True
        found = data.find(MAGIC, found + 1)
    return False
