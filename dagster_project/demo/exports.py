"""What the shop's other systems export: orders and refunds of the ERP, customers of the CRM."""

from __future__ import annotations

from datetime import date

import polars as pl

from dagster_project.demo.catalogue import CURRENCY
from dagster_project.demo.chance import below, chance, combine, unit
from dagster_project.demo.people import COLLECTED_FROM, changed_on, introduced, state_on
from dagster_project.demo.visits import HOUR, basket_size, items, moment

REFUND_WITHIN = 7
"""An order is refunded at most this many days later."""
_REFUNDED, _RETURNER, _RETURNED = 0.05, 0.05, 0.6  # orders; people; orders of those people
_HISTORY_ORDERS = 0.25  # per day on which somebody might have come


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
            day=pl.col("arrives") + below(combine(key, pl.col("number")), "ordered", pl.col("span"))
        )
        .unique(["person", "day"], keep="first", maintain_order=True)
        .with_columns(visit=combine(key, pl.col("day")))
        .with_columns(begins=7 * HOUR + below(visit, "begins", 15 * HOUR), adds=basket_size(visit))
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
    ordered = moment(start, placed_on, pl.col("begins") + HOUR // 2)
    refund_day = placed_on + 1 + below(visit, "refund after", REFUND_WITHIN)
    refunded = moment(start, refund_day, 6 * HOUR + below(visit, "refund at", HOUR))
    # Some people send back most of what they buy.
    returner = chance(pl.col("key"), "returner", _RETURNER)
    share = pl.when(returner).then(_RETURNED).otherwise(_REFUNDED)
    orders = placed.with_columns(
        ordered_at=ordered,
        refund_day=pl.when(unit(visit, "refund") < share).then(refund_day),
    )

    def due(column: str) -> pl.Expr:
        return pl.col(column) == day if day > 1 else pl.col(column) <= day

    exported = pl.concat(
        [
            orders.filter(due("day")).with_columns(
                refunded_at=pl.lit(None, dtype=pl.Datetime("ms")), status=pl.lit("completed")
            ),
            orders.filter(due("refund_day")).with_columns(
                refunded_at=refunded, status=pl.lit("refunded")
            ),
        ]
    )
    return items(introduced(exported), "adds").select(
        pl.format("SO-{}-{}", pl.col("ordered_at").dt.to_string("%Y%m%d"), "person").alias(
            "order_id"
        ),
        "user_id",
        pl.col("product_id").alias("sku"),
        pl.col("name").alias("product"),
        "quantity",
        (pl.col("cents").cast(pl.Decimal(10, 2)) / 100).cast(pl.Decimal(10, 2)).alias("unit_price"),
        pl.lit(CURRENCY).alias("currency"),
        "ordered_at",
        "refunded_at",
        "status",
    )


def customers(people: pl.DataFrame, day: int, start: date) -> pl.DataFrame:
    """What the CRM exports on ``day``: customers new or changed that day; on day 1 all of them.

    Columns: ``customer_id``, ``email``, ``first_name``, ``last_name``, ``phone``, ``country``,
    ``customer_type`` (``business`` or ``consumer``) String, ``consent_<purpose>`` Boolean,
    ``created_at`` and ``updated_at`` Datetime.
    """
    as_of = pl.lit(day, dtype=pl.Int64)
    changed = pl.col("changed")
    # The CRM closes its day after the shop's last visit.
    closing = 23 * HOUR + below(pl.col("key"), "closing", HOUR // 2)
    due = people.filter(pl.col("signs_up") <= day).with_columns(changed=changed_on(as_of))
    new = introduced(due.filter(changed == day) if day > 1 else due)
    return new.with_columns(**state_on(as_of)).select(
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
        moment(start, pl.col("signs_up"), closing - HOUR * 2).alias("created_at"),
        moment(start, changed, closing).alias("updated_at"),
    )
