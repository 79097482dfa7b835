"""Whole pipelines: a project of its own in a temporary folder, and processes that run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from destinations.sandbox import Sandbox, serve

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Project:
    """A copy of what an analyst edits, with state of its own; the code is the repository's."""

    folder: Path
    sandbox: Sandbox

    @property
    def state(self) -> Path:
        return self.folder / ".storeroom"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
        return kept | {
            "STOREROOM_PROJECT": str(self.folder),
            "STOREROOM_STATE": str(self.state),
            "STOREROOM_SANDBOX_URL": self.sandbox.url,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
        }

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start the command in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "dagster_project.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def storeroom(self, *arguments: str, exits: tuple[int, ...] = (0,)) -> str:
        """Run the command to its end; its standard output."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=280)
        assert process.returncode in exits, f"{arguments}: {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err, err
        return out

    def rows(self, *arguments: str, exits: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
        """Run the command with --json; its objects."""
        out = self.storeroom(*arguments, "--json", exits=exits)
        return [orjson.loads(line) for line in out.splitlines()]


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[[str], Project]]:
    """Makes projects by name, each with a sandbox that is stopped in the end."""
    made: list[Project] = []

    def make(name: str) -> Project:
        folder = tmp_path / name
        ignored = shutil.ignore_patterns("logs", "dbt_packages", ".parse-*", ".user.yml")
        shutil.copytree(ROOT / "dbt", folder / "dbt", ignore=ignored)
        (folder / "dagster_project").mkdir()
        for file in ("connections.yaml", "sources.yaml"):
            shutil.copy(ROOT / "dagster_project" / file, folder / "dagster_project" / file)
        for file in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(ROOT / file, folder / file)
        made.append(Project(folder, serve(0, folder / ".sandbox")))
        return made[-1]

    yield make
    for project in made:
        project.sandbox.stop()


@pytest.fixture
def project(make_project: Callable[[str], Project]) -> Project:
    return make_project("project")
