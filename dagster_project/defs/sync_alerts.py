"""Tells somebody when a sync stands otherwise after a run, whoever started the run.

It is done at the end of each run of a sync, so it needs no daemon.
"""

from __future__ import annotations

import dagster as dg

from dagster_project import alerts
from dagster_project.alerts import tell
from dagster_project.declarations import Sync
from dagster_project.notifications import Alert
from destinations.sync.health import Condition, condition_of, rejection_rate
from destinations.sync.report import SyncReport

WORDS = {
    Condition.WELL: "recovered",
    Condition.REJECTING: "has too many rejected rows",
    Condition.GUARDED: "was stopped by a guard",
    Condition.REFUSED: "is refused by its destination",
    Condition.UNREACHABLE: "gave up on its destination",
    Condition.FAILED: "failed",
}


def stands_well(sync: Sync) -> bool:
    """Whether nobody was told that the sync fares ill, or that it is over."""
    return alerts.stands_well(f"syncs/{sync.name}")


def tell_of_run(
    context: dg.AssetExecutionContext, sync: Sync, found: SyncReport | Exception
) -> bool:
    """Alert on a run that ended with a report or an error; whether the notifier took it.

    A notifier that fails is logged and does not fail the sync: the next run tells again.
    """
    if isinstance(found, SyncReport):
        condition, text = condition_of(found, sync.config), _text(found)
    else:
        condition, text = Condition.FAILED, str(found)
    alert = Alert(
        subject=f"Storeroom sync {sync.name} {WORDS[condition]}",
        text=text,
        run_id=context.run.run_id,
        job=context.run.job_name,
        kind=condition.value,
        sync=sync.name,
    )
    try:
        tell(f"syncs/{sync.name}", condition.value, alert)
    except Exception as error:
        context.log.error(f"The alert '{alert.subject}' could not be sent: {error}")
        return False
    return True


def _text(report: SyncReport) -> str:
    if report.message:
        return f"{report.message} ({report.accounting})"
    reasons = sorted(report.reasons, key=lambda reason: -reason.rows)[:3]
    why = "; ".join(f"{reason.rows:,} {reason.fate}: {reason.message}" for reason in reasons)
    return f"{rejection_rate(report):.1%} rejected. {why} ({report.accounting})"
