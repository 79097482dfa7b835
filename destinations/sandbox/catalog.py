"""The destinations that a sandbox plays: those of the catalog with requests, loaded when asked."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from destinations.language.spec import Spec
from destinations.registry import list_destinations, load_spec
from destinations.sandbox.faults import Faults
from destinations.sandbox.play import Player
from destinations.sandbox.storage import Store


def http_destinations() -> frozenset[str]:
    """Ids of the destinations that are spoken to by HTTP requests."""
    return frozenset(one.id for one in list_destinations() if one.by_requests)


class Catalog:
    """Players by destination id, each built at its first request."""

    def __init__(self, store: Store, faults: Faults, specs: Iterable[Spec] | None = None) -> None:
        self._store = store
        self._faults = faults
        self._specs = {spec.id: spec for spec in specs or ()}
        self._ids = http_destinations() if specs is None else frozenset(self._specs)
        self._players: dict[str, Player] = {}
        self._lock = threading.Lock()

    def ids(self) -> frozenset[str]:
        return self._ids

    def player(self, destination: str) -> Player | None:
        """The player of a destination; None where there is none of that id, or it is code.

        Raises:
            ConfigurationError: its spec cannot be used.
        """
        player = self._players.get(destination)
        if player is not None or destination not in self._ids:
            return player
        with self._lock:
            if destination not in self._players:
                spec = self._specs.get(destination) or load_spec(destination)
                if spec.adapter is not None:
                    return None
                self._players[destination] = Player(spec, self._store, self._faults)
            return self._players[destination]

    def tell(self, destination: str, values: Mapping[str, Iterable[str]]) -> None:
        """From now on the destination takes only these values for these settings."""
        player = self.player(destination)
        if player is not None:
            told = {name: frozenset(map(str, allowed)) for name, allowed in values.items()}
            player.known = {**player.known, **told}
