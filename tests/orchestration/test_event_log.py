"""What the kept event log writes is what Dagster's own would have written."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from dagster_project import event_log


@dg.asset(check_specs=[dg.AssetCheckSpec("fine", asset="people")])
def people():
    yield dg.MaterializeResult(
        metadata={"rows": 3}, check_results=[dg.AssetCheckResult(passed=True, check_name="fine")]
    )


@pytest.fixture
def storage(tmp_path):
    return {
        "custom": {
            "module": "dagster_project.event_log",
            "class": "Storage",
            "config": {"base_dir": str(tmp_path / "storage")},
        }
    }


def test_dagsters_own_storage_reads_every_event(tmp_path, storage, monkeypatch):
    monkeypatch.setattr(event_log, "MOST_OPEN", 3)
    with dg.instance_for_test(overrides={"storage": storage}) as instance:
        assert isinstance(instance.event_log_storage, event_log.KeptEventLog)
        runs = [dg.materialize([people], instance=instance).run_id for _ in range(5)]
        kept = {run: [e.message for e in instance.all_logs(run)] for run in runs}
        assert len(instance.event_log_storage._engines) <= 3
        # While the files are open, another process reads them.
        other = SqliteEventLogStorage(str(tmp_path / "storage" / "history" / "runs"))
        for run in runs:
            assert [e.message for e in other.get_logs_for_run(run)] == kept[run]
            assert any("materialized" in message.lower() for message in kept[run])
        key = dg.AssetKey("people")
        assert other.has_asset_key(key)
        assert other.get_materialized_partitions(key) == set()
        record = instance.get_latest_materialization_event(key)
        assert record is not None
        assert record.run_id == runs[-1]
        checks = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(key, "fine"), limit=10
        )
        assert len(checks) == 5


def test_a_second_instance_goes_on_with_what_the_first_left(storage):
    for number in (1, 2):
        with dg.instance_for_test(overrides={"storage": storage}) as instance:
            assert dg.materialize([people], instance=instance).success
            assert instance.get_runs_count() == number
