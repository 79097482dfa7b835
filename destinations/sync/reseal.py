"""Writes everything that syncs keep anew under the key that encrypts now."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from destinations.errors import ConfigurationError
from destinations.sync.durable import Target, kept, locked, names, opened, place
from destinations.sync.hashes import PATTERN
from destinations.sync.head import HEAD
from destinations.sync.ledger import Ledger
from destinations.sync.marks import MARKS, read_marks
from destinations.sync.report import reseal_reports
from destinations.sync.sealing import HOW, key_of, keys
from destinations.sync.snapshot import POINTER


@dataclass(frozen=True)
class Resealed:
    """``files`` written anew under ``key`` (its id in hex); ``current`` stood under it already."""

    files: int
    current: int
    key: str


def reseal(audiences: Path, state: Path) -> Resealed:
    """Encrypt what stands in clear, or under an older key. Interrupted, it can be done again.

    Raises:
        ConfigurationError: no key is set.
        LockedError: a sync is running now.
        LedgerError: something cannot be read: its key is missing, or it is damaged.
    """
    if not keys():
        raise ConfigurationError("STOREROOM_STATE_KEY is not set.", HOW)
    counts = [0, 0]
    for name in names(audiences, f"*/{POINTER}"):
        home = (audiences / name).parent
        with locked(home, f"Publishing audience '{home.name}'", wait=True):
            for version in names(home, "2*.parquet"):
                stale = _is_stale(home / version)
                counts[not stale] += 1
                if stale:
                    place(home / version, _same(home / version))
    for name in names(state, f"*/*/{HEAD}"):
        folder = (state / name).parent
        with locked(folder, f"Sync '{folder.parent.name}/{folder.name}'"):
            found = _reseal_sync(folder)
        counts = [a + b for a, b in zip(counts, found, strict=True)]
    return Resealed(counts[0], counts[1], keys()[0].id.hex())


def _reseal_sync(folder: Path) -> tuple[int, int]:
    ledger = Ledger.open(folder)
    for cache in folder.glob(PATTERN):
        cache.unlink(missing_ok=True)
    fresh: dict[str, str] = {}
    standing = sorted(ledger.head.files)
    for name in standing:
        if _is_stale(folder / name):
            fresh[name] = f"{Path(name).stem}-{secrets.token_hex(4)}.parquet"
            place(folder / fresh[name], _same(folder / name))
    if fresh:
        ledger.rename(fresh)
    marks = read_marks(folder)
    if marks is not None:
        place(folder / MARKS, marks.write_parquet)
    written = len(fresh) + reseal_reports(folder) + (marks is not None)
    return written, len(standing) - len(fresh)


def _is_stale(path: Path) -> bool:
    with kept(path).open("rb") as file:
        return key_of(file.read(64)) != keys()[0].id


def _same(path: Path) -> Any:
    """Writes what a file holds, in clear, into whatever it is given."""

    def write(target: Target) -> None:
        content = opened(path)
        source = content.open("rb") if isinstance(content, Path) else content
        with source:
            shutil.copyfileobj(source, cast("BinaryIO", target), 1 << 20)

    return write
