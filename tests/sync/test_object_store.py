"""State in object storage: any request may fail or be the last, and machines may come and go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from destinations.driver import KEY
from destinations.errors import LedgerError, LockedError
from destinations.sync import lease, objects
from destinations.sync.head import read_head
from destinations.sync.journal import Journal, claims, frames_of, read_journal, restore
from destinations.sync.ledger import Ledger
from destinations.sync.lines import append, read_lines
from destinations.sync.snapshot import publish
from destinations.sync.status import pause, read_status
from tests.object_store import in_bucket
from tests.object_store import objects as in_store

pytestmark = [
    pytest.mark.parametrize("store", ["s3"], indirect=True),
    pytest.mark.usefixtures("store"),
]

APART = int(os.environ.get("STOREROOM_DEATHS_APART", "3"))
"""A run dies at every so many of its requests. Set 1 after a change of what is written when."""
KILLS = int(os.environ.get("STOREROOM_MACHINE_KILLS", "1"))
"""Machines that are killed one after the other; up to 3."""
PEOPLE = {f"k{n}": n for n in range(35)}
CHANGED = {key: value + 1000 for key, value in PEOPLE.items() if value % 3} | {"new": 1}


class DiedError(BaseException):
    """Nothing after it is run, as after a kill."""


def dying(monkeypatch: pytest.MonkeyPatch, at: int, after: bool) -> list[str]:
    """Die at the ``at``-th request that changes the bucket, before or after its effect."""
    made: list[str] = []

    def wrap(name: str) -> None:
        method = getattr(objects.Bucket, name)

        def wrapped(self, key, *arguments, **named):
            made.append(f"{name} {key}")
            if len(made) > at:
                raise DiedError
            if len(made) == at and not after:
                raise DiedError
            found = method(self, key, *arguments, **named)
            if len(made) == at:
                raise DiedError
            return found

        monkeypatch.setattr(objects.Bucket, name, wrapped)

    for name in ("put", "copy", "delete"):
        wrap(name)
    return made


def test_a_run_may_die_at_each_of_its_requests(bench, monkeypatch) -> None:
    bench.audience(PEOPLE)
    bench.run()
    at = 1 - APART
    while True:
        at += APART
        changes, after = (CHANGED if at % 2 else PEOPLE), at // 2 % 2 == 0
        bench.audience(changes)
        with monkeypatch.context() as patched:
            made = dying(patched, at, after)
            try:
                bench.run()
                finished = True
            except DiedError:
                finished = False
        report = bench.run()
        assert bench.held == changes, made
        assert report.status == "ok"
        state = Ledger(bench.ledger_folder, read_head(bench.ledger_folder)).state().collect()
        assert set(state[KEY]) == set(changes)
        assert not state["maybe"].any()
        if finished:
            break
    assert at > 12, "a run makes more requests than that"


def test_a_machine_that_was_never_here_goes_on(bench, tmp_path, monkeypatch) -> None:
    bench.audience(PEOPLE)
    bench.run()
    pause(bench.folder / "syncs", "crm", "vip")
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path / "other"))
    other = tmp_path / "other"
    (row,) = read_status(other / "syncs")
    assert (row["paused"], row["last"]["delivered"]) == (True, 35)
    pause(other / "syncs", "crm", "vip", paused=False)
    bench.folder = other
    assert bench.run().unchanged == 35
    bench.audience(CHANGED)
    assert bench.run().delivered == len(CHANGED)
    assert bench.held == CHANGED


def test_a_lease_is_respected_and_runs_out(monkeypatch) -> None:
    monkeypatch.setenv("STOREROOM_LEASE_SECONDS", "1")
    monkeypatch.setattr(lease, "BEATS", 0.01)  # the holder is never heard of again
    bucket = objects.bucket()
    with lease.leased(bucket, "syncs/a/b", "here", "Sync 'a/b'", wait=False) as first:
        with pytest.raises(LockedError, match="Sync 'a/b' is already running"):
            lease._taken(bucket, "syncs/a/b", "there", "Sync 'a/b'", wait=False)
        second = lease._taken(bucket, "syncs/a/b", "there", "Sync 'a/b'", wait=True)
        assert second.forced
        with pytest.raises(LedgerError, match="took syncs/a/b over"):
            first.check()
        with pytest.raises(objects.ChangedError):
            first.renew()
    second.renew(released=True)
    assert not lease._taken(bucket, "syncs/a/b", "here", "Sync 'a/b'", wait=False).forced


def test_the_lease_of_a_process_that_died_here_is_free_at_once(store) -> None:
    bucket = objects.bucket()
    lease._taken(bucket, "syncs/a/b", "here", "Sync 'a/b'", wait=False)
    again = lease._taken(bucket, "syncs/a/b", "here", "Sync 'a/b'", wait=False)
    assert again.forced


def test_a_sealed_journal_takes_nothing_more(tmp_path) -> None:
    path = tmp_path / "syncs" / "crm" / "vip" / "journal-1"
    path.parent.mkdir(parents=True)
    journal = Journal(path)
    journal.commit([claims(pl.Series(KEY, ["a"]), "add")])
    copy = path.with_name("copy")
    path.rename(copy)
    restore(path, seal=True)
    assert read_journal(path)[KEY].to_list() == ["a"]
    copy.rename(path)
    with pytest.raises(LedgerError, match="Another process took"):
        journal.commit([claims(pl.Series(KEY, ["b"]), "add")])
    restore(path, seal=True)
    assert read_journal(path)[KEY].to_list() == ["a"]
    assert len(frames_of(path)) == 1


def test_a_lost_segment_is_an_error(tmp_path, s3_endpoint, monkeypatch) -> None:
    path = tmp_path / "syncs" / "crm" / "vip" / "journal-1"
    path.parent.mkdir(parents=True)
    journal = Journal(path)
    for key in "abc":
        journal.commit([claims(pl.Series(KEY, [key]), "add")])
    objects.bucket().delete(["syncs/crm/vip/journal-1/00000002"])
    with pytest.raises(LedgerError, match="a segment is gone"):
        restore(path, seal=False)


def test_lines_are_merged_and_none_is_lost(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("destinations.sync.lines.MERGE", 4)
    path = tmp_path / "syncs" / "crm" / "vip" / "runs.jsonl"
    path.parent.mkdir(parents=True)
    for number in range(15):
        append(path, b"%d" % number)
        assert len(objects.bucket().keys("syncs/crm/vip/runs.jsonl")) <= 5
    path.unlink()
    assert read_lines(path) == [b"%d" % number for number in range(15)]
    assert read_lines(path, last=3) == [b"12", b"13", b"14"]


def test_requests_of_a_run_are_bounded_by_its_deliveries(bench, monkeypatch) -> None:
    made = dying(monkeypatch, 10**9, after=False)
    bench.audience({f"k{n}": n for n in range(400)})
    del made[:]
    bench.run()
    segments = [name for name in made if "journal-" in name and name.startswith("put")]
    # One for opening, and per delivery at most one, which says the answer to the last one too.
    assert len(segments) <= 1 + 40 + bench.driver.capabilities.concurrency
    assert len(made) - len(segments) <= 16


def start(folder: Path, port: int, variables: dict[str, str]) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    script = Path(__file__).with_name("loopback_sync.py")
    environment = os.environ | variables | {"STOREROOM_STATE": str(folder), "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        [sys.executable, script, folder, str(port)],
        cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def until_taken(server, count: int, process: subprocess.Popen[str]) -> None:
    while sum(server.writes.values()) < count and process.poll() is None:
        time.sleep(0.002)


@pytest.fixture
def machines(tmp_path, s3_endpoint, monkeypatch):
    """Variables of machines that share a bucket with an audience of 1,000 people in it."""
    variables = in_bucket(s3_endpoint) | {"STOREROOM_LEASE_SECONDS": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path / "first"))
    rows = pl.DataFrame({"id": [f"k{n}" for n in range(1000)], "v": range(1000)})
    publish(tmp_path / "first" / "audiences", "vip", "id", rows.write_parquet)
    return variables


def finished(folder: Path, port: int, variables: dict[str, str]) -> str:
    """Run until nobody else holds the lease."""
    for _ in range(40):
        process = start(folder, port, variables)
        output, errors = process.communicate(timeout=60)
        if process.returncode == 0:
            return output
        assert "already running" in errors, errors
        time.sleep(0.3)
    raise AssertionError("the lease never ran out")


def test_killed_on_one_machine_and_run_on_another(tmp_path, machines, destination) -> None:
    for number in range(KILLS):
        process = start(tmp_path / f"m{number}", destination.server_port, machines)
        until_taken(destination, 100 + 250 * number, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(2.1)  # its lease runs out
    output = finished(tmp_path / "last", destination.server_port, machines)
    assert output.rstrip().endswith(" ok"), output
    assert destination.members == {f"k{n}": n for n in range(1000)}
    again = sum(count - 1 for count in destination.writes.values())
    assert again <= KILLS * 3 * 20  # kills x senders x rows of a delivery


def test_a_process_that_slept_through_its_lease_sends_nothing_more(
    tmp_path, machines, destination
) -> None:
    sleeper = start(tmp_path / "sleeper", destination.server_port, machines)
    until_taken(destination, 100, sleeper)
    sleeper.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    taken = sum(destination.writes.values())
    assert finished(tmp_path / "other", destination.server_port, machines).rstrip().endswith(" ok")
    assert destination.members == {f"k{n}": n for n in range(1000)}
    before = sum(destination.writes.values())
    head = {name: body for name, body in store_of(machines).items() if name.endswith("head.json")}
    sleeper.send_signal(signal.SIGCONT)
    _, errors = sleeper.communicate(timeout=60)
    assert sleeper.returncode != 0
    assert "took syncs/crm/vip over" in errors, errors
    assert sum(destination.writes.values()) - before <= 3 * 20  # what it had claimed already
    assert taken < 1000
    now = {name: body for name, body in store_of(machines).items() if name.endswith("head.json")}
    assert now == head


def store_of(variables: dict[str, str]) -> dict[str, bytes]:
    return in_store(variables["AWS_ENDPOINT_URL"], variables["STOREROOM_STATE_URL"])
