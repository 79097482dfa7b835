"""What Dagster loads: every topic's definitions, merged."""

from __future__ import annotations

import dagster as dg

from dagster_project.defs import (
    ingestion,
    operations,
    schedules,
    sensors,
    sync_observability,
    syncs,
    warehouse,
)


@dg.definitions
def storeroom() -> dg.Definitions:
    """Read the declarations (dbt manifest, sources, connections) and define the whole graph."""
    return dg.Definitions.merge(
        dg.Definitions(executor=dg.in_process_executor),
        ingestion.definitions(),
        warehouse.definitions(),
        syncs.definitions(),
        sync_observability.definitions(),
        operations.DEFINITIONS,
        schedules.DEFINITIONS,
        sensors.DEFINITIONS,
    )
