"""Whole runs: what is sent, what is left alone, and what stops a run before it starts."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import threading
import time
from datetime import timedelta

import polars as pl
import pytest

from destinations.driver import Capabilities, Operation
from destinations.errors import ConfigurationError, LedgerError, LockedError, StoreroomError
from destinations.sync.durable import locked
from destinations.sync.ledger import Ledger
from destinations.sync.report import kept_reports
from destinations.sync.status import pause, read_status

PEOPLE = {f"k{n:03}": n for n in range(100)}


def able(bench, **changes) -> None:
    bench.driver.capabilities = dataclasses.replace(bench.driver.capabilities, **changes)


def sent_keys(bench) -> list[str]:
    return [key for delivery in bench.driver.sends for key in delivery.rows["_key"]]


def test_only_the_difference_travels(bench) -> None:
    bench.audience(PEOPLE)
    first = bench.run()
    assert (first.added, first.requests, first.status) == (100, 10, "ok")
    assert bench.held == PEOPLE
    bench.driver.sends.clear()
    bench.audience({key: n + (n == 50) for key, n in PEOPLE.items() if n >= 3} | {"new": 1})
    second = bench.run()
    assert (second.added, second.updated, second.removed, second.unchanged) == (1, 1, 3, 96)
    assert len(sent_keys(bench)) == 5
    assert "97 rows" not in second.accounting
    assert second.accounting.startswith("98 rows = 2 delivered + 96 unchanged")


def test_nothing_new_sends_nothing_and_reads_nothing(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    bench.driver.sends.clear()
    again = bench.audience(PEOPLE)  # rebuilt, same rows
    again.path.unlink()
    again.path.write_bytes(b"not read")
    report = bench.run()
    assert (report.unchanged, report.requests, report.status) == (100, 0, "ok")
    assert bench.driver.sends == []


def test_a_changed_mapping_sends_every_row_once(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    report = bench.run(mapping={"v": "v", "id": "id", "plan": {"constant": "gold"}})
    assert report.updated == 100
    assert bench.driver.members["k001"]["plan"] == "gold"


def test_removes_carry_the_fields_of_people_who_are_gone(bench) -> None:
    bench.audience(PEOPLE)
    bench.run(mode="upsert")
    bench.audience({"k005": 5})
    bench.run(mode="upsert")  # they leave while nothing is removed
    bench.audience({"k005": 6})
    bench.driver.sends.clear()
    report = bench.run()
    assert report.removed == 99
    gone = pl.concat([d.rows for d in bench.driver.sends if d.operation is Operation.REMOVE])
    assert dict(gone.select("id", "v").iter_rows()) == {
        k: n for k, n in PEOPLE.items() if k != "k005"
    }
    assert gone["_remote_id"].to_list() == [f"r-{key}" for key in gone["_key"]]
    assert bench.held == {"k005": 6}


def test_removes_land_before_anything_is_added(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    bench.audience({f"other{n}": n for n in range(100)})
    bench.driver.sends.clear()
    bench.run()
    order = [delivery.operation for delivery in bench.driver.sends]
    assert order == sorted(order, key=lambda operation: operation is not Operation.REMOVE)


def test_a_person_who_stays_under_another_key_is_not_taken_out(bench) -> None:
    able(bench, required=(("email",),))
    mapping = {"email": "email", "v": "v"}

    def people(*rows) -> None:
        frame = pl.DataFrame(
            rows, schema={"id": pl.String, "email": pl.String, "v": pl.Int64}, orient="row"
        )
        bench.publish(frame)

    people(("anonymous", "a@x.org", 1), ("user", "A@X.org ", 2), ("other", "b@x.org", 3))
    bench.run(mapping=mapping)
    bench.driver.sends.clear()
    people(("user", "A@X.org ", 2))  # two profiles became one, and `other` left
    report = bench.run(mapping=mapping)
    assert (report.merged, report.removes, report.updated, report.status) == (1, 1, 1, "ok")
    sent = {(d.operation, key) for d in bench.driver.sends for key in d.rows["_key"]}
    assert sent == {(Operation.REMOVE, "other"), (Operation.UPSERT, "user")}
    assert Ledger.open(bench.ledger_folder).state().collect()["_key"].to_list() == ["user"]
    assert bench.run(mapping=mapping).requests == 0


def test_filtered_and_withheld_rows_leave_a_mirror(bench) -> None:
    bench.audience({"a": 1, "b": 2})
    assert bench.run(consent="consent_email").added == 2
    bench.audience({"a": 1, "b": 2}, consent=None)
    report = bench.run(consent="consent_email")
    assert (report.withheld, report.removed) == (2, 2)
    bench.audience({"a": 1, "b": 2})
    bench.run(consent="consent_email")
    report = bench.run(consent="consent_email", where="v > 1")
    assert (report.filtered, report.unchanged, report.removed) == (1, 1, 1)
    assert bench.held == {"b": 2}


def test_bad_keys_are_rejected_and_leave_what_is_held_alone(bench) -> None:
    bench.audience({"a": 1, "b": 2})
    bench.run()
    rows = {"id": ["a", "a", None, "b"], "v": [1, 3, 4, 2], "consent_email": [True] * 4}
    bench.publish(pl.DataFrame(rows))
    report = bench.run()
    assert (report.rejected, report.unchanged, report.removes) == (3, 1, 0)
    assert report.status == "rejected"
    assert {r.message: r.rows for r in report.reasons} == {
        "the key is null": 1,
        "the key stands more than once in the audience": 2,
    }
    assert bench.held == {"a": 1, "b": 2}


def test_concurrency_stays_within_what_the_destination_takes(bench) -> None:
    able(bench, batch_rows=1)
    bench.audience(PEOPLE)
    bench.run()
    assert 1 <= bench.driver.most_in_flight <= 3


@pytest.mark.parametrize(
    ("guards", "message"),
    [
        ({"max_removes": 9}, "max_removes: 9"),
        ({"max_remove_fraction": 0.05}, "max_remove_fraction: 0.05"),
        ({"max_adds": 1}, "max_adds: 1"),
    ],
)
def test_a_guard_stops_before_the_first_request_and_can_be_allowed(bench, guards, message) -> None:
    bench.audience(PEOPLE)
    bench.run()
    bench.driver.sends.clear()
    bench.audience({key: n for key, n in PEOPLE.items() if n >= 10} | {"x": 1, "y": 2})
    report = bench.run(guards=guards)
    assert report.status == "guarded"
    assert message in report.message
    assert "--allow-guards" in report.message
    assert (report.requests, report.deferred, report.removes_deferred) == (0, 2, 10)
    assert bench.driver.sends == []
    assert bench.run(guards=guards, allow_guards=True).removed == 10


def test_an_empty_audience_takes_nobody_out_unless_allowed(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    bench.audience({})
    assert bench.run().status == "guarded"
    assert len(bench.held) == 100
    assert bench.run(guards={"allow_empty": True}).removed == 100


def test_a_where_that_lets_nobody_through_takes_nobody_out_unless_allowed(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    report = bench.run(where="v < 0")
    assert (report.status, report.removed, report.requests) == ("guarded", 0, 0)
    assert "`where` lets no row through" in report.message
    assert bench.run(where="v < 0", guards={"allow_empty": True}).removed == 100
    assert bench.held == {}


def test_a_dry_run_sends_and_records_nothing(bench) -> None:
    bench.audience(PEOPLE)
    report = bench.run(dry_run=True)
    assert (report.status, report.planned_adds, report.deferred) == ("planned", 100, 100)
    assert bench.driver.sends == []
    assert kept_reports(bench.ledger_folder) == []
    assert bench.run().added == 100


def test_a_full_disk_stops_the_run_at_each_write_and_the_next_one_puts_it_right(
    bench, monkeypatch
) -> None:
    def limited(function, left):
        def called(*arguments):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*arguments)

        return called

    writes, finished, told = 0, False, list[str]()
    while not finished:
        people = {f"k{n}": n + writes for n in range(writes % 2, 25)}
        bench.audience(people)
        with monkeypatch.context() as patched:
            left = [writes]
            for name in ("write", "fsync"):
                patched.setattr(os, name, limited(getattr(os, name), left))
            try:
                bench.run()
                finished = True
            except LedgerError as error:
                told.append(str(error))
        assert bench.run().status == "ok"
        assert bench.held == people
        writes += 1
    assert len(told) > 15
    assert all("No space left" in words for words in told)


def test_a_column_that_vanished_is_refused(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    bench.publish(pl.DataFrame({"id": ["a"]}))
    with pytest.raises(ConfigurationError, match="names column 'v', which the audience lacks"):
        bench.run()


def test_one_sync_never_runs_twice_at_once(bench) -> None:
    bench.audience(PEOPLE)
    with locked(bench.ledger_folder, "somebody"), pytest.raises(LockedError, match="process"):
        bench.run()
    assert bench.run().status == "ok"


def test_another_target_is_refused_while_rows_are_held_at_the_old_one(bench) -> None:
    bench.audience(PEOPLE)
    bench.run(target={"list": 1})
    with pytest.raises(ConfigurationError, match="changed its key, its target"):
        bench.run(target={"list": 2})
    assert bench.run(target={"list": 1}).unchanged == 100


def test_an_audience_that_was_never_published_is_an_error(bench) -> None:
    with pytest.raises(StoreroomError, match="not been published"):
        bench.run()


def test_reports_are_kept_and_syncs_can_be_paused(bench) -> None:
    bench.audience(PEOPLE)
    report = bench.run()
    state = bench.folder / "syncs"
    (status,) = read_status(state)
    assert status["last"]["accounting"] == report.accounting
    assert (status["paused"], status["interrupted"]) == (False, False)
    pause(state, "crm", "vip")
    assert read_status(state)[0]["paused"]
    with pytest.raises(StoreroomError, match="paused"):
        bench.run()
    pause(state, "crm", "vip", paused=False)
    assert bench.run().unchanged == 100
    with (bench.ledger_folder / "runs.jsonl").open("ab") as file:
        file.write(b'{"torn')
    bench.run()
    assert [row["unchanged"] for row in kept_reports(bench.ledger_folder)] == [0, 100, 100]


def test_events_tell_entries_from_exits(bench) -> None:
    mapping = {"id": "id", "event": {"entered": "Joined", "exited": "Left"}}
    bench.audience({"a": 1, "b": 2})
    bench.run(mode="append_event", mapping=mapping)
    bench.audience({"b": 3, "c": 1})
    report = bench.run(mode="append_event", mapping=mapping)
    assert (report.added, report.unchanged, report.removed) == (1, 1, 1)
    assert sorted(bench.driver.events) == [
        ("a", "Joined"),
        ("a", "Left"),
        ("b", "Joined"),
        ("c", "Joined"),
    ]
    bench.audience({"a": 1, "b": 3, "c": 1})
    bench.run(mode="append_event", mapping=mapping)
    ids = [delivery.id for delivery in bench.driver.sends]
    assert len(set(ids)) == len(ids)


def test_progress_counts_up_to_what_was_planned(bench) -> None:
    seen = []
    bench.audience(PEOPLE)
    bench.run(on_progress=lambda done, todo: seen.append((done, todo)))
    assert max(seen) == (100, 100)


@pytest.mark.timeout(60)
def test_an_interrupted_run_lands_cleanly(bench) -> None:
    interrupted = threading.Lock()

    def interrupting(driver, delivery):
        # Several threads count: whoever first sees twenty interrupts, once.
        if len(driver.sends) >= 20 and interrupted.acquire(blocking=False):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.005)

    bench.driver.faults = [interrupting]
    people = {f"k{n:04}": n for n in range(2000)}
    bench.audience(people)
    # A test run in the background has the signal ignored; this one must hear it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            bench.run()
    finally:
        signal.signal(signal.SIGINT, before)
    landed = len(bench.held)
    assert 0 < landed < 2000
    state = Ledger.open(bench.ledger_folder).state().collect()
    assert state.filter(~pl.col("maybe")).height == landed
    bench.driver.faults = []
    assert bench.run().delivered == 2000 - landed
    assert bench.held == people
    assert max(bench.driver.writes.values()) == 1


def test_runs_go_on_when_the_clock_goes_back(bench) -> None:
    bench.audience(PEOPLE)
    first = bench.run()
    bench.now -= timedelta(days=30)
    bench.audience({"a": 1})
    second = bench.run()
    assert second.run > first.run
    assert bench.held == {"a": 1}


@pytest.mark.parametrize("operations", [{Operation.UPSERT}, {Operation.ADD}])
def test_destinations_with_one_way_to_write_get_adds_and_updates_by_it(bench, operations) -> None:
    bench.driver.capabilities = Capabilities(operations=frozenset(operations))
    bench.audience({"a": 1})
    bench.run(mode="upsert")
    bench.audience({"a": 2, "b": 1})
    bench.run(mode="upsert")
    assert {delivery.operation for delivery in bench.driver.sends} == operations
    assert bench.held == {"a": 2, "b": 1}
