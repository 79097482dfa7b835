"""Files that survive a kill or a power cut: written aside, synced, put in place in one step."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from destinations.errors import LockedError

TEMPORARY = ".tmp-"
"""Prefix of files that are still being written; whoever holds the folder's lock may delete them."""


def sync_folder(folder: Path) -> None:
    """Make names created, replaced or removed in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def place(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a temporary file beside ``path``, then put it in place at once.

    A reader sees the old file or the whole new one. Names are not reused between
    processes, so two writers cannot fill the same temporary file.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        write(temporary)
        sync_file(temporary)
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    sync_folder(path.parent)


def place_json(path: Path, document: object) -> None:
    """:func:`place` for a JSON document."""
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    place(path, lambda temporary: temporary.write_bytes(text))


def share(source: Path, path: Path) -> None:
    """The same bytes under a new name, without a copy where the file system can."""
    with suppress(FileNotFoundError):
        path.unlink()
    try:
        os.link(source, path)
        sync_folder(path.parent)
    except OSError:
        place(path, lambda temporary: shutil.copyfile(source, temporary))


def sweep(folder: Path) -> None:
    """Delete what a killed writer left half written. Call with the folder's lock held."""
    for left in folder.glob(f"{TEMPORARY}*"):
        with suppress(FileNotFoundError):
            left.unlink()


@contextmanager
def locked(folder: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold ``folder``'s lock; the kernel frees it when the process dies, however it dies.

    Raises:
        LockedError: another process holds it and ``wait`` is false; names that process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "unknown"
            raise LockedError(
                f"{what} is already running ({holder}).",
                "Wait until it ends, or stop that process; nothing needs to be cleaned up after it.",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
        os.fsync(descriptor)
        yield
    finally:
        os.close(descriptor)
