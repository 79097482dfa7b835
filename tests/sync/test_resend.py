"""Rows marked to be sent again are sent, and a mark outlives everything but an acceptance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from destinations.driver import Capabilities, Operation
from destinations.errors import ConfigurationError, StoreroomError
from destinations.sync import resend
from destinations.sync.resend import mark

PEOPLE = {f"k{n}": n for n in range(12)}


def marked(bench, choice, **settings):
    return mark(bench.config(**settings), bench.folder / "syncs", choice, bench.now)


def sent(bench) -> list[str]:
    found = sorted(key for delivery in bench.driver.sends for key in delivery.rows["_key"])
    bench.driver.sends.clear()
    return found


def test_all_are_sent_once_more_and_then_not(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    sent(bench)
    assert marked(bench, resend.everything).rows == 12
    report = bench.run()
    assert (report.updated, report.unchanged, report.status) == (12, 0, "ok")
    assert sent(bench) == sorted(PEOPLE)
    assert bench.run().requests == 0


def test_some_keys(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    sent(bench)
    choice = resend.among(pl.Series(["k3", "k5", "never-sent", None]))
    found = mark(bench.config(), bench.folder / "syncs", choice, bench.now, keys=3)
    assert (found.rows, found.unknown) == (2, 1)
    assert bench.run().updated == 2
    assert sent(bench) == ["k3", "k5"]


def test_since_a_moment(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    between = datetime.now(UTC)
    bench.audience(PEOPLE | {"k1": 100})
    bench.run()
    sent(bench)
    assert marked(bench, resend.since(between)).rows == 1
    assert marked(bench, resend.since(between + timedelta(days=1))).rows == 0
    bench.run()
    assert sent(bench) == ["k1"]


def test_rejected_by_reason(bench) -> None:
    bench.audience(PEOPLE)
    bench.driver.bad_keys = {"k1"}
    bench.driver.rule_breakers = {"k2"}
    bench.run()
    assert marked(bench, resend.rejected("NO SUCH address")).rows == 1
    assert marked(bench, resend.rejected()).rows == 2
    assert marked(bench, resend.rejected("other words")).rows == 0


@pytest.mark.parametrize("fault", ["outage", "lost_request", "bad_credentials"])
def test_a_mark_outlives_a_failure(bench, failing, fault: str) -> None:
    bench.audience(PEOPLE)
    bench.run()
    marked(bench, resend.among(pl.Series(["k3"])))
    bench.driver.faults = [failing(fault)]
    assert bench.run().deferred == 1
    bench.driver.faults = []
    sent(bench)
    assert bench.run().updated == 1
    assert sent(bench) == ["k3"]


def test_a_mark_outlives_a_refusal(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    marked(bench, resend.among(pl.Series(["k3"])))
    bench.driver.bad_keys = {"k3"}
    assert bench.run().rejected == 1
    assert bench.run().rejected == 1
    bench.driver.bad_keys = set()
    assert bench.run().updated == 1
    assert bench.run().requests == 0


def test_every_time_it_is_another_change(bench) -> None:
    """A destination with idempotency keys must not take it for a second try of the first."""
    bench.audience({"a": 1})
    bench.run()
    for _ in range(2):
        marked(bench, resend.everything)
        bench.run()
    assert len({delivery.id for delivery in bench.driver.sends}) == 3


def test_a_row_in_doubt_is_released(bench, failing) -> None:
    bench.driver.capabilities = Capabilities(operations=frozenset(Operation), idempotent=False)
    bench.audience({"a": 1})
    bench.driver.faults = [failing("lost_request", 1)]
    assert bench.run().deferred == 1
    assert bench.run().requests == 0
    marked(bench, resend.everything)
    assert bench.run().added == 1


@pytest.mark.parametrize("mode", ["add_only", "update_only", "upsert"])
def test_every_sending_mode_sends_again(bench, mode: str) -> None:
    bench.audience({"a": 1, "b": 2})
    bench.run(mode="upsert")
    sent(bench)
    marked(bench, resend.among(pl.Series(["a"])), mode=mode)
    assert bench.run(mode=mode).delivered == 1
    assert sent(bench) == ["a"]


def test_what_cannot_be_marked_is_refused(bench) -> None:
    bench.audience({"a": 1})
    with pytest.raises(StoreroomError, match="has never run"):
        marked(bench, resend.everything)
    bench.run()
    with pytest.raises(ConfigurationError, match="sends no rows"):
        marked(bench, resend.everything, mode="remove_only")
