"""How a run ended: its status, and why rows were left, withheld or refused."""

from __future__ import annotations

from destinations.sync.plan import Plan
from destinations.sync.report import Reason, RunStatus
from destinations.sync.tally import DEFERRED, REJECTED, Tally

WRITES = ("add", "update")
HELD_IN_DOUBT = (
    "sent by an earlier run, and the destination never answered; it might be there. Look, then "
    "declare `in_doubt: resend` on the sync to have such rows sent again"
)


def reasons_of(counts: dict[str, int], tally: Tally, plan: Plan | None) -> tuple[Reason, ...]:
    """Why rows met another fate than delivery, with the destination's own words, the most frequent first."""
    reasons = []
    if counts.get("null_key"):
        reasons.append(Reason(REJECTED, "the key is null", counts["null_key"]))
    if counts.get("duplicate"):
        keys = tuple(plan.duplicates) if plan is not None else ()
        reasons.append(
            Reason(
                REJECTED, "the key stands more than once in the audience", counts["duplicate"], keys
            )
        )
    if counts.get("deleted"):
        reasons.append(Reason("withheld", "the person was deleted", counts["deleted"]))
    if counts.get("in_doubt"):
        reasons.append(Reason(DEFERRED, HELD_IN_DOUBT, counts["in_doubt"]))
    told = sorted(tally.reasons.items(), key=lambda item: -item[1][0])
    reasons += [Reason(fate, text, rows, tuple(keys)) for (fate, text), (rows, keys) in told]
    return tuple(reasons)


def status_of(plan: Plan, tally: Tally, failed: bool) -> RunStatus:
    """The worst that happened; ``failed`` tells that the destination refuses us altogether."""
    changes = (*WRITES, "remove")
    if failed:
        return "failed"
    if plan.counts.get("in_doubt") or tally.fate(DEFERRED, *changes):
        return "deferred"
    if plan.counts["null_key"] or plan.counts["duplicate"] or tally.fate(REJECTED, *changes):
        return "rejected"
    return "ok"
