"""What a run would do, in full: counts, sample rows and the first requests. Nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from destinations.driver import KEY, META_COLUMNS, Delivery, Driver
from destinations.masking import masked_sample
from destinations.sync.config import SyncConfig
from destinations.sync.engine import Run, opened
from destinations.sync.footing import Footing
from destinations.sync.masking import masked_rows
from destinations.sync.plan import AccountingError
from destinations.sync.report import SyncReport

ROWS = 3
"""Sample rows of each change."""


@dataclass(frozen=True)
class Foresight:
    """A run's plan.

    ``report`` has status ``planned`` or ``guarded``; rows that would be sent count as deferred,
    those that break a rule of the vendor as rejected. ``rows`` and ``requests`` are samples,
    masked unless values were asked for.
    """

    report: SyncReport
    footing: Footing
    rows: tuple[dict[str, Any], ...]
    """``change``, ``key``, ``values`` (destination field: value) and, where it breaks a rule, ``rule``."""
    requests: tuple[dict[str, Any], ...]

    @property
    def counts(self) -> dict[str, int]:
        """What an application of this plan must find."""
        report = self.report
        return {
            "adds": report.planned_adds,
            "updates": report.planned_updates,
            "removes": report.removes,
            "rows": report.rows,
        }


def foresee(
    config: SyncConfig,
    driver: Driver,
    consent_column: str | None,
    audiences: Path,
    state: Path,
    now: datetime,
    place: str = "",
    requests: int = 0,
    show_values: bool = False,
) -> Foresight:
    """Plan a sync; raises what ``run_sync`` raises before it sends.

    Args:
        requests: how many of the first requests to render.
        show_values: leave people's data readable.
    """
    with opened(config, driver, consent_column, audiences, state, now, place=place) as run:
        report = run.carry_out(None, dry_run=True, allow_guards=False)
        if not report.balances():
            raise AccountingError(f"plan of sync {config.name}: {report.accounting}")
        rows, rendered = _samples(run, requests, show_values)
        return Foresight(report, run.footing(), tuple(rows), tuple(rendered))


def _samples(
    run: Run, requests: int, show_values: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    rendered: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for phase in run.work(*run.plan()):
        for work in phase:
            problems = run.driver.problems(work.operation, work.rows)
            judged = work.rows.with_columns(problems.alias("_rule"))
            left = max(ROWS - seen.get(work.change, 0), 0)
            seen[work.change] = seen.get(work.change, 0) + work.rows.height
            rows += sample_rows(work.change, judged.head(left), show_values)
            good = judged.filter(pl.col("_rule").is_null()).drop("_rule")
            if good.is_empty() or len(rendered) >= requests:
                continue
            for delivery in run.driver.deliveries(work.operation, good):
                rendered.append(shown(run.driver, delivery, show_values))
                if len(rendered) >= requests:
                    break
    return rows, rendered


def sample_rows(change: str, rows: pl.DataFrame, show_values: bool) -> list[dict[str, Any]]:
    """A few rows in the shape of ``Foresight.rows``; ``rows`` has ``_rule`` besides its fields."""
    values = rows.drop("_rule")
    values = values if show_values else masked_rows(values)
    return [
        {
            "change": change,
            "key": row[KEY],
            "values": {name: v for name, v in row.items() if name not in META_COLUMNS},
            **({"rule": rule} if rule is not None else {}),
        }
        for row, rule in zip(values.iter_rows(named=True), rows["_rule"], strict=True)
    ]


def shown(driver: Driver, delivery: Delivery, show_values: bool) -> dict[str, Any]:
    """One delivery as a person reads it: its operation, rows and size, and where the driver
    speaks in requests (``shown``) the request itself, without secrets.
    """
    told: dict[str, Any] = {
        "operation": delivery.operation.value,
        "rows": delivery.rows.height,
        "bytes": delivery.size,
    }
    show = getattr(driver, "shown", None)
    if show is not None:
        told |= show(delivery)
    if show_values:
        return told
    operation = {"operation": told.pop("operation")}
    return operation | masked_sample(told, delivery.rows, set(META_COLUMNS))
