"""Tells somebody when a job's runs begin to fail, and when they succeed again."""

from __future__ import annotations

import dagster as dg

from dagster_project.alerts import WELL, tell
from dagster_project.defs.failures import error_of, is_told
from dagster_project.notifications import Alert

FAILED = "failed"


@dg.run_failure_sensor(
    name="run_failed",
    monitor_all_code_locations=True,
    description="Sends an alert through STOREROOM_NOTIFIER when a job's runs begin to fail.",
)
def run_failed(context: dg.RunFailureSensorContext) -> None:
    """Send one alert with the error of each step that failed, unless the last run failed too.

    What syncs told themselves while they ran (``sync_alerts.py``) is not told again.
    """
    steps = context.get_step_failure_events()
    if steps and all(is_told(step) for step in steps):
        return
    run = context.dagster_run
    text = "; ".join(f"{step.step_key}: {error_of(step)}" for step in steps)
    alert = Alert(
        subject=f"Storeroom run failed: {run.job_name}",
        text=text or context.failure_event.message or "",
        run_id=run.run_id,
        job=run.job_name,
    )
    tell(f"jobs/{run.job_name}", FAILED, alert)


@dg.run_status_sensor(
    name="run_recovered",
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitor_all_code_locations=True,
    description="Sends an alert through STOREROOM_NOTIFIER when a job that failed succeeds again.",
)
def run_recovered(context: dg.RunStatusSensorContext) -> None:
    """Send one alert on the first success after failures."""
    run = context.dagster_run
    alert = Alert(
        subject=f"Storeroom run recovered: {run.job_name}",
        text="",
        run_id=run.run_id,
        job=run.job_name,
        kind=WELL,
    )
    tell(f"jobs/{run.job_name}", WELL, alert)


DEFINITIONS = dg.Definitions(sensors=[run_failed, run_recovered])
