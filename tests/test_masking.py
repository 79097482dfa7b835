from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.masking import masked, masked_sample, masked_series, masked_text


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("ann@example.com is not valid", "a•••@example.com is not valid"),
        ("email='Ann.O'Neil+x@Example.co.uk'", "email='A•••@Example.co.uk'"),
        ('{"email":"müller@bücher.de"}', '{"email":"m•••@bücher.de"}'),
        ("PUT /v1/ann%40example.com/tags", "PUT /v1/a•••%40example.com/tags"),
        ("k1@example.com,k2@example.com", "k•••@example.com,k•••@example.com"),
        ("call +44 20 7183 8750 now", "call ••• now"),
        ("0044 20 71838750", "•••"),
        ("(555) 123-4567 or 555.123.4567", "••• or •••"),
        ("442071838750, 491711234567", "•••, •••"),
        ("0171 1234567 is no number", "••• is no number"),
    ],
)
def test_addresses_and_numbers_are_masked_and_the_words_kept(said, kept):
    assert masked_text(said) == kept


@pytest.mark.parametrize(
    "said",
    [
        "try again at 2026-01-31T08:30:00Z or 2026-01-31 08:30:00.123",
        "trace 123e4567-e89b-12d3-a456-446614174000 of 0123456789abcdef0123456789abcdef",
        "1,000 rows of 25000; 127.0.0.1:8080 did not answer in 30.5 s (12345678)",
        "@handle and a @ b; audience 23850000000000000 is gone",
    ],
)
def test_other_words_stay(said):
    assert masked_text(said) == said


def test_null_stays_null_and_a_column_without_text_is_left_alone():
    nothing = pl.Series("message", [None, None], dtype=pl.String)
    assert masked_series(nothing) is nothing
    assert masked_series(pl.Series("m", [None, "a@b.c"])).to_list() == [None, "a•••@b.c"]


addresses = st.from_regex(
    r"[A-Za-z0-9][A-Za-z0-9_.+!#$&*~'^`|-]{0,20}@[a-z0-9][a-z0-9-]{0,10}\.[a-z]{2,5}",
    fullmatch=True,
)


@given(
    address=addresses, before=st.text(" :;,('\"", max_size=3), after=st.text(" ;)'\"", max_size=3)
)
def test_no_address_gets_through(address, before, after):
    local = address.rpartition("@")[0]
    out = pl.select(masked(pl.lit(f"no {before}{address}{after} here"))).item()
    assert address not in out
    assert "•••@" in out
    assert len(local) == 1 or f"{local}@" not in out


def test_a_sample_shows_its_shape_and_nobody():
    rows = pl.DataFrame(
        {
            "_key": ["p1", "p2"],
            "_id": ["c1", "c2"],
            "id": ["p1", "p2"],
            "email": ["Ann@example.com", "bob@example.org"],
            "first_name": ['Ann "Q"', "Zoë"],
            "visits": [3, 4],
        }
    )
    body = json.dumps(
        {
            "id": "p1",
            "email": "ann@example.com",
            "first_name": 'ANN "q"',
            "also": "Zoë",
            "visits": 3,
        }
    )
    sample = {
        "request": {"method": "POST", "url": "http://127.0.0.1/p1", "body": body},
        "response": {"status": 400, "body": 'No "bob@example.org", call +44 20 7183 8750'},
    }
    shown = masked_sample(sample, rows, {"_key", "_id"})
    assert json.loads(shown["request"]["body"]) == {
        "id": "p1",
        "email": "•••",
        "first_name": "•••",
        "also": "•••",
        "visits": 3,
    }
    assert shown["request"]["url"] == "http://127.0.0.1/p1"
    assert shown["response"] == {"status": 400, "body": 'No "•••", call •••'}
