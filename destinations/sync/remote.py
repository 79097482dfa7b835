"""Which files of the state folder stand in object storage, and how they come and go.

With ``STOREROOM_STATE_URL`` the bucket is what counts; the state folder holds copies. A file
that never changes under its name (parts of a ledger, snapshots) is fetched once; one that
does (pointers) is fetched on every reading. A file that grows (journals, reports) is a folder
of numbered segments there, each written once and only if nobody else wrote that number.
"""

from __future__ import annotations

import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from destinations.errors import LedgerError
from destinations.paths import state_dir
from destinations.sync.lease import Lease, lease_on, taken_over
from destinations.sync.objects import NEW, Bucket, ChangedError, bucket

SHARED = ("audiences", "syncs", "alerts")
FETCHING = ".get-"
SEAL = b"SEAL"
"""A journal's segment that says: whoever wrote the ones before is out."""
_ABSENT = NEW


@dataclass(frozen=True)
class Remote:
    """Where a file or folder of the state folder stands in the bucket."""

    bucket: Bucket
    key: str

    @property
    def folder(self) -> str:
        return str(PurePosixPath(self.key).parent)


def remote_of(path: Path) -> Remote | None:
    """The object that ``path`` is a copy of; None where the file itself is what counts."""
    found = bucket()
    if found is None:
        return None
    try:
        parts = path.absolute().relative_to(state_dir()).parts
    except ValueError:
        return None
    return Remote(found, "/".join(parts)) if parts and parts[0] in SHARED else None


def lease_of(folder: Path) -> Lease | None:
    """The lease that this process holds on a folder of the state folder."""
    remote = remote_of(folder)
    return None if remote is None else lease_on(remote.key)


def fetch(path: Path, remote: Remote) -> bool:
    """Make the copy what the bucket holds now; False (and no copy) where it holds nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coming = path.with_name(f"{FETCHING}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        version = remote.bucket.download(remote.key, coming)
        if version is None:
            path.unlink(missing_ok=True)
        else:
            coming.replace(path)
    finally:
        coming.unlink(missing_ok=True)
    lease = lease_on(remote.folder)
    if lease is not None:
        lease.versions[remote.key] = version or _ABSENT
    return version is not None


def push(remote: Remote, body: bytes | Path) -> None:
    """Write an object; under a lease only what is still as it was read under it.

    Raises:
        LedgerError: it cannot be written, or another process took the lease over.
    """
    lease = lease_on(remote.folder)
    if lease is None:
        remote.bucket.put(remote.key, body)
        return
    lease.check()
    expected = lease.versions.get(remote.key)
    try:
        version = remote.bucket.put(remote.key, body, expected)
    except ChangedError:
        lease.lost = True
        raise taken_over(remote.folder) from None
    if expected is not None:
        lease.versions[remote.key] = version


def drop(remote: Remote) -> None:
    """Delete an object, or all segments of one that grows."""
    lease = lease_on(remote.folder)
    if lease is not None:
        lease.check()
        if remote.key in lease.versions:
            lease.versions[remote.key] = _ABSENT
    remote.bucket.delete([remote.key])
    if not PurePosixPath(remote.key).suffix:
        Segments(remote).delete()


def names(remote: Remote) -> list[str]:
    """Paths of files below a folder, relative to it; what grows counts as one file."""
    start = len(remote.key) + 1
    found = (key[start:] for key in remote.bucket.keys(remote.key))
    return sorted({_grown(name) for name in found})


def _grown(name: str) -> str:
    folder, _, last = name.rpartition("/")
    return folder if _is_segment(last) else name


def _is_segment(name: str) -> bool:
    return name[:8].isdigit() and name[8:] in ("", WHOLE)


WHOLE = "w"
"""Ends the name of a segment that stands for all before it."""


class Segments:
    """A file that grows, as numbered segments; one writer at a time."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._turn = threading.Lock()
        self._next: int | None = None

    def add(self, body: bytes) -> None:
        """Write the next segment; returns when it is durable.

        Raises:
            LedgerError: it cannot be written, or another process wrote that number.
        """
        with self._turn:
            if self._next is None:
                self._next = self._count()
            self._put(f"{self._next:08}", body)
            self._next += 1

    def rewrite(self, body: bytes) -> None:
        """Replace all segments by one."""
        with self._turn:
            before = self._all()
            number = _number(before[-1]) + 1 if before else 0
            self._put(f"{number:08}{WHOLE}", body)
            self._next = number + 1
            self._remote.bucket.delete(before)

    def begin(self) -> None:
        """Write the first, empty segment: without it what was written later is told as lost."""
        self._next = 0
        self.add(b"")

    def seal(self) -> None:
        """Keep whoever wrote these segments from writing another one."""
        while True:
            number = self._count()
            try:
                self._remote.bucket.put(f"{self._remote.key}/{number:08}", SEAL, NEW)
                return
            except ChangedError:
                continue

    def parts(self) -> list[str]:
        """Keys of the segments that count, in order.

        Raises:
            LedgerError: one between others is gone.
        """
        keys = self._all()
        whole = max((n for n, key in enumerate(keys) if key.endswith(WHOLE)), default=0)
        keys = keys[whole:]
        numbers = [_number(key) for key in keys]
        if numbers != list(range(numbers[0], numbers[0] + len(numbers)) if numbers else ()):
            raise LedgerError(
                f"{self._remote.bucket.url}/{self._remote.key} is damaged: a segment is gone.",
                "Restore it from a backup of the bucket.",
            )
        return keys

    def get(self, key: str) -> bytes:
        found = self._remote.bucket.get(key)
        if found is None:
            raise LedgerError(f"{self._remote.bucket.url}/{key} is gone.", "Run again.")
        return found.body

    def delete(self) -> None:
        self._remote.bucket.delete(self._all())

    def _put(self, name: str, body: bytes) -> None:
        lease = lease_on(self._remote.folder)
        if lease is not None:
            lease.check()
        try:
            self._remote.bucket.put(f"{self._remote.key}/{name}", body, NEW)
        except ChangedError:
            raise taken_over(self._remote.folder) from None

    def _all(self) -> list[str]:
        found = self._remote.bucket.keys(self._remote.key)
        return [key for key in found if _is_segment(key.rpartition("/")[2])]

    def _count(self) -> int:
        keys = self._all()
        return _number(keys[-1]) + 1 if keys else 0


def _number(key: str) -> int:
    return int(key.rpartition("/")[2][:8])
