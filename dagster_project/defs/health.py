"""Asset checks of a sync that look at more than its last run: rejections, age, volume."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from dagster_project.declarations import Sync
from destinations.paths import syncs_dir
from destinations.sync.engine import sync_folder_of
from destinations.sync.health import (
    FEWEST_RUNS,
    LATE_AFTER,
    USUAL_RUNS,
    freshness,
    is_unusual,
    rejection_rate,
    usual_rows,
)
from destinations.sync.report import SyncReport, kept_reports

REJECTION_RATE = "rejection_rate"
FRESHNESS = "freshness"
VOLUME = "volume_anomaly"


def specs(sync: Sync, key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The checks of one sync."""
    alerts = sync.config.alerts
    told = {
        REJECTION_RATE: f"At most {alerts.rejection_rate:.0%} of the rows meant to stand there "
        "are rejected (`alerts.rejection_rate`).",
        FRESHNESS: f"The last run in which the destination judged every row is younger than "
        f"{LATE_AFTER} times the cadence ({sync.config.cadence}).",
        VOLUME: f"The audience has between 1/{alerts.volume_factor:g} and {alerts.volume_factor:g} "
        f"times the rows usual in the last {USUAL_RUNS} runs (`alerts.volume_factor`), once there "
        f"are {FEWEST_RUNS}.",
    }
    return [dg.AssetCheckSpec(name, asset=key, description=text) for name, text in told.items()]


def results(sync: Sync, key: dg.AssetKey, report: SyncReport) -> Iterator[dg.AssetCheckResult]:
    """Rejections and volume of a run that was reported, its age by all reports."""
    alerts, rate = sync.config.alerts, rejection_rate(report)
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=REJECTION_RATE,
        passed=rate <= alerts.rejection_rate,
        metadata={"rejection_rate": rate, "threshold": alerts.rejection_rate},
    )
    folder = sync_folder_of(syncs_dir(), sync.connection.name, sync.audience.name)
    earlier = [row for row in kept_reports(folder, USUAL_RUNS + 1) if row["run"] != report.run]
    usual = usual_rows(earlier)
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=VOLUME,
        passed=not is_unusual(report.rows, usual, alerts.volume_factor),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "rows": report.rows,
            "factor": alerts.volume_factor,
            **({} if usual is None else {"usual_rows": usual}),
        },
    )
    yield age(sync, key)


def age(sync: Sync, key: dg.AssetKey) -> dg.AssetCheckResult:
    """Whether the sync is late; to be asked also where a run came to nothing."""
    folder = sync_folder_of(syncs_dir(), sync.connection.name, sync.audience.name)
    try:
        found = freshness(sync.config, folder, datetime.now(UTC))
    except OSError as error:
        # Why the run failed too; the connection's other syncs must have their turn.
        return dg.AssetCheckResult(
            asset_key=key,
            check_name=FRESHNESS,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"error": str(error)},
        )
    last = found.last_success
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=FRESHNESS,
        passed=not found.is_late,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "age_seconds": round(found.age, 3),
            "last_success": last.isoformat() if last else "never",
            **({} if found.limit is None else {"limit_seconds": found.limit}),
        },
    )
