"""The ledger's files: one head, checksummed parts, nothing guessed, nothing left lying about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import polars as pl
import pytest

from destinations.driver import RESULT_SCHEMA
from destinations.errors import LedgerError
from destinations.sync import journal as events
from destinations.sync import ledger as module
from destinations.sync.head import HEAD
from destinations.sync.ledger import Ledger
from destinations.sync.snapshot import Snapshot, publish

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = pl.DataFrame(schema={"_key": pl.String})


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return publish(tmp_path / "audiences", "vip", "id", pl.DataFrame({"id": ["a"]}).write_parquet)


def record(folder: Path, snapshot: Snapshot, change: str, content: dict[str, str]) -> Ledger:
    """One run that sends ``content`` (key -> hash), all of it accepted."""
    ledger = Ledger.open(folder)
    journal = ledger.begin(ledger.next_run(NOW), snapshot, NOBODY, "here")
    results = pl.DataFrame(
        [(key, "accepted", None, None) for key in content], schema=RESULT_SCHEMA, orient="row"
    )
    hashes = pl.Series(list(content.values()), dtype=pl.String)
    journal.commit(
        [events.claims(results["_key"], change), events.answers(results, hashes, change)]
    )
    journal.close()
    ledger.settle()
    return ledger


def held(ledger: Ledger) -> dict[str, str]:
    return dict(ledger.state().select("_key", "hash").collect().iter_rows())


def test_state_is_the_base_and_what_later_runs_changed(tmp_path: Path, snapshot: Snapshot) -> None:
    folder = tmp_path / "ledger"
    record(folder, snapshot, "add", {"b": "1", "a": "1", "c": "1"})
    record(folder, snapshot, "update", {"b": "2"})
    record(folder, snapshot, "remove", {"a": "1"})
    ledger = record(folder, snapshot, "add", {"0": "9"})
    assert len(ledger.head.deltas) == 3
    assert held(ledger) == {"0": "9", "b": "2", "c": "1"}
    before = ledger.state().collect()
    assert before["_key"].is_sorted()
    ledger.compact()
    assert ledger.head.deltas == ()
    assert held(Ledger.open(folder)) == {"0": "9", "b": "2", "c": "1"}
    assert ledger.state().collect().equals(before)


def test_deltas_do_not_pile_up(tmp_path: Path, snapshot: Snapshot, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_DELTAS", 3)
    for n in range(12):
        ledger = record(tmp_path / "ledger", snapshot, "add", {f"k{n}": "1"})
        assert len(ledger.head.deltas) <= 3
    assert len(held(ledger)) == 12
    Ledger.open(tmp_path / "ledger")
    names = {path.name for path in (tmp_path / "ledger").iterdir()}
    assert names == {HEAD, *ledger.head.files}


def test_a_killed_run_is_settled_on_opening(tmp_path: Path, snapshot: Snapshot) -> None:
    folder = tmp_path / "ledger"
    ledger = record(folder, snapshot, "add", {"a": "1", "b": "1"})
    journal = ledger.begin(ledger.next_run(NOW), snapshot, NOBODY, "here")
    journal.commit([events.claims(pl.Series("_key", ["b", "z"]), "update")])
    journal.close()  # and then the process dies
    again = Ledger.open(folder)
    state = again.state().collect()
    assert dict(state.select("_key", "maybe").iter_rows()) == {"a": False, "b": True, "z": True}
    assert dict(state.select("_key", "state").iter_rows())["z"] == "doubt"
    assert again.head.journal is None


def test_runs_are_numbered_forward_when_the_clock_goes_back(
    tmp_path: Path, snapshot: Snapshot
) -> None:
    ledger = record(tmp_path / "ledger", snapshot, "add", {"a": "1"})
    assert ledger.next_run(NOW - timedelta(days=9)) > ledger.head.last_run


@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_damaged_part_is_an_error(tmp_path: Path, snapshot: Snapshot, how: str) -> None:
    ledger = record(tmp_path / "ledger", snapshot, "add", {"a": "1"})
    path = ledger.folder / ledger.head.base.file
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif how == "cut":
        path.write_bytes(data[:-1])
    else:
        path.unlink()
    with pytest.raises(LedgerError, match="is gone" if how == "gone" else "checksum"):
        Ledger.open(ledger.folder).state()


def test_a_ledger_from_the_future_or_torn_is_an_error(tmp_path: Path, snapshot: Snapshot) -> None:
    ledger = record(tmp_path / "ledger", snapshot, "add", {"a": "1"})
    path = ledger.folder / HEAD
    document = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps(document | {"format": 99}))
    with pytest.raises(LedgerError, match="newer Storeroom"):
        Ledger.open(ledger.folder)
    path.write_bytes(b'{"format": 1, "ba')
    with pytest.raises(LedgerError, match="cannot be read"):
        Ledger.open(ledger.folder)
