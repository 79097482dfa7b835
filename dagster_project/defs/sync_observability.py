"""What the syncs did, as tables of the warehouse: built last, from the syncs' own ledgers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets

from dagster_project.declarations import load
from dagster_project.defs.syncs import asset_key
from dagster_project.defs.warehouse import AFTER_SYNCS_TAG, Translator, build
from dagster_project.warehouse import manifest
from dagster_project.warehouse.writer import wait_for_writer
from destinations.paths import project_root, syncs_dir, warehouse_path
from destinations.sync.readable import readable

VARIABLE = "STOREROOM_SYNCS"
LEDGER = {
    "runs": "One report per run of a sync.",
    "heads": "Per sync which files of its ledger count.",
    "bases": "State of every key that a sync ever sent, as of the last compaction.",
    "deltas": "State of the keys that later runs of a sync changed.",
    "history": "What a destination held until a run changed it.",
}
"""The files of the ledgers, by the names that dbt's sources use."""


def definitions() -> dg.Definitions:
    """The ledgers' files as external assets, which every sync writes, and the tables over them."""
    syncs = [asset_key(sync) for sync in load(manifest.ensure())]
    files = [
        dg.AssetSpec(
            ["ledger", name],
            description=description,
            group_name="syncs",
            kinds={"file"},
            deps=syncs,
            metadata={"path": dg.MetadataValue.path(str(syncs_dir()))},
        )
        for name, description in LEDGER.items()
    ]

    # Assets that wait for the syncs would be skipped whenever a sync fails, which is when they
    # are wanted most. So the ledgers stand between: nothing in a run makes them, and the
    # low priority alone puts this step last.
    @dbt_assets(
        name="warehouse_of_syncs",
        manifest=manifest.read(),
        project=DbtProject(project_root() / "dbt", profiles_dir=project_root() / "dbt"),
        dagster_dbt_translator=Translator(),
        select=f"tag:{AFTER_SYNCS_TAG}",
        op_tags={"dagster/priority": "-10"},
        pool="warehouse",
        # A sync of another run may replace a file while it is read.
        retry_policy=dg.RetryPolicy(max_retries=2, delay=5),
    )
    def warehouse_of_syncs(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
        wait_for_writer(warehouse_path())
        with readable(syncs_dir()) as ledgers, _read_from(ledgers):
            yield from build(context, dbt, ["build"], total=0)

    return dg.Definitions(assets=[*files, warehouse_of_syncs])


@contextmanager
def _read_from(ledgers: Path) -> Iterator[None]:
    """Point dbt, which takes this process's environment, at the ledgers."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(ledgers)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
