"""A destination that knows people by e-mail address holds no address that nobody has any more."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from destinations.driver import HASH, KEY, Delivery, Operation, Outcome, Status, results_for
from destinations.sync.erase import identifiers_of
from destinations.sync.explain import explain
from destinations.sync.suppression import readmit, suppress

EXAMPLES = int(os.environ.get("STOREROOM_IDENTITY_EXAMPLES", "10"))
"""Histories to try; each is a few runs. Try hundreds after a change of what is in doubt when."""
SCHEMA = {"id": pl.String, "email": pl.String, "v": pl.Int64}


@pytest.fixture
def by_email(fake_driver):
    """A destination whose records are named by their e-mail address."""

    class ByEmail(fake_driver):
        def apply(self, delivery: Delivery) -> Outcome:
            with self.lock:
                for row in delivery.rows.iter_rows(named=True):
                    if delivery.operation in (Operation.REMOVE, Operation.DELETE):
                        self.members.pop(row["email"].strip().lower(), None)
                    else:
                        self.writes[row[KEY], row[HASH]] += 1
                        self.members[row["email"].strip().lower()] = row["v"]
                return Outcome(results_for(delivery.rows, Status.ACCEPTED))

    def make() -> Any:
        driver = ByEmail()
        driver.capabilities = replace(
            driver.capabilities, identifiers=frozenset({"email"}), required=(("email",),)
        )
        return driver

    return make


def publish(bench, people: dict[str, tuple[str, int]]) -> None:
    rows = [(key, email, value) for key, (email, value) in people.items()]
    bench.publish(pl.DataFrame(rows, schema=SCHEMA, orient="row"))


def run(bench, **settings: Any):
    return bench.run(mapping={"email": "email", "v": "v"}, **settings)


def test_the_old_address_is_taken_out_before_the_new_one_is_put_in(bench, by_email) -> None:
    bench.driver = by_email()
    publish(bench, {"a": ("a@old", 1), "b": ("b@x", 2)})
    run(bench)
    del bench.driver.sends[:]
    publish(bench, {"a": ("a@new", 1), "b": ("B@x ", 2)})
    report = run(bench)
    assert bench.driver.members == {"a@new": 1, "b@x": 2}
    assert (report.added, report.updated, report.removed) == (1, 1, 1)
    assert bench.driver.sends[0].operation is Operation.REMOVE
    assert bench.driver.sends[0].rows["email"].to_list() == ["a@old"]
    assert run(bench).unchanged == 2


@pytest.mark.parametrize("mode", ["upsert", "mirror", "full_refresh"])
@pytest.mark.parametrize("fault", ["outage", "lost_request", "lost_answer"])
def test_the_new_address_waits_until_the_old_one_is_out(
    bench, by_email, failing, fault: str, mode: str
) -> None:
    bench.driver = by_email()
    publish(bench, {"a": ("a@old", 1)})
    run(bench, mode=mode)
    publish(bench, {"a": ("a@new", 1)})
    bench.driver.faults = [failing(fault)]
    report = run(bench, mode=mode)
    assert report.deferred == 1
    assert "a@new" not in bench.driver.members
    bench.driver.faults = []
    publish(bench, {"a": ("a@newer", 1)})
    run(bench, mode=mode)
    run(bench, mode=mode)
    assert bench.driver.members == {"a@newer": 1}


def test_an_address_that_another_row_has_now_stays(bench, by_email) -> None:
    bench.driver = by_email()
    publish(bench, {"a": ("a@x", 1), "b": ("b@x", 2)})
    run(bench)
    publish(bench, {"a": ("b@x", 1), "b": ("a@x", 2)})
    assert run(bench).removes == 0
    assert bench.driver.members == {"b@x": 1, "a@x": 2}


def test_who_changed_in_favour_of_another_row_and_left_is_removed_as_sent_last(
    bench, by_email
) -> None:
    bench.driver = by_email()
    publish(bench, {"a": ("1@x", 1)})
    run(bench)
    publish(bench, {"a": ("2@x", 1), "b": ("1@x", 2), "c": ("3@x", 3)})
    run(bench)
    publish(bench, {"c": ("3@x", 3)})
    run(bench, allow_guards=True)
    assert bench.driver.members == {"3@x": 3}


def test_who_left_the_condition_and_changed_is_removed_as_sent(bench, by_email) -> None:
    bench.driver = by_email()
    publish(bench, {"a": ("a@old", 1), "b": ("b@x", 2)})
    run(bench, where="v < 10")
    publish(bench, {"a": ("a@new", 11), "b": ("b@x", 2)})
    run(bench, where="v < 10")
    assert bench.driver.members == {"b@x": 2}


def test_a_destination_that_changes_records_in_place_is_asked_to(bench, by_email) -> None:
    bench.driver = by_email()
    bench.driver.capabilities = replace(bench.driver.capabilities, writes_by_remote_id=True)
    bench.driver.faults = [
        lambda driver, delivery: Outcome(
            results_for(delivery.rows, Status.ACCEPTED, remote_id=delivery.rows[KEY])
        )
    ]
    publish(bench, {"a": ("a@old", 1)})
    run(bench)
    publish(bench, {"a": ("a@new", 1)})
    report = run(bench)
    assert (report.updated, report.removes) == (1, 0)


def test_explain_names_the_run_and_the_request(bench, by_email) -> None:
    bench.driver = by_email()
    publish(bench, {"a": ("a@old", 1)})
    first = run(bench)
    publish(bench, {"a": ("a@new", 1)})
    second = run(bench)
    config = bench.config(mapping={"email": "email", "v": "v"})
    told = explain(config, None, bench.folder / "audiences", bench.folder / "syncs", "a").ledger
    assert (told["run"], told["changed_run"], told["request"]) == (second.run, second.run, 2)
    assert first.run != second.run


people = st.dictionaries(
    st.sampled_from("abcd"), st.tuples(st.sampled_from(("1@x", "2@x", "3@x")), st.integers(0, 1))
)
steps = st.lists(
    st.tuples(people, st.sampled_from((None, "outage", "lost_request", "lost_answer")), st.integers(1, 2)),
    min_size=1,
    max_size=6,
)  # fmt: skip


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.booleans())
def test_no_address_is_left_behind(new_bench, by_email, failing, steps, at_once: bool) -> None:
    """Whatever fails on the way: once it does not, the destination holds the audience's addresses."""
    random.seed(0)
    with TemporaryDirectory() as folder:
        bench = new_bench(Path(folder))
        bench.driver = by_email()
        for audience, fault, times in steps:
            publish(bench, unique(audience))
            bench.driver.faults = [failing(fault, times)] if fault else []
            run(bench, allow_guards=True)
            bench.driver.faults = []
            if at_once:
                run(bench, allow_guards=True)
        wanted = unique(steps[-1][0])
        run(bench, allow_guards=True)
        run(bench, allow_guards=True)
        assert bench.driver.members == dict(wanted.values())


