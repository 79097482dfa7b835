"""Keeping people out of what is written down for others: reports, logs, Dagster's events, the ledger.

Vendors quote the row they refuse ("ann@example.com is not valid"). Their words are kept; who
was meant is told by the row's key. Of an e-mail address the first character and the domain
stay (``a•••@example.com``), by which a typing mistake is found; a phone number becomes
``•••``. A run of 10 to 15 digits counts as a phone number, whatever it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson
import polars as pl

HIDDEN = "•••"
SHORTEST = 3
"""A shorter value of a row is not searched for in a sample: it would black out half of it."""

_PATTERNS = (
    # An e-mail address (RFC 5321, section 4.1.2), its @ URL-escaped or not. What also separates
    # addresses from what stands around them (= / ? { }) is not taken for a part of one.
    (
        r"([\p{L}\p{N}])[\p{L}\p{N}_.+!#$&*~'^`|-]*(@|%40)([\p{L}\p{N}][\p{L}\p{N}.-]*)",
        "${1}" + HIDDEN + "${2}${3}",
    ),
    # +44 20 7183 8750, 0044…: a number with its country (ITU-T E.164: at most 15 digits).
    (r"(^|[^\w.])(?:\+|%2B|00)[1-9](?:[ ().-]{0,2}\d){6,14}\b", "${1}" + HIDDEN),
    # (555) 123-4567 and 555-123-4567
    (r"(^|[^\w.-])(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}\b", "${1}" + HIDDEN),
    # 0171 1234567
    (r"(^|[^\w.-])0\d{2,4}[ /-]\d{4,9}\b", "${1}" + HIDDEN),
    (r"(^|[^\w.-])\d{10,15}\b", "${1}" + HIDDEN),
)


def masked(text: pl.Expr) -> pl.Expr:
    """``text`` (String) with addresses and phone numbers masked; null stays null."""
    for pattern, kept in _PATTERNS:
        text = text.str.replace_all(pattern, kept)
    return text


def masked_series(texts: pl.Series) -> pl.Series:
    """:func:`masked` for a column; one without any text costs nothing."""
    if texts.null_count() == len(texts):
        return texts
    return texts.to_frame().select(masked(pl.col(texts.name)))[texts.name]


def masked_text(text: str) -> str:
    """:func:`masked` for one text."""
    return str(masked_series(pl.Series("text", [text])).item())


def masked_sample(sample: dict[str, Any], rows: pl.DataFrame, shown: set[str]) -> dict[str, Any]:
    """A request and its answer for the record, without what they say of people.

    Args:
        sample: names and values of any depth.
        rows: the rows it is about; their texts are hidden wherever they stand, in any case.
        shown: columns of ``rows`` whose texts may be seen (the key and ids).
    """
    texts: list[str] = list(_texts(sample))
    if not texts:
        return sample
    found, forms = pl.Series("text", texts), _forms(rows, shown)
    if forms:
        found = found.str.replace_many(forms, [HIDDEN], ascii_case_insensitive=True, leftmost=True)
    left = iter(masked_series(found).to_list())
    result: dict[str, Any] = _with_texts(sample, left)
    return result


def _forms(rows: pl.DataFrame, shown: set[str]) -> list[str]:
    """The texts of ``rows`` as they may stand in JSON or outside it, the longest first."""
    names = [name for name, dtype in rows.schema.items() if dtype == pl.String]
    values = {name: set(rows[name].drop_nulls()) for name in names}
    hidden = set[str]().union(*(values[name] for name in names if name not in shown))
    hidden -= set[str]().union(*(values[name] for name in names if name in shown))
    forms = {
        form
        for value in hidden
        if len(value) >= SHORTEST
        for form in (value, orjson.dumps(value).decode()[1:-1], json.dumps(value)[1:-1])
    }
    return sorted(forms, key=len, reverse=True)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _with_texts(value: Any, texts: Iterator[str]) -> Any:
    """``value`` with its texts replaced by ``texts``, in the order of :func:`_texts`."""
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, dict):
        return {name: _with_texts(part, texts) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_texts(part, texts) for part in value]
    return value
