"""Runs dbt as a process of its own, with the paths it needs in its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from destinations.errors import StoreroomError
from destinations.paths import project_root, raw_dir, syncs_dir, warehouse_path

ERROR_LINES = 40


def environment() -> dict[str, str]:
    """The variables that ``dbt/profiles.yml`` and the models read.

    Makes the warehouse's folder, which DuckDB does not. Unit tests of models are left out of
    builds: they say something of the code, not of today's data.
    """
    warehouse = warehouse_path()
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    segments = (project_root() / "dbt" / "models" / "segments").rglob("*.sql")
    return {
        "STOREROOM_SEGMENTS": " ".join(sorted(path.stem for path in segments)),
        "STOREROOM_WAREHOUSE": str(warehouse),
        "STOREROOM_RAW": str(raw_dir()),
        "STOREROOM_SYNCS": str(syncs_dir()),
        "DBT_EXCLUDE_RESOURCE_TYPES": os.environ.get("DBT_EXCLUDE_RESOURCE_TYPES", "unit_test"),
    }


def run_dbt(
    arguments: Sequence[str],
    target: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run one dbt command to its end.

    Args:
        arguments: the command and its options, as in ``["build", "--select", "profiles"]``.
        target: where dbt writes what it compiled; ``dbt/target`` if not given.
        on_line: called with every line that dbt prints, for progress.

    Raises:
        StoreroomError: dbt failed; carries the end of what it said.
    """
    project = project_root() / "dbt"
    target = target or project / "target"
    command = [
        *(sys.executable, "-m", "dbt.cli.main"),
        *arguments,
        *("--project-dir", str(project), "--profiles-dir", str(project)),
        *("--target-path", str(target), "--log-path", str(target), "--no-use-colors"),
    ]
    lines = []
    with subprocess.Popen(
        command,
        cwd=project.parent,
        env=os.environ | environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            lines.append(line.rstrip("\n"))
            if on_line is not None:
                on_line(lines[-1])
    if process.returncode:
        raise StoreroomError(
            f"dbt {' '.join(arguments)} failed:\n" + "\n".join(_complaint(lines)),
            f"Everything it said is in {target / 'dbt.log'}.",
        )


def _complaint(lines: list[str]) -> list[str]:
    """From dbt's own summary of errors on, if it got that far; else the last lines."""
    starts = [number for number, line in enumerate(lines) if "Completed with" in line]
    return lines[starts[-1] :][:ERROR_LINES] if starts else lines[-ERROR_LINES:]
