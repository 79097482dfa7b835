"""Operating syncs from the command line, on a shop whose hourly syncs have run."""

from __future__ import annotations

import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from tests.object_store import KEY

pytestmark = [
    pytest.mark.xdist_group("cli"),
    pytest.mark.end_to_end,
    pytest.mark.timeout(300),
]

WEBHOOK = ("--connection", "webhook", "--audience", "audience_cart_abandoners")
NEWSLETTER = ("--connection", "newsletter", "--audience", "audience_newsletter")


def somebody(shop: Any) -> str:
    """A person whom the newsletter's destination holds."""
    (base,) = (shop.state / "syncs" / "newsletter" / "audience_newsletter").glob("base-*.parquet")
    held = pl.read_parquet(base).filter(pl.col("state") == "held")
    key: str = held["_key"][0]
    return key


def test_a_plan_shows_requests_and_nobody(built: Any, storeroom: Any) -> None:
    assert storeroom("syncs", "resend", *NEWSLETTER, "--all").code == 0
    said = storeroom("syncs", "plan", *NEWSLETTER, "--requests", "2")
    assert said.code == 0
    assert said.out.count("POST http") == 2
    assert "•••" in said.out
    assert "sandbox-api_token" not in said.out
    (row,) = storeroom("syncs", "plan", *NEWSLETTER, "--json").rows
    emails = [change["values"]["email"] for change in row["changes"]]
    assert all("•••@" in email for email in emails)
    (shown,) = storeroom("syncs", "plan", *NEWSLETTER, "--json", "--show-values").rows
    assert all("•••" not in change["values"]["email"] for change in shown["changes"])


def test_a_saved_plan_is_applied_once(built: Any, storeroom: Any, tmp_path: Path) -> None:
    file = str(tmp_path / "plan.json")
    assert storeroom("syncs", "resend", *NEWSLETTER, "--all").code == 0
    (planned,) = storeroom("syncs", "plan", *NEWSLETTER, "--save", file, "--json").rows
    applied = built.run("syncs", "apply", file, "--json")
    assert applied.code == 0, applied.err
    (done,) = applied.rows
    assert done["updated"] == planned["planned_updates"] > 0
    again = built.run("syncs", "apply", file)
    assert again.code == 1
    assert "is stale" in again.err
    assert "the sync ran" in again.err
    assert storeroom("syncs", "apply", str(tmp_path / "none.json")).code == 2


def test_explaining_somebody(built: Any, storeroom: Any) -> None:
    key = somebody(built)
    (found,) = storeroom("syncs", "explain", key, *NEWSLETTER, "--json").rows
    assert found["verdict"] in ("held", "again")
    assert found["ledger"]["present"]
    assert "•••@" in found["rows"][0]["email"]
    assert found["run"]["status"] in ("ok", "rejected")
    said = storeroom("syncs", "explain", "nobody-at-all", *NEWSLETTER)
    assert "has no such key" in said.out


def test_forgetting_and_moving_ask_first(built: Any, storeroom: Any) -> None:
    said = storeroom("syncs", "forget", *WEBHOOK)
    assert said.code == 2
    assert "Add --yes" in said.err
    same = ("--audience", "audience_cart_abandoners", "--from", "webhook", "--to", "webhook")
    said = storeroom("syncs", "move", *same, "--assume", "empty")
    assert said.code == 2
    assert "nobody takes them out" in said.err
    assert storeroom("syncs", "move", *same, "--assume", "same").code == 0


