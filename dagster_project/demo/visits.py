"""Visits to the shop, what was looked at in them, and the orders they ended in."""

from __future__ import annotations

from datetime import date

import polars as pl

from dagster_project.demo.catalogue import CURRENCY, product_of, products, quantity_of
from dagster_project.demo.chance import at_index, below, chance, combine, draw, unit
from dagster_project.demo.people import COLLECTED_FROM, device_id, state_on

LATEST = 3
"""An app that was offline hands its visit in at most this many days later."""
REFUND_WITHIN = 7
_REFUNDED, _RETURNER, _RETURNED = 0.05, 0.05, 0.6  # orders; people; orders of those people
_RESENT = 0.01
_REPEATED = 0.006
_HISTORY_ORDERS = 0.25  # orders per visit, before collection began
_HOUR = 3_600_000
_DAY = 24 * _HOUR


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
            begins=7 * _HOUR + below(visit, "begins", 15 * _HOUR),
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


def history_orders(people: pl.DataFrame) -> pl.DataFrame:
    """The orders of customers before web calls were collected, in the columns orders need.

    Columns: those of the population, and ``visit`` UInt64, ``day`` Int64, ``begins`` Int64,
    ``adds`` Int64; at most one per person and day.
    """
    key, visit = pl.col("key"), pl.col("visit")
    until = pl.min_horizontal(pl.col("leaves"), pl.lit(COLLECTED_FROM - 1, dtype=pl.Int64))
    span = until - pl.col("arrives") + 1
    count = (pl.col("rate") * span * _HISTORY_ORDERS + unit(key, "history")).cast(pl.Int64)
    return (
        people.filter(pl.col("arrives") < COLLECTED_FROM)
        .with_columns(span=span)
        .with_columns(number=pl.int_ranges(0, count))
        .explode("number", empty_as_null=False)
        .with_columns(
            day=pl.col("arrives")
            + (
                draw(combine(key, pl.col("number")), "ordered") % pl.col("span").cast(pl.UInt64)
            ).cast(pl.Int64)
        )
        .unique(["person", "day"], keep="first", maintain_order=True)
        .with_columns(visit=combine(key, pl.col("day")))
        .with_columns(
            begins=7 * _HOUR + below(visit, "begins", 15 * _HOUR), adds=basket_size(visit)
        )
        .drop("span", "number")
    )


def order_lines(placed: pl.DataFrame, day: int, start: date) -> pl.DataFrame:
    """What the ERP exports on ``day``: orders placed that day and refunds made that day.

    ``placed`` holds the orders of the :data:`REFUND_WITHIN` days before as well (on day 1 all
    there ever were). One row per order line: ``order_id``, ``user_id``, ``sku``, ``product``
    String, ``quantity`` Int64, ``unit_price`` Decimal(10, 2), ``currency`` String,
    ``ordered_at`` Datetime, ``refunded_at`` Datetime (null unless refunded), ``status`` String
    (``completed`` or ``refunded``; a refunded order was exported as completed before).
    """
    visit, placed_on = pl.col("visit"), pl.col("day")
    ordered = moment(start, placed_on, pl.col("begins") + _HOUR // 2)
    refund_day = placed_on + 1 + below(visit, "refund after", REFUND_WITHIN)
    refunded = moment(start, refund_day, 6 * _HOUR + below(visit, "refund at", _HOUR))
    # Some people send back most of what they buy.
    returner = chance(pl.col("key"), "returner", _RETURNER)
    share = pl.when(returner).then(_RETURNED).otherwise(_REFUNDED)
    rows = items(
        placed.with_columns(
            order_id=pl.format("SO-{}-{}", ordered.dt.to_string("%Y%m%d"), pl.col("person")),
            ordered_at=ordered,
            refunded_at=pl.when(unit(visit, "refund") < share).then(refunded),
            refund_day=refund_day,
        ),
        "adds",
    ).select(
        "order_id",
        "user_id",
        pl.col("product_id").alias("sku"),
        pl.col("name").alias("product"),
        "quantity",
        (pl.col("cents").cast(pl.Decimal(10, 2)) / 100).cast(pl.Decimal(10, 2)).alias("unit_price"),
        pl.lit(CURRENCY).alias("currency"),
        "ordered_at",
        "refunded_at",
        "day",
        "refund_day",
    )

    def due(column: str) -> pl.Expr:
        return pl.col(column) == day if day > 1 else pl.col(column) <= day

    completed = rows.filter(due("day")).with_columns(
        refunded_at=pl.lit(None, dtype=pl.Datetime("ms")), status=pl.lit("completed")
    )
    returned = rows.filter(pl.col("refunded_at").is_not_null(), due("refund_day"))
    return pl.concat([completed, returned.with_columns(status=pl.lit("refunded"))]).drop(
        "day", "refund_day"
    )


def customers(people: pl.DataFrame, day: int, start: date) -> pl.DataFrame:
    """What the CRM exports on ``day``: customers new or changed that day; on day 1 all of them.

    Columns: ``customer_id``, ``email``, ``first_name``, ``last_name``, ``phone``, ``country``,
    ``customer_type`` (``business`` or ``consumer``) String, ``consent_<purpose>`` Boolean,
    ``created_at`` and ``updated_at`` Datetime.
    """
    as_of = pl.lit(day, dtype=pl.Int64)
    changed = pl.col("changed_on")
    # The CRM closes its day after the shop's last visit.
    closing = 23 * _HOUR + below(pl.col("key"), "closing", _HOUR // 2)
    state = people.filter(pl.col("signs_up") <= day).with_columns(**state_on(as_of))
    return state.filter(changed == day if day > 1 else changed <= day).select(
        pl.col("user_id").alias("customer_id"),
        "email",
        "first_name",
        "last_name",
        "phone",
        "country",
        pl.when(pl.col("account").is_null())
        .then(pl.lit("consumer"))
        .otherwise(pl.lit("business"))
        .alias("customer_type"),
        "consent_email",
        "consent_sms",
        "consent_ads",
        moment(start, pl.col("signs_up"), closing - _HOUR * 2).alias("created_at"),
        moment(start, changed, closing).alias("updated_at"),
    )
