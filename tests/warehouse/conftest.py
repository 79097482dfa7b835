"""A state folder of a test's own, with an empty raw zone in it."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STOREROOM_PROJECT", str(ROOT))
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path / "state"))
    return tmp_path / "state"
