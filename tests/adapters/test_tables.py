"""SQL text shared by the databases, and the search for refused rows."""

import math
import sqlite3

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.adapters import tables
from destinations.adapters.extras import require
from destinations.adapters.outcomes import row_by_row, words
from destinations.driver import RESULT_SCHEMA, Capabilities, Delivery, Operation, Status
from destinations.errors import StoreroomError


@given(height=st.integers(1, 300), data=st.data())
def test_exactly_the_bad_rows_are_found_and_all_others_land(height, data):
    bad = data.draw(st.sets(st.integers(0, height - 1), max_size=8))
    landed, attempts = [], []

    def attempt(start, stop):
        attempts.append((start, stop))
        if bad & set(range(start, stop)):
            return f"row {start} is bad"
        landed.extend(range(start, stop))
        return None

    refused = tables.refused_rows(height, attempt)
    assert refused == {row: f"row {row} is bad" for row in bad}
    assert sorted(landed) == [row for row in range(height) if row not in bad]
    assert len(attempts) <= 1 + len(bad) * 2 * math.ceil(math.log2(height or 1) + 1)


@given(name=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_name_is_safe_in_quotes(name):
    table = "t" + name  # SQLite keeps names that start with sqlite_ to itself
    connection = sqlite3.connect(":memory:")
    connection.execute(tables.create_table(tables.quote(table), name, "text", {}))
    connection.execute(tables.upsert(tables.quote(table), name, [], "values (?)"), ["k"])
    assert connection.execute(f"select * from {tables.quote(table)}").fetchall() == [("k",)]
    names = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
    assert names == [(table,)]


def test_a_field_named_like_the_key_must_be_the_key(frame):
    capabilities = Capabilities(operations=tables.WRITES)
    rows = frame(["a", "b", "c"], profile_id=["a", "x", None])
    problems = tables.problems(capabilities, Operation.UPSERT, rows, "profile_id")
    assert problems.is_null().to_list() == [True, False, False]
    assert tables.written_fields(rows, "profile_id") == []


@pytest.mark.parametrize(
    ("dtype", "postgres", "duckdb"),
    [
        (pl.Decimal(12, 2), "decimal(12, 2)", "decimal(12, 2)"),
        (pl.UInt64(), "numeric(38, 0)", "hugeint"),
        (pl.Int8(), "bigint", "bigint"),
        (pl.Boolean(), "boolean", "boolean"),
        (pl.Datetime(), "timestamp with time zone", "timestamp"),
        (pl.List(pl.String), "jsonb", "json"),
        (pl.Null(), "text", "varchar"),
    ],
)
def test_columns_are_typed(dtype, postgres, duckdb):
    assert tables.column_type(dtype, "postgres") == postgres
    assert tables.column_type(dtype, "duckdb") == duckdb


def test_verdicts_of_single_rows(frame):
    delivery = Delivery(Operation.UPSERT, frame(["a", "b", "c"]), None)
    results = row_by_row(delivery, {1: (Status.REJECTED, "no\n good")}).results
    assert results.schema == pl.Schema(RESULT_SCHEMA)
    assert results["status"].to_list() == ["accepted", "rejected", "accepted"]
    assert results["message"].to_list() == [None, "no good", None]


def test_words_hide_passwords_in_urls():
    assert (
        words("cannot reach postgresql://me:hunter2@host/db")
        == "cannot reach postgresql://me:***@host/db"
    )


def test_a_missing_driver_says_what_to_install():
    with pytest.raises(StoreroomError, match=r"storeroom\[postgres\]"):
        require("no_such_driver", "postgres")
