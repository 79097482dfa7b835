"""Forgets a sync's ledger, or points it at another place. Nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from destinations.driver import KEY
from destinations.errors import ConfigurationError, StoreroomError
from destinations.sync.config import SyncConfig
from destinations.sync.durable import discard, locked, move_folder, present
from destinations.sync.head import HEAD
from destinations.sync.ledger import Ledger
from destinations.sync.marks import MARKS
from destinations.sync.resend import everything
from destinations.sync.snapshot import current

Assumption = Literal["same", "empty"]


@dataclass(frozen=True)
class Moved:
    """``held``: rows that the old place holds; ``kept``: those that count as held at the new one."""

    held: int
    kept: int


def held_rows(state: Path, connection: str, audience: str) -> int:
    """Rows that are, or may be, at the destination, as a sync's ledger says.

    Raises:
        StoreroomError: it never ran.
    """
    folder = _folder(state, connection, audience)
    with locked(folder, f"Sync '{connection}/{audience}'"):
        return _count(Ledger.open(folder))


def forget(state: Path, connection: str, audience: str) -> int:
    """Drop what a sync knows of its destination; returns how many rows it held.

    The reports of its runs stay. The destination keeps what it has, and nobody takes it out.

    Raises:
        LockedError: it is running now.
        StoreroomError: it never ran.
    """
    folder = _folder(state, connection, audience)
    with locked(folder, f"Sync '{connection}/{audience}'"):
        held = _count(Ledger.open(folder))
        _drop(folder)
    return held


def move(
    config: SyncConfig, place: str, source: str, assume: Assumption, audiences: Path, state: Path
) -> Moved:
    """Go on from another connection's ledger, or from this one's after its target changed.

    Args:
        config: the sync as it is declared now, at the new place.
        place: names the new place, as the registry tells it.
        source: the connection whose ledger is taken.
        assume: ``same``: the new place holds what the old one does, so only the difference is
            sent; ``empty``: it holds nothing, so everything is sent.

    Raises:
        LockedError: it is running now.
        StoreroomError: the source never ran, or the new place has a ledger already.
        ConfigurationError: no key that the old place holds is in the audience.
    """
    old = _folder(state, source, config.audience)
    new = state / config.connection / config.audience
    if old != new and present(new / HEAD):
        raise StoreroomError(
            f"Sync '{config.name}' has a ledger of its own already.",
            f"Forget it first: `storeroom syncs forget --connection {config.connection} "
            f"--audience {config.audience} --yes`.",
        )
    with locked(old, f"Sync '{source}/{config.audience}'"):
        ledger = Ledger.open(old)
        held = _count(ledger)
        if assume == "empty":
            if old == new:
                _drop(old)
            return Moved(held, 0)
        _refuse_other_keys(ledger, config, audiences)
        # Pointed first: killed in between, the same command finishes the move.
        ledger.point(config.place_fingerprint(place))
        if old != new:
            move_folder(old, new, first=HEAD)
    return Moved(held, held)


def _folder(state: Path, connection: str, audience: str) -> Path:
    folder = state / connection / audience
    if not present(folder / HEAD):
        raise StoreroomError(
            f"Sync '{connection}/{audience}' has never run: it has no ledger.",
            "See `storeroom syncs status` for those that have.",
        )
    return folder


def _count(ledger: Ledger) -> int:
    rows = everything(ledger.state()).select(pl.len()).collect(engine="streaming")
    return int(rows.item())


def _drop(folder: Path) -> None:
    """Without its head a ledger holds nothing, whatever files are still there."""
    discard(folder / HEAD)
    discard(folder / MARKS)
    Ledger.open(folder)


def _refuse_other_keys(ledger: Ledger, config: SyncConfig, audiences: Path) -> None:
    snapshot = current(audiences, config.audience)
    if snapshot is None or snapshot.rows == 0:
        return
    held = everything(ledger.state()).select(KEY)
    keys = snapshot.scan().select(pl.col(config.key).cast(pl.String).alias(KEY))
    both = held.join(keys, on=KEY, how="semi").head(1).collect(engine="streaming")
    if both.is_empty() and held.head(1).collect().height:
        raise ConfigurationError(
            f"No key that the ledger holds is in audience '{config.audience}': its key is now "
            f"'{config.key}', and it seems to have been another column.",
            "Put the key back, or move with `--assume empty`.",
        )
