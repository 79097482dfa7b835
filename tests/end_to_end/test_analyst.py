"""An analyst adds an audience: one SQL file and one YAML entry, no Python."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dagster_project.demo import generate

pytestmark = pytest.mark.end_to_end

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(heading: str) -> list[tuple[str, str]]:
    """Code blocks below a README heading: the file each one names in its first line, and its text."""
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"```(?:sql|yaml)\n(?:--|#) (\S+)\n(.*?)```", section, flags=re.DOTALL)
    assert sum(text.count("\n") + 1 for _, text in found) < 20
    return found


@pytest.mark.timeout(600)
def test_the_readme_s_audience(project: Any) -> None:
    generate(project.state / "landing", 1, users=300)
    files = blocks("Add an audience")
    assert sorted(Path(name).suffix for name, _ in files) == [".sql", ".yml"]
    for name, text in files:
        (project.folder / name).write_text(text, encoding="utf-8")

    listed = {row["sync"]: row for row in project.rows("syncs", "list")}
    new = "messaging/audience_big_spenders"
    assert listed[new]["declared_in"].endswith("audience_big_spenders.yml")

    project.storeroom("run", exits=(0, 3))
    (status,) = project.rows("syncs", "status", "--audience", "audience_big_spenders")
    assert status["rows"] > 0
    assert status["delivered"] > 0
    assert status["rows"] == sum(
        status[fate]
        for fate in ("delivered", "unchanged", "filtered", "withheld", "rejected", "deferred")
    )


def test_a_mistake_is_refused_with_the_cure(project: Any) -> None:
    for name, text in blocks("Add an audience"):
        broken = text.replace("connection: messaging", "connection: mesaging")
        (project.folder / name).write_text(broken, encoding="utf-8")
    process = project.start("syncs", "list")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Did you mean 'messaging'?" in err
    assert "audience_big_spenders.yml" in err
    assert "Traceback" not in err
