"""Lines that no collector should send, and every collector does."""

from __future__ import annotations

import polars as pl

SHARE = 0.002
"""Of each kind so many lines per good line; one at least where there are 100 good lines."""

_LINE = pl.col("line")


def _swapped(field: str, value: str) -> pl.Expr:
    return _LINE.str.replace(f'"{field}":("[^"]*"|null)', f'"{field}":{value}')


_FLAWS = {
    "bad_json": _LINE.str.head(_LINE.str.len_chars() // 2),
    "unknown_type": _swapped("type", '"telemetry"'),
    "missing_ids": _LINE.str.replace('"anonymousId":"[^"]*"', '"anonymousId":null').str.replace(
        '"userId":"[^"]*"', '"userId":null'
    ),
    "timestamp_1970": _swapped("timestamp", '"1970-01-01T00:00:00.000Z"'),
    "timestamp_2099": _swapped("timestamp", '"2099-12-31T23:59:59.000Z"'),
    "wrong_type": _swapped("userId", '{"id":17}'),
}
BAD_PRICE = "bad_price"
KINDS = (*_FLAWS, BAD_PRICE)


def flawed(calls: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Per kind of flaw the bad lines (``line`` String) that go with these good calls.

    They are spoilt copies with message ids of their own, so that they stand in addition
    to the good calls: whoever rejects them loses nothing.
    """
    found = {}
    for place, (kind, spoil) in enumerate(_FLAWS.items()):
        marked = _LINE.str.replace('"messageId":"', f'"messageId":"{kind}-', literal=True)
        found[kind] = _some(calls, place).select(line=marked).select(line=spoil)
    return found


def bad_orders(orders: pl.DataFrame) -> pl.DataFrame:
    """Orders of one line each, in addition to these, whose price no reader can make out."""
    return _some(orders, 0).with_columns(
        order_id=pl.format("{}-{}", "order_id", pl.int_range(pl.len())),
        unit_price=pl.lit("n/a"),
        refunded_at=pl.lit(None, dtype=pl.Datetime("ms")),
        status=pl.lit("completed"),
    )


def _some(rows: pl.DataFrame, place: int) -> pl.DataFrame:
    """Their share of ``rows``, spread over all of them; other rows for another ``place``."""
    count = max(int(rows.height * SHARE), 1 if rows.height >= 100 else 0)
    if count == 0:
        return rows.clear()
    numbers = pl.int_range(count, eager=True) * rows.height // count + place * 7
    return rows[numbers % rows.height]
