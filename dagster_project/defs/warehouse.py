"""dbt's models as assets, grouped by folder, and the audiences published from them."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliResource,
    DbtProject,
    dbt_assets,
)

from dagster_project.defs.dbt_resource import artifacts_folder, dbt_resource
from dagster_project.progress import announce
from dagster_project.settings import first_partition_day
from dagster_project.warehouse import manifest
from dagster_project.warehouse.publish import publish_audiences
from dagster_project.warehouse.writer import wait_for_writer
from destinations.paths import project_root, warehouse_path

DAILY_PARTITIONS = dg.DailyPartitionsDefinition(start_date=first_partition_day())
PARTITIONED_TAG = "partitioned_daily"
AFTER_SYNCS_TAG = "sync_observability"
"""Models over the syncs' ledgers; ``sync_observability.py`` builds them."""


class Translator(DagsterDbtTranslator):
    """Asset keys and groups follow the folder a model stands in."""

    def __init__(self) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True))

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey([dbt_resource_props["source_name"], dbt_resource_props["name"]])
        return dg.AssetKey([folder_of(dbt_resource_props), dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        return folder_of(dbt_resource_props)

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, str]:
        if PARTITIONED_TAG in dbt_resource_props.get("tags", []):
            return {"partitioned": "daily"}
        return {}

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str] | None:
        owner = dbt_resource_props.get("config", {}).get("meta", {}).get("owner")
        return [owner if "@" in owner else f"team:{owner}"] if owner else None


def folder_of(props: Mapping[str, Any]) -> str:
    """The folder under ``models/`` (or the resource's kind): staging, identity, segments …"""
    parts: list[str] = props["fqn"]
    return parts[1] if len(parts) > 2 else props["resource_type"]


def definitions() -> dg.Definitions:
    """The dbt project as two steps: everything, and the models that a backfill by date redoes."""
    path = manifest.ensure()
    project = DbtProject(project_root() / "dbt", profiles_dir=project_root() / "dbt")
    content = json.loads(path.read_text(encoding="utf-8"))
    translator = Translator()

    @dbt_assets(
        name="warehouse",
        manifest=content,
        project=project,
        dagster_dbt_translator=translator,
        exclude=f"tag:{PARTITIONED_TAG} tag:{AFTER_SYNCS_TAG}",
        pool="warehouse",
        retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    )
    def warehouse(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
        wait_for_writer(warehouse_path())
        built = {}
        for event in build(context, dbt, ["build"], total=_selected_count(content)):
            key = isinstance(event, dg.Output) and context.asset_key_for_output(event.output_name)
            if key and key.path[0] == "audiences":
                # An audience counts as made when it is published; what it holds is known then.
                built[key] = event
            else:
                yield event
        for snapshot in publish_audiences({key.path[-1] for key in built}):
            key = dg.AssetKey(["audiences", snapshot.audience])
            context.log.info(
                f"Published {snapshot.audience} {snapshot.version}: {snapshot.rows:,} rows"
            )
            context.add_asset_metadata(
                asset_key=key,
                metadata={
                    "rows": snapshot.rows,
                    "snapshot": snapshot.version,
                    "path": dg.MetadataValue.path(str(snapshot.path)),
                },
            )
            yield built[key]

    @dbt_assets(
        name="warehouse_days",
        manifest=content,
        project=project,
        dagster_dbt_translator=translator,
        select=f"tag:{PARTITIONED_TAG}",
        partitions_def=DAILY_PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool="warehouse",
    )
    def warehouse_days(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
        wait_for_writer(warehouse_path())
        window = context.partition_time_window
        days = {
            "min_date": window.start.date().isoformat(),
            "max_date": (window.end - timedelta(days=1)).date().isoformat(),
        }
        yield from build(context, dbt, ["build", "--vars", json.dumps(days)], total=0)

    return dg.Definitions(
        assets=[warehouse, warehouse_days],
        resources={"dbt": dbt_resource(project)},
    )


def _selected_count(content: Mapping[str, Any]) -> int:
    kinds = {"model", "seed", "test", "unit_test", "snapshot"}
    return sum(node["resource_type"] in kinds for node in content["nodes"].values())


def build(
    context: dg.AssetExecutionContext, dbt: DbtCliResource, arguments: list[str], total: int
) -> Iterator[Any]:
    """Run dbt and pass its events on, announcing each node as it finishes."""
    # By step too: a run may build twice, and each build keeps what it said.
    target = artifacts_folder(context.run.run_id) / context.op_execution_context.op.name
    invocation = dbt.cli(arguments, context=context, target_path=target)
    for done, event in enumerate(invocation.stream(), start=1):
        name = getattr(event, "asset_key", None) or getattr(event, "output_name", "")
        announce("warehouse", str(getattr(name, "path", [name])[-1]), done, max(done, total))
        yield event
