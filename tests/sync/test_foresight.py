"""A plan says exactly what the run after it does, and shows nobody's data unasked."""

from __future__ import annotations

import polars as pl
import pytest

from destinations.errors import StoreroomError
from destinations.sync.footing import read_plans, save_plans
from destinations.sync.foresight import foresee
from destinations.sync.masking import masked_rows


def plan(bench, **options):
    names = ("requests", "show_values")
    chosen = {name: options.pop(name) for name in names if name in options}
    return foresee(
        bench.config(**options),
        bench.driver,
        None,
        bench.folder / "audiences",
        bench.folder / "syncs",
        bench.now,
        **chosen,
    )


def test_the_plan_is_what_the_run_does(bench) -> None:
    bench.audience({f"k{n}": n for n in range(30)})
    bench.run()
    bench.audience({f"k{n}": n + (n == 7) for n in range(2, 33)})
    bench.driver.rule_breakers = {"k31"}
    bench.driver.sends.clear()
    found = plan(bench, requests=2, show_values=True)
    assert found.counts == {"adds": 3, "updates": 1, "removes": 2, "rows": 31}
    assert not bench.driver.sends
    assert found.report.rejected == 1  # the vendor's rule, known before anything is sent
    assert {row["change"] for row in found.rows} == {"remove", "add", "update"}
    broken = [row for row in found.rows if "rule" in row]
    assert [(row["key"], row["rule"]) for row in broken] == [("k31", "breaks the vendor's rule")]
    report = bench.run()
    first, second = bench.driver.sends[:2]
    assert [(r["operation"], r["rows"]) for r in found.requests] == [
        (d.operation.value, d.rows.height) for d in (first, second)
    ]
    assert (report.planned_adds, report.planned_updates, report.removes) == (3, 1, 2)
    assert report.rejected == found.report.rejected


def test_planning_changes_nothing(bench) -> None:
    bench.audience({"a": 1})
    before = plan(bench)
    assert plan(bench).footing == before.footing
    assert bench.run().delivered == 1
    assert plan(bench).footing != before.footing


@pytest.mark.parametrize("change", ["snapshot", "ledger", "declaration"])
def test_a_stale_plan_is_refused_and_says_why(bench, tmp_path, change: str) -> None:
    bench.audience({"a": 1, "b": 2})
    bench.driver.bad_keys = {"b"}
    bench.run()
    bench.driver.bad_keys = set()
    found = plan(bench)
    save_plans(tmp_path / "plan.json", [{"footing": found.footing, "counts": found.counts}])
    ((footing, counts),) = read_plans(tmp_path / "plan.json")
    assert counts == found.counts
    settings, words = {}, ""
    if change == "snapshot":
        bench.audience({"a": 1, "c": 3})
        words = "the audience was published anew"
    elif change == "ledger":
        bench.run()
        words = "the sync ran"
    else:
        settings, words = {"where": "v < 9"}, "its declaration"
    bench.driver.sends.clear()
    with pytest.raises(StoreroomError, match=words) as error:
        bench.run(expected=footing, **settings)
    assert "syncs plan --save" in error.value.fix
    assert not bench.driver.sends


def test_a_plan_on_firm_ground_is_applied(bench) -> None:
    rows = {"a": 1, "b": 2}
    bench.audience(rows)
    found = plan(bench)
    bench.audience(rows)  # a rebuild that changed nothing
    report = bench.run(expected=found.footing)
    assert report.added == found.counts["adds"] == 2


def test_values_are_masked(bench) -> None:
    bench.audience({"a": 12345678})
    (row,) = plan(bench).rows
    assert row["values"]["v"] == "•••"
    assert "12345678" not in str(plan(bench, requests=1).requests)
    (row,) = plan(bench, show_values=True).rows
    assert row["values"]["v"] == 12345678


def test_masked_rows_keep_what_tells_nothing() -> None:
    rows = pl.DataFrame(
        {
            "_key": ["0a1b", "ann@x.org", "+49 170 1234567"],
            "email": ["ann@x.org", None, ""],
            "vip": [True, False, None],
            "orders": [3, None, 4915112345678],
            "revenue": [1.5, -2_000_000.0, None],
            "tags": [["a"], None, []],
        }
    )
    found = masked_rows(rows).rows()
    assert found[0] == ("0a1b", "a•••@x.org", True, "3", "1.5", "•••")
    assert found[1] == ("a•••@x.org", None, False, None, "-2000000.0", None)
    assert found[2] == ("+•••", "", None, "•••", None, "•••")
