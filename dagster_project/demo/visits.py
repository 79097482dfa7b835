"""Visits to the shop, and what was looked at in them."""

from __future__ import annotations

from datetime import date

import polars as pl

from dagster_project.demo.catalogue import product_of, products, quantity_of
from dagster_project.demo.chance import at_index, below, chance, combine, unit
from dagster_project.demo.people import device_id

LATEST = 3
"""An app that was offline hands its visit in at most this many days later."""
_RESENT = 0.01
_REPEATED = 0.006
HOUR = 3_600_000
_DAY = 24 * HOUR


def moment(start: date, day: pl.Expr, milliseconds: pl.Expr) -> pl.Expr:
    """The time (Datetime, UTC without zone) so many milliseconds into a day of the shop."""
    return pl.lit(start).cast(pl.Datetime("ms")) + pl.duration(
        milliseconds=(day - 1) * _DAY + milliseconds, time_unit="ms"
    )


def visits(people: pl.DataFrame, first_day: int, last_day: int) -> pl.DataFrame:
    """One row per person and day on which they came: at most one visit a day.

    Columns: those of the population, and ``visit`` UInt64 (key), ``day`` Int64, ``begins`` Int64
    (milliseconds into the day), ``delivered`` Int64 (day on which its calls reach the landing
    zone), ``repeated`` / ``resent`` Boolean (calls delivered twice that day / again the day
    after), ``app`` / ``known`` / ``signs_up_now`` / ``logs_in`` / ``checkout`` / ``orders``
    Boolean, ``anonymous_id`` String, ``views`` / ``adds`` Int64.
    """
    key, visit, day = pl.col("key"), pl.col("visit"), pl.col("day")
    days = pl.select(day=pl.int_range(first_day, last_day + 1, dtype=pl.Int64))
    came = (
        people.select("person", "key", "rate", "arrives", "signs_up", "leaves")
        .join(days, how="cross", maintain_order="left_right")
        .filter(day >= pl.col("arrives"), day <= pl.col("leaves").fill_null(day))
        .select(
            "person",
            "day",
            combine(key, day).alias("visit"),
            sure=((day == pl.col("arrives")) | (day == pl.col("signs_up"))).fill_null(value=False),
            rate="rate",
        )
        .filter(pl.col("sure") | (unit(visit, "comes") < pl.col("rate")))
        .select("person", "day", "visit")
    )
    orders = pl.col("checkout") & pl.col("logs_in") & chance(visit, "orders", 0.85)
    browser = pl.when(pl.col("second_browser") & chance(visit, "second browser", 0.3)).then(2)
    return (
        came.join(people, on="person", how="left", maintain_order="left")
        .with_columns(
            known=(pl.col("signs_up") <= day).fill_null(value=False),
            signs_up_now=(pl.col("signs_up") == day).fill_null(value=False),
            app=pl.col("has_app") & chance(visit, "app", 0.45),
            views=1 + below(visit, "views", 6),
            begins=7 * HOUR + below(visit, "begins", 15 * HOUR),
        )
        .with_columns(
            logs_in=pl.col("signs_up_now") | (pl.col("known") & chance(visit, "logs in", 0.6)),
            adds=pl.when(chance(visit, "adds", 0.5)).then(basket_size(visit)).otherwise(0),
            delivered=day
            + pl.when(pl.col("app") & chance(visit, "late", 0.04))
            .then(1 + below(visit, "late by", LATEST))
            .otherwise(0),
            resent=chance(visit, "resent", _RESENT),
            repeated=chance(visit, "repeated", _REPEATED),
            anonymous_id=device_id(pl.when("app").then(1).otherwise(browser.otherwise(0))),
        )
        # What is added was looked at first.
        .with_columns(views=pl.max_horizontal("views", "adds"))
        .with_columns(checkout=(pl.col("adds") > 0) & chance(visit, "checkout", 0.7))
        .with_columns(orders=orders)
    )


def basket_size(visit: pl.Expr) -> pl.Expr:
    """How many products (Int64) go into the cart: the first ones looked at."""
    return 1 + below(visit, "basket", 3)


def items(found: pl.DataFrame, count: str) -> pl.DataFrame:
    """The products of each visit of ``found``: one row for each of the first ``count`` ones.

    Adds the columns ``position`` Int64 (from 0), ``product_id`` / ``name`` / ``category``
    String, ``cents`` Int64, ``quantity`` Int64.
    """
    catalogue = products()
    item, index = pl.col("item"), pl.col("index")
    return (
        found.filter(pl.col(count) > 0)
        .with_columns(position=pl.int_ranges(0, pl.col(count)))
        .explode("position")
        .with_columns(item=combine(pl.col("visit"), pl.col("position")))
        .with_columns(index=product_of(item), quantity=quantity_of(item))
        .with_columns(at_index(catalogue[name], index).alias(name) for name in catalogue.columns)
        .drop("item", "index")
    )


def delivered_on(found: pl.DataFrame, day: int) -> pl.DataFrame:
    """The visits whose calls land on ``day``; day 1 also takes all that came before it.

    Adds ``copy`` String: ``first``, ``repeated`` (within the day) or ``resent`` (from the day
    before); a visit with two copies stands twice.
    """
    delivered = pl.col("delivered")
    due = found.filter(delivered == day if day > 1 else delivered <= day)
    parts = [
        due.with_columns(copy=pl.lit("first")),
        due.filter("repeated").with_columns(copy=pl.lit("repeated")),
    ]
    if day > 1:
        again = found.filter("resent", delivered == day - 1)
        parts.append(again.with_columns(copy=pl.lit("resent")))
    return pl.concat(parts)
