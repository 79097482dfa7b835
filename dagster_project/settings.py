"""What an environment variable may change about orchestration."""

from __future__ import annotations

import os
from datetime import date

from destinations.errors import ConfigurationError

START_DATE_VARIABLE = "STOREROOM_START_DATE"


def first_partition_day() -> str:
    """The first day of the daily partitions (ISO date): ``STOREROOM_START_DATE`` or 2024-01-01.

    Raises:
        ConfigurationError: the variable is not a date.
    """
    named = os.environ.get(START_DATE_VARIABLE, "2024-01-01")
    try:
        return date.fromisoformat(named).isoformat()
    except ValueError:
        raise ConfigurationError(
            f"{START_DATE_VARIABLE} is '{named}', which is not a date.", "Write it as 2026-01-31."
        ) from None
