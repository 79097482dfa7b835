"""What the environment may change about orchestration."""

from __future__ import annotations

import pytest

from dagster_project.settings import START_DATE_VARIABLE, first_partition_day
from destinations.errors import ConfigurationError


def test_the_first_day_of_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(START_DATE_VARIABLE, raising=False)
    assert first_partition_day() == "2024-01-01"
    monkeypatch.setenv(START_DATE_VARIABLE, "2010-12-01")
    assert first_partition_day() == "2010-12-01"


@pytest.mark.parametrize("named", ["", "yesterday", "2026-02-30", "01.12.2010"])
def test_no_date_is_refused(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(START_DATE_VARIABLE, named)
    with pytest.raises(ConfigurationError, match=f"'{named}', which is not a date"):
        first_partition_day()
