"""Announcements reach those who listen, and only while they do."""

from __future__ import annotations

import pytest

from dagster_project.progress import announce, listening


def test_everybody_inside_the_block_hears() -> None:
    first: list[tuple[str, str, int, int]] = []
    second: list[tuple[str, str, int, int]] = []
    announce("ingest", "nobody hears this")
    with listening(lambda *said: first.append(said)):
        announce("ingest", "file 1", 1, 2)
        with listening(lambda *said: second.append(said)):
            announce("sync", "crm", 3)
        announce("sync", "ads")
    announce("sync", "over")
    assert first == [("ingest", "file 1", 1, 2), ("sync", "crm", 3, 0), ("sync", "ads", 0, 0)]
    assert second == [("sync", "crm", 3, 0)]


def test_nobody_hears_after_a_failure() -> None:
    heard: list[str] = []
    with (
        pytest.raises(ZeroDivisionError),
        listening(lambda _stage, what, _done, _total: heard.append(what)),
    ):
        raise ZeroDivisionError
    announce("sync", "late")
    assert heard == []
