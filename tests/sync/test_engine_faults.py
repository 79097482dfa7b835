"""Runs against a destination that refuses, stalls, forgets or dies."""

from __future__ import annotations

import dataclasses
import shutil

import polars as pl
import pytest

from destinations.driver import Outcome, Status, results_for
from destinations.sync.ledger import Ledger
from destinations.sync.pace import Policy

PEOPLE = {f"k{n:03}": n for n in range(100)}


def able(bench, **changes) -> None:
    bench.driver.capabilities = dataclasses.replace(bench.driver.capabilities, **changes)


def sent_keys(bench) -> list[str]:
    return [key for delivery in bench.driver.sends for key in delivery.rows["_key"]]


def test_one_bad_row_is_tried_again_alone_and_counted(bench) -> None:
    bench.driver.bad_keys = {"k007"}
    bench.audience(PEOPLE)
    report = bench.run()
    assert (report.delivered, report.rejected, report.status) == (99, 1, "rejected")
    assert report.reasons[0].message == "no such address"
    assert report.reasons[0].keys == ("k007",)
    for attempt in (2, 3):
        bench.driver.sends.clear()
        assert bench.run().rejected == 1
        assert sent_keys(bench) == ["k007"]
        row = Ledger.open(bench.ledger_folder).state().filter(pl.col("_key") == "k007").collect()
        assert row.select("state", "attempts", "message", "refused").row(0) == (
            "rejected", attempt, "no such address", "add",
        )  # fmt: skip
    bench.driver.bad_keys = set()
    assert bench.run().status == "ok"
    assert bench.held == PEOPLE


def test_a_refusal_is_forgotten_once_the_row_leaves(bench) -> None:
    bench.driver.rule_breakers = {"a"}
    bench.audience({"a": 1, "b": 2})
    report = bench.run()
    assert (report.rejected, report.delivered) == (1, 1)
    assert sent_keys(bench) == ["b"]
    bench.audience({"b": 2})
    assert bench.run().status == "ok"
    assert Ledger.open(bench.ledger_folder).state().collect()["_key"].to_list() == ["b"]


def test_a_refused_update_is_dropped_when_the_row_goes_back(bench) -> None:
    bench.audience({"a": 1})
    bench.run()
    bench.driver.bad_keys = {"a"}
    bench.audience({"a": 2})
    assert bench.run().rejected == 1
    bench.audience({"a": 1})
    report = bench.run()
    assert (report.unchanged, report.requests, report.status) == (1, 0, "ok")
    assert Ledger.open(bench.ledger_folder).state().collect()["state"].to_list() == ["held"]


def test_a_whole_batch_refused_is_bisected_to_the_guilty_row(bench) -> None:
    able(bench, per_row_results=False, batch_rows=64, concurrency=1)
    bench.driver.bad_keys = {"k010"}
    bench.audience({key: n for key, n in PEOPLE.items() if n < 64})
    report = bench.run()
    assert (report.delivered, report.rejected) == (63, 1)
    assert report.requests <= 1 + 2 * 6
    assert "k010" not in bench.held


def test_batches_refused_to_the_last_row_open_the_breaker(bench) -> None:
    able(bench, per_row_results=False, concurrency=1)
    bench.driver.bad_keys = set(PEOPLE)
    bench.audience(PEOPLE)
    report = bench.run()
    assert (report.rejected, report.deferred) == (30, 70)
    assert "refused row by row" in report.message


@pytest.mark.parametrize(
    "fault", ["outage", "rate_limit", "lost_answer", "lost_request", "half_an_answer"]
)
def test_passing_faults_are_survived_within_the_run(bench, failing, fault: str) -> None:
    bench.driver.faults = [failing(fault, 4)]
    bench.audience(PEOPLE)
    report = bench.run()
    assert (report.delivered, report.status) == (100, "ok")
    assert report.retries > 0
    assert bench.held == PEOPLE


def test_waiting_as_asked_is_no_failure(bench, failing) -> None:
    bench.driver.faults = [failing("rate_limit", 60)]
    bench.audience(PEOPLE)
    policy = Policy(attempts=2, breaker=3, wait_budget=60, backoff=0.001)
    report = bench.run(policy=policy)
    assert (report.delivered, report.status) == (100, "ok")
    assert report.waited > 0


