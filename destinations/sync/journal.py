"""The journal of one run: what was about to be sent, and what the destination said of it.

An append-only file of frames, each ``b"SRJ1" + length + CRC-32 + Arrow IPC stream``. A
worker writes the *claim* of its next delivery together with the *answers* to its last one
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
import zlib
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from destinations.driver import KEY
from destinations.errors import StoreroomError
from destinations.sync.durable import sync_folder

MAGIC = b"SRJ1"
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
}


class LedgerError(StoreroomError):
    """The ledger cannot be read or written; it is never guessed at."""


def claims(keys: pl.Series, change: str) -> pl.DataFrame:
    """Claim events for one delivery, in the shape of ``EVENTS``."""
    return _events(keys, event=CLAIM, change=change)


def forgets(keys: pl.Series) -> pl.DataFrame:
    return _events(keys, event=FORGET)


def merges(keys: pl.Series) -> pl.DataFrame:
    """Held keys let go because their person stays under another key: gone without a request."""
    message = "in the audience under another key"
    return _events(keys, event=ACCEPTED, change="remove", message=message)


def rejections(rows: pl.DataFrame, change: str, message: str) -> pl.DataFrame:
    """Events for rows refused before sending; ``rows`` has ``_key``, ``_hash`` and ``message``."""
    return rows.select(
        pl.col(KEY),
        pl.lit(REJECTED).alias("event"),
        pl.lit(change).alias("change"),
        pl.col("_hash").alias("hash"),
        pl.lit(None, dtype=pl.String).alias("remote_id"),
        pl.col(message).alias("message"),
        _now(),
    )


def answers(results: pl.DataFrame, hashes: pl.Series, change: str) -> pl.DataFrame:
    """Events for one answer: ``results`` in the shape of ``Outcome.results``, rows as sent."""
    return results.select(
        pl.col(KEY),
        pl.col("status").alias("event"),
        pl.lit(change).alias("change"),
        hashes.alias("hash"),
        pl.col("remote_id"),
        pl.col("message"),
        _now(),
    )


def _events(keys: pl.Series, **constants: str) -> pl.DataFrame:
    columns = [
        pl.lit(constants.get(name), dtype=pl.String).alias(name)
        for name in ("event", "change", "hash", "remote_id", "message")
    ]
    return keys.to_frame(KEY).select(pl.col(KEY), *columns, _now())


def _now() -> pl.Expr:
    return pl.lit(datetime.now(UTC), dtype=EVENTS["at"]).alias("at")


class Journal:
    """Open for appending by many threads; see the module's text for the format."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        sync_folder(path.parent)
        self._turn = threading.Condition()
        self._waiting: list[pl.DataFrame] = []
        self._arrived = 0
        self._durable = 0
        self._writing = False
        self._broken: OSError | None = None

    def commit(self, frames: list[pl.DataFrame]) -> None:
        """Append events in this order; returns when they are durable.

        Raises:
            LedgerError: they are not (disk full, read-only …); nothing can be appended any more.
        """
        if not frames:
            return
        with self._turn:
            self._waiting.extend(frames)
            self._arrived += 1
            ticket = self._arrived
            while self._writing and self._durable < ticket and self._broken is None:
                self._turn.wait()
            if self._durable >= ticket:
                return
            self._raise_if_broken()
            batch, upto = self._waiting, self._arrived
            self._waiting, self._writing = [], True
        failure: OSError | None = None
        try:
            self._append(pl.concat(batch))
        except OSError as error:
            failure = error
        finally:
            with self._turn:
                self._writing = False
                self._broken = failure
                if failure is None:
                    self._durable = upto
                self._turn.notify_all()
        self._raise_if_broken()

    def _append(self, events: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        events.write_ipc_stream(buffer, compression="lz4")
        payload = buffer.getvalue()
        view = memoryview(_HEAD.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload)
        while view:
            view = view[os.write(self._file, view) :]
        os.fdatasync(self._file)

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            raise LedgerError(
                f"{self.path} cannot be written: {self._broken.strerror}.",
                "Make room or mend the disk, then run again: nothing is lost, "
                "and what was under way is settled then.",
            )

    def close(self) -> None:
        os.close(self._file)


def read_journal(path: Path) -> pl.DataFrame:
    """All events of a journal, in order (columns of ``EVENTS``); a torn last frame is left out.

    Raises:
        LedgerError: a frame before the last one is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise LedgerError(
            f"{path} is gone, and with it what a killed run had sent.",
            "Restore it from a backup of the state folder.",
        ) from None
    frames, position = [pl.DataFrame(schema=EVENTS)], 0
    while position < len(data):
        payload = _payload(data, position)
        if payload is None:
            if _intact_frame_after(data, position + 1):
                raise LedgerError(
                    f"{path} is damaged at byte {position}, and readable again behind it.",
                    "Restore it from a backup of the state folder.",
                )
            break
        frames.append(pl.read_ipc_stream(io.BytesIO(payload)))
        position += _HEAD.size + len(payload)
    return pl.concat(frames)


def _payload(data: bytes, position: int) -> bytes | None:
    if position + _HEAD.size > len(data):
        return None
    magic, length, checksum = _HEAD.unpack_from(data, position)
    payload = data[position + _HEAD.size : position + _HEAD.size + length]
    intact = magic == MAGIC and len(payload) == length and zlib.crc32(payload) == checksum
    return payload if intact else None


def _intact_frame_after(data: bytes, start: int) -> bool:
    found = data.find(MAGIC, start)
    while found >= 0:
        if _payload(data, found) is not None:
            return True
        found = data.find(MAGIC, found + 1)
    return False
