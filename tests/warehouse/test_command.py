"""dbt runs as a process of its own and says plainly what went wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_project.warehouse import environment, run_dbt
from destinations.errors import StoreroomError


def test_environment_names_the_state_folder(state: Path) -> None:
    variables = environment()
    assert variables["STOREROOM_WAREHOUSE"] == str(state / "warehouse" / "storeroom.duckdb")
    assert variables["STOREROOM_RAW"] == str(state / "raw")
    assert (state / "warehouse").is_dir()


def test_passes_on_what_dbt_prints(state: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    run_dbt(
        ["list", "--select", "staging", "--resource-type", "model"],
        target=tmp_path / "target",
        on_line=lines.append,
    )
    assert "storeroom.staging.stg_events" in lines


def test_failure_carries_dbts_words(state: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreroomError, match="no_such_model"):
        run_dbt(["build", "--select", "no_such_model", "--warn-error"], target=tmp_path / "target")