def test_a_wait_beyond_the_budget_ends_the_run(bench) -> None:
    def tomorrow(driver, delivery):
        return Outcome(results_for(delivery.rows, Status.RETRY, "429"), retry_after=86_400)

    bench.driver.faults = [tomorrow]
    bench.audience(PEOPLE)
    report = bench.run()
    assert (report.deferred, report.status) == (100, "deferred")
    assert "asked to wait" in report.message
    assert report.seconds < 5


def test_a_dead_destination_costs_few_requests(bench, failing) -> None:
    bench.driver.faults = [failing("outage")]
    bench.audience({f"k{n}": n for n in range(1000)})
    report = bench.run()
    assert (report.deferred, report.delivered, report.status) == (1000, 0, "deferred")
    assert report.requests <= 12
    assert "circuit breaker open" in report.message
    bench.driver.faults = []
    assert bench.run().delivered == 1000


def test_bad_credentials_stop_the_run(bench, failing) -> None:
    bench.driver.faults = [failing("bad_credentials")]
    bench.audience(PEOPLE)
    report = bench.run()
    assert (report.status, report.message, report.deferred) == ("failed", "401 bad token", 100)
    assert report.requests <= 3


def test_rows_in_doubt_are_held_back_where_sending_twice_does_harm(bench, failing) -> None:
    able(bench, idempotent=False)
    bench.driver.faults = [failing("lost_answer", 1)]
    bench.audience(PEOPLE)
    first = bench.run()
    assert (first.delivered, first.deferred, first.retries) == (90, 10, 0)
    bench.driver.sends.clear()
    second = bench.run()
    assert (second.unchanged, second.deferred, second.requests) == (90, 10, 0)
    assert "in_doubt: resend" in second.reasons[0].message
    third = bench.run(in_doubt="resend")
    assert (third.delivered, third.status) == (10, "ok")
    assert max(bench.driver.writes.values()) == 2


def test_a_row_in_doubt_that_left_is_taken_out(bench, failing) -> None:
    bench.driver.faults = [failing("lost_answer")]
    bench.audience({"a": 1, "b": 2})
    assert bench.run().deferred == 2
    assert bench.held == {"a": 1, "b": 2}
    bench.driver.faults = []
    bench.audience({"b": 2})
    report = bench.run()
    assert (report.removed, report.delivered) == (1, 1)
    assert bench.held == {"b": 2}


def test_a_row_in_flight_at_a_kill_is_taken_out_when_it_left_meanwhile(bench) -> None:
    """The ledger is put back to how it stood when the first delivery was on its way."""
    able(bench, concurrency=1)
    kept = bench.folder / "kept"

    def remember(driver, delivery):
        if not kept.exists():
            shutil.copytree(bench.ledger_folder, kept)

    bench.driver.faults = [remember]
    bench.audience(PEOPLE)
    bench.run()
    shutil.rmtree(bench.ledger_folder)
    kept.rename(bench.ledger_folder)
    bench.driver.faults, bench.driver.members = (
        [],
        {k: {"v": PEOPLE[k]} for k in sorted(PEOPLE)[:10]},
    )
    bench.audience({"new": 1})
    report = bench.run()
    assert (report.removed, report.added, report.status) == (10, 1, "ok")
    assert bench.held == {"new": 1}


def test_a_driver_that_raises_or_forgets_rows_loses_nothing(bench) -> None:
    def broken(driver, delivery):
        if "k050" in delivery.rows["_key"]:
            raise ValueError("a bug")

    bench.driver.faults = [broken]
    bench.audience(PEOPLE)
    report = bench.run()
    assert (report.delivered, report.deferred) == (90, 10)
    assert "ValueError: a bug" in report.reasons[0].message
    bench.driver.faults = []
    whole = bench.driver.deliveries
    bench.driver.deliveries = lambda operation, rows: whole(operation, rows.slice(1))
    report = bench.run()
    assert (report.delivered, report.deferred) == (9, 1)
    del bench.driver.deliveries
    assert bench.run().status == "ok"
    assert bench.held == PEOPLE