def unique(people: dict[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
    """No two people of an audience with one address: what stands there then nobody can say."""
    by_address = {email: key for key, (email, _) in people.items()}
    return {key: one for key, one in people.items() if by_address[one[0]] == key}


def test_a_deleted_person_under_another_key_stays_out_until_readmitted(bench, by_email) -> None:
    bench.driver = by_email()
    state = bench.folder / "syncs"
    publish(bench, {"a": ("a@x", 1), "b": ("b@x", 2)})
    run(bench)
    found = identifiers_of(
        bench.config(mapping={"email": "email", "v": "v"}),
        *(bench.driver, bench.folder / "audiences", state, "a"),
    )
    assert found == {"a@x"}
    suppress(state, ["a"], bench.now, found)
    publish(bench, {"z": (" A@x", 1), "b": ("b@x", 2)})
    report = run(bench)
    assert (report.withheld, report.unchanged) == (1, 1)
    assert bench.driver.members == {"b@x": 2}
    config = bench.config(mapping={"email": "email", "v": "v"})
    told = explain(config, None, bench.folder / "audiences", state, "z")
    assert told.verdict == "deleted"
    assert b"a@x" not in (state / "suppressed.json").read_bytes()
    assert readmit(state, ["nobody"], ["other@x"]) == []
    assert readmit(state, ["a"]) == ["a"]
    assert run(bench).added == 1
    assert set(bench.driver.members) == {"a@x", "b@x"}
