"""What became of every row that was taken up for sending, counted as answers arrive."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl

from destinations.driver import KEY, META_COLUMNS, Outcome, Status
from destinations.masking import masked_sample

DELIVERED, REJECTED, DEFERRED = "delivered", "rejected", "deferred"
KEYS_PER_REASON = 3
REASONS = 50


class Tally:
    """Counts by change and fate, reasons with a few keys each; safe for many threads."""

    def __init__(self, progress: Callable[[int], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._progress = progress
        self.rows: Counter[tuple[str, str]] = Counter()
        """Rows by (change, fate)."""
        self.reasons: dict[tuple[str, str], tuple[int, list[str]]] = {}
        """Rows and a few keys by (fate, reason)."""
        self.requests = 0
        self.retries = 0
        self.waited = 0.0
        self.samples: list[dict[str, Any]] = []

    def count(self, change: str, fate: str, rows: int) -> None:
        with self._lock:
            self.rows[change, fate] += rows
            done = sum(self.rows.values())
        if self._progress is not None:
            self._progress(done)

    def because(self, change: str, fate: str, rows: pl.DataFrame) -> None:
        """Count ``rows`` (``_key``, ``message``) under their reasons."""
        if rows.is_empty():
            return
        told = rows.group_by(pl.col("message").fill_null("no reason given"), maintain_order=True)
        grouped = told.agg(pl.len().alias("rows"), pl.col(KEY).head(KEYS_PER_REASON))
        with self._lock:
            for message, count, keys in grouped.iter_rows():
                self._reason(fate, message, count, keys)
        self.count(change, fate, rows.height)

    def defer(self, change: str, rows: pl.DataFrame | int, reason: str) -> None:
        """Count rows that were left for a later run."""
        height, keys = (
            (rows, []) if isinstance(rows, int) else (rows.height, rows[KEY].head(3).to_list())
        )
        if height == 0:
            return
        with self._lock:
            self._reason(DEFERRED, reason, height, keys)
        self.count(change, DEFERRED, height)

    def _reason(self, fate: str, message: str, count: int, keys: list[str]) -> None:
        if (fate, message) not in self.reasons and len(self.reasons) >= REASONS:
            message = "other reasons"
        before, known = self.reasons.get((fate, message), (0, []))
        self.reasons[fate, message] = (before + count, [*known, *keys][:KEYS_PER_REASON])

    def request(self, outcome: Outcome, retry: bool, rows: pl.DataFrame, refused: bool) -> int:
        """Count what one send of ``rows`` took, and number it; keeps the first sample and the first
        few of refusals.
        """
        with self._lock:
            self.requests += outcome.requests
            self.retries += retry
            # Asked for only where it is kept: a sample may be made when somebody asks.
            wanted = not self.samples or (refused and len(self.samples) < 5)
            if wanted and (sample := outcome.sample):
                masked = masked_sample(sample, rows, set(META_COLUMNS))
                self.samples.append(masked | {"number": self.requests})
            return self.requests

    def wait(self, seconds: float) -> None:
        with self._lock:
            self.waited += seconds

    def fate(self, fate: str, *changes: str) -> int:
        """Rows of some changes that met a fate."""
        return sum(self.rows[change, fate] for change in changes)

    @property
    def total(self) -> int:
        return sum(self.rows.values())


def fate_of(status: str) -> str | None:
    """The final fate that a status means; None where the row may still be sent again."""
    return {Status.ACCEPTED.value: DELIVERED, Status.REJECTED.value: REJECTED}.get(status)
