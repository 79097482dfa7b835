"""The tables over the syncs are built last, and when syncs fail all the more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.api import create_execution_plan

from dagster_project.declarations import load
from dagster_project.definitions import storeroom
from dagster_project.defs.schedules import JOBS
from dagster_project.defs.syncs import asset_key
from dagster_project.warehouse import manifest

ROOT = Path(__file__).parents[2]
STEP = "warehouse_of_syncs"
RUNS = dg.AssetKey(["observability", "sync_runs"])


@pytest.fixture(scope="module")
def definitions() -> Iterator[dg.Definitions]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOREROOM_PROJECT", str(ROOT))
        found = storeroom()
        assert isinstance(found, dg.Definitions)
        yield found


def test_the_lineage_leads_from_every_sync_to_the_tables(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    upstream = dg.AssetSelection.assets(RUNS).upstream().resolve(graph)
    assert {asset_key(sync) for sync in load(manifest.ensure())} <= upstream


def test_one_step_builds_them_and_the_main_build_leaves_them_out(
    definitions: dg.Definitions,
) -> None:
    made = {key for key in definitions.resolve_assets_def(RUNS).keys if key in _tables()}
    assert made == _tables()
    main = definitions.resolve_assets_def(dg.AssetKey(["profiles", "profiles"]))
    assert not main.keys & _tables()


@pytest.mark.parametrize("job", [job.name for job in JOBS if job.name != "syncs"])
def test_last_in_a_run_and_waiting_for_nobody(definitions: dg.Definitions, job: str) -> None:
    """What a failed step leaves out are the steps that wait for it; this one must not."""
    plan = create_execution_plan(definitions.resolve_job_def(job))
    steps = {step.key: step for step in plan.steps}
    assert any(key.startswith("sync_") for key in steps)
    assert steps[STEP].get_execution_dependency_keys() == set()
    priorities = {key: int(step.tags.get("dagster/priority", 0)) for key, step in steps.items()}
    mine = priorities.pop(STEP)
    assert mine < min(priorities.values())


def _tables() -> set[dg.AssetKey]:
    folder = ROOT / "dbt" / "models" / "observability" / "syncs"
    names = {path.stem for path in folder.glob("*.sql")} - {"sync_keys"}
    return {dg.AssetKey(["observability", name]) for name in names}
