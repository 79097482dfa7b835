"""The manifest is parsed when a file of dbt's changed, and only then."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dagster_project.warehouse import manifest
from destinations.errors import StoreroomError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the dbt project, so that tests can edit it."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "dbt", root / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
    monkeypatch.setenv("STOREROOM_PROJECT", str(root))
    return root


def test_parses_once_and_again_after_an_edit(project: Path) -> None:
    path = manifest.ensure()
    first = path.stat().st_mtime_ns
    assert "model.storeroom.profiles" in json.loads(path.read_text())["nodes"]
    assert (path.parent / manifest.PARTIAL_PARSE).is_file()

    assert manifest.ensure() == path
    assert path.stat().st_mtime_ns == first

    model = project / "dbt/models/segments/first_buyers.sql"
    model.write_text("select profile_id from {{ ref('profile_traits') }} where orders_count = 1")
    assert "model.storeroom.first_buyers" in manifest.read()["nodes"]

    model.write_text("select profile_id from {{ ref('no_such_model') }}")
    with pytest.raises(StoreroomError, match="no_such_model"):
        manifest.ensure()
    # What stood before still stands, and counts as old.
    assert "model.storeroom.first_buyers" in json.loads(path.read_text())["nodes"]


def test_two_processes_parse_once(project: Path) -> None:
    code = "from dagster_project.warehouse import manifest; print(manifest.ensure())"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
        for _ in range(2)
    ]
    paths = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(paths) == 1
    leftovers = [p.name for p in (project / "dbt/target").iterdir() if p.name.startswith(".parse")]
    assert leftovers == []
