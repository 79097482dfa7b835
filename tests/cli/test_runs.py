"""Commands that change something, in processes of their own: what they print and exit with."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from dagster_project.ingestion.raw_zone import locked as loading
from destinations.sync.durable import locked

pytestmark = [
    pytest.mark.xdist_group("cli"),
    pytest.mark.end_to_end,
    pytest.mark.timeout(300),
]

FATES = ("delivered", "unchanged", "filtered", "withheld", "rejected", "deferred")
REPORTING = ("--connection", "reporting_db")
ADS = ("--connection", "ads")


def test_rejected_rows_end_a_run_with_3(first_run: Any) -> None:
    assert first_run.code == 3, first_run.err
    ingest, *syncs = first_run.rows
    assert ingest["stage"] == "ingest"
    assert ingest["events"] > 0
    assert ingest["rejected"] > 0
    by_name = {row["sync"]: row for row in syncs}
    assert "reporting_db/audience_loyal_customers" not in by_name
    for row in syncs:
        assert row["stage"] == "sync"
        assert row["rows"] == sum(row[fate] for fate in FATES)
    crm = by_name["crm/audience_loyal_customers"]
    assert crm["status"] == "rejected"
    assert crm["rejected"] > 0
    assert "Blocked domain" in str(crm["reasons"])


def test_status_says_why_rows_were_rejected(built: Any, storeroom: Any) -> None:
    said = storeroom("syncs", "status", "--connection", "crm")
    assert said.code == 0
    assert "Blocked domain" in said.out
    (row,) = storeroom("syncs", "status", *ADS, "--json").rows
    assert row["status"] == "never ran"
    assert row["behind"]


def test_a_plan_before_and_after(built: Any, storeroom: Any) -> None:
    (before,) = storeroom("syncs", "plan", *REPORTING, "--json").rows
    assert before["status"] == "planned"
    assert before["planned_adds"] == before["rows"] > 0
    assert not (built.state / "reporting.sqlite").exists()

    held = built.state / "syncs" / "reporting_db" / "audience_loyal_customers"
    with locked(held, "this test"):
        busy = built.run("syncs", "run", *REPORTING)
    assert busy.code == 4, busy
    assert "reporting_db/audience_loyal_customers" in busy.err

    said = built.run("syncs", "run", *REPORTING)
    assert said.code == 0, said.err
    assert "reporting_db/audience_loyal_customers" in said.out
    (after,) = storeroom("syncs", "plan", *REPORTING, "--json").rows
    assert after["planned_adds"] == after["planned_updates"] == after["removes"] == 0
    assert after["unchanged"] == before["rows"]


def test_pause_and_resume(built: Any, storeroom: Any) -> None:
    crm = ("crm", "audience_loyal_customers")
    assert storeroom("syncs", "pause", *crm).code == 0
    (row,) = storeroom("syncs", "status", "--connection", "crm", "--json").rows
    assert row["paused"]
    before = built.sandbox.state("hubspot")
    said = built.run("syncs", "run", "--connection", "crm", "--json")
    assert said.code == 0, said.err
    assert said.rows == []
    assert built.sandbox.state("hubspot") == before
    assert storeroom("syncs", "resume", *crm).code == 0
    (row,) = storeroom("syncs", "status", "--connection", "crm", "--json").rows
    assert not row["paused"]


def test_ingest_finds_nothing_new_and_replays(built: Any, storeroom: Any) -> None:
    (again,) = storeroom("ingest", "--json").rows
    assert again["files_loaded"] == 0
    (replayed,) = storeroom("ingest", "--replay", "--json").rows
    assert replayed["replayed"] == 0
    assert replayed["still_rejected"] > 0
    assert "still rejected" in storeroom("ingest", "--replay").out


def test_one_loader_at_a_time(built: Any, storeroom: Any) -> None:
    with loading(built.state / "raw"):
        said = storeroom("ingest")
    assert said.code == 4
    assert storeroom("ingest").code == 0


def test_interrupted_while_sending_and_run_again(built: Any, storeroom: Any) -> None:
    built.sandbox.fail("facebook_custom_audiences", "slow", delay=4)
    folder = built.state / "syncs" / "ads" / "audience_lapsed_customers"
    before = set(folder.glob("journal-*"))
    process = built.start("syncs", "run", *ADS)
    try:
        wait_until(lambda: set(folder.glob("journal-*")) - before, 60)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        built.sandbox.reset("facebook_custom_audiences")
    assert process.returncode == 130
    assert "Stopped." in err
    assert "Traceback" not in err
    said = built.run("syncs", "run", *ADS, "--json")
    assert said.code == 0, said.err
    (row,) = said.rows
    assert row["rows"] == sum(row[fate] for fate in FATES) > 0
    (status,) = storeroom("syncs", "status", *ADS, "--json").rows
    assert not status["interrupted"]


def wait_until(holds: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
