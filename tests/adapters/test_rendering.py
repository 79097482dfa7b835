"""Values as text and JSON, files, and deliveries within limits."""

import datetime
import decimal
import gzip
import io
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.adapters.rendering import (
    file_bytes,
    file_suffix,
    json_objects,
    labelled,
    text_ready,
    within_limits,
)
from destinations.driver import Operation

TEXTS = st.lists(st.one_of(st.none(), st.text()), min_size=1, max_size=20)


@given(texts=TEXTS)
def test_json_objects_hold_any_text(texts):
    objects = json_objects(pl.DataFrame({"t": texts}, schema={"t": pl.String}))
    assert [json.loads(item)["t"] for item in objects] == texts


@given(texts=TEXTS)
def test_csv_tells_null_from_empty_text(texts):
    content = file_bytes(pl.DataFrame({"k": ["k"] * len(texts), "t": texts}), "csv", False)
    read = pl.read_csv(io.BytesIO(content), schema={"k": pl.String, "t": pl.String})
    assert read["t"].to_list() == texts


def test_values_have_one_form():
    rows = pl.DataFrame(
        {
            "naive": [datetime.datetime.fromisoformat("2026-01-02T03:04:05.000006"), None],
            "zoned": [datetime.datetime.fromisoformat("2026-01-02T03:04:05"), None],
            "date": [datetime.date(2026, 1, 2), None],
            "money": [decimal.Decimal("1.50"), None],
            "list": [["a", 'q"'], None],
            "struct": [{"at": datetime.datetime.fromisoformat("2026-01-02"), "n": [1]}, None],
            "binary": [b"\x00\xff", None],
            "nothing": [None, None],
            "level": pl.Series(["gold", None], dtype=pl.Categorical),
        }
    ).with_columns(pl.col("zoned").dt.replace_time_zone("Europe/Paris"))
    first, second = map(json.loads, json_objects(rows))
    assert first == {
        "naive": "2026-01-02T03:04:05.000006Z",
        "zoned": "2026-01-02T02:04:05.000000Z",
        "date": "2026-01-02",
        "money": "1.50",
        "list": ["a", 'q"'],
        "struct": {"at": "2026-01-02T00:00:00.000000Z", "n": [1]},
        "binary": "AP8=",
        "nothing": None,
        "level": "gold",
    }
    assert set(second.values()) == {None}
    texts = text_ready(rows)
    assert json.loads(texts["list"][0]) == ["a", 'q"']
    assert json.loads(texts["struct"][0]) == first["struct"]
    assert texts.row(1) == (None,) * rows.width


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_files_read_back_and_repeat_byte_for_byte(file_format, frame):
    rows = labelled(Operation.REMOVE, frame(["a", "b"], city=["Zürich", None]))
    content = file_bytes(rows, file_format, False)
    assert content == file_bytes(rows, file_format, False)
    read = {"csv": pl.read_csv, "jsonl": pl.read_ndjson, "parquet": pl.read_parquet}[file_format]
    assert read(io.BytesIO(content)).equals(rows)
    assert file_suffix(file_format, False) == f".{file_format}"


def test_gzip_is_the_same_for_the_same_rows(frame):
    rows = labelled(Operation.ADD, frame(["a"], city=["Bern"]))
    content = file_bytes(rows, "csv", True)
    assert gzip.decompress(content) == file_bytes(rows, "csv", False)
    assert content == file_bytes(rows, "csv", True)
    assert file_suffix("csv", True) == ".csv.gz"


@given(
    lengths=st.lists(st.integers(0, 50), max_size=40),
    max_rows=st.integers(1, 12),
    max_bytes=st.one_of(st.none(), st.integers(1, 120)),
)
def test_no_row_is_lost_by_the_limits(lengths, max_rows, max_bytes):
    rows = pl.DataFrame(
        {
            "_key": [str(n) for n in range(len(lengths))],
            "text": ["x" * length for length in lengths],
        },
        schema={"_key": pl.String, "text": pl.String},
    )

    def render(part):
        return part, int(part["text"].str.len_bytes().sum())

    sent = list(within_limits(Operation.UPSERT, rows, render, max_rows, max_bytes))
    assert [key for delivery in sent for key in delivery.rows["_key"]] == rows["_key"].to_list()
    for delivery in sent:
        assert 1 <= delivery.rows.height <= max_rows
        assert delivery.payload.equals(delivery.rows)
        assert max_bytes is None or delivery.size <= max_bytes or delivery.rows.height == 1
