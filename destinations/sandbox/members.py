"""What a request does to a destination's members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from destinations.language.spec import Spec
from destinations.language.template import Placeholder
from destinations.sandbox.answers import Verdict
from destinations.sandbox.functions import derived
from destinations.sandbox.inversion import Row
from destinations.sandbox.routes import Effect, Route, digest_placeholders, names_refusals
from destinations.sandbox.storage import Transaction

KEY_FIELD = "meta.key"

_WRITING = (Effect.JOIN, Effect.WRITE)


@dataclass(frozen=True)
class Book:
    """How one destination recognises people."""

    destination: str
    identifiers: tuple[str, ...]
    digests: tuple[Placeholder, ...]
    """Placeholders by whose value its requests name people."""
    knows_all: bool = False
    """Its requests make nobody: whoever is asked for is there."""

    @classmethod
    def of(cls, spec: Spec, found: list[Route]) -> Book:
        identifiers = (name for name, declared in spec.fields.items() if declared.identifier)
        writing = [one for one in found if one.effect in _WRITING]
        knows_all = bool(writing) and all(one.by_id for one in writing)
        return cls(spec.id, tuple(identifiers), tuple(digest_placeholders(found)), knows_all)

    def identity(self, row: Row) -> tuple[str, str] | None:
        """The identifier the vendor goes by: the first declared that the row has, or its key."""
        for name in self.identifiers:
            value = row.fields.get(name)
            if value is not None and value != "":
                return name, str(value)
        return None if row.key is None or row.digests else (KEY_FIELD, row.key)

    def find(self, change: Transaction, row: Row) -> int | None:
        """The profile that the row speaks of."""
        if row.remote_id is not None:
            return change.find_remote(self.destination, row.remote_id)
        identity = self.identity(row)
        if identity is not None:
            found = change.find(self.destination, *identity)
            if found is not None or identity[0] != KEY_FIELD:
                return found
        for placeholder, digest in row.digests.items():
            found = change.find_alias(self.destination, f"{placeholder}={digest}")
            if found is not None:
                return found
        return None if row.key is None else change.find_key(self.destination, row.key)

    def audiences(
        self, change: Transaction, route: Route, row: Row, shown: Mapping[str, Any]
    ) -> list[Mapping[str, Any]]:
        """The settings that name each audience the row's person is in, of those looked into.

        Args:
            shown: values of settings that requests showed before.
        """
        profile = self.find(change, row)
        targets = [] if profile is None else change.targets(self.destination, profile)
        if route.within_audience:
            targets = [one for one in targets if one == route.target(shown)]
        return [
            {**shown, **dict(zip(route.targets, target.split(","), strict=False))}
            for target in targets
        ]

    def aliases(self, row: Row) -> list[str]:
        """The digests by which later requests may name the row."""
        found = []
        for placeholder in self.digests:
            value = row.fields.get(placeholder.name)
            digest = derived(placeholder, str(value)) if value is not None else None
            if digest is not None:
                found.append(f"{placeholder}={digest}")
        return [*found, *(f"{name}={digest}" for name, digest in row.digests.items())]


def refusal(book: Book, change: Transaction, route: Route, row: Row) -> str | None:
    """Why the destination cannot do with this row what the request asks, or None."""
    if row.remote_id is not None:
        profile = change.find_remote(book.destination, row.remote_id)
        if profile is None:
            return f"No contact with id {row.remote_id[:60]}"
        identity = book.identity(row)
        if route.effect in _WRITING and identity is not None:
            other = change.find(book.destination, *identity)
            if other is not None and other != profile:
                return f"Another contact already has this {identity[0]}"
        return None
    if book.identity(row) is not None or route.effect is Effect.TRACK:
        return None
    if row.digests:
        known = route.effect not in _WRITING or book.find(change, row) is not None
        return None if known else "No contact with this identifier"
    return "No identifier: one of " + ", ".join(book.identifiers or ("key",)) + " is needed"


def absent(book: Book, change: Transaction, route: Route, rows: list[Row]) -> bool:
    """Whether the one person a request asks for is not there."""
    identity = book.identity(rows[0]) if book.knows_all and len(rows) == 1 else None
    if route.effect is Effect.LOOK and identity is not None:
        change.upsert(book.destination, *identity, {})
    asks = route.effect in (Effect.LOOK, Effect.LEAVE, Effect.ERASE)
    return asks and len(rows) == 1 and book.find(change, rows[0]) is None


def apply(
    book: Book,
    change: Transaction,
    route: Route,
    rows: list[Row],
    refusals: list[str | None],
    shared: dict[str, Any],
) -> list[Verdict]:
    """Do what the request asks for every row that is not refused; one verdict per row."""
    target = route.target(shared)
    delivery = shared.get("meta.delivery")
    verdicts = []
    for position, (row, words) in enumerate(zip(rows, refusals, strict=True)):
        profile: int | None = None
        if words is None:
            if route.effect in _WRITING:
                profile = _write(book, change, row)
                if route.effect is Effect.JOIN:
                    change.join(book.destination, target, profile)
            elif route.effect is Effect.TRACK:
                identity = book.identity(row)
                change.event(
                    book.destination,
                    identity[1] if identity else "",
                    row.id or delivery,
                    0 if row.id else position,
                    row.fields,
                )
            elif route.effect is not Effect.NONE:
                profile = book.find(change, row)
                if profile is not None and route.effect is Effect.LEAVE:
                    change.leave(book.destination, target, profile)
                    if row.fields:
                        change.write(profile, row.fields)
                elif profile is not None and route.effect is Effect.ERASE:
                    change.erase(profile)
        remote_id = None if profile is None else str(profile)
        verdicts.append(Verdict(row.key, row.fields, remote_id or row.remote_id, words))
    return verdicts


def whole(route: Route, refusals: list[str | None]) -> str | None:
    """The words that refuse the whole request, where an answer cannot refuse by row."""
    words = next((one for one in refusals if one is not None), None)
    by_row = route.batch is not None and (route.names_refusals or names_refusals(route.answer))
    return None if words is None or by_row else words


def _write(book: Book, change: Transaction, row: Row) -> int:
    identity = book.identity(row)
    if row.remote_id is None and identity is not None:
        profile = change.upsert(book.destination, *identity, row.fields)
    else:
        known = book.find(change, row)
        assert known is not None  # noqa: S101 - `refusal` let nobody unknown through
        profile = known
        if row.fields:
            change.write(profile, row.fields)
        if identity is not None:
            change.rename(profile, *identity)
    if row.key is not None or book.digests:
        change.name(book.destination, profile, row.key, book.aliases(row))
    return profile
