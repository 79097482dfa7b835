"""Rows for a screen: recognisable enough to check a mapping, and nobody is named."""

from __future__ import annotations

import polars as pl

from destinations.driver import KEY, META_COLUMNS
from destinations.masking import HIDDEN

MOST_DIGITS = 6
"""Longer numbers may be somebody's phone, card or account."""
_LARGEST = 10**MOST_DIGITS


def masked_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with every value masked: text keeps its first letter, an e-mail address its domain
    too; dates, lists and long numbers are hidden; true, false, short numbers and nulls stay.

    ``_key`` stays where it is neither an address nor a long number: it is how rows are found.
    """
    return rows.select(
        _masked_key(name)
        if name == KEY
        else pl.col(name)
        if name in META_COLUMNS
        else _masked(name, dtype)
        for name, dtype in rows.schema.items()
    )


def _masked(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype in (pl.Boolean, pl.Null):
        return column
    hidden = pl.when(column.is_not_null()).then(pl.lit(HIDDEN))
    if dtype == pl.String:
        first = column.str.head(1)
        domain = column.str.extract("(@.*)$").fill_null("")
        text = pl.concat_str([first, pl.lit(HIDDEN), domain])
        return pl.when(column.is_null() | (column == "")).then(column).otherwise(text).alias(name)
    if dtype.is_numeric():
        short = column.abs() < _LARGEST if dtype.is_signed_integer() else column < _LARGEST
        return pl.when(short).then(column.cast(pl.String)).otherwise(hidden).alias(name)
    return hidden.alias(name)


def _masked_key(name: str) -> pl.Expr:
    plain = ~_telling(pl.col(name))
    return pl.when(plain).then(name).otherwise(_masked(name, pl.String())).alias(name)


def _telling(key: pl.Expr) -> pl.Expr:
    """Whether a key says by itself who is meant: an e-mail address, a phone number."""
    return key.str.contains("@", literal=True) | key.str.contains(r"^\+?[\d\s()./-]{7,}$")
