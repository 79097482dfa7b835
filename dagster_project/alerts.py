"""Tells somebody when something stands otherwise than before, and only then.

How each subject stood when somebody was last told is kept in the state folder,
``alerts/<subject>/standing.json``. It is written after the alert was taken: killed in
between, an alert goes out twice rather than never.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson

from dagster_project.notifications import Alert, notifier
from destinations.paths import state_dir
from destinations.sync.durable import locked, place_json, read

WELL = "well"
STANDING = "standing.json"


@dataclass(frozen=True)
class Standing:
    """How a subject stands, since when (ISO 8601, UTC), and why."""

    condition: str
    since: str
    text: str = ""


def stands_well(subject: str) -> bool:
    """Whether nobody was told of anything that is not over."""
    return _standing(state_dir() / "alerts" / subject).condition == WELL


def tell(subject: str, condition: str, alert: Alert) -> bool:
    """Send ``alert`` if the subject stood otherwise before; whether it was sent.

    Args:
        subject: what it is about, as a path: ``syncs/crm/audience_vips``, ``jobs/hourly``.
        condition: how it stands now; ``well`` sends a recovery, if there is one to tell of.
        alert: what to say; a recovery says by itself what it recovered from.

    Raises:
        ConfigurationError: the notifier cannot be used as it is declared.
        Exception: whatever a notifier raises that could not send; the next call tries again.
    """
    folder = state_dir() / "alerts" / subject
    if condition == WELL and _standing(folder).condition == WELL:
        return False
    with locked(folder, f"Alert on {subject}", wait=True):
        before = _standing(folder)
        if before.condition == condition:
            return False
        if condition == WELL:
            alert = replace(alert, text=f"Before, since {before.since}: {before.text}")
        notifier()(alert)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        standing = Standing(condition, now, "" if condition == WELL else alert.text)
        place_json(folder / STANDING, asdict(standing))
    return True


def _standing(folder: Path) -> Standing:
    """What was told last; a file that cannot be read tells nothing, so it is told again."""
    try:
        return Standing(**orjson.loads(read(folder / STANDING)))
    except FileNotFoundError:
        return Standing(WELL, "")
    except (orjson.JSONDecodeError, TypeError):
        return Standing("unknown", "an unknown time", "what cannot be read any more")
