"""Publishing: immutable versions, one atomic pointer, safe against kills and readers."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from destinations.errors import ConfigurationError, StoreroomError
from destinations.sync.snapshot import POINTER, current, publish

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = pl.DataFrame({"id": ["b", None, "a", "a"], "n": [1, 2, 3, 4]})


def test_rows_are_sorted_by_key_and_described(tmp_path: Path) -> None:
    assert current(tmp_path, "vip") is None
    snapshot = publish(tmp_path, "vip", "id", ROWS.write_parquet, NOW)
    assert current(tmp_path, "vip") == snapshot
    assert snapshot.scan().collect()["id"].to_list() == [None, "a", "a", "b"]
    assert (snapshot.rows, snapshot.columns) == (4, {"id": "String", "n": "Int64"})
    assert snapshot.version == "20260101T000000000000Z"


def test_whole_numbers_as_keys_sort_by_their_text(tmp_path: Path) -> None:
    rows = pl.DataFrame({"id": [2, 10, 1]})
    snapshot = publish(tmp_path, "vip", "id", rows.write_parquet)
    assert snapshot.scan().collect()["id"].to_list() == [1, 10, 2]


def test_the_same_rows_are_a_new_version_with_the_same_digest_and_bytes(tmp_path: Path) -> None:
    first = publish(tmp_path, "vip", "id", ROWS.write_parquet, NOW)
    second = publish(tmp_path, "vip", "id", ROWS.reverse().write_parquet, NOW)
    third = publish(tmp_path, "vip", "id", ROWS.with_columns(n=pl.col("n") + 1).write_parquet, NOW)
    assert first.version < second.version < third.version
    assert first.digest == second.digest != third.digest
    assert first.path.samefile(second.path)


def test_versions_increase_when_the_clock_goes_back(tmp_path: Path) -> None:
    first = publish(tmp_path, "vip", "id", ROWS.write_parquet, NOW)
    second = publish(tmp_path, "vip", "id", ROWS.write_parquet, NOW - timedelta(days=1))
    assert second.version > first.version


def test_old_versions_expire_and_young_ones_stay(tmp_path: Path) -> None:
    made = [
        publish(
            tmp_path, "vip", "id", ROWS.write_parquet, NOW + timedelta(hours=h),
            keep_versions=2, keep_for=timedelta(hours=3),
        )
        for h in range(6)
    ]  # fmt: skip
    left = sorted(path.stem for path in (tmp_path / "vip").glob("*.parquet"))
    assert left == [snapshot.version for snapshot in made[2:]]


def test_a_key_that_is_no_column_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no column 'idd'"):
        publish(tmp_path, "vip", "idd", ROWS.write_parquet)
    assert current(tmp_path, "vip") is None
    assert not [p for p in (tmp_path / "vip").iterdir() if p.name != ".lock"]


def test_an_unreadable_pointer_is_an_error_until_the_next_publication(tmp_path: Path) -> None:
    publish(tmp_path, "vip", "id", ROWS.write_parquet, NOW)
    (tmp_path / "vip" / POINTER).write_text('{"version": 3')
    with pytest.raises(StoreroomError, match="cannot be read"):
        current(tmp_path, "vip")
    publish(tmp_path, "vip", "id", ROWS.write_parquet, NOW)
    assert current(tmp_path, "vip").rows == 4


PUBLISHER = """
import sys
from pathlib import Path
import polars as pl
from destinations.sync.snapshot import publish
print("ready", flush=True)
for n in range(10**6):
    rows = pl.DataFrame({"id": range(n % 1000 + 1)}).with_columns(n=pl.lit(n), size=pl.len())
    publish(Path(sys.argv[1]), "vip", "id", rows.write_parquet, keep_versions=3)
"""


def test_readers_see_whole_versions_while_publishers_are_killed(tmp_path: Path) -> None:
    chance = random.Random(5)
    root = Path(__file__).parents[2]
    last = ""
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(tmp_path)], cwd=root, stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"ready\n"
        end = time.monotonic() + chance.uniform(0.02, 0.3)
        while time.monotonic() < end:
            last = _check(tmp_path, last)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        last = _check(tmp_path, last)
    assert last
    rows = pl.DataFrame({"id": [1], "size": [1]})
    assert publish(tmp_path, "vip", "id", rows.write_parquet).version > last
    assert not list((tmp_path / "vip").glob(".tmp-*"))


def _check(folder: Path, last: str) -> str:
    snapshot = current(folder, "vip")
    if snapshot is None:
        return last
    rows = snapshot.scan().collect()
    assert rows.height == snapshot.rows == rows["size"][0]
    assert snapshot.version >= last
    return snapshot.version
