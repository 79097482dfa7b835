"""Reads what a driver answered; whatever is not said clearly of a row leaves it in doubt."""

from __future__ import annotations

import polars as pl

from destinations.driver import KEY, RESULT_SCHEMA, Delivery, Outcome, Status, results_for
from destinations.masking import masked_series

_STATUSES = [status.value for status in Status]


def checked(delivery: Delivery, outcome: Outcome) -> pl.DataFrame:
    """Exactly one result per row of ``delivery``, in its order (``RESULT_SCHEMA``).

    A row that the answer leaves out, names twice or gives an unknown status is in doubt:
    it is never taken for accepted. What messages say of people is masked: they go into the
    ledger, reports and logs.
    """
    results = _complete(delivery, outcome)
    if results["message"].null_count() == results.height:
        return results
    return results.with_columns(masked_series(results["message"]))


def _complete(delivery: Delivery, outcome: Outcome) -> pl.DataFrame:
    rows, results = delivery.rows, outcome.results
    if not set(RESULT_SCHEMA) <= set(results.columns):
        missing = ", ".join(sorted(set(RESULT_SCHEMA) - set(results.columns)))
        return results_for(rows, Status.IN_DOUBT, f"answer without {missing}")
    if dict(results.schema) != RESULT_SCHEMA:
        results = results.select(pl.col(name).cast(dtype) for name, dtype in RESULT_SCHEMA.items())
    if results[KEY].equals(rows[KEY]):
        status = results["status"]
        if all_are(status, Status.ACCEPTED) or status.is_in(_STATUSES).all():
            return results
    known = results.with_columns(times=pl.len().over(KEY)).unique(KEY, keep="any")
    joined = rows.select(KEY).join(known, on=KEY, how="left", maintain_order="left")
    fault = (
        pl.when(pl.col("times").is_null())
        .then(pl.lit("the answer does not name this row"))
        .when(pl.col("times") > 1)
        .then(pl.lit("the answer names this row more than once"))
        .when(~pl.col("status").is_in(_STATUSES).fill_null(False))
        .then(pl.lit("the answer gives this row no known status"))
    )
    return joined.with_columns(fault.alias("fault")).select(
        KEY,
        pl.when(pl.col("fault").is_null())
        .then("status")
        .otherwise(pl.lit(Status.IN_DOUBT.value))
        .alias("status"),
        pl.coalesce("fault", "message").alias("message"),
        "remote_id",
    )


def all_are(statuses: pl.Series, status: Status) -> bool:
    """Whether every row has this status (null is none)."""
    # A list is counted much faster than a Series where it is short, and as fast where it is not.
    return statuses.to_list().count(status.value) == len(statuses)


def failed(delivery: Delivery, error: Exception) -> Outcome:
    """The outcome of a driver that raised: it must not, so nothing is known of the rows."""
    message = f"the driver failed: {type(error).__name__}: {error}"
    return Outcome(results=results_for(delivery.rows, Status.IN_DOUBT, message), requests=0)


def to_bisect(delivery: Delivery, outcome: Outcome, results: pl.DataFrame, per_row: bool) -> bool:
    """Whether a refusal is of the batch and smaller batches may get through."""
    return (
        (outcome.whole or not per_row)
        and delivery.rows.height > 1
        and all_are(results["status"], Status.REJECTED)
    )
