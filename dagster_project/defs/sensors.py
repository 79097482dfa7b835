"""Tells somebody when a run fails."""

from __future__ import annotations

import dagster as dg

from dagster_project.defs.failures import error_of
from dagster_project.notifications import Alert, notifier


@dg.run_failure_sensor(
    name="run_failed",
    monitor_all_code_locations=True,
    description="Sends an alert through STOREROOM_NOTIFIER for every run that fails.",
)
def run_failed(context: dg.RunFailureSensorContext) -> None:
    """Send one alert per failed run, with the error of each step that failed."""
    steps = context.get_step_failure_events()
    notifier()(
        Alert(
            subject=f"Storeroom run failed: {context.dagster_run.job_name}",
            text="; ".join(f"{step.step_key}: {error_of(step)}" for step in steps)
            or context.failure_event.message
            or "",
            run_id=context.dagster_run.run_id,
            job=context.dagster_run.job_name,
        )
    )


DEFINITIONS = dg.Definitions(sensors=[run_failed])
