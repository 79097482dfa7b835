"""Visits written as Segment-spec calls, one JSON text each.

Names and properties follow https://segment.com/docs/connections/spec/ecommerce/v2/;
consent follows https://segment.com/docs/privacy/consent-management/consent-in-segment-connections/.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from dagster_project.demo.catalogue import CURRENCY, amount
from dagster_project.demo.chance import at_index, chance
from dagster_project.demo.people import CONSENTS, introduced, state_on
from dagster_project.demo.visits import items, moment

_SECOND = 1000
_PER_PRODUCT = 35 * _SECOND
_INDUSTRIES = ["hospitality", "retail", "architecture", "events", "education"]


def visit_calls(landed: pl.DataFrame, start: date) -> pl.DataFrame:
    """Every call of the visits of :func:`~dagster_project.demo.visits.delivered_on`.

    Columns: ``at`` Datetime (the call's timestamp), ``app`` Boolean (else web), ``copy`` String,
    ``late`` Boolean, ``line`` String (JSON text); by time.
    """
    landed = introduced(landed).with_columns(
        late=pl.col("delivered") > pl.col("day"),
        cart_id=pl.format("cart-{}", pl.col("visit")),
        # Whoever logs in is anonymous on the first page and known from then on.
        caller=pl.when("logs_in").then("user_id"),
    )
    viewed = items(landed, "views")
    added = viewed.filter(pl.col("position") < pl.col("adds"))
    value = (
        added.filter(pl.col("copy") != "repeated")
        .group_by("visit")
        .agg(value=amount((pl.col("cents") * pl.col("quantity")).sum()))
    )
    bought = landed.filter("checkout").join(value, on="visit", how="left", maintain_order="left")
    return pl.concat(
        [
            _opening(landed, start),
            _identify(landed.filter("logs_in"), start),
            _alias(landed.filter("signs_up_now", "aliased"), start),
            _group(landed.filter("logs_in", pl.col("account").is_not_null()), start),
            _track(viewed, "Product Viewed", start, 20 * _SECOND, _product()),
            _track(
                added,
                "Product Added",
                start,
                30 * _SECOND,
                [*_product(), pl.col("quantity"), pl.col("cart_id")],
            ),
            _track(
                bought.with_columns(position=pl.col("views")),
                "Checkout Started",
                start,
                40 * _SECOND,
                [pl.col("cart_id"), pl.col("value"), pl.lit(CURRENCY).alias("currency")],
            ),
        ]
    ).sort("at", maintain_order=True)


def _product() -> list[pl.Expr]:
    price = amount(pl.col("cents")).alias("price")
    return [pl.col("product_id"), pl.col("name"), pl.col("category"), price]


def _encode(
    rows: pl.DataFrame,
    start: date,
    kind: pl.Expr,
    label: pl.Expr,
    after: pl.Expr,
    body: list[pl.Expr],
    extra: list[pl.Expr] | None = None,
    caller: str | None = "caller",
) -> pl.DataFrame:
    """Rows as calls: the fields all calls share, and those of this kind.

    ``label`` tells the calls of one visit apart, ``after`` is the time since the visit began,
    ``body`` the fields of this kind, ``extra`` those its context has beside the usual ones.
    """
    app = pl.col("app")
    at = moment(start, pl.col("day"), pl.col("begins") + after)
    waited = (pl.col("delivered") - pl.col("day")) * pl.duration(days=1)
    stamp = "%Y-%m-%dT%H:%M:%S%.3fZ"
    library = pl.struct(
        name=pl.when(app).then(pl.lit("analytics-ios")).otherwise(pl.lit("analytics.js")),
        version=pl.when(app).then(pl.lit("4.1.8")).otherwise(pl.lit("2.11.1")),
    )
    channel = pl.when(app).then(pl.lit("mobile")).otherwise(pl.lit("browser"))
    return rows.with_columns(at=at).select(
        "at",
        "app",
        "copy",
        "late",
        line=pl.struct(
            kind.alias("type"),
            pl.format("{}-{}", "visit", label).alias("messageId"),
            pl.col("anonymous_id").alias("anonymousId"),
            (pl.col(caller) if caller else pl.lit(None, dtype=pl.String)).alias("userId"),
            pl.col("at").dt.to_string(stamp).alias("timestamp"),
            (pl.col("at") + waited + pl.duration(seconds=1)).dt.to_string(stamp).alias("sentAt"),
            (pl.col("at") + waited + pl.duration(seconds=2))
            .dt.to_string(stamp)
            .alias("receivedAt"),
            *body,
            pl.struct(library.alias("library"), channel.alias("channel"), *(extra or [])).alias(
                "context"
            ),
        ).struct.json_encode(),
    )


def _opening(rows: pl.DataFrame, start: date) -> pl.DataFrame:
    kind = pl.when("app").then(pl.lit("screen")).otherwise(pl.lit("page"))
    body = [pl.lit("Home").alias("name"), pl.struct(path=pl.lit("/")).alias("properties")]
    return _encode(rows, start, kind, pl.lit("home"), pl.lit(0), body, caller=None)


def _identify(rows: pl.DataFrame, start: date) -> pl.DataFrame:
    visit, email = pl.col("visit"), pl.col("email")
    # People type their address as they please.
    typed = (
        pl.when(chance(visit, "capitals", 0.06))
        .then(email.str.to_uppercase())
        .when(chance(visit, "spaces", 0.04))
        .then(pl.format(" {} ", email))
        .otherwise(email)
    )
    choices = pl.struct(pl.col(f"consent_{purpose}").alias(purpose) for purpose in CONSENTS)
    consent = pl.when("asked").then(pl.struct(categoryPreferences=choices))
    traits = pl.struct(typed.alias("email"), "first_name", "last_name", "phone", "country")
    return _encode(
        rows.with_columns(**state_on(pl.col("day"))),
        start,
        pl.lit("identify"),
        pl.lit("identify"),
        pl.lit(8 * _SECOND),
        [traits.alias("traits")],
        [consent.alias("consent")],
    )


def _alias(rows: pl.DataFrame, start: date) -> pl.DataFrame:
    previous = pl.col("anonymous_id").alias("previousId")
    return _encode(rows, start, pl.lit("alias"), pl.lit("alias"), pl.lit(9 * _SECOND), [previous])


def _group(rows: pl.DataFrame, start: date) -> pl.DataFrame:
    account = pl.col("account")
    traits = pl.struct(
        name=pl.format("Account {}", account),
        industry=at_index(_INDUSTRIES, account % len(_INDUSTRIES)),
        employees=5 + account * 7 % 400,
    )
    body = [pl.format("acct-{}", account).alias("groupId"), traits.alias("traits")]
    return _encode(rows, start, pl.lit("group"), pl.lit("group"), pl.lit(10 * _SECOND), body)


def _track(
    rows: pl.DataFrame, event: str, start: date, after: int, properties: list[pl.Expr]
) -> pl.DataFrame:
    body = [pl.lit(event).alias("event"), pl.struct(*properties).alias("properties")]
    label = pl.format("{}-{}", pl.lit(event.split()[-1].lower()), "position")
    pause = after + pl.col("position") * _PER_PRODUCT
    return _encode(rows, start, pl.lit("track"), label, pause, body)
