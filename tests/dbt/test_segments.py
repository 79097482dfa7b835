"""A segment is one SQL file: its size appears by itself, with its arrow in the lineage."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dagster_project.warehouse import environment, run_dbt

PROJECT = Path(__file__).parents[2] / "dbt"
SELECT = ["run", "--select", "+obs_segment_sizes"]


def sizes(path: Path) -> dict[str, int]:
    with duckdb.connect(str(path), read_only=True) as connection:
        found = dict(
            connection.execute("select segment, members from obs_segment_sizes").fetchall()
        )
        for segment, members in found.items():
            counted = connection.execute(f"select count(*) from {segment}").fetchall()
            assert counted == [(members,)], segment
    return found


def test_segments_come_and_go_by_their_files(
    tmp_path: Path, new_raw_zone: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project" / "dbt"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    monkeypatch.setenv("STOREROOM_PROJECT", str(project.parent))
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path / "state"))
    order = {"event": "Order Completed", "properties": {"order_id": "1", "revenue": 5}}
    new_raw_zone(tmp_path / "state" / "raw").load([order | {"user_id": "1"}, {"user_id": "2"}])
    warehouse = Path(environment()["STOREROOM_WAREHOUSE"])
    folder = project / "models" / "segments"
    shipped = {path.stem for path in folder.glob("*.sql")}

    run_dbt(SELECT)
    assert set(sizes(warehouse)) == shipped

    # Partial parsing must notice what no edited file tells.
    model = folder / "sub" / "first_buyers.sql"
    model.parent.mkdir()
    model.write_text("select profile_id from {{ ref('profile_traits') }} where orders_count = 1")
    run_dbt(SELECT)
    assert sizes(warehouse) == {**dict.fromkeys(shipped, 0), "first_buyers": 1}
    nodes = json.loads((project / "target" / "manifest.json").read_text())["nodes"]
    parents = nodes["model.storeroom.obs_segment_sizes"]["depends_on"]["nodes"]
    assert {f"model.storeroom.{name}" for name in (*shipped, "first_buyers")} < set(parents)

    # By hand, without Storeroom's variables beside the paths.
    variables = os.environ | environment()
    del variables["STOREROOM_SEGMENTS"]
    (folder / "lapsed_customers.sql").unlink()
    (folder / "lapsed_customers.yml").unlink()
    for name in ("audience_lapsed_customers.sql", "audience_lapsed_customers.yml"):
        (project / "models" / "audiences" / name).unlink()
    subprocess.run(
        [sys.executable, "-m", "dbt.cli.main", "--quiet", "run", "--select", "obs_segment_sizes"],
        cwd=project,
        env=variables,
        check=True,
        capture_output=True,
    )
    assert set(sizes(warehouse)) == {*shipped, "first_buyers"} - {"lapsed_customers"}
