"""One person is deleted: asked, answered, recorded, never sent again, and named nowhere any more."""

from __future__ import annotations

import polars as pl
import pytest

from destinations.driver import Capabilities, Operation
from destinations.sync.erase import erase, keep_proof, purge
from destinations.sync.ledger import Ledger
from destinations.sync.suppression import read_suppression, readmit, suppress

pytestmark = pytest.mark.parametrize("store", ["folder", "s3"], indirect=True)

KEY = "person-to-be-deleted"
PEOPLE = {"a": 1, KEY: 2, "c": 3}


def ask(bench, **settings):
    where = bench.folder / "audiences", bench.folder / "syncs"
    suppress(where[1], [KEY], bench.now)
    return erase(bench.config(**settings), bench.driver, None, *where, KEY)


def clean(bench, unsettled=()) -> int:
    return purge("vip", bench.folder / "audiences", bench.folder / "syncs", KEY, unsettled)


def files_naming(bench, word: str) -> list[str]:
    """Files in which the key stands, in clear or inside Parquet."""
    found = []
    for path in sorted(bench.folder.rglob("*")):
        if not path.is_file():
            continue
        text = path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            text = str(pl.read_parquet(path).to_dicts())
        if word in text:
            found.append(path.name)
    return found


def test_a_held_person_is_deleted_and_named_nowhere(bench) -> None:
    bench.driver.bad_keys = {KEY}
    bench.audience(PEOPLE)
    bench.run()  # the report names the refused key
    bench.driver.bad_keys = set()
    bench.audience(PEOPLE | {"a": 5})
    bench.run()
    assert files_naming(bench, KEY)
    found = ask(bench)
    assert (found.answer, found.operation, found.requests) == ("deleted", "delete", 1)
    assert found.settled
    assert KEY not in bench.held
    assert clean(bench) > 0
    proof = keep_proof(
        bench.folder / "syncs", read_suppression(bench.folder / "syncs").hash_of(KEY), [found], 1
    )
    assert proof["asked"][0]["answer"] == "deleted"
    assert files_naming(bench, KEY) == []


def test_no_later_run_sends_them(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    ask(bench)
    clean(bench)
    bench.audience(PEOPLE)  # the next build has them still
    bench.driver.sends.clear()
    report = bench.run()
    assert (report.withheld, report.removes, report.unchanged) == (1, 0, 2)
    assert [(r.fate, r.message) for r in report.reasons] == [("withheld", "the person was deleted")]
    assert not bench.driver.sends
    assert bench.run().withheld == 1
    assert readmit(bench.folder / "syncs", [KEY, "nobody"]) == [KEY]
    assert bench.run().added == 1


def test_where_there_is_no_delete_they_are_removed_and_it_says_so(bench) -> None:
    bench.driver.capabilities = Capabilities(
        operations=frozenset({Operation.UPSERT, Operation.REMOVE})
    )
    bench.audience(PEOPLE)
    bench.run()
    found = ask(bench)
    assert (found.answer, found.operation) == ("removed", "remove")
    assert "offers no delete" in found.said


def test_events_cannot_be_taken_back(bench) -> None:
    bench.driver.capabilities = Capabilities(operations=frozenset({Operation.TRACK}))
    events = {"mode": "append_event", "mapping": {"event": {"entered": "in", "exited": "out"}}}
    bench.audience(PEOPLE)
    bench.run(**events)
    found = ask(bench, **events)
    assert (found.answer, found.settled) == ("not_asked", False)


def test_who_was_never_sent_is_not_asked_for(bench) -> None:
    bench.audience({"a": 1})
    bench.run()
    assert ask(bench).answer == "never_sent"
    assert len(bench.driver.sends) == 1


@pytest.mark.parametrize("fault", ["outage", "lost_request", "bad_credentials"])
def test_without_an_answer_they_stay_on_record_until_it_is_asked_again(
    bench, failing, fault: str
) -> None:
    bench.audience(PEOPLE)
    bench.run(mode="upsert")
    bench.driver.faults = [failing(fault)]
    found = ask(bench, mode="upsert")
    assert (found.answer, found.settled) == ("unanswered", False)
    clean(bench, unsettled=["crm/vip"])
    state = Ledger.open(bench.ledger_folder).state().collect()
    assert KEY in state["_key"].to_list()
    bench.driver.faults = []
    bench.audience({"a": 1, "c": 3})
    assert bench.run(mode="upsert").delivered == 0
    again = ask(bench, mode="upsert")
    assert again.answer == "deleted"
    # What names the person at the destination was kept for this.
    assert bench.driver.sends[-1].rows["v"].to_list() == [2]
    assert KEY not in bench.held


def test_a_refusal_is_told_in_the_destination_s_words(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    bench.driver.bad_keys = {KEY}
    bench.driver.faults = []
    found = ask(bench)
    assert found.answer == "refused"
    assert "no such address" in found.said


def test_other_people_are_kept_as_they_are(bench) -> None:
    bench.audience(PEOPLE | {"gone": 9})
    bench.run(mode="upsert")
    bench.audience(PEOPLE)
    bench.run(mode="upsert")
    ask(bench, mode="upsert")
    clean(bench)
    bench.audience({"a": 1, "c": 3})
    report = bench.run()
    # Who left before the deletion is still known by their fields.
    assert report.removed == 1
    assert bench.driver.sends[-1].rows["v"].to_list() == [9]
    assert bench.held == {"a": 1, "c": 3}
