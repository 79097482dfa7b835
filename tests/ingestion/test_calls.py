"""The rules of the Segment spec, one line each."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.ingestion.calls import REASONS, TYPES, classify
from dagster_project.ingestion.engine import open_engine
from dagster_project.ingestion.lines import line_chunks

NOW = datetime(2024, 6, 1, 12)  # noqa: DTZ001
SPEC_EXAMPLES = (
    Path(__file__).parents[2] / "../shared/data/event_fixtures/segment_spec_docs/examples.jsonl"
)


@pytest.fixture(scope="module")
def engine():
    with open_engine() as engine:
        yield engine


def judge(engine, *lines: bytes) -> pl.DataFrame:
    chunks = [classify(engine, chunk, NOW) for chunk in line_chunks([b"\n".join(lines)])]
    return pl.concat(chunks).sort("line")


def one(engine, value) -> dict:
    return judge(engine, json.dumps(value).encode()).row(0, named=True)


def test_a_good_call_is_taken_apart(engine, make_call):
    row = one(
        engine,
        make_call(
            anonymousId="a1", sentAt="2024-05-31T10:00:01Z", receivedAt="2024-05-31T10:00:02+01:00"
        ),
    )
    assert row["reason"] is None
    assert (row["message_id"], row["type"], row["event"]) == ("m1", "track", "Product Viewed")
    assert (row["user_id"], row["anonymous_id"]) == ("u1", "a1")
    assert row["timestamp"] == datetime(2024, 5, 31, 10)  # noqa: DTZ001
    assert row["received_at"] == datetime(2024, 5, 31, 9, 0, 2)  # noqa: DTZ001
    assert json.loads(row["properties"]) == {"price": 12.5}
    assert row["traits"] is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": None}, "unknown_type"),
        ({"type": "Track"}, "unknown_type"),
        ({"type": 5}, "unknown_type"),
        ({"event": None}, "missing_event"),
        ({"event": "  "}, "missing_event"),
        ({"event": 7}, "wrong_type"),
        ({"userId": None}, "missing_identity"),
        ({"userId": ""}, "missing_identity"),
        ({"userId": {"id": 1}}, "wrong_type"),
        ({"userId": ["u1"]}, "wrong_type"),
        ({"userId": True}, "wrong_type"),
        ({"messageId": {}}, "wrong_type"),
        ({"properties": [1]}, "wrong_type"),
        ({"traits": "x"}, "wrong_type"),
        ({"context": 1}, "wrong_type"),
        ({"type": "alias"}, "missing_previous_id"),
        ({"type": "group"}, "missing_group_id"),
        ({"timestamp": None}, "missing_timestamp"),
        ({"timestamp": "yesterday"}, "invalid_timestamp"),
        ({"timestamp": "infinity"}, "invalid_timestamp"),
        ({"timestamp": 1717236000}, "invalid_timestamp"),
        ({"timestamp": "2024-02-30T00:00:00Z"}, "invalid_timestamp"),
        ({"sentAt": "soon"}, "invalid_timestamp"),
        ({"timestamp": "1999-12-31T23:59:59Z"}, "timestamp_too_old"),
        ({"timestamp": "2024-06-02T12:00:01Z"}, "timestamp_in_future"),
        ({"properties": {"name": "a\x00b"}}, "nul_character"),
        ({"properties": {"price": float("nan")}}, "bad_json"),
        ({"properties": {"price": float("-inf")}}, "bad_json"),
    ],
)
def test_each_rule_rejects_with_its_reason(engine, make_call, changes, reason):
    row = one(engine, make_call(**changes))
    assert row["reason"] == reason
    assert reason in REASONS
    assert row["detail"]
    assert json.loads(row["raw"], parse_constant=str)


@pytest.mark.parametrize(
    "changes",
    [
        {"userId": 5},
        {"userId": None, "anonymousId": 7.5},
        {"type": "page", "event": None, "name": "Home"},
        {"type": "screen", "event": None},
        {"type": "identify", "event": None, "traits": {"email": "a@example.com"}},
        {"type": "alias", "previousId": "a0"},
        {"type": "group", "groupId": "g1"},
        {"timestamp": "2024-06-02T12:00:00Z"},
        {"timestamp": "2024-05-31"},
        {"properties": {"text": "NaN \\u0000 Infinity"}},
        {"properties": None, "context": None},
    ],
)
def test_what_the_spec_allows_is_taken(engine, make_call, changes):
    assert one(engine, make_call(**changes))["reason"] is None


def test_a_number_as_id_is_its_text(engine, make_call):
    row = one(engine, make_call(userId=12345678901234567890123, messageId=7))
    assert (row["user_id"], row["message_id"]) == ("12345678901234567890123", "7")


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"originalTimestamp": "10:00", "sentAt": "10:05", "receivedAt": "11:05"}, (11, 0)),
        ({"originalTimestamp": "10:00", "sentAt": "10:05"}, (10, 0)),
        ({"sentAt": "10:05", "receivedAt": "11:05"}, (11, 5)),
        ({"sentAt": "10:05"}, (10, 5)),
        ({"timestamp": "09:00", "originalTimestamp": "10:00", "receivedAt": "11:00"}, (9, 0)),
    ],
)
def test_the_timestamp_is_corrected_as_the_spec_says(engine, make_call, times, expected):
    keys = {key: f"2024-05-30T{clock}:00Z" for key, clock in times.items()}
    row = one(engine, make_call(**({"timestamp": None} | keys)))
    assert row["reason"] is None
    assert (row["timestamp"].hour, row["timestamp"].minute) == expected


def test_an_offset_is_honoured(engine, make_call):
    row = one(engine, make_call(timestamp="2024-05-31T02:00:00+05:30"))
    assert row["timestamp"] == datetime(2024, 5, 30, 20, 30)  # noqa: DTZ001


def test_a_call_without_message_id_gets_the_same_one_each_time(engine, make_call):
    first, second = (one(engine, make_call(messageId=None)) for _ in range(2))
    other = one(engine, make_call(messageId=None, userId="u2"))
    assert first["message_id"] == second["message_id"] != other["message_id"]
    assert len(first["message_id"]) == len("sha256-") + 64


def test_bytes_that_are_no_calls(engine):
    rows = judge(
        engine,
        b"\xff\xfe",
        b"",
        b"   ",
        b"{",
        b"[1]",
        b"null",
        b"a\x00b",
        b'{"type":"track"} x',
        b"\r",
    )
    assert dict(rows.select("line", "reason").iter_rows()) == {
        1: "not_utf8", 4: "bad_json", 5: "not_an_object", 6: "not_an_object",
        7: "nul_character", 8: "bad_json",
    }  # fmt: skip


def test_deeply_nested_json_does_no_harm(engine, make_call):
    deep = b'{"type":"track","properties":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}"
    assert judge(engine, deep).height == 1


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(["type", "userId", "event", "timestamp", "x"]), inner
                    )
                ),
                max_leaves=6,
            ).map(lambda value: json.dumps(value).encode()),
            st.builds(
                lambda kind, user, time: json.dumps(
                    {"type": kind, "userId": user, "event": "e", "timestamp": time}
                ).encode(),
                st.sampled_from([*TYPES, "x"]),
                st.text(max_size=4) | st.integers() | st.none(),
                st.sampled_from(["2024-01-01", "2024-01-01T00:00:00Z", "never", None]),
            ),
        ),
        max_size=12,
    ),
    block=st.integers(1, 64),
)
def test_no_bytes_crash_it_and_no_line_is_lost(lines, block):
    data = b"\n".join(lines)
    blocks = [data[i : i + block] for i in range(0, len(data), block)]
    with open_engine() as engine:
        rows = [classify(engine, chunk, NOW) for chunk in line_chunks(blocks, chunk_bytes=100)]
    numbers = sorted(line for frame in rows for line in frame["line"])
    physical = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert numbers == [n for n, line in enumerate(physical, 1) if line.strip(b" \t\r")]
    for frame in rows:
        good = frame.filter(pl.col("reason").is_null())
        assert (
            good.select("message_id", "type", "timestamp").null_count().sum_horizontal().sum() == 0
        )
        assert frame["reason"].drop_nulls().is_in(list(REASONS)).all()


@pytest.mark.skipif(
    not SPEC_EXAMPLES.is_file(), reason="the spec's examples are not beside the repository"
)
def test_the_examples_of_the_spec(engine):
    calls = [json.loads(line)["payload"] for line in SPEC_EXAMPLES.read_bytes().splitlines()]
    as_written = judge(engine, *(json.dumps(c).encode() for c in calls))
    assert as_written["reason"].null_count() == 7  # the ones with timestamps
    received = [{"receivedAt": "2024-01-01T00:00:00Z"} | c for c in calls]
    rows = judge(engine, *(json.dumps(c).encode() for c in received))
    assert rows["reason"].value_counts().drop_nulls().to_dicts() == [
        {"reason": "missing_identity", "count": 4}
    ]
    good = rows.filter(pl.col("reason").is_null())
    assert set(good["type"]) == set(TYPES)
    assert good.filter(pl.col("type") == "alias")["previous_id"].to_list() == [
        "jen@email.com", "39239-239239-239239-23923",
    ]  # fmt: skip
