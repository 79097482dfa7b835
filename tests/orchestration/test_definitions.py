"""What Dagster loads: one graph from landing files to every destination."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_project.declarations import Sync, load
from dagster_project.definitions import storeroom
from dagster_project.defs.schedules import JOBS, event_days
from dagster_project.defs.syncs import asset_key
from dagster_project.warehouse import manifest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def definitions() -> Iterator[dg.Definitions]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOREROOM_PROJECT", str(ROOT))
        found = storeroom()
        assert isinstance(found, dg.Definitions)
        yield found


@pytest.fixture(scope="module")
def syncs(definitions: dg.Definitions) -> list[Sync]:
    return load(manifest.ensure())


@pytest.fixture(scope="module")
def graph(definitions: dg.Definitions) -> Any:
    return definitions.resolve_asset_graph()


LOADED = """
import warnings
warnings.filterwarnings("error", module=r"dagster_project(\\.|$)")
from dagster_project.definitions import storeroom
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_shared.serdes import serialize_value
print(len(serialize_value(RepositorySnap.from_def(storeroom().get_repository_def()))))
"""
"""What the webserver's code server does: load, and hand the whole over as text."""


def test_the_repository_loads_without_a_warning_of_ours() -> None:
    found = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) > 0
    assert "dagster_project/" not in found.stderr


def test_every_sync_comes_from_raw_events(graph: Any, syncs: list[Sync]) -> None:
    assert len(syncs) >= 7
    sources = graph.get(dg.AssetKey(["raw", "events"])).parent_keys
    assert sources
    assert {key.path[0] for key in sources} == {"landing"}
    for sync in syncs:
        upstream = dg.AssetSelection.assets(asset_key(sync)).upstream().resolve(graph)
        stages = {key.path[0] for key in upstream}
        assert dg.AssetKey(["raw", "events"]) in upstream, sync.name
        assert {"staging", "identity", "profiles", "traits", "segments"} <= stages


def test_every_asset_says_what_it_is(graph: Any) -> None:
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    assert [node.key for node in nodes if not node.description] == []
    assert {node.group_name for node in nodes} == {
        *("landing", "ingestion", "staging", "identity", "profiles", "traits"),
        *("segments", "audiences", "syncs", "observability"),
    }


def test_jobs_choose_syncs_by_cadence(graph: Any, syncs: list[Sync]) -> None:
    chosen = {job.name: job.selection.resolve(graph) for job in JOBS}  # type: ignore[union-attr]
    assert {sync.config.cadence for sync in syncs} >= {"hourly", "daily"}
    for sync in syncs:
        key, cadence = asset_key(sync), sync.config.cadence
        assert (key in chosen["hourly"]) == (cadence == "hourly")
        assert (key in chosen["daily"]) == (cadence in ("hourly", "daily"))
        assert key in chosen["everything"]
        assert key in chosen["syncs"]
    pipeline = dg.AssetKey(["audiences", "audience_loyal_customers"])
    days = dg.AssetKey(["observability", "events_daily"])
    assert {name for name, keys in chosen.items() if pipeline in keys} == {
        *("hourly", "daily", "everything"),
    }
    assert not any(days in keys for keys in chosen.values())


def test_each_hour_has_one_run(definitions: dg.Definitions) -> None:
    hours: dict[str, list[int]] = {}
    for schedule in definitions.schedules or []:
        if schedule.name == "event_days":
            continue
        assert isinstance(schedule, dg.ScheduleDefinition)
        minute, hour, *days = str(schedule.cron_schedule).split()
        assert (minute, days) == ("10", ["*", "*", "*"])
        for part in hour.split(","):
            first, _, last = part.partition("-")
            hours.setdefault(schedule.name, []).extend(range(int(first), int(last or first) + 1))
    assert sorted(hours["hourly"] + hours["daily"]) == list(range(24))


def test_pools(definitions: dg.Definitions, syncs: list[Sync]) -> None:
    def pool(*path: str) -> str | None:
        return definitions.resolve_assets_def(dg.AssetKey(path)).op.pool

    assert pool("raw", "events") == "ingestion"
    assert pool("audiences", "audience_loyal_customers") == "warehouse"
    assert pool("observability", "events_daily") == "warehouse"
    for sync in syncs:
        assert pool(*asset_key(sync).path) == f"connection_{sync.connection.name}"


def test_every_sync_has_its_checks_and_models_have_theirs(graph: Any, syncs: list[Sync]) -> None:
    checks = {(key.asset_key, key.name) for key in graph.asset_check_keys}
    for sync in syncs:
        assert (asset_key(sync), "accounting") in checks
        assert (asset_key(sync), "no_rejected_rows") in checks
    audiences = [key for key, _ in checks if key.path[0] == "audiences"]
    assert len(set(audiences)) == len({sync.audience.name for sync in syncs})


def test_late_events_are_counted_for_a_week() -> None:
    tick = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 1, 20, 5, tzinfo=UTC))
    request = event_days(tick)
    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_start"] == "2026-01-13"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-01-19"
