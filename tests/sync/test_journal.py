"""Journals: what was committed is read back, whatever byte the writer died at."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import polars as pl
import pytest

from destinations.errors import LedgerError
from destinations.sync.journal import (
    EVENTS,
    Journal,
    claims,
    forgets,
    read_journal,
)


def keys(*values: str) -> pl.Series:
    return pl.Series("_key", list(values), dtype=pl.String)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[int]]:
    """A journal of three frames, and its size after each."""
    path = tmp_path / "journal"
    journal, sizes = Journal(path), [0]
    for frame in (claims(keys("a", "b"), "add"), forgets(keys("c")), claims(keys("d"), "remove")):
        journal.commit([frame])
        sizes.append(path.stat().st_size)
    journal.close()
    return path, sizes


def test_events_come_back_in_order(written: tuple[Path, list[int]]) -> None:
    events = read_journal(written[0])
    assert dict(events.schema) == EVENTS
    assert events["_key"].to_list() == ["a", "b", "c", "d"]
    assert events["event"].to_list() == ["claim", "claim", "forget", "claim"]
    assert events["change"].to_list() == ["add", "add", None, "remove"]


def test_cut_anywhere_the_whole_frames_before_it_are_read(written) -> None:
    path, sizes = written
    data = path.read_bytes()
    rows = [0, 2, 3, 4]
    near = {size + step for size in sizes for step in range(-2, 15)}
    for cut in sorted({c for c in near if 0 <= c < len(data)} | set(range(0, len(data), 29))):
        path.write_bytes(data[:cut])
        whole = max(n for n, size in enumerate(sizes) if size <= cut)
        assert read_journal(path).height == rows[whole]


def test_damage_before_the_last_frame_is_an_error(written) -> None:
    path, sizes = written
    data = bytearray(path.read_bytes())
    for position in range(0, sizes[2], 7):
        broken = bytearray(data)
        broken[position] ^= 0xFF
        path.write_bytes(broken)
        with pytest.raises(LedgerError, match="damaged at byte"):
            read_journal(path)


def test_a_missing_journal_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="is gone"):
        read_journal(tmp_path / "journal")


def test_many_threads_share_commits_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)

    def work(name: int) -> None:
        for n in range(20):
            journal.commit([claims(keys(f"{name}-{n}"), "add")])
            # Durable means: whoever reads now finds it.
            if n == 19:
                assert f"{name}-19" in read_journal(path)["_key"].to_list()

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    found = read_journal(path)["_key"].to_list()
    assert sorted(found) == sorted(f"{a}-{b}" for a in range(8) for b in range(20))
    assert [key for key in found if key.startswith("3-")] == [f"3-{n}" for n in range(20)]


def test_a_full_disk_is_told_to_everybody_who_waits(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    with Path("/dev/full").open("wb", buffering=0) as full:
        descriptor, journal._file = journal._file, full.fileno()
        for _ in range(2):
            with pytest.raises(LedgerError, match="No space left"):
                journal.commit([claims(keys("a"), "add")])
    os.close(descriptor)
