"""What analysts declared: the audiences and their syncs, read from dbt's manifest.

An audience is a model under ``models/audiences``; its syncs stand under its
``config.meta.syncs``. Everything is checked against the connections and against what
each destination can do before anything runs.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from destinations.connections import Connection, load_connections
from destinations.driver import Driver
from destinations.errors import ConfigurationError
from destinations.paths import audiences_dir, connections_file
from destinations.registry import capabilities_of, check_settings, open_driver, place_of
from destinations.sync.config import SyncConfig, syncs_of
from destinations.sync.snapshot import current
from destinations.sync.validation import consent_column, validate

AUDIENCES = "audiences"
POLARS_TYPES = {
    "bigint": "Int64",
    "boolean": "Boolean",
    "date": "Date",
    "double": "Float64",
    "integer": "Int32",
    "text": "String",
    "timestamp": "Datetime",
    "varchar": "String",
}
"""SQL types as a yml names them, as Polars reads them back; others are not checked."""


@dataclass(frozen=True)
class Audience:
    """One audience model, as dbt knows it."""

    name: str
    key: str
    description: str
    owner: str | None
    columns: dict[str, str]
    """Declared columns and their Polars types (empty text where the yml names none we know)."""
    origin: str
    """The yml file, for messages."""
    syncs: tuple[SyncConfig, ...] = field(default=())


@dataclass(frozen=True)
class Sync:
    """One declared sync with the connection it names."""

    config: SyncConfig
    connection: Connection
    audience: Audience

    @property
    def name(self) -> str:
        """``<connection>/<audience>``: how commands and assets call it."""
        return f"{self.connection.name}/{self.audience.name}"

    @property
    def consent_column(self) -> str | None:
        """The audience column that must be true for a row to travel; None: no consent needed."""
        return consent_column(self.connection.consent)

    @property
    def place(self) -> str:
        """Names where the rows go; see :func:`destinations.registry.place_of`."""
        return place_of(self.connection, self.config.target)

    def driver(self) -> Driver:
        """Open the destination. Settings come from the environment now, not earlier."""
        return open_driver(self.connection, self.config.target, self.config.key, self.audience.name)


def audiences_of(manifest: Mapping[str, Any]) -> list[Audience]:
    """Every audience model of the manifest, by name.

    Raises:
        ConfigurationError: a ``meta`` entry that does not fit; the message names the yml file.
    """
    found = []
    for node in manifest["nodes"].values():
        if node["resource_type"] != "model" or AUDIENCES not in node["fqn"][1:-1]:
            continue
        meta = node["config"].get("meta", {})
        origin = (node.get("patch_path") or node["original_file_path"]).partition("://")
        configs = syncs_of(node["name"], meta, origin[2] or origin[0])
        found.append(
            Audience(
                name=node["name"],
                key=meta.get("audience", {}).get("key", "profile_id"),
                description=node["description"],
                owner=meta.get("owner"),
                columns={
                    name: POLARS_TYPES.get((column.get("data_type") or "").lower(), "")
                    for name, column in node["columns"].items()
                },
                origin=origin[2] or origin[0],
                syncs=tuple(configs),
            )
        )
    return sorted(found, key=lambda audience: audience.name)


def syncs_in(audiences: Iterable[Audience], connections: Mapping[str, Connection]) -> list[Sync]:
    """Join each declared sync with its connection; by name.

    Raises:
        ConfigurationError: a sync names a connection that does not exist.
    """
    syncs = []
    for audience in audiences:
        for config in audience.syncs:
            connection = connections.get(config.connection)
            if connection is None:
                near = difflib.get_close_matches(config.connection, connections, n=1)
                raise ConfigurationError(
                    f"{audience.origin}: {audience.name} syncs to connection "
                    f"'{config.connection}', which {connections_file().name} does not have.",
                    f"Did you mean '{near[0]}'?"
                    if near
                    else f"It has: {', '.join(sorted(connections))}.",
                )
            syncs.append(Sync(config, connection, audience))
    return sorted(syncs, key=lambda sync: sync.name)


def check(sync: Sync) -> None:
    """Refuse a sync that no run could carry out.

    Columns are those that the yml declares; where it declares none, those of the audience
    as last published; before the first publication only the destination's side is checked.

    Raises:
        ConfigurationError: with everything that is wrong and what to write instead.
    """
    check_settings(sync.connection, sync.config.target)
    columns = sync.audience.columns
    if not columns:
        snapshot = current(audiences_dir(), sync.audience.name)
        columns = snapshot.columns if snapshot else dict.fromkeys(_named_columns(sync), "")
    validate(sync.config, columns, capabilities_of(sync.connection), sync.connection.consent)


def _named_columns(sync: Sync) -> set[str]:
    where = sync.config.where
    named = {sync.config.key, *sync.config.columns.values()}
    named |= set(pl.sql_expr(where).meta.root_names()) if where else set()
    return named | ({sync.consent_column} if sync.consent_column else set())


def load(manifest: Path) -> list[Sync]:
    """Read and check every declared sync, by name.

    Raises:
        ConfigurationError: something declared cannot be run.
    """
    content = json.loads(manifest.read_text(encoding="utf-8"))
    syncs = syncs_in(audiences_of(content), load_connections(connections_file()))
    for sync in syncs:
        check(sync)
    return syncs


def select(syncs: Iterable[Sync], connection: str | None, audience: str | None) -> list[Sync]:
    """Those of a connection and an audience; None stands for any.

    Raises:
        ConfigurationError: there is none.
    """
    known = list(syncs)
    found = [
        sync
        for sync in known
        if connection in (None, sync.connection.name) and audience in (None, sync.audience.name)
    ]
    if not found:
        raise ConfigurationError(
            f"No sync of {connection or 'any connection'} and {audience or 'any audience'}.",
            f"Declared are: {', '.join(sync.name for sync in known) or 'none'}.",
        )
    return found
