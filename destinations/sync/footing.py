"""What a plan stands on: save it, and find out later whether anything of it changed."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from destinations.driver import KEY
from destinations.errors import ConfigurationError, StoreroomError
from destinations.sync.config import SyncConfig
from destinations.sync.durable import place_json
from destinations.sync.ledger import Ledger
from destinations.sync.snapshot import Snapshot

FORMAT = 1
_UNIMPORTANT = ("settled", "paused", "fence", "history", "history_from")
"""Parts of a ledger's head that change nothing about what a run would do."""


@dataclass(frozen=True)
class Footing:
    """Two equal footings lead to the same plan, row by row."""

    sync: str
    snapshot: str
    """Version of the audience, for people; ``rows`` is what counts."""
    rows: str
    """Digest of the audience's rows, and since when they stand."""
    ledger: str
    declaration: str

    def refuse_unless(self, now: Footing) -> None:
        """Refuse a plan that was made on other ground.

        Raises:
            StoreroomError: something changed since; names all of it.
        """
        changed = []
        if self.rows != now.rows:
            changed.append(f"the audience was published anew ({self.snapshot} -> {now.snapshot})")
        if self.ledger != now.ledger:
            changed.append("the sync ran, or rows were marked, moved or deleted")
        if self.declaration != now.declaration:
            changed.append(
                "its declaration, its connection's consent or the list of deleted people changed"
            )
        if changed:
            raise StoreroomError(
                f"The plan of sync '{self.sync}' is stale: {'; '.join(changed)}.",
                "Plan anew: `storeroom syncs plan --save FILE`.",
            )


def footing_of(
    config: SyncConfig,
    declaration: str,
    snapshot: Snapshot,
    ledger: Ledger,
    marks: pl.DataFrame | None,
    place: str,
) -> Footing:
    """The footing of a run as things stand.

    Args:
        declaration: fingerprint of whatever the declaration says.
        marks: rows to be sent again.
        place: fingerprint of where rows are put.
    """
    head = {name: v for name, v in asdict(ledger.head).items() if name not in _UNIMPORTANT}
    again = None if marks is None else marks.sort(KEY).rows()
    return Footing(
        sync=config.name,
        snapshot=snapshot.version,
        rows=f"{snapshot.digest}/{snapshot.since}",
        ledger=_digest([head, again]),
        declaration=_digest([declaration, place]),
    )


def save_plans(path: Path, plans: list[dict[str, Any]]) -> None:
    """Write plans (``footing`` and ``counts`` each) as one JSON document."""
    place_json(path, {"format": FORMAT, "plans": plans})


def read_plans(path: Path) -> list[tuple[Footing, dict[str, int]]]:
    """Footing and counts of every sync in a saved plan.

    Raises:
        ConfigurationError: the file is gone or is no plan.
    """
    fix = "Make one: `storeroom syncs plan --save FILE`."
    try:
        document = orjson.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise ConfigurationError(f"{path} was saved by another version of Storeroom.", fix)
        return [(Footing(**plan["footing"]), plan["counts"]) for plan in document["plans"]]
    except FileNotFoundError:
        raise ConfigurationError(f"There is no file {path}.", fix) from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ConfigurationError(f"{path} is no saved plan.", fix) from None


def _digest(document: object) -> str:
    text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(text).hexdigest()[:32]
