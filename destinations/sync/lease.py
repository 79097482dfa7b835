"""Leases: one process at a time for a folder of object storage, and no zombie after it.

A lease is an object, ``.lease``, that its holder renews while it works. It is taken with
conditional writes, and may be taken over when its holder died: at once when it ran on this
machine (the kernel freed its lock), else when the server's clock says that it was not renewed
for as long as it promised.

A holder that lost its lease without knowing (suspended, cut off) can do no harm: what it
read under the lease it can only replace if nobody else did (``versions``), and who takes over
writes those objects first.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import orjson

from destinations.errors import LedgerError, LockedError
from destinations.paths import lease_seconds
from destinations.sync.objects import NEW, Bucket, ChangedError, Stored, Version

NAME = ".lease"
POLL = 0.25
BEATS = 4
"""Renewals within the time for which a lease is good."""


@dataclass
class Lease:
    """A lease that is held."""

    bucket: Bucket
    folder: str
    token: str
    seconds: float
    copy: str
    version: Version
    good_until: float
    """On this process's own clock, and before it ends on the server's."""
    forced: bool
    """Whether the holder before died: what it left under way is to be sealed off."""
    versions: dict[str, Version] = field(default_factory=dict)
    """What objects of the folder stood at when last read or written under this lease."""
    lost: bool = False

    def check(self) -> None:
        """Raise if somebody else may hold it by now."""
        if self.lost or time.monotonic() > self.good_until:
            raise taken_over(self.folder)

    def renew(self, released: bool = False) -> None:
        started = time.monotonic()
        body = _body(self.token, self.copy, self.seconds, released)
        self.version = self.bucket.put(f"{self.folder}/{NAME}", body, self.version)
        self.good_until = started + self.seconds * 0.9


_HELD: dict[str, Lease] = {}


def lease_on(folder: str) -> Lease | None:
    """The lease that this process holds on a folder."""
    return _HELD.get(folder)


def taken_over(folder: str) -> LedgerError:
    return LedgerError(
        f"Another process took {folder} over, because this one had not been heard of for too long.",
        "Look at that run; nothing needs to be cleaned up. What was under way here is settled there.",
    )


@contextmanager
def leased(bucket: Bucket, folder: str, copy: str, what: str, wait: bool) -> Iterator[Lease]:
    """Hold the lease on ``folder``, renewed until the end.

    Args:
        copy: names the state folder of this machine whose lock the caller holds.
        what: names the work, for messages.
        wait: wait for another holder instead of refusing.

    Raises:
        LockedError: another process holds it, and ``wait`` is false.
        LedgerError: the bucket cannot be read or written.
    """
    lease = _taken(bucket, folder, copy, what, wait)
    _HELD[folder] = lease
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(lease, over), name="lease", daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        over.set()
        beating.join()
        del _HELD[folder]
        if not lease.lost:
            # If this fails, it runs out.
            with suppress(ChangedError, LedgerError):
                lease.renew(released=True)


def _taken(bucket: Bucket, folder: str, copy: str, what: str, wait: bool) -> Lease:
    key, token, seconds = f"{folder}/{NAME}", secrets.token_hex(8), lease_seconds()
    while True:
        found = bucket.get(key)
        forced, expected = False, NEW
        if found is not None:
            expected = found.version
            other = orjson.loads(found.body)
            if not other["released"]:
                forced = other["copy"] == copy or _ran_out(bucket, folder, found, other["seconds"])
                if not forced and not wait:
                    raise LockedError(
                        f"{what} is already running ({other['holder']}).",
                        "Wait until it ends, or stop that process. Nothing needs to be cleaned up "
                        f"after it: the sync is free {other['seconds']:.0f} seconds later.",
                    )
                if not forced:
                    time.sleep(POLL)
                    continue
        started = time.monotonic()
        with suppress(ChangedError):
            version = bucket.put(key, _body(token, copy, seconds, False), expected)
            good = started + seconds * 0.9
            return Lease(bucket, folder, token, seconds, copy, version, good, forced)


def _body(token: str, copy: str, seconds: float, released: bool) -> bytes:
    return orjson.dumps(
        {
            "holder": f"process {os.getpid()} on {os.uname().nodename}",
            "token": token,
            "copy": copy,
            "seconds": seconds,
            "released": released,
            # No two renewals may look the same: a condition would take one for the other.
            "beat": secrets.token_hex(8),
        }
    )


def _ran_out(bucket: Bucket, folder: str, found: Stored, seconds: float) -> bool:
    """Whether the server says so: clocks of machines differ."""
    probe = f"{folder}/.now-{secrets.token_hex(8)}"
    bucket.put(probe, b"")
    try:
        return bucket.modified(probe) - found.modified > timedelta(seconds=seconds)
    finally:
        bucket.delete([probe])


def _beat(lease: Lease, over: threading.Event) -> None:
    while not over.wait(lease.seconds / BEATS):
        try:
            lease.renew()
        except ChangedError:
            lease.lost = True
            return
        except LedgerError:
            continue  # the next beat may get through; if none does, it runs out
