"""The vendor's rate limits, kept for the account by every process of this machine.

An account's buckets stand in one small locked file, named by destination and a
digest of the credentials: two syncs, or two runs of Dagster, share what the
vendor grants once. An answer that says "come back later" closes the account
for all of them until then.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from destinations.language.spec import RateLimit

BURST = 10
"""One part in so many of a window's requests may go at once; the rest are spread evenly."""
JITTER = 0.1
"""Seconds by which requests may be late on their way and still not be too many at the vendor."""


TICK = 100_000_000
"""Nanoseconds; no file system in use tells times of writing apart less finely."""


class Limiter:
    """Says how long to wait before the next request.

    A bucket of ``burst`` tokens refilled at ``(requests - burst + 1) / (per + JITTER)`` a
    second never lets more than ``requests`` through in any ``per + JITTER`` seconds; so the
    vendor sees no more in any ``per`` seconds, though one is slower on its way than another.

    Args:
        path: the account's file; its folder is made.
        limits: every one of them holds.
        clock, sleep: for tests.
    """

    def __init__(
        self,
        path: Path,
        limits: Sequence[RateLimit],
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._seen: tuple[int, int] | None = None
        self._closed_until = 0.0

    def acquire(self, patience: float) -> float:
        """Take leave for one request, sleeping up to ``patience`` seconds for it.

        Returns:
            0 when the request may go; otherwise the seconds until it could, nothing taken.
        """
        leave = self.leave(patience)
        while True:
            try:
                self._sleep(next(leave))
            except StopIteration as end:
                return float(end.value)

    def leave(self, patience: float) -> Generator[float, None, float]:
        """:meth:`acquire` for who cannot sleep: gives the seconds to come back after."""
        if not self._limits and not self._is_closed():
            return 0.0
        until = self._clock() + patience
        tolerance = JITTER / 2
        while True:
            wait, at = self._reserve(until)
            if at is None:
                return wait
            if wait <= 0:
                return 0.0
            yield wait
            # A leave that was overslept stands too close to those of others, and one from
            # before the account was closed is none: both are asked for again. A machine that
            # always oversleeps gets through all the same.
            if self._clock() - at <= tolerance and not self._is_closed():
                return 0.0
            tolerance *= 2

    def _reserve(self, until: float) -> tuple[float, float | None]:
        """Seconds to wait and the moment to go; None for a moment after ``until``: nothing is taken."""
        with self._state() as state:
            now = self._clock()
            # While the account is closed nothing flows: the buckets go on when it opens,
            # or everybody who waited would go at once.
            opens = max(now, float(state.get("closed_until", 0.0)))
            levels = {_name(limit): self._level(limit, state, opens) for limit in self._limits}
            waits = [(1 - levels[_name(limit)]) / _rate(limit) for limit in self._limits]
            wait = opens - now + max([0.0, *waits])
            if now + wait > until:
                return wait, None
            state["buckets"] = {name: [level - 1, opens] for name, level in levels.items()}
            return wait, now + wait

    def _is_closed(self) -> bool:
        """Reads the file only where somebody may have written to it since it was last read."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 - asked before every request
        except FileNotFoundError:
            return False
        seen = (found.st_mtime_ns, found.st_size)
        if seen != self._seen:
            read_at = time.time_ns()
            with self._state(write=False) as state:
                self._closed_until = float(state.get("closed_until", 0.0))
            # Two writes within one tick of the file system's clock look like one.
            self._seen = seen if read_at - found.st_mtime_ns > TICK else None
        return self._closed_until > self._clock()

    def close_for(self, seconds: float) -> None:
        """The vendor wants nothing from the account for so long."""
        with self._state() as state:
            until = self._clock() + seconds
            state["closed_until"] = max(until, float(state.get("closed_until", 0.0)))

    def _level(self, limit: RateLimit, state: dict[str, Any], now: float) -> float:
        burst = _burst(limit)
        tokens, at = state.get("buckets", {}).get(_name(limit), (burst, now))
        # A clock set back gives no tokens, and does not take any either.
        return float(min(burst, tokens + max(0.0, now - at) * _rate(limit)))

    @contextmanager
    def _state(self, write: bool = True) -> Iterator[dict[str, Any]]:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            content = os.read(handle, 1 << 16)
            try:
                state = json.loads(content) if content else {}
            except ValueError:
                state = {}  # a power cut amid writing loses a moment's count, nothing else
            yield state
            if not write:
                return
            # One write over all that stood there: a kill leaves the old state or the new one.
            os.pwrite(handle, json.dumps(state).encode().ljust(len(content)), 0)
        finally:
            os.close(handle)


def account_file(folder: Path, destination: str, credentials: Mapping[str, Any]) -> Path:
    """The file of an account: the same for every connection that logs in with the same secrets."""
    digest = hashlib.sha256(
        json.dumps(credentials, sort_keys=True, default=str).encode()
    ).hexdigest()
    return folder / f"{destination}-{digest[:16]}.json"


def _burst(limit: RateLimit) -> float:
    return max(1, limit.requests // BURST)


def _rate(limit: RateLimit) -> float:
    return (limit.requests - _burst(limit) + 1) / (limit.per + JITTER)


def _name(limit: RateLimit) -> str:
    return f"{limit.requests}/{limit.per:g}"
