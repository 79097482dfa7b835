"""What one ingestion did, in numbers that a run can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from dagster_project.ingestion import raw_zone


@dataclass(frozen=True)
class Lateness:
    """Seconds from an event's timestamp to its arrival (``received_at``, else the load)."""

    p50: float
    p95: float
    max: float


@dataclass(frozen=True)
class IngestReport:
    """Counts over the loads of one run.

    ``lines = mapped + filtered + sum of rejected lines`` holds per file in files.parquet; here
    ``rejected`` counts rejections by reason.
    """

    load_seqs: tuple[int, ...] = ()
    files_loaded: int = 0
    files_skipped: int = 0
    """Known already, with the same content."""
    lines: int = 0
    events: int = 0
    filtered: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    replayed: int = 0
    """Rejections that this run's replay took."""
    still_rejected: int = 0
    """Rejections that the replay asked for and could not take."""
    bytes: int = 0
    lateness: Lateness | None = None
    """None where no event was loaded."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Files left for the next run, with the reason (changed while being read, not readable)."""
    unmatched: tuple[str, ...] = ()
    """Files in the landing zone that no source matches."""
    seconds: float = 0.0

    @property
    def rejections(self) -> int:
        """Rejections of every reason."""
        return sum(self.rejected.values())

    def as_row(self) -> dict[str, Any]:
        """Flat values for tables and JSON; ``rejected`` by reason, lateness in seconds."""
        return asdict(self) | {"rejections": self.rejections}

    @property
    def as_text(self) -> str:
        """The counts in one line."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.rejected.items())
        text = (
            f"{self.files_loaded:,} files loaded, {self.files_skipped:,} known already: "
            f"{self.events:,} events from {self.lines:,} lines, {self.rejections:,} rejected"
        )
        return text + (f" ({reasons})" if reasons else "")


def lateness_of(raw: Path, load_seqs: Sequence[int]) -> Lateness | None:
    """Lateness over the events of these loads."""
    if not load_seqs:
        return None
    late = (
        pl.coalesce("received_at", "loaded_at") - pl.col("timestamp")
    ).dt.total_milliseconds() / 1e3
    row = (
        pl.scan_parquet([raw_zone.load_dir(raw, seq) / "events.parquet" for seq in load_seqs])
        .select(
            late.quantile(0.5).alias("p50"),
            late.quantile(0.95).alias("p95"),
            late.max().alias("max"),
        )
        .collect()
        .row(0)
    )
    return None if row[2] is None else Lateness(*row)
