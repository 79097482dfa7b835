"""Declarations as dbt's manifest would hold them, and a state folder of a test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from dagster_project.declarations import Sync, audiences_of, syncs_in
from destinations.connections import load_connections
from destinations.paths import audiences_dir, connections_file
from destinations.sync.snapshot import publish

ROOT = Path(__file__).parents[2]
COLUMNS = {
    "profile_id": "varchar",
    "email": "varchar",
    "country": "varchar",
    "orders_count": "bigint",
    "consent_email": "boolean",
}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("STOREROOM_NOTIFIER", "STOREROOM_NOTIFIER_URL", "STOREROOM_CONNECTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STOREROOM_PROJECT", str(ROOT))
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path / "state"))
    # A session's dbt reads these; what it was told must not outlive the test.
    for name in (
        "STOREROOM_WAREHOUSE",
        "STOREROOM_RAW",
        "STOREROOM_SYNCS",
        "DBT_EXCLUDE_RESOURCE_TYPES",
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path / "state"


@pytest.fixture
def manifest() -> Callable[..., dict[str, Any]]:
    """Makes dbt's manifest of audiences: name -> syncs, all with the same columns."""

    def make(columns: dict[str, str] | None = None, **audiences: list[Any]) -> dict[str, Any]:
        declared = COLUMNS if columns is None else columns
        return {
            "nodes": {
                f"model.storeroom.{name}": {
                    "resource_type": "model",
                    "name": name,
                    "fqn": ["storeroom", "audiences", name],
                    "description": f"All of {name}.",
                    "original_file_path": f"models/audiences/{name}.sql",
                    "patch_path": f"storeroom://models/audiences/{name}.yml",
                    "config": {"meta": {"audience": {"key": "profile_id"}, "syncs": syncs}},
                    "columns": {c: {"data_type": kind} for c, kind in declared.items()},
                }
                for name, syncs in audiences.items()
            }
        }

    return make


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes the connections file: name -> what stands under it (a table of SQLite by default)."""

    def write(**entries: dict[str, Any]) -> None:
        plain = {
            "destination": "sqlite",
            "consent": "not_required",
            "settings": {"path": {"state": "out.sqlite"}, "table": "people"},
        }
        path = tmp_path / "connections.yaml"
        content = {"connections": {name: plain | entry for name, entry in entries.items()}}
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        monkeypatch.setenv("STOREROOM_CONNECTIONS", str(path))

    write(tables={})
    return write


@pytest.fixture
def declared(manifest: Any, connections: Any) -> Callable[..., list[Sync]]:
    """Declares syncs and returns them as the definitions see them."""

    def declare(columns: dict[str, str] | None = None, **audiences: list[Any]) -> list[Sync]:
        return syncs_in(
            audiences_of(manifest(columns, **audiences)), load_connections(connections_file())
        )

    return declare


@pytest.fixture
def published() -> Callable[..., pl.DataFrame]:
    """Publishes an audience of a few rows."""

    def write(audience: str, rows: int = 3) -> pl.DataFrame:
        numbers = range(rows)
        frame = pl.DataFrame(
            {
                "profile_id": [f"p{n}" for n in numbers],
                "email": [f"u{n}@example.org" for n in numbers],
                "country": ["DE"] * rows,
                "orders_count": list(numbers),
                "consent_email": [True] * rows,
            },
            schema_overrides={"orders_count": pl.Int64},
        )
        publish(audiences_dir(), audience, "profile_id", frame.write_parquet)
        return frame

    return write
