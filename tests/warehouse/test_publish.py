"""Audience tables become snapshots, and the warehouse is free again."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest

from dagster_project.warehouse.publish import audience_keys, publish_audiences
from dagster_project.warehouse.writer import wait_for_writer
from destinations.errors import ConfigurationError, StoreroomError
from destinations.sync.snapshot import current

NAME = "audience_newsletter"


@pytest.fixture
def warehouse(state: Path) -> Path:
    path = state / "warehouse" / "storeroom.duckdb"
    path.parent.mkdir(parents=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            f"""create table {NAME} as
            select format('{{:05}}', (x * 7919) % 1000) as profile_id, 'ü' || x as first_name,
                x % 2 = 0 as consent_email, x::decimal(18, 4) as revenue
            from range(1000) as r (x)"""
        )
    return path


def test_every_audience_has_a_key(state: Path) -> None:
    assert set(audience_keys().values()) == {"profile_id"}
    assert NAME in audience_keys()


def test_publishes_sorted_rows_and_lets_go(warehouse: Path, state: Path) -> None:
    (snapshot,) = publish_audiences([NAME])
    wait_for_writer(warehouse, timeout=0)

    rows = pl.read_parquet(snapshot.path)
    assert snapshot.rows == rows.height == 1000
    assert rows["profile_id"].is_sorted()
    assert rows.schema["revenue"] == pl.Decimal(18, 4)
    found = current(state / "audiences", NAME)
    assert found is not None
    assert found.version == snapshot.version


def test_same_rows_in_another_order_have_the_same_digest(warehouse: Path) -> None:
    (first,) = publish_audiences([NAME])
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute(f"create or replace table {NAME} as from {NAME} order by first_name")
    (second,) = publish_audiences([NAME])
    assert second.version > first.version
    assert second.digest == first.digest


def test_names_what_is_missing(warehouse: Path) -> None:
    with pytest.raises(ConfigurationError, match="audience_newsleter") as caught:
        publish_audiences(["audience_newsleter"])
    assert NAME in caught.value.fix
    with pytest.raises(StoreroomError, match="audience_loyal_customers"):
        publish_audiences(["audience_loyal_customers"])
