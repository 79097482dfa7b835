"""Content hashes are pinned: a change would make every sync send everything again."""

from __future__ import annotations

import hashlib
import struct
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from destinations.sync.content import canonical_row, frame_digest, with_hash

FRAME = pl.DataFrame(
    {
        "text": ["ab", None, "é"],
        "whole": [1, None, -3],
        "real": [1.5, None, -0.0],
        "flag": [True, None, False],
        "day": [date(2026, 1, 2), None, date(1969, 12, 31)],
        "moment": [
            datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
            None,
            datetime(1970, 1, 1, tzinfo=UTC),
        ],
        "clock": [time(1, 2, 3), None, time(0)],
        "span": [timedelta(seconds=1), None, timedelta(0)],
        "money": [Decimal("1.10"), None, Decimal("0.00")],
        "many": [["a"], None, []],
        "raw": [b"\x00\xff", None, b""],
    }
)


def hashes(frame: pl.DataFrame) -> list[str]:
    return with_hash(frame.lazy(), dict(frame.schema), "h").collect()["h"].to_list()


def test_canonical_text_is_the_documented_one() -> None:
    text = FRAME.select(canonical_row(dict(FRAME.schema)))["literal"].to_list()
    head = hashlib.sha256(
        b'["clock","day","flag","many","moment","money","raw","real","span","text","whole"]'
    ).hexdigest()[:8]
    assert text[1:] == [
        f"{head}~~~~~~~~~~~",
        f'{head}1:02:-11:08:{{"v":[]}}1:04:0.000:1:01:02:é2:-3',
    ]
    bits = str(struct.unpack("<Q", struct.pack("<d", 1.5))[0])
    values = {
        "clock": "3723000000",
        "day": str((date(2026, 1, 2) - date(1970, 1, 1)).days),
        "flag": "1",
        "many": '{"v":["a"]}',
        "moment": str(int(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()) * 10**6 + 6),
        "money": "1.10",
        "raw": "00ff",
        "real": bits,
        "span": "1000000",
        "text": "ab",
        "whole": "1",
    }
    assert text[0] == head + "".join(f"{len(value)}:{value}" for value in values.values())
    assert hashes(FRAME) == [hashlib.sha256(t.encode()).hexdigest()[:32] for t in text]


def test_order_of_fields_does_not_count_and_names_do() -> None:
    frame = pl.DataFrame({"a": ["x"], "b": ["y"]})
    assert hashes(frame) == hashes(frame.select("b", "a"))
    assert hashes(frame) != hashes(frame.rename({"a": "c"}))


@given(
    st.lists(
        st.tuples(st.none() | st.text(), st.none() | st.text()), min_size=2, max_size=2, unique=True
    )
)
def test_different_rows_have_different_text(rows: list[tuple[str | None, str | None]]) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String}, orient="row")
    first, second = hashes(frame)
    assert first != second


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 3)), max_size=8), st.randoms())
def test_digest_depends_on_the_rows_and_not_on_their_order(rows, random) -> None:
    schema = {"a": pl.String, "b": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    digest = frame_digest(frame.lazy())
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert frame_digest(pl.DataFrame(shuffled, schema=schema, orient="row").lazy()) == digest
    more = pl.DataFrame([*rows, ("new", 9)], schema=schema, orient="row")
    assert frame_digest(more.lazy()) != digest
    if rows:  # a repeated row is not nothing
        twice = pl.DataFrame([*rows, rows[0], rows[0]], schema=schema, orient="row")
        assert frame_digest(twice.lazy()) != digest
