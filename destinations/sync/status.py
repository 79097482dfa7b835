"""Looks at, pauses and resumes syncs without running them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from destinations.errors import StoreroomError
from destinations.sync.durable import locked, names, present
from destinations.sync.head import HEAD, read_head
from destinations.sync.ledger import Ledger
from destinations.sync.report import kept_reports


def read_status(state: Path) -> list[dict[str, Any]]:
    """One row per sync that ever ran: ``connection``, ``audience``, ``paused``, ``interrupted``
    (a run was killed, or is under way) and ``last``, its last report (None where there is none).

    Reads without a lock: a run under way is not disturbed.
    """
    rows = []
    for name in names(state, f"*/*/{HEAD}"):
        folder = (state / name).parent
        head = read_head(folder)
        reports = kept_reports(folder, last=1)
        rows.append(
            {
                "connection": folder.parent.name,
                "audience": folder.name,
                "paused": head.paused,
                "interrupted": head.journal is not None,
                "last": reports[-1] if reports else None,
            }
        )
    return rows


def pause(state: Path, connection: str, audience: str, paused: bool = True) -> None:
    """Refuse runs of a sync until it is resumed (``paused=False``).

    Raises:
        LockedError: it is running now.
        StoreroomError: it never ran.
    """
    folder = state / connection / audience
    if not present(folder / HEAD):
        raise StoreroomError(f"Sync '{connection}/{audience}' has never run.")
    with locked(folder, f"Sync '{connection}/{audience}'"):
        Ledger.open(folder).pause(paused)
