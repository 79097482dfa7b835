"""One step per connection: each sync runs on its own, and the step tells what went wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_project.defs import syncs
from destinations.paths import syncs_dir
from destinations.sync.report import Reason, SyncReport
from destinations.sync.status import pause

KEY = dg.AssetKey(["syncs", "tables", "vips"])
REPORT = SyncReport(
    sync="tables/vips",
    audience="vips",
    connection="tables",
    mode="mirror",
    run="r1",
    snapshot="20260101T000000000000Z",
    status="ok",
    started_at="2026-01-01T00:00:00+00:00",
    seconds=0.1,
    rows=10,
    delivered=4,
    unchanged=3,
    filtered=1,
    withheld=2,
    rejected=0,
    deferred=0,
    added=4,
)


def results(report: SyncReport) -> dict[str, dg.AssetCheckResult]:
    return {str(found.check_name): found for found in syncs.check_results(KEY, report)}


def test_checks_pass_on_a_report_that_adds_up() -> None:
    assert {name: found.passed for name, found in results(REPORT).items()} == {
        "accounting": True,
        "no_rejected_rows": True,
    }


@pytest.mark.parametrize("lost", ["delivered", "unchanged", "filtered", "withheld"])
def test_a_lost_row_fails_the_accounting_check(lost: str) -> None:
    found = results(replace(REPORT, **{lost: getattr(REPORT, lost) - 1}))
    assert not found["accounting"].passed
    assert found["accounting"].severity == dg.AssetCheckSeverity.ERROR


def test_a_rejected_row_fails_its_check_as_a_warning_with_the_reason() -> None:
    why = Reason("rejected", "No such country", 1, ("p1",))
    found = results(replace(REPORT, delivered=3, added=3, rejected=1, reasons=(why,)))
    assert found["accounting"].passed
    check = found["no_rejected_rows"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert "No such country" in str(check.metadata["reasons"].value)


@pytest.fixture
def sender(declared: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dg.Definitions]:
    """Makes the definitions of audiences that all go to connection ``tables``."""

    def make(*audiences: str, **entry: Any) -> dg.Definitions:
        declaration = {
            "connection": "tables",
            "mode": "mirror",
            "mapping": {"profile_id": "profile_id", "email": "email"},
        }
        found = declared(
            **{name: [declaration | entry | {"target": {"table": name}}] for name in audiences}
        )
        monkeypatch.setattr(syncs, "load", lambda _: found)
        return syncs.definitions()

    return make


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def materialise(
    definitions: dg.Definitions, instance: dg.DagsterInstance, **options: Any
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        list(definitions.assets or []),  # type: ignore[arg-type]
        instance=instance,
        raise_on_error=False,
        **options,
    )


def made(result: dg.ExecuteInProcessResult) -> set[str]:
    events = result.get_asset_materialization_events()
    return {event.materialization.asset_key.path[-1] for event in events}


def held(state: Path, table: str) -> int:
    with sqlite3.connect(state / "out.sqlite") as database:
        found: int = database.execute(f"select count(*) from {table}").fetchone()[0]
        return found


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [e for e in result.all_events if e.is_step_failure]
    assert event.step_failure_data.user_failure_data
    return str(event.step_failure_data.user_failure_data.description)


def test_the_counts_stand_in_the_metadata(
    sender: Any, published: Any, instance: Any, state: Path
) -> None:
    published("vips", 3)
    result = materialise(sender("vips"), instance)
    (event,) = result.get_asset_materialization_events()
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    assert metadata["rows"] == metadata["delivered"] == 3
    assert str(metadata["accounting"]).startswith("3 rows = 3 delivered + 0 unchanged")
    assert next(iter(metadata)) == "accounting"
    assert held(state, "vips") == 3
    checks = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    names = ("accounting", "no_rejected_rows", "rejection_rate", "freshness", "volume_anomaly")
    assert checks == dict.fromkeys(names, True)


def test_one_sync_that_cannot_run_leaves_the_others_be(
    sender: Any, published: Any, instance: Any, state: Path
) -> None:
    published("alphas")
    published("zetas")
    published("paused")
    assert materialise(sender("paused"), instance).success
    pause(syncs_dir(), "tables", "paused", True)
    result = materialise(sender("alphas", "missing", "paused", "zetas"), instance)
    assert not result.success
    assert made(result) == {"alphas", "zetas"}
    assert [held(state, "alphas"), held(state, "zetas")] == [3, 3]
    said = failure(result)
    assert "tables/missing: Audience 'missing' has not been published yet." in said
    assert "paused" not in said  # on purpose, so it is skipped and no failure
    assert "zetas" not in said


def test_a_run_may_take_a_subset(sender: Any, published: Any, instance: Any) -> None:
    published("vips")
    published("others")
    result = materialise(
        sender("vips", "others"), instance, selection=dg.AssetSelection.assets(KEY)
    )
    assert result.success
    assert made(result) == {"vips"}


def test_a_guard_stops_the_run_and_a_tag_lets_it_past_once(
    sender: Any, published: Any, instance: Any, state: Path
) -> None:
    published("vips", 4)
    definitions = sender("vips", guards={"max_removes": 1})
    assert materialise(definitions, instance).success
    published("vips", 1)
    guarded = materialise(definitions, instance)
    assert not guarded.success
    assert "tables/vips: " in failure(guarded)
    assert held(state, "vips") == 4
    assert materialise(definitions, instance, tags={syncs.ALLOW_GUARDS_TAG: "true"}).success
    assert held(state, "vips") == 1
