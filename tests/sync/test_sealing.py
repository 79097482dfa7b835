"""Encrypted state: nobody is named in it, nothing can be changed in it, and keys can be rotated."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.errors import ConfigurationError, LedgerError
from destinations.sync import sealing
from destinations.sync.readable import readable
from destinations.sync.report import kept_reports
from destinations.sync.reseal import reseal
from destinations.sync.resend import everything, mark
from tests.object_store import KEY, objects

OTHER = base64.b64encode(b"another key of exactly 32 bytes.").decode()
MAIL = "planted-person"
PEOPLE = {f"{n}-{MAIL}": n for n in range(30)}


def stored(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def naming(files: dict[str, bytes]) -> list[str]:
    return [name for name, data in files.items() if b"planted" in data]


def busy(bench) -> None:
    """Everything a sync keeps: changes, refusals, leavers, marks, a removal, history."""
    bench.audience(PEOPLE)
    bench.run()
    bench.driver.bad_keys = {f"3-{MAIL}"}
    bench.audience({key: value + 1 for key, value in PEOPLE.items() if value % 4})
    bench.run(mode="upsert")
    mark(bench.config(), bench.folder / "syncs", everything, bench.now)


@pytest.mark.parametrize("store", ["encrypted", "s3-encrypted"], indirect=True)
def test_nobody_is_named_in_any_file(bench, store, s3_endpoint) -> None:
    busy(bench)
    assert naming(stored(bench.folder)) == []
    assert kept_reports(bench.ledger_folder)[-1]["reasons"][0]["keys"] == [f"3-{MAIL}"]
    if store.startswith("s3"):
        there = objects(s3_endpoint, os.environ["STOREROOM_STATE_URL"])
        assert len(there) > 8
        assert naming(there) == []
    with readable(bench.folder / "syncs") as opened:
        assert sealing.MAGIC not in b"".join(stored(opened).values())
    assert not opened.exists()
    bench.driver.bad_keys = set()
    bench.audience({"x": 1})
    bench.run()
    assert bench.held == {"x": 1}


def test_state_in_clear_is_encrypted_and_its_key_rotated(bench, monkeypatch) -> None:
    busy(bench)
    assert any(data[:4] != sealing.MAGIC for data in stored(bench.ledger_folder).values())
    with pytest.raises(ConfigurationError, match="STOREROOM_STATE_KEY is not set"):
        reseal(bench.folder / "audiences", bench.folder / "syncs")
    monkeypatch.setenv("STOREROOM_STATE_KEY", KEY)
    assert reseal(bench.folder / "audiences", bench.folder / "syncs").files > 5
    assert parquet_keys(bench.folder) == {sealing.keys()[0].id}
    assert naming(stored(bench.folder)) == []
    monkeypatch.setenv("STOREROOM_STATE_KEY", f"{OTHER},{KEY}")
    reseal(bench.folder / "audiences", bench.folder / "syncs")
    monkeypatch.setenv("STOREROOM_STATE_KEY", OTHER)
    assert parquet_keys(bench.folder) == {sealing.keys()[0].id}
    assert reseal(bench.folder / "audiences", bench.folder / "syncs").current > 4
    bench.driver.bad_keys = set()
    report = bench.run()
    assert report.status == "ok"
    assert set(bench.held) == {key for key, value in PEOPLE.items() if value % 4}


def parquet_keys(folder: Path) -> set[bytes | None]:
    return {
        sealing.key_of(path.read_bytes()[:64])
        for path in folder.rglob("*.parquet")
        if not path.name.startswith("hashes-")
    }


@pytest.mark.parametrize("store", ["encrypted"], indirect=True)
def test_a_wrong_or_missing_key_is_told(bench, monkeypatch) -> None:
    bench.audience(PEOPLE)
    bench.run()
    named = sealing.keys()[0].id.hex()
    monkeypatch.setenv("STOREROOM_STATE_KEY", OTHER)
    with pytest.raises(LedgerError, match=f"encrypted with key {named}, which .* does not hold"):
        bench.run(mode="full_refresh")
    monkeypatch.delenv("STOREROOM_STATE_KEY")
    with pytest.raises(LedgerError, match="it is not set"):
        bench.run(mode="full_refresh")
    for text in ("c2hvcnQ=", "no base64 at all!"):
        monkeypatch.setenv("STOREROOM_STATE_KEY", text)
        with pytest.raises(ConfigurationError, match="is not 32 bytes in base64"):
            bench.run()


@given(st.binary(max_size=200), st.integers(1, 64))
def test_what_is_sealed_is_opened_again(data: bytes, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STOREROOM_STATE_KEY", KEY)
        patched.setattr(sealing, "CHUNK", chunk)
        closed = sealing.sealed(data)
        assert sealing.unsealed(closed, "x") == data
        assert sealing.sealed(data) != closed
        for cut in range(4, len(closed)):
            with pytest.raises(LedgerError):
                sealing.unsealed(closed[:cut], "x")
        for at in range(4, len(closed), 7):
            broken = bytearray(closed)
            broken[at] ^= 1
            with pytest.raises(LedgerError):
                sealing.unsealed(bytes(broken), "x")
        step = chunk + sealing.TAG
        body = closed[28:]
        if len(body) > 2 * step:  # chunks in another order
            swapped = closed[:28] + body[step : 2 * step] + body[:step] + body[2 * step :]
            with pytest.raises(LedgerError):
                sealing.unsealed(swapped, "x")
