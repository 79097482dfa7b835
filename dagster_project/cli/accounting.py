"""The accounting of a sync's run, as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FATES = ("delivered", "unchanged", "filtered", "withheld", "rejected", "deferred")
"""Every row read met exactly one of these."""


def terms(row: Mapping[str, Any]) -> list[str]:
    """Rows read, then the terms that they are the sum of, zero terms left out; then removals.

    Args:
        row: a report as ``SyncReport.as_row`` gives it.
    """
    removed = [f"{row['removed']:,} removed"] if row["removed"] else []
    return [
        f"{row['rows']:,} read",
        *(f"{row[fate]:,} {fate}" for fate in FATES if row[fate]),
        *removed,
    ]


def summary(row: Mapping[str, Any]) -> str:
    """The same in one line: ``66 read = 5 delivered + 61 unchanged; 2 removed``."""
    if "rows" not in row:
        return ""
    read, *rest = terms(row)
    removed = f"; {rest.pop()}" if row["removed"] else ""
    return f"{read} = {' + '.join(rest) or '0'}{removed}"
