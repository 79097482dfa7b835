"""Partitions where a backfill by date means something: events counted by day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dagster as dg
import duckdb
import pytest

from dagster_project.definitions import storeroom
from dagster_project.demo import generate
from destinations.paths import landing_dir, warehouse_path

pytestmark = pytest.mark.end_to_end

RAW = [
    dg.AssetKey(["raw", name]) for name in ("events", "rejected_events", "loaded_files", "replayed")
]
STAGING = [dg.AssetKey(["staging", "stg_events"])]
DAYS = dg.AssetKey(["observability", "events_daily"])


RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
DAILY = "select occurred_on, {} from {} group by occurred_on order by occurred_on"


def query(text: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(warehouse_path()), read_only=True) as warehouse:
        return warehouse.execute(text).fetchall()


@pytest.mark.timeout(400)
def test_two_days_in_one_run_and_again_without_counting_twice() -> None:
    for day in (1, 2, 3):
        generate(landing_dir(), day, users=60)
    definitions = storeroom()
    assert isinstance(definitions, dg.Definitions)
    with dg.DagsterInstance.ephemeral() as instance:
        built = definitions.resolve_job_def("everything").execute_in_process(
            instance=instance, asset_selection=[*RAW, *STAGING]
        )
        assert built.success
        staged = query(DAILY.format("count(*)", "stg_events"))
        (first, _), (second, _) = wanted = staged[-3:-1]
        assert second - first == timedelta(days=1)
        assert len(staged) > 2

        days = dict(zip(RANGE, (first.isoformat(), second.isoformat()), strict=True))
        backfill = definitions.resolve_job_def("event_days")
        for _ in range(2):
            result = backfill.execute_in_process(instance=instance, tags=days)
            assert result.success
            # Other days stay as they are: here, not counted at all.
            assert query(DAILY.format("sum(events)", "events_daily")) == wanted
        counted = {
            event.materialization.partition
            for event in result.get_asset_materialization_events()
            if event.materialization.asset_key == DAYS
        }
        assert counted == {first.isoformat(), second.isoformat()}
