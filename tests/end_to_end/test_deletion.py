"""A customer of a real shop is explained, deleted everywhere, and never sent again."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "../shared/data/uci_online_retail/online_retail.parquet"
LOYAL = ("--connection", "reporting_db", "--audience", "audience_loyal_customers")

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not DATA.is_file(), reason=f"{DATA} is not there"),
]


def customers(state: Path) -> set[str]:
    """Keys that the reporting database holds, whichever column they stand in."""
    with sqlite3.connect(state / "reporting.sqlite") as database:
        (table,) = database.execute(
            "select name from sqlite_master where type = 'table'"
        ).fetchone()
        return {str(key) for (key,) in database.execute(f'select profile_id from "{table}"')}


def files_naming(folders: list[Path], key: str) -> list[str]:
    """Files below the folders in which the key stands, in clear or inside Parquet."""
    found = []
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        text = path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            text = str(pl.read_parquet(path, glob=False).to_dicts())
        if key in text:
            found.append(str(path))
    return found


def test_a_customer_of_the_shop(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOREROOM_SOURCES", str(ROOT / "docs/examples/online_retail/sources.yaml"))
    landing = project.state / "landing" / "online_retail"
    landing.mkdir(parents=True)
    shutil.copy(DATA, landing / "year.parquet")
    project.storeroom("run", exits=(0, 3))
    before = customers(project.state)
    assert len(before) > 100
    key = sorted(before)[0]

    (why,) = project.rows("syncs", "explain", key, *LOYAL)
    assert (why["verdict"], why["ledger"]["present"]) == ("held", True)
    assert why["run"]["status"] == "ok"

    (proof,) = project.rows("syncs", "delete-person", key, "--yes")
    answers = {asked["sync"]: asked for asked in proof["asked"]}
    told = answers["reporting_db/audience_loyal_customers"]
    assert told["answer"] in ("deleted", "removed")
    assert proof["complete"]
    assert customers(project.state) == before - {key}
    assert files_naming([project.state / "syncs", project.state / "audiences"], key) == []
    (kept,) = (project.state / "syncs" / "deletions.jsonl").read_bytes().splitlines()
    assert orjson.loads(kept)["person"] == proof["person"]

    # The warehouse still has them; the next build and run send everybody else.
    project.storeroom("run", exits=(0, 3))
    assert customers(project.state) == before - {key}
    (status,) = project.rows("syncs", "status", *LOYAL)
    assert status["withheld"] == 1
    (why,) = project.rows("syncs", "explain", key, *LOYAL)
    assert why["verdict"] == "deleted"
