"""A real shop's export through the example mapping: at once, and day by day."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from dagster_project.ingestion import load_sources

ROOT = Path(__file__).parents[2]
EXPORT = ROOT / "../shared/data/uci_online_retail/online_retail.parquet"
EXAMPLE = ROOT / "docs/examples/online_retail/sources.yaml"
pytestmark = pytest.mark.skipif(
    not EXPORT.is_file(), reason="the export is not beside the repository"
)

PRODUCT = pl.Struct(
    {"product_id": pl.String, "name": pl.String, "price": pl.Float64, "quantity": pl.Int64}
)
PROPERTIES = pl.Struct(
    {"order_id": pl.String, "revenue": pl.String, "total": pl.String, "products": pl.List(PRODUCT)}
)


def load(make_zone, root, frames):
    zone = make_zone(root=root)
    zone.sources = load_sources(EXAMPLE)
    folder = zone.landing / "online_retail"
    folder.mkdir(parents=True)
    for name, frame in frames.items():
        frame.write_parquet(folder / f"{name}.parquet")
    report = zone.ingest()
    return zone, report


def test_every_line_of_every_invoice_arrives(make_zone, tmp_path):
    export = pl.read_parquet(EXPORT)
    zone, report = load(make_zone, tmp_path / "whole", {"all": export})
    assert (report.lines, report.events, report.filtered, report.rejected) == (
        541_909,
        25_900,
        0,
        {},
    )
    events = zone.events()
    assert events["user_id"].drop_nulls().n_unique() == 4_372
    facts = events.with_columns(pl.col("properties").str.json_decode(PROPERTIES)).unnest(
        "properties"
    )
    lines = facts.select("order_id", "event", "products").explode("products").unnest("products")
    sign = pl.when(pl.col("event") == "Order Refunded").then(-1).otherwise(1)
    found = lines.select(
        "order_id", "product_id", "name", "price", quantity=pl.col("quantity") * sign
    )
    expected = export.select(
        order_id="InvoiceNo", product_id="StockCode", name="Description", price="UnitPrice",
        quantity=pl.col("Quantity").cast(pl.Int64),
    )  # fmt: skip
    order = expected.columns
    assert found.sort(order).equals(expected.sort(order))

    decimals = export.select(
        "InvoiceNo",
        amount=pl.col("UnitPrice").round(4).cast(pl.Decimal(20, 4)) * pl.col("Quantity"),
    )
    cancelled = pl.col("InvoiceNo").str.starts_with("C")
    for key, rows, factor in (("revenue", ~cancelled, 1), ("total", cancelled, -1)):
        wanted = decimals.filter(rows)["amount"].sum() * factor
        assert sum(map(Decimal, facts[key].drop_nulls())) == wanted


def test_days_give_the_same_events_as_the_whole(make_zone, tmp_path):
    export = pl.read_parquet(EXPORT)
    days = export["source_day"].unique().sort()[:40]
    part = export.filter(pl.col("source_day").is_in(days.implode()))
    whole, _ = load(make_zone, tmp_path / "whole", {"all": part})
    daily, report = load(
        make_zone,
        tmp_path / "daily",
        {day: part.filter(pl.col("source_day") == day) for day in days},
    )
    assert report.files_loaded == 40
    placed = ["file", "line", "loaded_at", "load_seq"]
    events = [zone.events().drop(placed).sort("message_id") for zone in (whole, daily)]
    assert events[0].equals(events[1])
