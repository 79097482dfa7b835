"""Failures measured in a live open rival, replayed: here they lose nothing and repeat little.

Its figures: a 207 with 1,000 refused rows of 20,000 passed for a success; rows refused once
were never sent again; one bad row of 10,500 had all of them sent again on every run; killed
after 20,000 of 100,000 it sent all 100,000 again.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from dagster_project.cli.execute import Summary
from dagster_project.cli.output import Exit
from dagster_project.cli.run import exit_code
from destinations.sync.ledger import Ledger
from destinations.sync.report import SyncReport


def code_of(report: SyncReport) -> Exit:
    """How ``storeroom syncs run`` ends after that run."""
    return exit_code(Summary(True, "run", {("syncs", "tool", "people"): report.as_row()}))


def people(count: int) -> dict[str, int]:
    return {f"k{number}": number for number in range(count)}


def test_a_207_is_no_success_and_the_1000_refused_rows_are_listed(
    loopback: Any, new_bench: Any, spec_of: Any
) -> None:
    bench = new_bench(spec_of(loopback.url, batch=100))
    bench.publish(people(20_000))
    loopback.bad = {f"k{number}" for number in range(0, 20_000, 20)}
    report = bench.run()
    assert (report.status, report.delivered, report.rejected) == ("rejected", 19_000, 1_000)
    assert code_of(report) == Exit.INCOMPLETE != 0
    state = Ledger.open(bench.ledger_folder).state().collect()
    rejected = state.filter(pl.col("state") == "rejected")
    assert set(rejected["_key"]) == loopback.bad
    # In the vendor's words, the address it quotes masked.
    assert set(rejected["message"]) == {"No mailbox k•••@example.com"}
    assert len(loopback.members) == 19_000


def test_refused_rows_are_all_tried_again_on_the_next_run(
    loopback: Any, new_bench: Any, spec_of: Any
) -> None:
    bench = new_bench(spec_of(loopback.url, batch=100))
    bench.publish(people(20_000))
    bad = {f"k{number}" for number in range(0, 20_000, 20)}
    loopback.bad = set(bad)
    assert bench.run().rejected == 1_000
    loopback.bad = set()
    loopback.forget_requests()
    report = bench.run()
    assert (report.status, report.delivered, report.unchanged) == ("ok", 1_000, 19_000)
    assert code_of(report) == Exit.DONE == 0
    assert set(loopback.keys) == bad
    assert len(loopback.members) == 20_000


def test_one_bad_row_of_100000_is_the_only_one_sent_again(
    loopback: Any, new_bench: Any, spec_of: Any
) -> None:
    bench = new_bench(spec_of(loopback.url, batch=1_000))
    bench.publish(people(100_000))
    loopback.bad = {"k77777"}
    report = bench.run()
    assert (report.delivered, report.rejected, report.requests) == (99_999, 1, 100)
    for _ in range(2):
        loopback.forget_requests()
        report = bench.run()
        assert (report.delivered, report.unchanged, report.rejected) == (0, 99_999, 1)
        assert dict(loopback.keys) == {"k77777": 1}
        assert code_of(report) == Exit.INCOMPLETE


def test_one_bad_row_in_a_batch_refused_as_a_whole_costs_few_requests(
    loopback: Any, new_bench: Any, spec_of: Any, reply: Any
) -> None:
    bench = new_bench(spec_of(loopback.url, batch=1_000, answer={"status": [200]}))
    bench.publish(people(10_000))
    loopback.rules = [
        lambda request: (
            reply(400, {"message": "invalid batch"})
            if any(row["key"] == "k7777" for row in request.rows)
            else None
        )
    ]
    report = bench.run()
    assert (report.delivered, report.rejected) == (9_999, 1)
    # Ten batches; the bad one is halved ten times, each time one half more is taken.
    assert report.requests <= 10 + 2 * 10
    assert report.reasons[0].keys == ("k7777",)
    loopback.forget_requests()
    report = bench.run()
    assert (report.unchanged, report.rejected, report.requests) == (9_999, 1, 1)


def test_killed_after_20000_of_100000_at_most_a_batch_per_worker_is_sent_again(
    loopback: Any, new_bench: Any, new_killer: Any, spec_of: Any
) -> None:
    spec = spec_of(loopback.url, batch=1_000, workers=3)
    bench = new_bench(spec)
    bench.publish(people(100_000))
    killer = new_killer(spec)
    told = killer.kill(None, "send", nth=21, delay=0.0)
    assert told["fate"] == "killed"
    delivered = len(loopback.members)
    assert 15_000 <= delivered < 60_000
    loopback.keys.clear()
    report = killer.run()
    assert report["status"] == "ok"
    assert sum(loopback.keys.values()) <= 100_000 - delivered + 3 * 1_000
    assert loopback.twice <= 3 * 1_000
    assert {key: row["v"] for key, row in loopback.members.items()} == people(100_000)
