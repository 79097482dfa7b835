"""Verdicts that the code adapters share, in the shape of the driver contract."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from destinations.driver import KEY, RESULT_SCHEMA, Delivery, Outcome, Status, results_for

MESSAGE_LENGTH = 500


def words(error: BaseException | str) -> str:
    """The destination's own words on one line, bounded, without passwords in URLs."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"(://[^:/@\s]*):[^@\s]+@", r"\1:***@", text)[:MESSAGE_LENGTH]


def accepted(delivery: Delivery, sample: Mapping[str, Any] | None = None) -> Outcome:
    return Outcome(results_for(delivery.rows, Status.ACCEPTED), sample=dict(sample or {}))


def later(delivery: Delivery, error: BaseException | str) -> Outcome:
    """Nothing was taken; the same delivery may succeed another time."""
    return Outcome(results_for(delivery.rows, Status.RETRY, words(error)), whole=True)


def in_doubt(delivery: Delivery, error: BaseException | str) -> Outcome:
    """It was sent and the answer never came."""
    return Outcome(results_for(delivery.rows, Status.IN_DOUBT, words(error)), whole=True)


def refused(delivery: Delivery, error: BaseException | str) -> Outcome:
    """The batch as a whole was refused for its content, no row named."""
    return Outcome(results_for(delivery.rows, Status.REJECTED, words(error)), whole=True)


def stopped(delivery: Delivery, error: BaseException | str) -> Outcome:
    """Nothing was taken, and nothing can be on this connection until somebody mends it."""
    message = words(error)
    return Outcome(results_for(delivery.rows, Status.RETRY, message), whole=True, stop=message)


def row_by_row(
    delivery: Delivery,
    verdicts: Mapping[int, tuple[Status, str]],
    sample: Mapping[str, Any] | None = None,
    stop: str | None = None,
) -> Outcome:
    """Accepted, but for the rows at the positions in ``verdicts``."""
    if not verdicts and stop is None:
        return accepted(delivery, sample)
    positions = list(verdicts)
    named = pl.DataFrame(
        {
            "position": positions,
            "status": [verdicts[position][0].value for position in positions],
            "message": [words(verdicts[position][1]) for position in positions],
        },
        schema={"position": pl.UInt32, "status": pl.String, "message": pl.String},
    )
    results = (
        delivery.rows.select(KEY)
        .with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias("position"))
        .join(named, on="position", how="left", maintain_order="left")
        .with_columns(
            pl.col("status").fill_null(Status.ACCEPTED.value),
            pl.lit(None, dtype=pl.String).alias("remote_id"),
        )
        .select(list(RESULT_SCHEMA))
    )
    return Outcome(results, stop=stop, sample=dict(sample or {}))
