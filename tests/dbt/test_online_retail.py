"""A year of a real shop, at once and in increments: the same warehouse, with the known totals.

All 305 days one by one: ``STOREROOM_RETAIL_INCREMENTS=305 pytest tests/dbt/test_online_retail.py``.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dagster_project.ingestion import ingest, load_sources

ROOT = Path(__file__).parents[2]
DATA = ROOT / "../shared/data/uci_online_retail/online_retail.parquet"
SOURCES = ROOT / "docs/examples/online_retail/sources.yaml"
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAYS = 305
INCREMENTS = int(os.environ.get("STOREROOM_RETAIL_INCREMENTS", "13"))
LATE = 5
"""The increment that comes last, as days that were forgotten would."""
SECONDS_EACH = 30
"""An increment takes about 4 seconds on two idle cores."""

pytestmark = [
    pytest.mark.skipif(not DATA.is_file(), reason=f"{DATA} is not there"),
    pytest.mark.timeout(300 + SECONDS_EACH * INCREMENTS),
]


def load(frame: pl.DataFrame, name: str, folder: Path) -> None:
    """Land one file and load it."""
    path = folder / "landing" / "online_retail" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    ingest(load_sources(SOURCES), folder / "landing", folder / "raw", NOW)


def test_increments_equal_all_at_once(
    tmp_path: Path, make_warehouse: Callable[[Path, Path], Any], compared_tables: list[str]
) -> None:
    assert LATE < INCREMENTS <= DAYS, f"STOREROOM_RETAIL_INCREMENTS is a number from 6 to {DAYS}"
    frame = pl.read_parquet(DATA)
    days = sorted(frame["source_day"].unique())
    assert len(days) == DAYS

    whole = make_warehouse(tmp_path / "whole.duckdb", tmp_path / "whole/raw")
    load(frame, "year", tmp_path / "whole")
    whole.dbt("run")

    grown = make_warehouse(tmp_path / "grown.duckdb", tmp_path / "grown/raw")
    numbers = [n for n in range(INCREMENTS) if n != LATE] + [LATE]
    for number in numbers:
        chunk = days[number * DAYS // INCREMENTS : (number + 1) * DAYS // INCREMENTS]
        load(
            frame.filter(pl.col("source_day").is_in(chunk)), f"part_{number:03}", tmp_path / "grown"
        )
        # Tables and views keep nothing from one build to the next: the last build makes them.
        grown.dbt("run", *([] if number == 0 else ["--select", "config.materialized:incremental"]))
    grown.dbt("build", "--exclude-resource-type=unit_test")

    assert grown.query("select count(distinct load_seq) from stg_events") == [(INCREMENTS,)]
    for name in compared_tables:
        assert grown.table(name) == whole.table(name), name

    for warehouse in (whole, grown):
        assert warehouse.query("select lines, staged_events from obs_ingestion") == [
            (541_909, 25_900)
        ]
        assert warehouse.query("select count(*), count(user_id) from profiles") == [(4_372, 4_372)]
        assert warehouse.query("select count(*) from loyal_customers") == [(1_028,)]
        assert warehouse.query(
            "select count(*) from audience_loyal_customers where lifetime_revenue > 1000"
        ) == [(1_028,)]

    assert_members_are_those_of_the_file(whole, frame)


def assert_members_are_those_of_the_file(warehouse: Any, frame: pl.DataFrame) -> None:
    amount = pl.col("Quantity") * pl.col("UnitPrice")
    expected = (
        frame.filter(pl.col("CustomerID").is_not_null(), ~pl.col("InvoiceNo").str.starts_with("C"))
        .group_by("CustomerID")
        .agg(pl.col("InvoiceNo").n_unique().alias("orders"), amount.sum().round(2).alias("revenue"))
        .filter(pl.col("orders") >= 5, pl.col("revenue") > 1000)
        .sort(pl.col("CustomerID").cast(pl.String))
    )
    found = warehouse.query(
        """select user_id, orders_count, round(revenue::double, 2)
        from loyal_customers join profile_traits using (profile_id) order by user_id"""
    )
    assert len(found) == 1_028
    assert found == [
        (str(customer), orders, pytest.approx(revenue, abs=0.01))
        for customer, orders, revenue in expected.iter_rows()
    ]
