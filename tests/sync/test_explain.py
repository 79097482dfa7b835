"""For one key: what the engine would do with it, and what is known of it."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from destinations.sync import resend
from destinations.sync.explain import explain
from destinations.sync.suppression import suppress


def told(bench, key: str, consent: str | None = None, show_values: bool = False, **settings):
    return explain(
        bench.config(**settings),
        consent,
        bench.folder / "audiences",
        bench.folder / "syncs",
        key,
        show_values,
    )


def test_before_anything_ran(bench) -> None:
    assert told(bench, "a").verdict == "unknown"
    bench.audience({"a": 1})
    assert told(bench, "a").verdict == "add"
    assert told(bench, "b").verdict == "unknown"


def test_a_held_key_names_its_run_and_its_answer(bench) -> None:
    bench.now = datetime.now(UTC)
    bench.audience({"a": 12345678})
    bench.now = datetime(2026, 1, 1, tzinfo=UTC)
    report = bench.run()
    found = told(bench, "a")
    assert found.verdict == "held"
    assert found.rows[0]["v"] == "•••"
    assert told(bench, "a", show_values=True).rows[0]["v"] == 12345678
    assert found.ledger is not None
    assert (found.ledger["present"], found.ledger["remote_id"]) == (True, "r-a")
    assert found.run is not None
    assert (found.run["run"], found.run["status"]) == (report.run, "ok")


@pytest.mark.parametrize("mode", ["mirror", "upsert", "add_only", "update_only", "remove_only"])
def test_the_verdict_is_what_the_next_run_does(bench, mode: str) -> None:
    bench.audience({"same": 1, "changed": 1, "gone": 1})
    bench.run(mode="upsert")
    bench.audience({"same": 1, "changed": 2, "new": 3})
    verdicts = {
        key: told(bench, key, mode=mode).verdict for key in ("same", "changed", "gone", "new")
    }
    before = dict(bench.held)
    bench.run(mode=mode)
    after = bench.held
    for key, verdict in verdicts.items():
        expected = {
            "held": before.get(key) == after.get(key) == 1,
            "update": (before.get(key), after.get(key)) == (1, 2),
            "add": (before.get(key), after.get(key)) == (None, 3),
            "remove": key not in after,
            "left": after.get(key) == 1,
            "not_sent": before.get(key) == after.get(key),
        }
        assert expected[verdict], (key, verdict)


def test_why_a_row_is_not_sent(bench, failing) -> None:
    frame = pl.DataFrame(
        {
            "id": ["two", "two", "low", "shy", "bad", "lost", "gone", "ok"],
            "v": [5, 5, 1, 5, 5, 5, 5, 5],
            "consent_email": [True, True, True, None, True, True, True, True],
        }
    )
    bench.publish(frame)
    bench.driver.bad_keys = {"bad"}
    options = {"consent": "consent_email", "where": "v > 2"}
    bench.run(**options)
    suppress(bench.folder / "syncs", ["gone"], bench.now)
    resend.mark(bench.config(), bench.folder / "syncs", resend.among(pl.Series(["ok"])), bench.now)
    expected = {
        "two": "duplicate",
        "low": "filtered",
        "shy": "withheld",
        "bad": "rejected",
        "gone": "deleted",
        "ok": "again",
        "lost": "held",
    }
    assert {key: told(bench, key, **options).verdict for key in expected} == expected
    assert "no such address" in told(bench, "bad", **options).why


def test_a_key_in_doubt(bench, failing) -> None:
    bench.audience({"a": 1})
    bench.driver.faults = [failing("lost_request")]
    bench.run()
    found = told(bench, "a")
    assert (found.verdict, found.ledger["state"]) == ("doubt", "doubt")
