"""Jobs and the schedules that run them: syncs are chosen by the cadence they declare."""

from __future__ import annotations

from datetime import date, timedelta

import dagster as dg

from dagster_project.defs.syncs import CADENCE_TAG
from dagster_project.settings import first_partition_day

LOOK_BACK_DAYS = 7
"""Days that are recounted every day; older ones are for a backfill."""

ALL_SYNCS = dg.AssetSelection.key_prefixes("syncs")
PARTITIONED = dg.AssetSelection.tag("partitioned", "daily")
PIPELINE = dg.AssetSelection.all() - ALL_SYNCS - PARTITIONED


def _syncs(*cadences: str) -> dg.AssetSelection:
    selection = dg.AssetSelection.tag(CADENCE_TAG, cadences[0])
    for cadence in cadences[1:]:
        selection = selection | dg.AssetSelection.tag(CADENCE_TAG, cadence)
    return selection & ALL_SYNCS


JOBS = [
    dg.define_asset_job(
        "hourly",
        PIPELINE | _syncs("hourly"),
        description="Ingest, build the warehouse, run the syncs that declare `cadence: hourly`.",
    ),
    dg.define_asset_job(
        "daily",
        PIPELINE | _syncs("hourly", "daily"),
        description="As hourly, and the syncs that declare `cadence: daily`.",
    ),
    dg.define_asset_job(
        "everything",
        PIPELINE | ALL_SYNCS,
        description="Ingest, build the warehouse, run every sync whatever its cadence.",
    ),
    dg.define_asset_job(
        "syncs",
        ALL_SYNCS,
        description="Run every sync on the audiences as they were last published.",
    ),
]

EVENT_DAYS = dg.define_asset_job(
    "event_days",
    PARTITIONED,
    description="Recount one day of events (or many, as a backfill).",
)


@dg.schedule(name="event_days", job=EVENT_DAYS, cron_schedule="0 5 * * *")
def event_days(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Recount the last days in one run: the newest for the first time, the others for late events."""
    last = context.scheduled_execution_time.date() - timedelta(days=1)
    first = max(
        last - timedelta(days=LOOK_BACK_DAYS - 1), date.fromisoformat(first_partition_day())
    )
    return dg.RunRequest(
        run_key=last.isoformat(),
        tags={
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
        },
    )


DEFINITIONS = dg.Definitions(
    jobs=[*JOBS, EVENT_DAYS],
    schedules=[
        # At ten past, so that collectors have closed the hour's files; the daily run takes
        # the place of one hourly run rather than queueing behind it.
        dg.ScheduleDefinition(name="hourly", job_name="hourly", cron_schedule="10 0-3,5-23 * * *"),
        dg.ScheduleDefinition(name="daily", job_name="daily", cron_schedule="10 4 * * *"),
        event_days,
    ],
)
