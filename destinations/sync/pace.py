"""When the next delivery may go out: waits that a destination asked for, and the circuit breaker."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

MAX_SLEEP = 0.2


@dataclass(frozen=True)
class Policy:
    """How hard a run tries. Times in seconds."""

    attempts: int = 5
    """Sends of one row per run, waits that the destination asked for not counted."""
    backoff: float = 0.5
    backoff_limit: float = 30.0
    breaker: int = 10
    """Sends in a row without any answer that counts, after which the run gives up."""
    refused_batches: int = 3
    """Batches in a row of which bisecting found no row that is taken, after which it gives up."""
    wait_budget: float = 900.0
    """Longest time a run waits because the destination asked it to."""


class Pace:
    """Shared by the workers of one run."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._failures = 0
        self._refused = 0
        self._asked = 0.0
        self._stop: str | None = None
        self.failed = False
        """Whether the destination refuses us altogether."""

    @property
    def stopped(self) -> str | None:
        """Why nothing more is sent in this run; None while it goes on."""
        return self._stop

    def stop(self, reason: str) -> None:
        with self._lock:
            self._stop = self._stop or reason

    def refused(self, reason: str) -> None:
        """The destination refuses this connection (bad credentials): nothing can succeed."""
        self.failed = True
        self.stop(reason)

    def asked_to_wait(self, seconds: float) -> None:
        """The destination asked everybody to wait: scheduling, not a failure."""
        with self._lock:
            until = time.monotonic() + max(seconds, 0.0)
            added = until - max(self._not_before, time.monotonic())
            self._asked += max(added, 0.0)
            if self._asked > self.policy.wait_budget:
                self._stop = self._stop or (
                    f"the destination asked to wait {seconds:.0f} s more, beyond the "
                    f"{self.policy.wait_budget:.0f} s that one run waits"
                )
            self._not_before = max(self._not_before, until)

    def failure(self, message: str) -> None:
        """A send came to nothing (outage, timeout)."""
        with self._lock:
            self._failures += 1
            if self._failures >= self.policy.breaker:
                self._stop = self._stop or (
                    f"circuit breaker open after {self._failures} failures in a row, last: {message}"
                )

    def answered(self) -> None:
        """The destination is alive."""
        with self._lock:
            self._failures = 0

    def bisected(self, accepted: bool, message: str) -> None:
        """A refused batch was taken apart; ``accepted`` tells whether any row got through."""
        with self._lock:
            self._refused = 0 if accepted else self._refused + 1
            if self._refused >= self.policy.refused_batches:
                self._stop = self._stop or (
                    f"{self._refused} batches in a row were refused row by row, last: {message}"
                )

    def delay(self) -> float:
        """Seconds until the next send may start."""
        return max(self._not_before - time.monotonic(), 0.0)

    def sleep(self, seconds: float) -> float:
        """Sleep unless stopped meanwhile; returns the seconds slept."""
        start = time.monotonic()
        while self._stop is None and (left := start + seconds - time.monotonic()) > 0:
            time.sleep(min(left, MAX_SLEEP))
        return time.monotonic() - start

    def backoff(self, attempt: int) -> float:
        """A jittered delay before attempt number ``attempt`` + 1 of the same rows."""
        ceiling = min(self.policy.backoff * 2 ** (attempt - 1), self.policy.backoff_limit)
        return random.uniform(ceiling / 2, ceiling)
