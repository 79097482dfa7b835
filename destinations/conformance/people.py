"""Rows for the suite: people who differ in every field, in values that the destination takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import polars as pl

from destinations.driver import HASH, ID, KEY, REMOTE_ID
from destinations.language.spec import DestinationField, Spec

PLAIN = "plain"
ODD = "çağla 木 \"o'\\\n<&>{x}"
"""Letters, quotes and signs that JSON, XML, forms, URLs and templates all have to escape."""

_BY_NORMALISER = {
    "email": "{word}{n}@example.org",
    "email_gmail": "{word}{n}@example.org",
    "uid2": "{word}{n}@example.org",
    "phone_e164": "+4915123450{n:03}",
    "phone_digits": "+4915123450{n:03}",
    "name": "Ann",
    "city": "Berlin",
    "postal_code": "50667",
    "country_2": "DE",
    "country_2_lower": "DE",
    "state": "CA",
    "gender": "f",
    "birth_date": "1990-01-3{bit}",
    "maid": "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaa{n:03}",
}


def people(spec: Spec, count: int, *, first: int = 0, text: str = PLAIN) -> pl.DataFrame:
    """Rows of different people with every declared field, and one more where any is taken.

    Args:
        first: number of the first person; the same number is the same person.
        text: what free text holds, beside what makes it different from others.
    """
    numbers = range(first, first + count)
    columns: dict[str, Any] = {
        KEY: [f"key-{number}" for number in numbers],
        HASH: [f"hash-{number}-{len(text)}" for number in numbers],
        REMOTE_ID: pl.Series([None] * count, dtype=pl.String),
        ID: [f"change-{number}-{len(text)}" for number in numbers],
    }
    for name, field in spec.fields.items():
        columns[name] = [_value(name, field, number, text) for number in numbers]
    if spec.other_fields:
        columns["favourite"] = [text] * count
    return pl.DataFrame(columns)


def crowd(spec: Spec, count: int) -> pl.DataFrame:
    """As many rows as asked for, of a few people over and over under keys of their own."""
    few = people(spec, min(count, 10))
    repeated = few.select(pl.all().gather(pl.int_range(count) % few.height))
    return repeated.with_columns(
        pl.format("key-{}", pl.int_range(pl.len())).alias(KEY),
        pl.format("change-{}", pl.int_range(pl.len())).alias(ID),
    )


def _value(name: str, field: DestinationField, number: int, text: str) -> Any:
    if field.type in ("number", "integer"):
        return _number(field, number)
    if field.type == "boolean":
        return number % 2 == 0
    if field.type == "datetime":
        return f"2026-01-{number % 28 + 1:02}T08:30:00Z"
    if field.type == "date":
        return f"2026-01-{number % 28 + 1:02}"
    normaliser = field.normalise or ""
    if normaliser in _BY_NORMALISER:
        return _BY_NORMALISER[normaliser].format(word=PLAIN, n=number % 1000, bit=number % 2)
    if field.pattern is None and field.max_length is None and not field.identifier:
        return f"{text} {name}"
    return next(_fitting(field, f"{name}-{number}", number))


def _number(field: DestinationField, number: int) -> Any:
    example = field.example
    if isinstance(example, int | float) and not isinstance(example, bool):
        return example + number if field.identifier else example
    return 100 + number


def _fitting(field: DestinationField, plain: str, number: int) -> Iterator[str]:
    """Texts that the field's pattern and length allow, those that differ between people first."""
    example = str(field.example) if field.example is not None else ""
    digits = f"{number:06}"
    tried = [
        plain,
        f"n{number}",
        *(example[: -len(digits[-n:])] + digits[-n:] for n in (4, 3, 2, 1) if len(example) >= n),
        *(re.sub(rf"\w{{{n}}}$", digits[-n:], example) for n in (3, 2, 1)),
        *(f"{number:0{width}x}" for width in (64, 40, 32, 30, 24, 16, 12, 8, 4)),
        *(f"{lead}{number:0{width}}" for lead in ("1", "U", "+1") for width in (9, 5, 3)),
        f"aaaaaaaa-aaaa-4aaa-8aaa-{number:012}",
        plain[: field.max_length],
        example,
    ]
    for text in tried:
        if text and re.fullmatch(field.pattern or ".*", text) and _short(field, text):
            yield text
    yield example or plain


def _short(field: DestinationField, text: str) -> bool:
    return field.max_length is None or len(text) <= field.max_length
