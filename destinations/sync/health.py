"""Whether a sync is well, judged by what its runs reported."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from destinations.sync.config import SyncConfig
from destinations.sync.report import SyncReport, kept_reports

USUAL_RUNS = 10
"""Runs before this one that say what is usual …"""
FEWEST_RUNS = 5
"""… if there are at least as many."""
LATE_AFTER = 3
"""Cadences without a success after which a sync is late."""
CADENCES = {"hourly": timedelta(hours=1), "daily": timedelta(days=1)}
SUCCESSES = ("ok", "rejected")
"""Statuses of runs in which the destination judged every row."""


class Condition(StrEnum):
    """How a sync stands after a run; somebody is told when it changes."""

    WELL = "well"
    REJECTING = "rejecting"  # more rows are rejected than `alerts.rejection_rate` allows
    GUARDED = "guarded"  # a guard stopped the run
    REFUSED = "refused"  # the destination refuses the connection
    UNREACHABLE = "unreachable"  # the run gave up: circuit breaker, or told to wait too long
    FAILED = "failed"  # it could not run


def condition_of(report: SyncReport, config: SyncConfig) -> Condition:
    """How the sync stands by its last report."""
    stopped = {"guarded": Condition.GUARDED, "failed": Condition.REFUSED}
    if report.status in stopped:
        return stopped[report.status]
    if report.status == "deferred" and report.message:
        return Condition.UNREACHABLE
    if rejection_rate(report) > config.alerts.rejection_rate:
        return Condition.REJECTING
    return Condition.WELL


def rejection_rate(report: SyncReport) -> float:
    """Rejected rows and removes, as a share of all that should change or stand there (0 to 1)."""
    meant = report.rows - report.filtered - report.withheld + report.removes
    return (report.rejected + report.removes_rejected) / meant if meant else 0.0


@dataclass(frozen=True)
class Freshness:
    """When the destination last judged every row, and whether that is too long ago."""

    last_success: datetime | None
    """Start of that run; None where there was none."""
    age: float
    """Seconds since then, or since the first run where none succeeded."""
    limit: float | None
    """Seconds it may be; None for a sync without a cadence."""

    @property
    def is_late(self) -> bool:
        return self.limit is not None and self.age > self.limit


def freshness(config: SyncConfig, folder: Path, now: datetime) -> Freshness:
    """How long ago the sync last succeeded, by the reports in its folder.

    Raises:
        OSError: they cannot be read.
    """
    cadence = CADENCES.get(config.cadence)
    limit = None if cadence is None else (cadence * LATE_AFTER).total_seconds()
    last = _last_success(kept_reports(folder, last=USUAL_RUNS))
    if last is not None:
        return Freshness(last, (now - last).total_seconds(), limit)
    reports = kept_reports(folder)
    last = _last_success(reports)
    since = last or (_started(reports[0]) if reports else now)
    return Freshness(last, (now - since).total_seconds(), limit)


def usual_rows(earlier: Sequence[Mapping[str, Any]]) -> float | None:
    """Median of the rows of the last runs; None where they are too few to say.

    Args:
        earlier: reports of the runs before this one, oldest first.
    """
    rows = [report["rows"] for report in earlier[-USUAL_RUNS:]]
    return statistics.median(rows) if len(rows) >= FEWEST_RUNS else None


def is_unusual(rows: int, usual: float | None, factor: float) -> bool:
    """Whether an audience has many times more or fewer rows than usual."""
    if usual is None:
        return False
    return rows > usual * factor or rows * factor < usual


def _last_success(reports: Sequence[Mapping[str, Any]]) -> datetime | None:
    for report in reversed(reports):
        if report["status"] in SUCCESSES:
            return _started(report)
    return None


def _started(report: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(report["started_at"])
