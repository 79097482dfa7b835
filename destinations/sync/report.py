"""What one run of a sync did, and the proof that no row was lost on the way."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from destinations.errors import LedgerError
from destinations.masking import HIDDEN, masked_text
from destinations.sync.lines import append, read_lines, rewrite
from destinations.sync.sealing import keys, sealed, unsealed

RUNS = "runs.jsonl"
SEALED = "sealed"
"""Holds what of a report names people, where state is encrypted."""

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
    try:
        append(path, orjson.dumps(_closed(report.as_row()), default=str))
    except OSError as error:
        raise LedgerError(
            f"{path} cannot be written: {error.strerror}.", "Make room, then run again."
        ) from None


def kept_reports(folder: Path, last: int | None = None) -> list[dict[str, Any]]:
    """Reports of a sync's runs as :meth:`SyncReport.as_row` gave them, oldest first.

    A line that a kill tore is left out.
    """
    path = folder / RUNS
    rows = []
    for line in read_lines(path, last):
        try:
            rows.append(_opened(orjson.loads(line), path))
        except orjson.JSONDecodeError:
            continue
    return rows


def hide_in_reports(folder: Path, key: str) -> int:
    """Hide a key in the reports of a sync; 1 where they named it, else 0."""
    path, name = folder / RUNS, orjson.dumps(key)[1:-1]
    lines, named = list[bytes](), False
    for line in read_lines(path):
        try:
            text = orjson.dumps(_opened(orjson.loads(line), path))
        except orjson.JSONDecodeError:
            continue
        named |= name in text
        lines.append(orjson.dumps(_closed(orjson.loads(text.replace(name, HIDDEN.encode())))))
    if named:
        rewrite(path, b"".join(line + b"\n" for line in lines))
    return int(named)


def reseal_reports(folder: Path) -> int:
    """Write the reports of a sync anew under the key that encrypts now; 1 if there are any."""
    reports = kept_reports(folder)
    if reports:
        rewrite(folder / RUNS, b"".join(orjson.dumps(_closed(row)) + b"\n" for row in reports))
    return int(bool(reports))


def _closed(row: dict[str, Any]) -> dict[str, Any]:
    """A report as it is written: with a key, its samples and the keys of rows are encrypted."""
    if not keys():
        return row
    named = {"samples": row["samples"], "keys": [reason["keys"] for reason in row["reasons"]]}
    text = base64.b64encode(sealed(orjson.dumps(named, default=str))).decode()
    reasons = [reason | {"keys": []} for reason in row["reasons"]]
    return row | {"samples": [], "reasons": reasons, SEALED: text}


def _opened(row: dict[str, Any], path: Path) -> dict[str, Any]:
    text = row.pop(SEALED, None)
    if text is None:
        return row
    named = orjson.loads(unsealed(base64.b64decode(text), str(path)))
    for reason, found in zip(row["reasons"], named["keys"], strict=True):
        reason["keys"] = found
    return row | {"samples": named["samples"]}
