"""Who comes to the shop, and what is true of them on a given day.

Days are numbered from the day the shop started to collect events: day 1. Customers
of the half-year before have negative days.
"""

from __future__ import annotations

import polars as pl

from dagster_project.demo.catalogue import FIRST_NAMES, LAST_NAMES
from dagster_project.demo.chance import at_index, below, chance, combine, draw, key_of, pick, unit

FIRST_DAY = -179
"""The oldest customers came on this day: 180 days before day 1."""
COLLECTED_FROM = -13
"""The first web and app files reach back to this day; before it only the ERP and CRM know."""

CONSENTS = {"email": 0.62, "sms": 0.25, "ads": 0.45}
"""Purpose to the share of people who agree to it."""
_PERIODS = {"phone": (60, 240), "consent": (30, 150)}
"""How many days, at least and below, until a person has another phone or chooses anew."""

_COUNTRIES = ["DE", "DE", "DE", "FR", "FR", "NL", "NL", "GB", "GB", "ES", "US", "SE", "IT", "PL"]
_DOMAINS = ["example.com", "example.com", "example.net", "example.org"]
# Codes of the North American plan kept for machines: valid in form, nobody answers, and
# wide enough that every person of a large population has a number of their own.
_AREAS = ["521", "522", "525", "526", "527"]
_NUMBERS_PER_AREA = 8_000_000
_PHONES_PER_PERSON = 4


def population(first: int, last: int, seed: int) -> pl.DataFrame:
    """The people numbered ``first`` up to, not including, ``last``; one row each, in order.

    Columns: ``person`` Int64, ``key`` UInt64, ``rate`` Float64 (chance to come on a day),
    ``arrives`` Int64, ``signs_up`` Int64 (null: never), ``leaves`` Int64 (last day they come,
    null: stays), ``has_app`` / ``second_browser`` Boolean.
    """
    key = pl.col("key")
    kind = unit(key, "kind")
    old, recent = kind < 0.55, kind < 0.70
    waiting = (-(1 - unit(key, "waiting")).log() / 0.04).cast(pl.Int64)
    at_once = chance(key, "signs up at once", 0.55)
    return (
        pl.select(person=pl.int_range(first, last, dtype=pl.Int64))
        .with_columns(key=key_of(pl.col("person"), seed, "person"))
        .with_columns(
            # A few come every other day, most a few times a year.
            rate=(0.065 * (unit(key, "rate") + 1e-4) ** -0.5).clip(0.0, 0.6),
            arrives=pl.when(old)
            .then(FIRST_DAY + below(key, "arrives", COLLECTED_FROM - FIRST_DAY))
            .when(recent)
            .then(COLLECTED_FROM + below(key, "arrives", 2 - COLLECTED_FROM))
            .otherwise(2 + waiting),
            has_app=chance(key, "app", 0.4),
            second_browser=chance(key, "second browser", 0.12),
        )
        .with_columns(
            signs_up=pl.when(old)
            .then(pl.col("arrives"))
            .when(chance(key, "signs up", 0.65))
            .then(pl.col("arrives") + pl.when(at_once).then(0).otherwise(1 + below(key, "lag", 9))),
            leaves=pl.when(old & chance(key, "leaves", 0.35)).then(
                pl.col("arrives") + below(key, "leaves on", 30 - pl.col("arrives"))
            ),
        )
    )


def introduced(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with a ``person`` and ``key``, and who that is: what never changes of a person.

    Adds ``user_id`` / ``first_name`` / ``last_name`` / ``email`` / ``country`` String, ``account``
    Int64 (B2B account, null for consumers), ``has_phone`` / ``asked`` (ever asked for consent) /
    ``aliased`` Boolean. Apart from :func:`population`, because few people come on a day.
    """
    key, person = pl.col("key"), pl.col("person")
    names = (pl.col("first_name").str.to_lowercase(), pl.col("last_name").str.to_lowercase())
    # A mailbox that no mail system takes: destinations refuse it.
    sign = pl.when(chance(key, "malformed", 0.006)).then(pl.lit("(at)")).otherwise(pl.lit("@"))
    return rows.with_columns(
        user_id=pl.format("u-{}", person + 100_000),
        first_name=pick(key, "first name", FIRST_NAMES),
        last_name=pick(key, "last name", LAST_NAMES),
        country=pick(key, "country", _COUNTRIES),
        account=pl.when(chance(key, "business", 0.03)).then(person // 130),
        has_phone=chance(key, "phone", 0.93),
        asked=chance(key, "asked for consent", 0.95),
        aliased=chance(key, "alias", 0.15),
    ).with_columns(
        email=pl.format("{}.{}.{}{}{}", *names, person, sign, pick(key, "domain", _DOMAINS))
    )


def _version(name: str, day: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """How often something of a person changed up to ``day``, and the day it last did."""
    key, (shortest, longest) = pl.col("key"), _PERIODS[name]
    period = shortest + below(key, f"{name} period", longest - shortest)
    count = day + below(key, f"{name} phase", period) - FIRST_DAY
    return count // period, day - count % period


def changed_on(day: pl.Expr) -> pl.Expr:
    """The last day (Int64), up to ``day``, on which a customer signed up or changed something."""
    changes = (_version(name, day)[1] for name in _PERIODS)
    return pl.max_horizontal("signs_up", *changes)


def state_on(day: pl.Expr) -> dict[str, pl.Expr]:
    """What is true on ``day`` of people who are introduced, by column name.

    ``phone`` String (null where there is none), ``consent_<purpose>`` Boolean (null where
    never asked).
    """
    key = pl.col("key")
    phones, choices = _version("phone", day)[0], _version("consent", day)[0]
    number = pl.col("person") * _PHONES_PER_PERSON + phones % _PHONES_PER_PERSON
    area = at_index(_AREAS, (number // _NUMBERS_PER_AREA) % len(_AREAS))
    local = (2_000_000 + number % _NUMBERS_PER_AREA).cast(pl.String)
    spaced = pl.format("+1 {} {} {}", area, local.str.slice(0, 3), local.str.slice(3))
    phone = (
        pl.when(chance(key, "phone is spaced", 0.2))
        .then(spaced)
        .otherwise(pl.format("+1{}{}", area, local))
    )
    choice = combine(key, choices)
    return {
        "phone": pl.when("has_phone").then(phone),
        **{
            f"consent_{purpose}": pl.when("asked").then(chance(choice, f"agrees {purpose}", share))
            for purpose, share in CONSENTS.items()
        },
    }


def device_id(device: pl.Expr) -> pl.Expr:
    """The anonymous id (String) of a person's device: 0 and 2 browsers, 1 the app."""
    return pl.format("anon-{}", draw(combine(pl.col("key"), device), "device"))
