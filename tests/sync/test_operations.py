"""Forgetting and moving a ledger send nothing; the run after them sends the right difference."""

from __future__ import annotations

import pytest

from destinations.errors import ConfigurationError, StoreroomError
from destinations.sync.operations import forget, held_rows, move
from destinations.sync.report import kept_reports

pytestmark = pytest.mark.parametrize("store", ["folder", "s3-encrypted"], indirect=True)

PEOPLE = {"a": 1, "b": 2, "c": 3}


def moved(bench, source: str, assume: str, **settings):
    where = bench.folder / "audiences", bench.folder / "syncs"
    return move(bench.config(**settings), "", source, assume, *where)


def test_a_forgotten_sync_sends_everything_and_keeps_its_reports(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    assert held_rows(bench.folder / "syncs", "crm", "vip") == 3
    assert forget(bench.folder / "syncs", "crm", "vip") == 3
    assert len(kept_reports(bench.ledger_folder)) == 1
    assert not list(bench.ledger_folder.glob("base-*"))
    assert bench.run().added == 3
    with pytest.raises(StoreroomError, match="has never run"):
        forget(bench.folder / "syncs", "crm", "other")


def test_a_new_target_that_holds_the_same_gets_the_difference(bench) -> None:
    bench.audience(PEOPLE)
    bench.run(target={"list": 1})
    with pytest.raises(ConfigurationError, match="syncs move"):
        bench.run(target={"list": 2})
    assert moved(bench, "crm", "same", target={"list": 2}).kept == 3
    bench.audience(PEOPLE | {"a": 9})
    report = bench.run(target={"list": 2})
    assert (report.updated, report.unchanged) == (1, 2)


def test_an_empty_target_gets_everything(bench) -> None:
    bench.audience(PEOPLE)
    bench.run(target={"list": 1})
    found = moved(bench, "crm", "empty", target={"list": 2})
    assert (found.held, found.kept) == (3, 0)
    assert bench.run(target={"list": 2}).added == 3


def test_a_new_connection_takes_the_ledger_over(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    assert moved(bench, "crm", "same", connection="crm2").kept == 3
    assert not bench.ledger_folder.exists()
    assert bench.run(connection="crm2").unchanged == 3
    with pytest.raises(StoreroomError, match="has never run"):
        moved(bench, "crm", "same", connection="crm2")


def test_a_new_empty_connection_leaves_the_old_ledger(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    assert moved(bench, "crm", "empty", connection="crm2").held == 3
    assert bench.run(connection="crm2").added == 3
    assert bench.run().unchanged == 3
    with pytest.raises(StoreroomError, match="a ledger of its own"):
        moved(bench, "crm", "same", connection="crm2")


def test_another_key_is_not_the_same(bench) -> None:
    bench.audience(PEOPLE)
    bench.run()
    bench.audience({"x": 1})
    with pytest.raises(ConfigurationError, match="another column"):
        moved(bench, "crm", "same", target={"list": 2})
