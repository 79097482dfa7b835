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


def test_passes_on_what_dbt_prints_and_carries_its_words(state: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    lines: list[str] = []
    run_dbt(
        ["list", "--select", "staging", "--resource-type", "model"],
        target=target,
        on_line=lines.append,
    )
    assert "storeroom.staging.stg_events" in lines

    # The raw zone does not exist, so the build cannot but fail.
    with pytest.raises(StoreroomError, match="No files found that match the pattern") as caught:
        run_dbt(["run", "--select", "stg_events"], target=target)
    assert str(target) in caught.value.fix
