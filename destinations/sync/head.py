"""The head pointer of a sync's ledger: which files count."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from destinations.errors import LedgerError
from destinations.sync.durable import read

FORMAT = 1
HEAD = "head.json"


@dataclass(frozen=True)
class Part:
    """One Parquet file of the state, with the checksum of its bytes."""

    file: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Ended(Part):
    """A file of versions that have ended, the last of them at ``until`` (ISO 8601)."""

    until: str


@dataclass(frozen=True)
class Head:
    """The head pointer: every file that counts, and what the last run found out."""

    format: int = FORMAT
    base: Part | None = None
    deltas: tuple[Part, ...] = ()
    journal: str | None = None
    seen: str | None = None
    leavers: str | None = None
    last_run: str | None = None
    place: str | None = None
    """Fingerprint of key and target: where held rows are to be found."""
    settled: dict[str, Any] = field(default_factory=dict)
    """What the last run proved, if it left nothing over: the next may be spared."""
    paused: bool = False
    fence: str | None = None
    """Names the last process that took over from a dead one; part of the names it writes."""
    history: tuple[Ended, ...] = ()
    history_from: str | None = None
    """From when on the history is whole (ISO 8601); null: from the first run on."""

    @property
    def files(self) -> set[str]:
        state = (self.base, *self.deltas, *self.history)
        parts = [part.file for part in state if part is not None]
        return {*parts, *(name for name in (self.journal, self.seen, self.leavers) if name)}


def read_head(folder: Path) -> Head:
    """The head of a sync's folder; an empty one where it never ran.

    Raises:
        LedgerError: it cannot be read, or a newer Storeroom wrote it.
    """
    path = folder / HEAD
    try:
        found = orjson.loads(read(path))
        if found["format"] > FORMAT:
            raise LedgerError(
                f"{path} was written by a newer Storeroom (format {found['format']}, "
                f"this one knows {FORMAT}).",
                "Install that version or a newer one.",
            )
        found["base"] = Part(**found["base"]) if found["base"] else None
        found["deltas"] = tuple(Part(**part) for part in found["deltas"])
        found["history"] = tuple(Ended(**part) for part in found.get("history", ()))
        return Head(**found)
    except FileNotFoundError:
        return Head()
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise LedgerError(
            f"{path} cannot be read: {error!r}.", "Restore it from a backup of the state folder."
        ) from None
