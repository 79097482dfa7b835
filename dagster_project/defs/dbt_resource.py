"""dbt as Dagster runs it: the environment's own executable, artifacts in the state folder."""

from __future__ import annotations

import os
import shutil
import sys
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dagster_dbt import DbtCliResource, DbtProject
from packaging.version import Version

from dagster_project.warehouse import environment
from destinations.paths import state_dir

KEEP_ARTIFACTS = 5
"""Builds whose logs and compiled SQL are kept."""


class Dbt(DbtCliResource):
    """Without what only row counts and column metadata need, at several CPU-seconds a build:
    asking `dbt --version`, and a second dbt imported into this process.
    """

    @cached_property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Any) -> Any:  # noqa: ARG002
        return None


def dbt_resource(project: DbtProject) -> Dbt:
    """The resource for this project; sets the paths that profiles.yml reads."""
    os.environ.update(environment())
    return Dbt(
        project_dir=str(project.project_dir),
        profiles_dir=str(project.profiles_dir),
        # Beside this interpreter: its folder need not be on the PATH.
        dbt_executable=str(Path(sys.executable).with_name("dbt")),
    )


def artifacts_folder(run_id: str) -> Path:
    """Where one build keeps its logs and compiled SQL; the oldest ones make room for it."""
    builds = state_dir() / "dbt"
    builds.mkdir(parents=True, exist_ok=True)
    by_age = sorted(builds.iterdir(), key=lambda folder: folder.stat().st_mtime)
    for old in by_age[: -KEEP_ARTIFACTS + 1 or None]:
        shutil.rmtree(old, ignore_errors=True)
    return builds / run_id
