"""Whether the shop is plausible: its customers, its orders, and how much a day changes."""

from __future__ import annotations

from datetime import datetime, timedelta

import phonenumbers
import polars as pl
import pytest

from dagster_project.demo import generate
from dagster_project.demo.people import introduced, population, state_on

DAYS = 2


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    landing = tmp_path_factory.mktemp("landing")
    return [generate(landing, day) for day in range(1, DAYS + 1)]


def _orders(day) -> pl.DataFrame:
    return (
        pl.read_csv(day.files[2], infer_schema=False)
        .filter(pl.col("unit_price") != "n/a")
        .with_columns(
            pl.col("ordered_at", "refunded_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ"),
            (pl.col("quantity").cast(pl.Int64) * pl.col("unit_price").cast(pl.Float64)).alias(
                "value"
            ),
        )
    )


def _by_customer(orders: pl.DataFrame) -> pl.DataFrame:
    return (
        orders.filter(pl.col("status") == "completed")
        .group_by("user_id")
        .agg(
            orders=pl.col("order_id").n_unique(),
            revenue=pl.col("value").sum(),
            last=pl.col("ordered_at").max(),
        )
    )


def _loyal(orders: pl.DataFrame) -> set[str]:
    loyal = _by_customer(orders).filter(pl.col("orders") >= 5, pl.col("revenue") > 1000)
    return set(loyal["user_id"])


def _lapsed(orders: pl.DataFrame, now: datetime) -> set[str]:
    lapsed = _by_customer(orders).filter(pl.col("last") < now - timedelta(days=90))
    return set(lapsed["user_id"])


def test_segments_are_neither_empty_nor_everybody(days):
    orders = _orders(days[0])
    customers = _by_customer(orders).height
    assert 0.02 < len(_loyal(orders)) / customers < 0.25
    assert 0.05 < len(_lapsed(orders, datetime.fromisoformat("2026-01-06"))) / customers < 0.4
    agreed = pl.read_parquet(days[0].files[3])["consent_email"]
    assert 0.4 < agreed.sum() / agreed.len() < 0.8
    assert agreed.null_count() > 0


def test_the_first_day_brings_half_a_year_of_orders(days):
    ordered = _orders(days[0])["ordered_at"]
    assert (
        datetime.fromisoformat("2025-07-10") <= ordered.min() < datetime.fromisoformat("2025-08-01")
    )
    assert ordered.max() < datetime.fromisoformat("2026-01-06")
    assert (ordered.dt.date() == datetime.fromisoformat("2026-01-05").date()).any()


def test_the_second_day_moves_people_in_and_out(days):
    one, two = _orders(days[0]), pl.concat([_orders(day) for day in days])
    assert _loyal(two) - _loyal(one)
    before, after = (
        _lapsed(one, datetime.fromisoformat("2026-01-06")),
        _lapsed(two, datetime.fromisoformat("2026-01-07")),
    )
    assert after - before
    first, second = (pl.read_parquet(day.files[3]) for day in days)
    changed = second.join(first, on="customer_id", how="inner")
    email, before_email = pl.col("consent_email"), pl.col("consent_email_right")
    assert changed.filter(before_email, ~email).height > 0
    assert changed.filter(pl.col("phone") != pl.col("phone_right")).height > 0


def test_the_second_day_changes_a_modest_share(days, read_calls):
    known = set(pl.read_parquet(days[0].files[3])["customer_id"])
    touched = {
        call["userId"]
        for path in days[1].files[:2]
        for call in read_calls(path)
        if isinstance(call["userId"], str)
    }
    touched |= set(_orders(days[1])["user_id"])
    touched |= set(pl.read_parquet(days[1].files[3])["customer_id"])
    assert touched - known
    assert 0.05 < len(touched) / len(known) < 0.15


def test_whoever_is_refunded_had_ordered_the_same(days):
    orders = pl.concat([_orders(day) for day in days])
    line = ["order_id", "user_id", "sku", "quantity", "unit_price", "ordered_at"]
    completed = orders.filter(pl.col("status") == "completed")
    refunded = orders.filter(pl.col("status") == "refunded")
    assert 0.02 < refunded["order_id"].n_unique() / completed["order_id"].n_unique() < 0.2
    assert refunded.join(completed, on=line, how="anti").is_empty()
    assert (refunded["refunded_at"] > refunded["ordered_at"]).all()
    # Nobody is refunded twice, nothing is exported twice.
    for status in ("completed", "refunded"):
        per_day = [set(_orders(day).filter(pl.col("status") == status)["order_id"]) for day in days]
        assert not per_day[0] & per_day[1]


def test_prices_are_written_in_whole_cents(days):
    assert _orders(days[0])["unit_price"].str.contains(r"^\d+\.90$").all()


def _people_on(day: int, count: int) -> pl.DataFrame:
    people = introduced(population(0, count, seed=3))
    return people.with_columns(**state_on(pl.lit(day, dtype=pl.Int64)))


def test_phones_and_mailboxes_belong_to_one_person_each():
    people, later = _people_on(1, 20_000), _people_on(300, 20_000)
    assert people["email"].n_unique() == 20_000
    owners = (
        pl.concat([people, later])
        .drop_nulls("phone")
        .with_columns(pl.col("phone").str.replace_all(" ", ""))
        .group_by("phone")
        .agg(pl.col("person").n_unique())
    )
    assert owners["person"].max() == 1
    assert people["phone"].null_count() > 0
    assert people.filter(~pl.col("email").str.contains("@")).height > 0


def test_phones_are_valid_in_form():
    for phone in _people_on(1, 300)["phone"].drop_nulls():
        assert phonenumbers.is_valid_number(phonenumbers.parse(phone))


def test_people_keep_coming_on_later_days():
    people = population(0, 5000, seed=7)
    arrivals = people["arrives"]
    assert (arrivals <= 1).mean() == pytest.approx(0.7, abs=0.03)
    assert all((arrivals == day).sum() > 0 for day in range(2, 12))
    signed_up = people.drop_nulls("signs_up")
    assert (signed_up["signs_up"] >= signed_up["arrives"]).all()
    # A few come often, most seldom.
    rates = people["rate"].sort(descending=True)
    assert rates.head(500).sum() > 2.5 * rates.tail(500).sum()
