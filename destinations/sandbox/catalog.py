"""The destinations that a sandbox plays: those of the catalog with requests, loaded when asked."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from destinations.language.spec import Spec
from destinations.sandbox.faults import Faults
from destinations.sandbox.play import Player
from destinations.sandbox.storage import Store


class Catalog:
    """Players by destination id, each built at its first request."""

    def __init__(self, store: Store, faults: Faults, specs: Iterable[Spec] | None = None) -> None:
        self._store = store
        self._faults = faults
        self._specs = {spec.id: spec for spec in (http_specs() if specs is None else specs)}
        self._players: dict[str, Player] = {}
        self._lock = threading.Lock()

    def ids(self) -> frozenset[str]:
        return frozenset(self._specs)

    def player(self, destination: str) -> Player | None:
        """The player of a destination; None where the catalog has none of that id."""
        player = self._players.get(destination)
        if player is not None or destination not in self._specs:
            return player
        with self._lock:
            return self._players.setdefault(
                destination, Player(self._specs[destination], self._store, self._faults)
            )

    def tell(self, destination: str, values: Mapping[str, Iterable[str]]) -> None:
        """From now on the destination takes only these values for these settings."""
        player = self.player(destination)
        if player is not None:
            told = {name: frozenset(map(str, allowed)) for name, allowed in values.items()}
            player.known = {**player.known, **told}


def http_specs() -> list[Spec]:
    folder = Path(__file__).parents[1] / "catalog"
    specs = (
        Spec.model_validate(yaml.safe_load(path.read_text())) for path in folder.glob("*/*.yaml")
    )
    return [spec for spec in specs if spec.adapter is None]
