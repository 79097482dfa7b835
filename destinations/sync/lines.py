"""Files of lines that only grow: reports of runs, proofs of deletions.

In object storage each line is a segment of its own, and every so many are merged into one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from destinations.sync.durable import place_bytes, sync_folder
from destinations.sync.remote import FETCHING, Remote, Segments, remote_of

BLOCK = 1 << 16
MERGE = 64
"""Segments after which all are merged into one."""


def append(path: Path, line: bytes) -> None:
    """Add a line (without its end), durably. Call with the folder's lock held.

    Raises:
        OSError: it cannot be written.
        LedgerError: it cannot be written to object storage.
    """
    remote = remote_of(path)
    if remote is not None:
        segments = Segments(remote)
        segments.add(line + b"\n")
        if len(segments.parts()) > MERGE:
            segments.rewrite(_fetched(path, remote).read_bytes())
        return
    with path.open("ab") as file:
        # A line torn by a kill must not swallow this one.
        if file.tell() and not _ends_line(path):
            file.write(b"\n")
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def read_lines(path: Path, last: int | None = None) -> list[bytes]:
    """All lines, or the last ones; none where there is no file. A kill may have torn one."""
    remote = remote_of(path)
    if remote is not None:
        _fetched(path, remote)
    if not path.exists():
        return []
    return path.read_bytes().splitlines() if last is None else _last_lines(path, last)


def rewrite(path: Path, data: bytes) -> None:
    """Replace all lines. Call with the folder's lock held."""
    remote = remote_of(path)
    if remote is None:
        place_bytes(path, data)
        return
    Segments(remote).rewrite(data)
    _fetched(path, remote)


def _fetched(path: Path, remote: Remote) -> Path:
    """The file put together from its segments; those fetched before are kept beside it."""
    segments = Segments(remote)
    folder = path.parent / ".segments" / path.name
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {key.rpartition("/")[2]: key for key in segments.parts()}
    there = {part.name for part in folder.iterdir() if not part.name.startswith(FETCHING)}
    for name in wanted.keys() - there:
        _put(folder / name, segments.get(wanted[name]))
    for name in there - wanted.keys():
        (folder / name).unlink(missing_ok=True)
    if wanted and (there != wanted.keys() or not path.exists()):
        _put(path, b"".join((folder / name).read_bytes() for name in wanted))
    elif not wanted:
        path.unlink(missing_ok=True)
    return path


def _put(path: Path, data: bytes) -> None:
    coming = path.with_name(f"{FETCHING}{os.getpid()}-{secrets.token_hex(4)}")
    coming.write_bytes(data)
    coming.replace(path)


def _last_lines(path: Path, count: int) -> list[bytes]:
    """The last lines of a file, read from its end: it may hold years of runs."""
    with path.open("rb") as file:
        start = file.seek(0, 2)
        tail = b""
        while start and tail.count(b"\n") <= count:
            block = min(start, BLOCK)
            start -= block
            file.seek(start)
            tail = file.read(block) + tail
    return tail.splitlines()[-count:]


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