def test_resending_needs_to_know_what(built: Any, storeroom: Any, tmp_path: Path) -> None:
    for wrong in ((), ("--all", "--rejected"), ("--reason", "x"), ("--since", "yesterday")):
        assert storeroom("syncs", "resend", *NEWSLETTER, *wrong).code == 2
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{somebody(built)}\nnobody\n")
    (found,) = storeroom("syncs", "resend", *NEWSLETTER, "--keys", str(keys), "--json").rows
    assert (found["marked"], found["unknown"]) == (1, 1)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_lands(built: Any, storeroom: Any, how: signal.Signals) -> None:
    assert storeroom("syncs", "resend", *NEWSLETTER, "--all").code == 0
    folder = built.state / "syncs" / "newsletter" / "audience_newsletter"
    before = set(folder.glob("journal-*"))
    built.sandbox.fail("active_campaign", "slow", delay=0.4)
    process = built.start("syncs", "run", *NEWSLETTER)
    try:
        deadline = time.monotonic() + 120
        while set(folder.glob("journal-*")) <= before and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.6)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        built.sandbox.faults.clear("active_campaign")
    assert process.returncode == 130, err
    assert "Stopped" in err
    assert "Traceback" not in err
    report = orjson.loads((folder / "runs.jsonl").read_bytes().splitlines()[-1])
    assert report["message"] == "the run was cancelled"
    assert report["delivered"] > 0
    assert report["deferred"] > 0
    finished = built.run("syncs", "run", *NEWSLETTER, "--json")
    assert finished.code == 0, finished.err
    assert finished.rows[0]["updated"] == report["deferred"]


def test_deleting_somebody_is_proved(built: Any, storeroom: Any) -> None:
    key = somebody(built)
    asked_first = storeroom("syncs", "delete-person", key)
    assert asked_first.code == 2
    assert "Add --yes" in asked_first.err
    said = storeroom("syncs", "delete-person", key, "--yes", "--json")
    (proof,) = said.rows
    answers = {one["sync"]: one["answer"] for one in proof["asked"]}
    assert answers["newsletter/audience_newsletter"] in ("deleted", "removed")
    assert key not in (built.state / "syncs" / "deletions.jsonl").read_text()
    (found,) = storeroom("syncs", "explain", key, *NEWSLETTER, "--json").rows
    assert (found["verdict"], found["ledger"]) == ("deleted", None)

    assert storeroom("syncs", "readmit").code == 2
    assert storeroom("syncs", "readmit", "nobody", "--json").rows == [{"readmitted": []}]
    assert storeroom("syncs", "readmit", key, "--json").rows == [{"readmitted": [key]}]
    assert "0 of 1" in storeroom("syncs", "readmit", key).out
    (found,) = storeroom("syncs", "explain", key, *NEWSLETTER, "--json").rows
    assert found["verdict"] != "deleted"


def test_what_was_held_is_told_in_clear_and_encrypted(
    built: Any, storeroom: Any, tmp_path: Path
) -> None:
    """On a copy: what is encrypted stays so for the tests that follow."""
    key, state = somebody(built), tmp_path / "state"
    for folder in ("audiences", "syncs", "warehouse"):
        shutil.copytree(built.state / folder, state / folder)
    clear = {"STOREROOM_STATE": str(state)}
    opened = clear | {"STOREROOM_STATE_KEY": KEY}
    held = ("syncs", "held", "newsletter", "audience_newsletter", "--on", "2099-01-01")
    everybody = storeroom(*held, "--json", **clear).rows
    (one,) = storeroom(*held, "--key", key, "--json", **clear).rows
    assert one in everybody
    assert one["hash"]
    assert one["run"]
    file = tmp_path / "held.parquet"
    said = storeroom(*held, "--save", str(file), **clear)
    assert f"held {len(everybody):,} rows" in said.out
    assert pl.read_parquet(file).height == len(everybody) > 20
    early = storeroom(*held[:-1], "2020-01-01", **clear)
    assert (early.code, "held 0 rows" in early.out) == (0, True)

    assert storeroom("syncs", "encrypt", **clear).code == 2
    assert storeroom("syncs", "encrypt", **opened).out.endswith(" 0 were already.\n")
    # Reports are written anew each time.
    again = re.match(
        r"(\d+) files .*, (\d+) were already", storeroom("syncs", "encrypt", **opened).out
    )
    assert int(again[1]) <= len(list(state.glob("syncs/*/*/runs.jsonl"))) < int(again[2])
    kept = [file for file in state.glob("syncs/*/*/*.parquet") if "hashes-" not in file.name]
    assert kept
    assert not [file for file in kept if file.read_bytes().startswith(b"PAR1")]
    assert storeroom(*held, "--json", **opened).rows == everybody
    refused = storeroom(*held, **clear)
    assert refused.code == 1
    assert "is encrypted with key" in refused.err
