"""Publishes audience tables as snapshots, so that nothing holds the warehouse while sending."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from functools import partial
from pathlib import Path

import duckdb

from dagster_project.warehouse import manifest
from dagster_project.warehouse.writer import reading
from destinations.errors import ConfigurationError, StoreroomError
from destinations.paths import audiences_dir, warehouse_path
from destinations.sync.snapshot import Snapshot, publish

FOLDER = "audiences"
DEFAULT_KEY = "profile_id"


def publish_audiences(names: Collection[str] | None = None) -> list[Snapshot]:
    """Publish audiences as they stand in the warehouse, in the order of their names.

    The warehouse is open for the export of one table at a time. Every table is seen as of one
    moment; two audiences may be from before and after a build that came between.

    Args:
        names: models under ``models/audiences``; all of them if not given.

    Raises:
        ConfigurationError: there is no such audience.
        StoreroomError: an audience has not been built yet.
    """
    keys = audience_keys()
    chosen = sorted(keys if names is None else names)
    for name in chosen:
        if name not in keys:
            near = difflib.get_close_matches(name, keys, n=1)
            raise ConfigurationError(
                f"There is no audience '{name}'.",
                f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(sorted(keys))}.",
            )
    return [publish(audiences_dir(), name, keys[name], partial(export, name)) for name in chosen]


def audience_keys() -> dict[str, str]:
    """Every audience model and the column that is its key."""
    return {
        node["name"]: node["config"].get("meta", {}).get("audience", {}).get("key", DEFAULT_KEY)
        for node in manifest.read()["nodes"].values()
        if node["resource_type"] == "model" and FOLDER in node["fqn"][1:-1]
    }


def export(table: str, path: Path) -> None:
    """Write a table to one Parquet file.

    Raises:
        StoreroomError: the table does not exist.
    """
    target = str(path).replace("'", "''")
    with reading(warehouse_path()) as connection:
        try:
            connection.execute(f"copy \"{table}\" to '{target}' (format parquet, compression zstd)")
        except duckdb.CatalogException:
            raise StoreroomError(
                f"Audience '{table}' has not been built yet.",
                f"Run `storeroom run`, or `dbt build --select +{table}`.",
            ) from None
