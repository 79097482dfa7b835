"""Guards: limits that stop a run before its first request."""

from __future__ import annotations

from destinations.sync.config import SyncConfig
from destinations.sync.plan import Plan
from destinations.sync.snapshot import Snapshot

ALLOW_ONCE = "Look at the plan; to let it through this once, run the sync with --allow-guards."


def tripped(
    config: SyncConfig, snapshot: Snapshot, plan: Plan, planned: dict[str, int]
) -> str | None:
    """Why a run may not start, and how to allow it; None where it may."""
    guards = config.guards
    removes, adds = planned["remove"], planned["add"]
    reason = None
    # All withheld is no accident to stop: consent taken back is honoured at once.
    filtered = plan.counts.get("filtered", 0)
    if removes and filtered == snapshot.rows and not guards.allow_empty:
        what = "`where` lets no row through" if snapshot.rows else "the audience is empty"
        reason = f"{what}, and {removes:,} rows would be taken out"
    elif guards.max_removes is not None and removes > guards.max_removes:
        reason = f"{removes:,} removes are more than max_removes: {guards.max_removes:,}"
    elif (
        guards.max_remove_fraction is not None
        and plan.held
        and removes > guards.max_remove_fraction * plan.held
    ):
        reason = (
            f"{removes:,} removes are {removes / plan.held:.0%} of the {plan.held:,} rows held, more "
            f"than max_remove_fraction: {guards.max_remove_fraction}"
        )
    elif guards.max_adds is not None and adds > guards.max_adds:
        reason = f"{adds:,} adds are more than max_adds: {guards.max_adds:,}"
    return f"{reason}. {ALLOW_ONCE}" if reason else None
