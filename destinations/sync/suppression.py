"""People who were deleted and must not be sent again, known by hashes of their key and identifiers.

``syncs/suppressed.json`` holds a random salt and, per person, the SHA-256 of salt and key and
when it was asked; and the SHA-256 of salt and each identifier (an e-mail address, a phone number)
that the person was known by at a destination. It names nobody. Every sync's plan withholds the
rows it matches: by key, and by the values of the columns that identify people at destinations. So
a person who comes back under another key stays out; so does whoever shares the address.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import polars as pl
import polars_hash as plh

from destinations.driver import KEY
from destinations.errors import LedgerError
from destinations.sync.durable import locked, place_json, read

FILE = "suppressed.json"
FORMAT = 2
SUPPRESSED = "_suppressed"
IDENTIFIER = "_identifier"
"""Prefix of columns that hold a row's identifiers, in the form in which they are compared."""
_SALTED = "__salted"
_IDENTIFIER_MARK = "\x1fidentifier\x1f"


def comparable(identifier: pl.Expr) -> pl.Expr:
    """Equal for two spellings of one identifier (String): trimmed, in lower case."""
    return identifier.cast(pl.String).str.strip_chars().str.to_lowercase()


@dataclass(frozen=True)
class Suppression:
    """The list as it stands.

    ``deleted`` maps a person's hash to when it was asked (UTC), ``identifiers`` the hash of an
    identifier to the hash of the person it belongs to.
    """

    salt: str
    deleted: dict[str, str]
    identifiers: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def hash_of(self, key: str) -> str:
        return hashlib.sha256((self.salt + key).encode()).hexdigest()

    def hash_of_identifier(self, identifier: str) -> str:
        return self.hash_of(_IDENTIFIER_MARK + identifier.strip().lower())

    def __contains__(self, key: str) -> bool:
        return self.hash_of(key) in self.deleted

    def fingerprint(self) -> str:
        """Changes when the list does; empty where nobody is on it."""
        names = "".join(sorted((*self.deleted, *self.identifiers)))
        return hashlib.sha256(names.encode()).hexdigest()[:32] if names else ""

    def marked(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """``rows`` (with ``_key``) and whether each is on the list: ``_suppressed`` Boolean.

        Columns that begin with ``IDENTIFIER`` are taken for identifiers.
        """
        if not self.deleted and not self.identifiers:
            return rows.with_columns(pl.lit(False).alias(SUPPRESSED))
        listed = [(KEY, "", self.deleted)]
        listed += [
            (name, _IDENTIFIER_MARK, self.identifiers)
            for name in rows.collect_schema().names()
            if name.startswith(IDENTIFIER) and self.identifiers
        ]
        rows = rows.with_columns(pl.lit(False).alias(SUPPRESSED))
        for name, mark, found in listed:
            salted = pl.concat_str([pl.lit(self.salt + mark), name]).alias(_SALTED)
            is_listed = plh.col(_SALTED).chash.sha2_256().is_in(list(found)).fill_null(False)
            rows = rows.with_columns(salted)
            rows = rows.with_columns((pl.col(SUPPRESSED) | is_listed).alias(SUPPRESSED))
        return rows.drop(_SALTED)


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
    return replace(found, format=FORMAT)


def suppress(
    state: Path, keys: list[str], now: datetime, identifiers: Iterable[str] = ()
) -> Suppression:
    """Put people on the list, durably, before anything else is done about them.

    Args:
        identifiers: of the first of ``keys``, as destinations know the person.
    """
    with locked(state, "The list of deleted people", wait=True):
        before = read_suppression(state)
        if not before.salt:
            before = replace(before, salt=secrets.token_hex(16))
        asked = {before.hash_of(key): now.astimezone(UTC).isoformat() for key in keys}
        theirs = {before.hash_of_identifier(one): before.hash_of(keys[0]) for one in identifiers}
        after = replace(
            before,
            deleted={**asked, **before.deleted},
            identifiers={**theirs, **before.identifiers},
        )
        place_json(state / FILE, asdict(after))
    return after


def readmit(state: Path, keys: list[str], identifiers: Iterable[str] = ()) -> list[str]:
    """Take people off the list, with all their identifiers, or single identifiers alone.

    Returns:
        Those of ``keys`` and ``identifiers`` that stood on it.
    """
    with locked(state, "The list of deleted people", wait=True):
        before = read_suppression(state)
        found = [key for key in keys if key in before]
        named = [one for one in identifiers if before.hash_of_identifier(one) in before.identifiers]
        if found or named:
            gone = {before.hash_of(key) for key in found}
            off = {before.hash_of_identifier(one) for one in named}
            after = replace(
                before,
                deleted={name: at for name, at in before.deleted.items() if name not in gone},
                identifiers={
                    name: whose
                    for name, whose in before.identifiers.items()
                    if whose not in gone and name not in off
                },
            )
            place_json(state / FILE, asdict(after))
    return [*found, *named]
