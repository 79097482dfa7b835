"""What one run of a sync did, and the proof that no row was lost on the way."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from destinations.masking import masked_text
from destinations.sync.durable import sync_folder
from destinations.sync.journal import LedgerError

RUNS = "runs.jsonl"
BLOCK = 1 << 16

RunStatus = Literal["ok", "rejected", "deferred", "guarded", "failed", "planned"]
"""``ok``: everything stands as the audience says. ``rejected``: the destination (or our check
before it) refused rows. ``deferred``: rows are left for a later run. ``guarded``: a guard
stopped the run before its first request. ``failed``: the connection refuses us. ``planned``:
a dry run."""


@dataclass(frozen=True)
class Reason:
    """Why rows were rejected or deferred: the destination's own words, and a few keys."""

    fate: str
    message: str
    rows: int
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class SyncReport:
    """One run of one sync.

    ``rows = delivered + unchanged + filtered + withheld + rejected + deferred`` and
    ``removes = removed + removes_rejected + removes_deferred``, always. ``deferred`` are rows
    left for a later run; ``seconds`` and ``waited`` (because the destination asked) are wall time.
    """

    sync: str
    audience: str
    connection: str
    mode: str
    run: str
    snapshot: str
    status: RunStatus
    started_at: str
    seconds: float
    rows: int
    delivered: int
    unchanged: int
    filtered: int
    withheld: int
    rejected: int
    deferred: int
    added: int = 0
    updated: int = 0
    removes: int = 0
    removed: int = 0
    removes_rejected: int = 0
    removes_deferred: int = 0
    merged: int = 0
    """Held rows that left while their person stays under another key: let go, not removed."""
    planned_adds: int = 0
    planned_updates: int = 0
    held_before: int = 0
    requests: int = 0
    retries: int = 0
    waited: float = 0.0
    message: str = ""
    """Why the run stopped early; empty where it did not."""
    reasons: tuple[Reason, ...] = ()
    samples: tuple[dict[str, Any], ...] = ()

    def balances(self) -> bool:
        """Whether the identity holds, for rows and for removes."""
        sent = self.delivered + self.unchanged + self.filtered + self.withheld
        return (
            self.rows == sent + self.rejected + self.deferred
            and self.removes == self.removed + self.removes_rejected + self.removes_deferred
            and self.delivered == self.added + self.updated
        )

    @property
    def accounting(self) -> str:
        """The identity in one line."""
        text = (
            f"{self.rows:,} rows = {self.delivered:,} delivered + {self.unchanged:,} unchanged + "
            f"{self.filtered:,} filtered + {self.withheld:,} withheld + {self.rejected:,} rejected + "
            f"{self.deferred:,} deferred"
        )
        if self.removes:
            text += (
                f"; {self.removes:,} removes = {self.removed:,} removed + "
                f"{self.removes_rejected:,} rejected + {self.removes_deferred:,} deferred"
            )
        return text

    def as_row(self) -> dict[str, Any]:
        """Flat values for tables and JSON; reasons as a list of mappings, keys masked where they
        are addresses (the ledger has them in full).
        """
        row = asdict(self) | {"accounting": self.accounting}
        row["reasons"] = [
            asdict(reason) | {"keys": [masked_text(key) for key in reason.keys]}
            for reason in self.reasons
        ]
        row["samples"] = list(self.samples)
        return row


def keep_report(folder: Path, report: SyncReport) -> None:
    """Append a report to the sync's ``runs.jsonl``.

    Raises:
        LedgerError: it cannot be written.
    """
    path = folder / RUNS
    line = orjson.dumps(report.as_row(), default=str) + b"\n"
    try:
        with path.open("ab") as file:
            # A line torn by a kill must not swallow this one.
            if file.tell() and not _ends_line(path):
                file.write(b"\n")
            file.write(line)
            file.flush()
        sync_folder(folder)
    except OSError as error:
        raise LedgerError(
            f"{path} cannot be written: {error.strerror}.", "Make room, then run again."
        ) from None


def kept_reports(folder: Path, last: int | None = None) -> list[dict[str, Any]]:
    """Reports of a sync's runs as :meth:`SyncReport.as_row` gave them, oldest first.

    A line that a kill tore is left out.
    """
    path = folder / RUNS
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines() if last is None else _last_lines(path, last)
    rows = []
    for line in lines:
        try:
            rows.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue
    return rows


def _last_lines(path: Path, count: int) -> list[bytes]:
    """The last lines of a file, read from its end: it may hold years of runs."""
    with path.open("rb") as file:
        start = file.seek(0, 2)
        tail = b""
        while start and tail.count(b"\n") <= count:
            block = min(start, BLOCK)
            start -= block
            file.seek(start)
            tail = file.read(block) + tail
    return tail.splitlines()[-count:]


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
