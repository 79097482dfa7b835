"""The demo: what day 2 sends is what changed, and a run with nothing new sends nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.end_to_end

FATES = ("delivered", "unchanged", "filtered", "withheld", "rejected", "deferred")


@pytest.mark.timeout(600)
def test_only_the_difference_travels(project: Any) -> None:
    day_1, day_2, again = project.rows("demo", "--users", "400")
    assert [stage["success"] for stage in (day_1, day_2, again)] == [True, True, True]

    for stage in (day_1, day_2, again):
        assert len(stage["syncs"]) >= 6
        for sync in stage["syncs"]:
            assert sync["rows"] == sum(sync[fate] for fate in FATES), sync["accounting"]
            assert sync["deferred"] == 0, sync["reasons"]
    assert day_1["ingest"]["rejected"] > 0
    assert all(size > 0 for size in day_1["sizes"].values())

    first = {sync["sync"]: sync for sync in day_1["syncs"]}
    for sync in day_2["syncs"]:
        changed = difference(project.state / "audiences" / sync["audience"], first, sync)
        assert sync["delivered"] <= changed
        assert sync["removed"] <= first[sync["sync"]]["delivered"]
    sent = [sum(sync["requests"] for sync in stage["syncs"]) for stage in (day_1, day_2, again)]
    assert 0 < sent[1] < sent[0] / 2
    assert sent[2] == 0
    # The sandbox logged as many requests as were sent, and not one in the last run.
    assert [sync["delivered"] + sync["removed"] for sync in again["syncs"]] == [0] * len(first)


def difference(folder: Path, first: dict[str, Any], sync: dict[str, Any]) -> int:
    """Rows of the second snapshot that are not in the first one as they are."""
    before = pl.read_parquet(folder / f"{first[sync['sync']]['snapshot']}.parquet")
    after = pl.read_parquet(folder / f"{sync['snapshot']}.parquet")
    return after.join(before, on=after.columns, how="anti", nulls_equal=True).height
