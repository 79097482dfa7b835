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
KINDS = tuple(_FLAWS)


def flawed(calls: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Per kind of flaw the bad lines (``line`` String) that go with these good calls.

    They are spoilt copies with message ids of their own, so that they stand in addition
    to the good calls: whoever rejects them loses nothing.
    """
    height = calls.height
    count = max(int(height * SHARE), 1 if height >= 100 else 0)
    found = {}
    for place, (kind, spoil) in enumerate(_FLAWS.items()):
        # Spread over the day, and a different line for each kind.
        rows = pl.int_range(count, eager=True) * height // max(count, 1) + place * 7
        marked = _LINE.str.replace('"messageId":"', f'"messageId":"{kind}-', literal=True)
        found[kind] = (
            calls[rows % max(height, 1)].select(line=marked).select(line=spoil)
            if count
            else calls.select("line").clear()
        )
    return found
