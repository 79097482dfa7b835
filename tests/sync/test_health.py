"""What runs reported says whether a sync is well."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.sync.health import (
    Condition,
    condition_of,
    freshness,
    is_unusual,
    rejection_rate,
    usual_rows,
)
from destinations.sync.report import RUNS, kept_reports

PEOPLE = {"a": 1, "b": 2, "c": 3, "d": 4}


def test_one_bad_row_of_many_stays_one_of_many_in_every_run(bench: Any) -> None:
    """Not all of the rows tried: an unchanged run tries the bad one alone."""
    bench.audience(PEOPLE)
    bench.driver.bad_keys = {"a"}
    assert [rejection_rate(bench.run()) for _ in range(3)] == [0.25] * 3
    bench.driver.bad_keys = set("abcd")
    bench.audience(dict.fromkeys("abcd", 9))
    report = bench.run()
    assert rejection_rate(report) == 1.0
    assert condition_of(report, bench.config()) is Condition.REJECTING
    lenient = bench.config(alerts={"rejection_rate": 1})
    assert condition_of(report, lenient) is Condition.WELL


def test_rows_that_need_not_stand_there_do_not_water_it_down(bench: Any) -> None:
    bench.audience(PEOPLE)
    bench.driver.bad_keys = {"a"}
    report = bench.run(where="id in ('a', 'b')")
    assert (report.filtered, rejection_rate(report)) == (2, 0.5)
    assert rejection_rate(bench.run(where="id = 'z'")) == 0.0


@pytest.mark.parametrize(
    ("fault", "condition"),
    [
        ("bad_credentials", Condition.REFUSED),
        ("outage", Condition.UNREACHABLE),
    ],
)
def test_a_destination_that_does_not_answer(
    bench: Any, failing: Any, fault: str, condition: Condition
) -> None:
    bench.audience({f"p{n}": n for n in range(300)})
    bench.driver.faults = [failing(fault)]
    assert condition_of(bench.run(), bench.config()) is condition
    bench.driver.faults = []
    assert condition_of(bench.run(), bench.config()) is Condition.WELL


def test_a_guard(bench: Any) -> None:
    bench.audience(PEOPLE)
    report = bench.run(guards={"max_adds": 1})
    assert condition_of(report, bench.config()) is Condition.GUARDED


@pytest.mark.parametrize(("cadence", "limit"), [("hourly", 3), ("daily", 72), ("manual", None)])
def test_three_cadences_without_a_success_are_too_long(
    bench: Any, failing: Any, cadence: str, limit: int | None
) -> None:
    config = bench.config(cadence=cadence)
    folder = bench.ledger_folder
    assert not freshness(config, folder, bench.now).is_late
    bench.audience(PEOPLE)
    bench.driver.bad_keys = {"a"}
    bench.run()
    started = bench.now
    bench.driver.faults = [failing("bad_credentials")]
    for _ in range(12):  # more than are looked at first
        bench.run()
    hours = timedelta(hours=limit or 10**4)
    assert freshness(config, folder, started + hours).last_success == started
    assert not freshness(config, folder, started + hours).is_late
    later = freshness(config, folder, started + hours + timedelta(seconds=1))
    assert later.is_late == (limit is not None)


def test_a_sync_that_never_succeeded_is_late_from_its_first_run_on(
    bench: Any, failing: Any
) -> None:
    bench.audience(PEOPLE)
    bench.driver.faults = [failing("bad_credentials")]
    bench.run()
    found = freshness(
        bench.config(cadence="hourly"), bench.ledger_folder, bench.now + timedelta(hours=4)
    )
    assert (found.last_success, found.is_late) == (None, True)


def test_usual_is_the_median_of_ten_and_of_five_at_least() -> None:
    rows = [{"rows": n} for n in (10**6, 100, 101, 99, 100, 102, 98, 100, 7, 100, 100)]
    assert usual_rows(rows[:4]) is None
    assert usual_rows(rows) == 100
    assert not is_unusual(10**9, None, 3)
    assert [is_unusual(n, 100, 3) for n in (301, 300, 34, 33, 0)] == [
        True,
        False,
        False,
        True,
        True,
    ]
    assert [is_unusual(n, 0, 3) for n in (0, 1)] == [False, True]


@given(
    reports=st.lists(st.text(max_size=30), max_size=20),
    last=st.integers(min_value=1, max_value=25),
    torn=st.text('{": a1', max_size=9).map(lambda text: f'{{"{text}'.encode()),
    block=st.integers(min_value=1, max_value=64),
)
def test_the_last_reports_are_those_of_all(
    reports: list[str], last: int, torn: bytes, block: int, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    lines = b"".join(orjson.dumps({"v": value}) + b"\n" for value in reports)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("destinations.sync.lines.BLOCK", block)
        (folder / RUNS).write_bytes(lines)
        assert kept_reports(folder, last) == kept_reports(folder)[-last:]
        assert [report["v"] for report in kept_reports(folder)] == reports
        (folder / RUNS).write_bytes(lines + torn)
        # The torn line takes the place of one, as it stands.
        assert kept_reports(folder, last) == (kept_reports(folder)[1 - last :] if last > 1 else [])
