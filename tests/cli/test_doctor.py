"""Doctor finds what would keep a run from working, and says what to do about it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("cli")

HOLDER = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"


def findings(said: Any, topic: str) -> list[dict[str, Any]]:
    return [row for row in said.rows if row["topic"].startswith(topic)]


def test_all_is_well(storeroom: Any, shop: Any) -> None:
    said = storeroom("doctor", "--json")
    assert said.code == 0
    assert [row for row in said.rows if row["state"] == "problem"] == []
    (sandbox,) = findings(said, "sandbox")
    assert (sandbox["state"], sandbox["text"]) == ("ok", shop.sandbox.url)


def test_a_missing_variable(storeroom: Any, shop: Any, tmp_path: Path) -> None:
    file = shop.folder / "dagster_project" / "connections.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["connections"]["crm"]["sandbox"] = False
    changed = tmp_path / "connections.yaml"
    changed.write_text(yaml.safe_dump(content), encoding="utf-8")

    said = storeroom("doctor", "--json", STOREROOM_CONNECTIONS=str(changed))
    assert said.code == 1
    (finding,) = findings(said, "connection crm")
    assert finding["state"] == "problem"
    assert "HUBSPOT_ACCESS_TOKEN" in finding["text"]
    assert "sandbox: true" in finding["fix"]
    # For people the same, the cure on a line of its own.
    shown = storeroom("doctor", STOREROOM_CONNECTIONS=str(changed))
    assert "problem" in shown.out
    assert "-> Export it" in shown.out

    # Set, it is no problem; that the value itself never shows is as much of a promise.
    mended = storeroom(
        "doctor", STOREROOM_CONNECTIONS=str(changed), HUBSPOT_ACCESS_TOKEN="s3cret-value"
    )
    assert mended.code == 0
    assert "s3cret-value" not in mended.out + mended.err


def test_no_sandbox(storeroom: Any) -> None:
    said = storeroom("doctor", "--json", STOREROOM_SANDBOX_URL="http://127.0.0.1:9")
    assert said.code == 0
    (finding,) = findings(said, "sandbox")
    assert finding["state"] == "note"
    assert "storeroom sandbox" in finding["fix"]


@pytest.mark.parametrize("text", ["sources: [", "sources: [{nme: web}]"])
def test_sources_that_cannot_be_read(storeroom: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text(text, encoding="utf-8")
    said = storeroom("doctor", "--json", STOREROOM_SOURCES=str(path))
    assert said.code == 1
    (finding,) = findings(said, "sources")
    assert finding["state"] == "problem"
    assert "sources.yaml" in finding["text"]
    # The rest is looked at all the same.
    assert findings(said, "syncs")[0]["state"] == "ok"


def test_a_locked_warehouse(storeroom: Any, tmp_path: Path) -> None:
    warehouse = tmp_path / "state" / "warehouse" / "storeroom.duckdb"
    warehouse.parent.mkdir(parents=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(warehouse)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        said = storeroom("doctor", "--json", STOREROOM_STATE=str(tmp_path / "state"))
    finally:
        holder.communicate("\n")
    assert said.code == 1
    (finding,) = findings(said, "warehouse")
    assert finding["state"] == "problem"
    assert f"process {holder.pid}" in finding["text"]
    again = storeroom("doctor", "--json", STOREROOM_STATE=str(tmp_path / "state"))
    assert again.code == 0
