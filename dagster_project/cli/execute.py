"""Runs Dagster jobs inside this process, recorded in the same instance that the UI shows."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from dagster_project.cli.dead_runs import PROCESS_TAG, close_dead_runs, this_process
from dagster_project.defs.failures import error_of, is_busy, is_interrupted
from destinations.errors import ConfigurationError
from destinations.paths import dagster_home, project_root, state_dir

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Summary:
    """What one job did: metadata by asset key, and the errors of failed steps."""

    success: bool
    run_id: str
    materialised: dict[tuple[str, ...], dict[str, Any]]
    errors: tuple[str, ...] = ()
    failed_checks: tuple[str, ...] = field(default=())
    busy: bool = False
    """Whether it failed only because somebody else is doing the same thing."""

    def syncs(self) -> list[dict[str, Any]]:
        """The row of every sync that ran, by name."""
        return [
            metadata for key, metadata in sorted(self.materialised.items()) if key[0] == "syncs"
        ]


@contextmanager
def instance() -> Iterator[dg.DagsterInstance]:
    """The project's Dagster instance, its home made ready on first use."""
    home = dagster_home()
    home.mkdir(parents=True, exist_ok=True)
    settings = project_root() / "dagster.yaml"
    if settings.is_file() and "DAGSTER_HOME" not in os.environ:
        text = settings.read_text(encoding="utf-8")
        # Paths in the file count from the project; here they must hold from any folder.
        text = text.replace("base_dir: .storeroom/dagster", f"base_dir: {home}")
        target = home / "dagster.yaml"
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            temporary = home / f".dagster.{os.getpid()}.yaml"
            temporary.write_text(text, encoding="utf-8")
            shutil.move(temporary, target)
    os.environ.setdefault("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as found:
        yield found


def load_definitions() -> dg.Definitions:
    """Load everything that is declared.

    Raises:
        ConfigurationError: something declared cannot be run.
    """
    from dagster_project.definitions import storeroom

    found = storeroom()
    if not isinstance(found, dg.Definitions):
        raise ConfigurationError("dagster_project.definitions does not define a Dagster project.")
    return found


def run_job(
    definitions: dg.Definitions,
    name: str,
    assets: Sequence[dg.AssetKey] | None = None,
    tags: dict[str, str] | None = None,
) -> Summary:
    """Run a job to its end in this process; a failed step is told, not raised.

    Raises:
        ConfigurationError: there is no such job.
        KeyboardInterrupt: somebody stopped it; its steps have landed.
    """
    for logger in ("dagster", "dagster_dbt", "alembic"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    jobs = [job.name for job in definitions.jobs or []]
    if name not in jobs:
        raise ConfigurationError(f"There is no job '{name}'.", f"Jobs: {', '.join(sorted(jobs))}.")
    job = definitions.resolve_job_def(name)
    # dbt speaks on standard output, which belongs to the command's own result.
    log = state_dir() / "logs" / "run.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with instance() as here, log.open("a", encoding="utf-8") as said, redirect_stdout(said):
        close_dead_runs(here)
        result = job.execute_in_process(
            instance=here,
            run_config=QUIET,
            raise_on_error=False,
            asset_selection=list(assets) if assets is not None else None,
            tags={**(tags or {}), PROCESS_TAG: this_process()},
        )
    materialised: dict[tuple[str, ...], dict[str, Any]] = {}
    errors, busy, failed_checks = [], [], []
    for event in result.all_events:
        if event.is_step_materialization:
            materialisation = event.step_materialization_data.materialization
            materialised[tuple(materialisation.asset_key.path)] = {
                key: value.value for key, value in materialisation.metadata.items()
            }
        elif event.is_step_failure:
            if is_interrupted(event):
                raise KeyboardInterrupt
            errors.append(error_of(event))
            busy.append(is_busy(event))
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
                failed_checks.append(
                    f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}"
                )
    return Summary(
        result.success,
        result.run_id,
        materialised,
        tuple(errors),
        tuple(failed_checks),
        busy=bool(busy) and all(busy),
    )
