"""People who were deleted and must not be sent again, known by a hash of their key.

``syncs/suppressed.json`` holds a random salt and, per person, the SHA-256 of salt and key
and when it was asked. It names nobody, and every sync's plan withholds the rows it matches.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import polars as pl
import polars_hash as plh

from destinations.driver import KEY
from destinations.errors import LedgerError
from destinations.sync.durable import locked, place_json, read

FILE = "suppressed.json"
FORMAT = 1
SUPPRESSED = "_suppressed"
_SALTED = "__salted"


@dataclass(frozen=True)
class Suppression:
    """The list as it stands: ``deleted`` maps a person's hash to when it was asked (UTC)."""

    salt: str
    deleted: dict[str, str]
    format: int = FORMAT

    def hash_of(self, key: str) -> str:
        return hashlib.sha256((self.salt + key).encode()).hexdigest()

    def __contains__(self, key: str) -> bool:
        return self.hash_of(key) in self.deleted

    def fingerprint(self) -> str:
        """Changes when the list does; empty where nobody is on it."""
        names = "".join(sorted(self.deleted))
        return hashlib.sha256(names.encode()).hexdigest()[:32] if names else ""

    def marked(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """``rows`` (with ``_key``) and whether each is on the list: ``_suppressed`` Boolean."""
        if not self.deleted:
            return rows.with_columns(pl.lit(False).alias(SUPPRESSED))
        salted = rows.with_columns(pl.concat_str([pl.lit(self.salt), KEY]).alias(_SALTED))
        listed = plh.col(_SALTED).chash.sha2_256().is_in(list(self.deleted)).fill_null(False)
        return salted.with_columns(listed.alias(SUPPRESSED)).drop(_SALTED)


NOBODY = Suppression("", {})


def read_suppression(state: Path) -> Suppression:
    """The list of a folder of syncs; an empty one where nobody was deleted.

    Raises:
        LedgerError: it cannot be read, or a newer Storeroom wrote it.
    """
    path = state / FILE
    try:
        found = Suppression(**orjson.loads(read(path)))
    except FileNotFoundError:
        return NOBODY
    except (orjson.JSONDecodeError, TypeError) as error:
        raise LedgerError(
            f"{path} cannot be read: {error!r}.",
            "Restore it from a backup: without it people who were deleted would be sent again.",
        ) from None
    if found.format > FORMAT:
        raise LedgerError(
            f"{path} was written by a newer Storeroom (format {found.format}).",
            "Install that version or a newer one.",
        )
    return found


def suppress(state: Path, keys: list[str], now: datetime) -> Suppression:
    """Put people on the list, durably, before anything else is done about them."""
    with locked(state, "The list of deleted people", wait=True):
        before = read_suppression(state)
        if not before.salt:
            before = replace(before, salt=secrets.token_hex(16))
        asked = {before.hash_of(key): now.astimezone(UTC).isoformat() for key in keys}
        after = replace(before, deleted={**asked, **before.deleted})
        place_json(state / FILE, asdict(after))
    return after


def readmit(state: Path, keys: list[str]) -> list[str]:
    """Take people off the list; those of ``keys`` that stood on it."""
    with locked(state, "The list of deleted people", wait=True):
        before = read_suppression(state)
        found = [key for key in keys if key in before]
        if found:
            gone = {before.hash_of(key) for key in found}
            left = {name: at for name, at in before.deleted.items() if name not in gone}
            place_json(state / FILE, asdict(replace(before, deleted=left)))
    return found
