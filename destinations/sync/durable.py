"""Files that survive a kill or a power cut: written aside, synced, put in place in one step.

Everything that syncs keep is read and written here, wherever it stands: in the state folder,
or in object storage with a copy in the state folder (remote.py). There the object is written
first. With ``STOREROOM_STATE_KEY`` Parquet files are encrypted in both places (sealing.py).
"""

from __future__ import annotations

import fcntl
import io
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

import orjson
import polars as pl

from destinations.errors import LockedError
from destinations.paths import state_dir
from destinations.sync import remote as remotes
from destinations.sync.lease import NAME as LEASE
from destinations.sync.lease import leased
from destinations.sync.remote import Remote, remote_of
from destinations.sync.sealing import SealedWriter, is_sealed, keys, unsealed

TEMPORARY = ".tmp-"
"""Prefix of files that are still being written; whoever holds the folder's lock may delete them."""
ABANDONED = 3600.0
"""Seconds after which a copy that was being fetched is nobody's any more."""

Target = Path | BinaryIO

# Else Polars reads up to 128 row groups ahead: of most files all of it. Files are local here.
os.environ.setdefault("POLARS_ROW_GROUP_PREFETCH_SIZE", "4")


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


def place(path: Path, write: Callable[[Target], object], cache: bool = False) -> None:
    """Have ``write`` fill a Parquet file, then put it in place at once, encrypted if there is a key.

    A reader sees the old file or the whole new one. Names are not reused between
    processes, so two writers cannot fill the same temporary file.

    Args:
        write: given a path, or a file where what it writes is encrypted on its way.
        cache: it can be worked out anew and stays on this machine.
    """
    found = keys()

    def fill(temporary: Path) -> None:
        if not found:
            write(temporary)
            return
        with temporary.open("wb") as file:
            writer = SealedWriter(file, found[0])
            write(writer)  # type: ignore[arg-type]
            writer.finish()

    _placed(path, fill, None if cache else remote_of(path))


def place_bytes(path: Path, data: bytes) -> None:
    """:func:`place` for content that names nobody, or is encrypted already."""
    _placed(path, lambda temporary: temporary.write_bytes(data), remote_of(path))


def place_json(path: Path, document: object) -> None:
    """:func:`place_bytes` for a JSON document."""
    place_bytes(path, orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _placed(path: Path, fill: Callable[[Path], object], remote: Remote | None) -> None:
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        fill(temporary)
        if remote is None:
            sync_file(temporary)
        else:
            remotes.push(remote, temporary)
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    if remote is None:
        sync_folder(path.parent)


def share(source: Path, path: Path) -> None:
    """The same bytes under a new name, without a copy where the file system can."""
    remote, origin = remote_of(path), remote_of(source)
    if remote is not None and origin is not None:
        origin.bucket.copy(origin.key, remote.key)
        # The copy is fetched when it is read, if what it was taken from is gone by then.
        if not source.exists():
            return
    with suppress(FileNotFoundError):
        path.unlink()
    try:
        os.link(source, path)
        if remote is None:
            sync_folder(path.parent)
    except OSError:
        _placed(path, lambda temporary: shutil.copyfile(source, temporary), None)


def discard(path: Path) -> None:
    """Delete a file; one that is gone does not matter."""
    remote = remote_of(path)
    if remote is not None:
        remotes.drop(remote)
    path.unlink(missing_ok=True)


def read(path: Path) -> bytes:
    """A file that may change under its name, as it is now.

    Raises:
        FileNotFoundError: there is none.
    """
    remote = remote_of(path)
    if remote is not None:
        remotes.fetch(path, remote)
    return path.read_bytes()


def present(path: Path) -> bool:
    """Whether there is such a file now."""
    remote = remote_of(path)
    return path.exists() if remote is None else remote.bucket.has(remote.key)


def kept(path: Path) -> Path:
    """``path``, fetched if this machine has no copy: a file that never changes under its name.

    Raises:
        FileNotFoundError: there is none.
    """
    remote = remote_of(path)
    if not path.exists() and (remote is None or not remotes.fetch(path, remote)):
        raise FileNotFoundError(path)
    return path


def scan(path: Path) -> pl.LazyFrame:
    """The rows of a Parquet file that never changes under its name.

    An encrypted one is held in memory, compressed as it is, while the result is in use.

    Raises:
        FileNotFoundError: there is none.
        LedgerError: it is encrypted and the key is not set, or it is damaged.
    """
    return pl.scan_parquet(opened(kept(path)), glob=False)


def opened(path: Path) -> Path | BinaryIO:
    """A file of this machine in clear: itself, or what it holds where it is encrypted."""
    with path.open("rb") as file:
        start = file.read(4)
        if not is_sealed(start):
            return path
        return io.BytesIO(unsealed(start + file.read(), str(path)))


def names(folder: Path, pattern: str) -> list[str]:
    """Names of files in ``folder``, and of those below it, that fit a pattern such as ``*/*/head.json``."""
    remote = remote_of(folder)
    if remote is None:
        return sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))
    parts = pattern.split("/")
    return [
        name
        for name in remotes.names(remote)
        if len(name.split("/")) == len(parts) and all(map(fnmatch, name.split("/"), parts))
    ]


def move_folder(source: Path, target: Path, first: str) -> None:
    """Give a folder another name; what stood there goes. Killed in between, it can be done again.

    Args:
        first: the file that makes the folder count; it comes last and goes first.
    """
    remote, place_ = remote_of(source), remote_of(target)
    if remote is not None and place_ is not None:
        found = sorted(remote.bucket.keys(remote.key), key=lambda key: key.endswith(f"/{first}"))
        for key in found:
            if not key.endswith(f"/{LEASE}"):
                remote.bucket.copy(key, place_.key + key.removeprefix(remote.key))
        for key in reversed(found):
            if not key.endswith(f"/{LEASE}"):
                remote.bucket.delete([key])
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(source, ignore_errors=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    source.rename(target)
    sync_folder(target.parent)
    sync_folder(source.parent)


def sweep(folder: Path) -> None:
    """Delete what a killed writer left half written. Call with the folder's lock held."""
    for left in folder.glob(f"{TEMPORARY}*"):
        left.unlink(missing_ok=True)
    for left in folder.glob(f"{remotes.FETCHING}*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()


@contextmanager
def locked(folder: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold ``folder``'s lock; the kernel frees it when the process dies, however it dies.

    Where state is in object storage, hold its lease too (lease.py).

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
        remote = remote_of(folder)
        if remote is None:
            yield
            return
        with leased(remote.bucket, remote.key, _this_copy(), what, wait):
            yield
    finally:
        os.close(descriptor)


def _this_copy() -> str:
    """Names this machine's state folder: who holds its locks need not ask other machines."""
    path = state_dir() / ".copy"
    if not path.exists():
        fresh = path.with_name(f"{TEMPORARY}copy-{secrets.token_hex(4)}")
        fresh.write_text(secrets.token_hex(16))
        with suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    return path.read_text()
