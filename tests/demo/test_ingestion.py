"""Whether the project's sources take the demo's files: every row, with the verdict foretold."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from dagster_project.demo import generate
from dagster_project.ingestion import ingest, raw_zone
from dagster_project.ingestion.sources import load_sources

SOURCES = Path(__file__).parents[2] / "dagster_project" / "sources.yaml"
NOW = datetime(2026, 1, 8, tzinfo=UTC)
REASONS = {
    "bad_json": "bad_json",
    "unknown_type": "unknown_type",
    "missing_ids": "missing_identity",
    "timestamp_1970": "timestamp_too_old",
    "timestamp_2099": "timestamp_in_future",
    "wrong_type": "wrong_type",
    "bad_price": "expression_failed",
    "truncated_file": "damaged_file",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Two days, generated and ingested one after the other."""
    folder = tmp_path_factory.mktemp("shop")
    sources = load_sources(SOURCES)
    days = []
    for day in (1, 2):
        made = generate(folder / "landing", day)
        days.append((made, ingest(sources, folder / "landing", folder / "raw", NOW)))
    return folder / "raw", days


def _scan(raw: Path, table: str, load: int | None = None) -> pl.DataFrame:
    frame = raw_zone.scan(raw, table).collect()
    return frame if load is None else frame.filter(pl.col("load_seq") == load)


def test_every_call_is_accepted_and_every_flaw_rejected(loaded):
    raw, days = loaded
    for made, report in days:
        (load,) = report.load_seqs
        assert report.files_loaded == len(made.files)
        assert report.unmatched == ()
        events = _scan(raw, "events", load)
        assert Counter(events["source"]) == made.calls
        foretold = Counter()
        for kind, number in made.bad.items():
            foretold[REASONS[kind]] += number
        assert Counter(report.rejected) == +foretold
        assert Counter(_scan(raw, "rejected", load)["reason"]) == +foretold


def test_copies_are_as_many_as_foretold(loaded):
    raw, days = loaded
    one, two = (_scan(raw, "events", report.load_seqs[0]) for _, report in days)
    assert one.height - one["message_id"].n_unique() == days[0][0].repeated
    assert two.height - two["message_id"].n_unique() == days[1][0].repeated
    again = two.filter(pl.col("message_id").is_in(one["message_id"].implode()))
    assert again.height == days[1][0].resent


def test_orders_keep_their_worth(loaded):
    raw, days = loaded
    orders = (
        _scan(raw, "events")
        .filter(pl.col("source") == "erp")
        .with_columns(pl.col("properties").str.json_path_match("$.currency").alias("currency"))
    )
    assert set(orders["event"]) == {"Order Completed", "Order Refunded"}
    assert set(orders["currency"]) == {"EUR"}
    money = orders.select(
        "event",
        pl.coalesce(
            pl.col("properties").str.json_path_match(f"$.{key}") for key in ("revenue", "total")
        ).cast(pl.Decimal(18, 2)),
    )
    exported = (
        pl.concat(
            [pl.read_csv(day.files[2], infer_schema=False).with_columns(day=0) for day, _ in days]
        )
        .filter(pl.col("unit_price") != "n/a")
        .with_columns(
            value=pl.col("quantity").cast(pl.Decimal(18, 2))
            * pl.col("unit_price").cast(pl.Decimal(18, 2))
        )
    )
    for event, status in (("Order Completed", "completed"), ("Order Refunded", "refunded")):
        told = money.filter(pl.col("event") == event)["properties"].sum()
        assert told == exported.filter(pl.col("status") == status)["value"].sum() > 0


def test_customers_say_what_they_agreed_to(loaded):
    raw, days = loaded
    calls = _scan(raw, "events").filter(pl.col("source") == "crm")
    agreed = calls["context"].str.json_path_match("$.consent.categoryPreferences.email")
    table = pl.concat([pl.read_parquet(day.files[3]) for day, _ in days])
    assert (agreed == "true").sum() == table["consent_email"].sum() > 0
    assert (agreed == "false").sum() == (~table["consent_email"]).sum() > 0
    assert calls["traits"].str.json_path_match("$.email").null_count() == 0
    assert calls["message_id"].is_unique().all()


@pytest.mark.parametrize("users", [0, 1, 3])
def test_a_tiny_shop_is_taken_too(tmp_path, users):
    made = generate(tmp_path / "landing", 1, users=users)
    report = ingest(load_sources(SOURCES), tmp_path / "landing", tmp_path / "raw", NOW)
    assert report.events == sum(made.calls.values())
    assert sum(report.rejected.values()) == sum(made.bad.values())
