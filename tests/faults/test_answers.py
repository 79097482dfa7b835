"""What no spec of the catalog promises: waits named in a body, moves to another host, answers cut short."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

PEOPLE = {f"k{number}": 0 for number in range(100)}


def once(reply: Any, at: int = 2) -> Callable[[Any], Any]:
    """A rule that answers one request, the ``at``-th, by that."""
    return lambda request: reply if request.number == at else None


def test_a_wait_named_in_the_body_closes_the_account(
    loopback: Any, new_bench: Any, spec_of: Any, reply: Any
) -> None:
    bench = new_bench(spec_of(loopback.url, workers=1, retry_after={"body": "error.wait"}))
    bench.publish(PEOPLE)
    loopback.rules = [once(reply(429, {"message": "slow down", "error": {"wait": 0.6}}))]
    report = bench.run()
    assert (report.status, report.delivered, report.retries) == ("ok", 100, 1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(loopback.moments)]
    assert len([gap for gap in gaps if gap >= 0.6]) == 1
    assert loopback.twice == 0


def test_429_is_scheduling_and_uses_up_no_attempts(
    loopback: Any, new_bench: Any, spec_of: Any, reply: Any
) -> None:
    bench = new_bench(spec_of(loopback.url))
    bench.policy = replace(bench.policy, attempts=2, breaker=3)
    bench.publish(PEOPLE)
    loopback.rules = [
        lambda request: reply(429, {}, {"Retry-After": "0.01"}) if request.number < 20 else None
    ]
    report = bench.run()
    assert (report.status, report.delivered) == ("ok", 100)


def test_a_dead_destination_costs_seconds(
    loopback: Any, new_bench: Any, spec_of: Any, reply: Any
) -> None:
    bench = new_bench(spec_of(loopback.url, batch=1))
    bench.publish({f"k{number}": 0 for number in range(1_000)})
    loopback.rules = [lambda request: reply(503, {"message": "down"})]
    report = bench.run()
    assert (report.status, report.delivered, report.deferred) == ("deferred", 0, 1_000)
    assert "circuit breaker" in report.message
    assert loopback.requests <= bench.policy.breaker + bench.spec.concurrency
    loopback.rules = []
    assert (bench.run().delivered, loopback.twice) == (1_000, 0)


def test_credentials_are_not_carried_to_another_host(
    loopback: Any, new_bench: Any, spec_of: Any, reply: Any
) -> None:
    elsewhere = type(loopback)()
    try:
        bench = new_bench(spec_of(loopback.url))
        bench.publish(PEOPLE)
        for status in (301, 302, 303, 307, 308):
            loopback.rules = [
                lambda request, status=status: reply(
                    status, {}, {"Location": f"{elsewhere.url}/upsert"}
                )
            ]
            report = bench.run()
            assert (report.status, report.delivered) == ("failed", 0)
            assert "redirects elsewhere" in report.message
        assert elsewhere.requests == 0
        loopback.rules = []
        assert bench.run().delivered == 100
    finally:
        elsewhere.close()


def test_an_expired_token_sends_nothing_more_and_nothing_twice(
    loopback: Any, new_bench: Any, spec_of: Any, reply: Any
) -> None:
    bench = new_bench(spec_of(loopback.url, batch=5))
    bench.publish(PEOPLE)
    loopback.rules = [lambda request: reply(401, {}) if request.number > 6 else None]
    report = bench.run()
    assert report.status == "failed"
    assert (report.delivered, report.deferred) == (30, 70)
    # Each worker may have had one more on its way.
    assert loopback.requests <= 6 + bench.spec.concurrency
    loopback.rules = []
    assert (bench.run().delivered, loopback.twice) == (70, 0)


def test_an_answer_that_drips_for_ever_is_given_up_and_asked_for_again(
    loopback: Any, new_bench: Any, spec_of: Any, reply: Any
) -> None:
    bench = new_bench(spec_of(loopback.url, timeout=0.3))
    bench.publish(PEOPLE)
    loopback.rules = [once(reply(drip=0.05, keep=True)), once(reply(reset=True, keep=True), at=3)]
    started = time.monotonic()
    report = bench.run()
    assert (report.status, report.delivered) == ("ok", 100)
    assert time.monotonic() - started < 30
    assert loopback.twice == 2 * 20
    assert {key: row["v"] for key, row in loopback.members.items()} == PEOPLE


def test_where_sending_twice_does_harm_rows_in_doubt_are_held(
    loopback: Any, new_bench: Any, spec_of: Any, reply: Any
) -> None:
    bench = new_bench(spec_of(loopback.url, idempotent=False))
    bench.publish(PEOPLE)
    loopback.rules = [once(reply(reset=True, keep=True))]
    report = bench.run()
    assert (report.status, report.delivered, report.deferred) == ("deferred", 80, 20)
    loopback.rules = []
    report = bench.run()
    assert (report.requests, report.unchanged, report.deferred) == (0, 80, 20)
    assert loopback.twice == 0
    report = bench.run(in_doubt="resend")
    assert (report.status, report.delivered, loopback.twice) == ("ok", 20, 20)


def test_an_operation_that_must_not_be_repeated_holds_nothing_of_others(
    loopback: Any, new_bench: Any, spec_of: Any, reply: Any
) -> None:
    """Events may not be sent twice there; people of a mirror may."""
    document = spec_of(loopback.url)
    document["operations"]["track"] = document["operations"]["upsert"] | {
        "request": "POST /track",
        "idempotent": False,
    }
    bench = new_bench(document)
    bench.publish({f"k{number}": 0 for number in range(20)})
    loopback.rules = [lambda request: reply(reset=True) if request.number == 1 else None]
    report = bench.run()
    assert (report.status, report.delivered) == ("ok", 20)
    bench = new_bench(document, folder=bench.folder / "events")
    bench.mapping |= {"event": {"entered": "Joined", "exited": "Left"}}
    bench.publish({f"k{number}": 0 for number in range(20)})
    loopback.forget_requests()
    report = bench.run(mode="append_event")
    assert (report.status, report.deferred, loopback.requests) == ("deferred", 20, 1)


def test_several_workers_meet_a_mixture_of_everything(
    loopback: Any, new_bench: Any, spec_of: Any, reply: Any
) -> None:
    bench = new_bench(spec_of(loopback.url, batch=7, workers=8))
    bench.policy = replace(bench.policy, attempts=50, breaker=10_000)
    people = {f"k{number}": 0 for number in range(1_500)}
    bench.publish(people)
    ways = {
        2: reply(500, {"message": "oops"}),
        3: reply(429, {}, {"Retry-After": "0.02"}),
        5: reply(reset=True, keep=True),
        7: reply(200, "<html>"),
        11: reply(200, {"taken": []}),
        13: reply(reset=True),
        17: reply(413, {"message": "too large"}),
    }
    loopback.bad = {"k7", "k700"}

    def rule(request: Any) -> Any:
        # One row that is too large is refused for good.
        too_large = request.number % 19 == 17
        return None if too_large and len(request.rows) == 1 else ways.get(request.number % 19)

    loopback.rules = [rule]
    report = bench.run()
    assert (report.status, report.rejected, report.deferred) == ("rejected", 2, 0)
    lost = sum(1 for number in range(1, loopback.requests + 1) if number % 19 == 5)
    assert loopback.twice <= lost * 7
    loopback.bad, loopback.rules = set(), []
    assert bench.run().delivered == 2
    assert {key: row["v"] for key, row in loopback.members.items()} == people
