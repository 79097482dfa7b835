"""Only one process writes; the next one waits or says whom it waits for."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from dagster_project.warehouse.writer import reading, wait_for_writer
from destinations.errors import LockedError, StoreroomError

HOLD = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("create table if not exists t as select 42 as x")
print("open", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[float], tuple[Path, int]]]:
    """Starts a process that holds a warehouse open for writing for so many seconds."""
    processes = []

    def start(seconds: float) -> tuple[Path, int]:
        path = tmp_path / "warehouse.duckdb"
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        return path, process.pid

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_no_file_means_nobody_writes(tmp_path: Path) -> None:
    wait_for_writer(tmp_path / "none.duckdb", timeout=0)
    assert not (tmp_path / "none.duckdb").exists()


def test_names_the_process_that_holds_the_warehouse(
    hold: Callable[[float], tuple[Path, int]],
) -> None:
    path, pid = hold(60)
    with pytest.raises(LockedError, match=f"process {pid}") as caught:
        wait_for_writer(path, timeout=0.3)
    assert "Wait for it" in caught.value.fix


def test_waits_until_the_writer_ends(hold: Callable[[float], tuple[Path, int]]) -> None:
    path, _ = hold(1)
    started = time.monotonic()
    wait_for_writer(path, timeout=30)
    assert time.monotonic() - started < 20
    with reading(path, timeout=0) as connection:
        assert connection.execute("select x from t").fetchall() == [(42,)]


def test_reading_waits_too(hold: Callable[[float], tuple[Path, int]]) -> None:
    path, pid = hold(60)
    with pytest.raises(LockedError, match=str(pid)), reading(path, timeout=0.3):
        pass


def test_reading_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    duckdb.connect(str(path)).close()
    with reading(path) as connection, pytest.raises(duckdb.Error, match="read-only"):
        connection.execute("create table t (x int)")


def test_says_what_to_do_without_a_warehouse(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreroomError, match="does not exist"),
        reading(tmp_path / "none.duckdb"),
    ):
        pass


def test_a_damaged_file_is_not_taken_for_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreroomError, match="cannot be opened"):
        wait_for_writer(path, timeout=5)
