"""Rendered bodies are what filling in the template by hand gives, whatever the values."""

import datetime as dt
import hashlib
import json
from urllib.parse import parse_qsl, quote, urlsplit

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.driver import KEY, Operation, delivery_id
from destinations.language.compile import Compiled
from destinations.language.spec import Spec
from destinations.language.template import parse_body

TEXTS = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(['"', "\\", "\n\t\x00\x1f\x7f", "{email}", "</script>", "\u2028", "é😀", ""]),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "email": TEXTS,
            "note": TEXTS,
            "count": st.one_of(st.none(), st.integers(-(2**53), 2**53)),
            "price": st.one_of(st.none(), st.floats(allow_nan=True, width=64)),
            "vip": st.one_of(st.none(), st.booleans()),
            "seen": st.one_of(
                st.none(),
                st.datetimes(
                    dt.datetime.fromisoformat("1970-01-01"), dt.datetime.fromisoformat("2100-01-01")
                ),
            ),
            "born": st.one_of(st.none(), st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1))),
            "tags": st.one_of(st.none(), st.lists(TEXTS, max_size=3)),
            "place": st.one_of(
                st.none(), st.fixed_dictionaries({"city": TEXTS, "floor": st.integers(0, 9)})
            ),
        }
    ),
    min_size=1,
    max_size=6,
)
SCHEMA = {
    KEY: pl.String,
    "email": pl.String,
    "note": pl.String,
    "count": pl.Int64,
    "price": pl.Float64,
    "vip": pl.Boolean,
    "seen": pl.Datetime("us"),
    "born": pl.Date,
    "tags": pl.List(pl.String),
    "place": pl.Struct({"city": pl.String, "floor": pl.Int64}),
}
BODIES = [
    {"a": "{email}", "b": {"c": "{count}", "d": ["{vip}", "{note}", 1, None, "x"]}, "e": None},
    {"...": "{custom}", "email": "{email}", "at": "{seen}", "why": "for {email} at {born}: {vip}"},
    {"...": "{fields|string}", "note": "fixed"},
    {"all": "{fields}", "other": "{custom|keys:cf_*}", "pairs": "{custom|pairs:name,value}"},
    {
        "ids": [
            {"hashed": "{email}"},
            {"hashed": "{note}"},
            {},
            {"who": {"by": {"price": "{price}"}}},
            ["{tags}"],
        ],
        'q"\\': "{place}",
    },
    {"rows": {"each": {"email": "{email}", "price": "{price}"}}, "n": 1.5, "t": True},
]
DECLARED = {"email": {}, "count": {"type": "integer"}}


def compiled(body, *, nulls="drop", encoding="json", batch=None, request="POST /", **more):
    spec = Spec.model_validate(
        {
            "id": "test",
            "name": "Test",
            "category": "test",
            "kind": "http_api",
            "docs": "https://example.com",
            "base_url": "https://example.com",
            "fields": DECLARED,
            "operations": {
                "upsert": {
                    "request": request,
                    "body": body,
                    "nulls": nulls,
                    "encoding": encoding,
                    "batch": batch,
                    **more,
                }
            },
        }
    )
    return Compiled(spec, Operation.UPSERT, {"list": "a b", "none": None}, "loyal")


def ordered(rows):
    """Hypothesis shrinks the order of keys too; a frame's columns have one."""
    return [{name: row[name] for name in SCHEMA if name != KEY} for row in rows]


def frame(rows):
    keyed = [{KEY: f"k{n}", **row} for n, row in enumerate(rows)]
    return pl.DataFrame(keyed, schema=SCHEMA)


def near(found, wanted):
    """Equal, floats to their last digit but one."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(near(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(near, found, wanted))
    if isinstance(wanted, float):
        return found == pytest.approx(wanted, rel=1e-15)
    return type(found) is type(wanted) and found == wanted


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, body=st.sampled_from(BODIES), nulls=st.sampled_from(["drop", "send", "empty"]))
def test_one_request_a_row_says_what_filling_in_by_hand_says(by_hand, rows, body, nulls):
    rows = ordered(rows)
    if "string" in json.dumps(body):  # the text of a float or list is Polars' own
        rows = [{**row, "price": None, "tags": None, "place": None} for row in rows]
    node = parse_body(body)
    requests = list(compiled(body, nulls=nulls).requests(frame(rows)))
    assert len(requests) == len(rows)
    for row, rendered in zip(rows, requests, strict=True):
        found = json.loads(rendered.request.body)
        wanted = by_hand(node, row, set(DECLARED), nulls)
        assert near(found, wanted), (found, wanted)


@settings(max_examples=40, deadline=None)
@given(
    rows=ROWS,
    most=st.integers(1, 4),
    size=st.one_of(st.none(), st.integers(40, 400)),
    encoding=st.sampled_from(["json", "form", "ndjson"]),
)
def test_batches_hold_every_row_once_in_order_within_the_limits(
    by_hand, rows, most, size, encoding
):
    item = {"email": "{email}", "more": "{custom}"}
    each = {"each": item}
    body = each if encoding == "ndjson" else {"rows": each, "operation": "add"}
    batch = {"rows": most, "bytes": size, "docs": "https://example.com"}
    requests = list(compiled(body, encoding=encoding, batch=batch).requests(frame(rows)))
    assert [key for r in requests for key in r.rows[KEY]] == [f"k{n}" for n in range(len(rows))]
    found = []
    for rendered in requests:
        text = rendered.request.body
        assert rendered.rows.height <= most
        assert size is None or len(text) <= size or rendered.rows.height == 1
        if encoding == "ndjson":
            assert text.endswith(b"\n")
            found += [json.loads(line) for line in text.decode().splitlines() if line]
        elif encoding == "form":
            pairs = dict(parse_qsl(text.decode(), strict_parsing=True))
            assert pairs["operation"] == "add"
            found += json.loads(pairs["rows"])
        else:
            found += json.loads(text)["rows"]
    wanted = [by_hand(parse_body(each), row, set(DECLARED), "drop")[0] for row in rows]
    assert all(map(near, found, wanted))


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_forms_and_queries_and_paths_carry_any_text(rows):
    rows = [{**row, "email": row["email"] or "x"} for row in rows]
    made = compiled(
        {"e": "{email}", "n[{email}]": "{note}", "c": "{count}", "v": "{vip}", "list": "{tags}"},
        encoding="form",
        request="PUT /people/{email}/{settings.list}",
        query={"note": "{note}", "none": "{settings.none}"},
    )
    for row, rendered in zip(rows, made.requests(frame(rows)), strict=True):
        request = rendered.request
        parts = urlsplit("https://example.com" + request.path)
        assert parts.path == f"/people/{quote(row['email'], safe='')}/a%20b"
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        assert query == ({} if row["note"] is None else {"note": row["note"]})
        pairs = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        assert pairs["e"] == row["email"]
        assert pairs.get(f"n[{row['email']}]") == row["note"]
        assert pairs.get("c") == (None if row["count"] is None else str(row["count"]))
        assert pairs.get("v") == (None if row["vip"] is None else str(row["vip"]).lower())
        assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("batch", [None, {"rows": 2, "docs": "https://example.com"}])
def test_the_delivery_id_of_a_request_is_that_of_its_rows(batch):
    rows = pl.DataFrame({KEY: ["a", "b", "c"], "_hash": ["1", None, "3"], "email": ["x", "y", "z"]})
    body = {"rows": {"each": "{email}"}, "delivery": "{meta.delivery}", "of": "{meta.audience}"}
    made = compiled(body, batch=batch, headers={"Idempotency-Key": "{meta.delivery}"})
    requests = list(made.requests(rows))
    assert len(requests) == (3 if batch is None else 2)
    for rendered in requests:
        wanted = delivery_id(Operation.UPSERT, rendered.rows)
        assert rendered.request.headers["Idempotency-Key"] == wanted
        assert json.loads(rendered.request.body)["delivery"] == wanted
        assert json.loads(rendered.request.body)["of"] == "loyal"


def test_groups_travel_apart():
    rows = pl.DataFrame({KEY: ["a", "b", "c"], "email": ["1", "2", "3"], "count": [7, 8, 7]})
    batch = {"rows": 9, "group_by": ["count"], "docs": "https://example.com"}
    made = compiled({"n": "{count}", "ids": {"each": "{email}"}}, batch=batch)
    bodies = [json.loads(r.request.body) for r in made.requests(rows)]
    assert bodies == [{"n": 7, "ids": ["1", "3"]}, {"n": 8, "ids": ["2"]}]


def test_several_arrays_in_one_body():
    rows = pl.DataFrame({KEY: ["a", "b"], "email": ["1", None], "count": [7, 8]})
    batch = {"rows": 9, "docs": "https://example.com"}
    made = compiled({"ids": {"each": "{email}"}, "n": {"each": "{count}"}}, batch=batch)
    assert [json.loads(r.request.body) for r in made.requests(rows)] == [
        {"ids": ["1", None], "n": [7, 8]}
    ]


def test_functions():
    rows = pl.DataFrame(
        {
            KEY: ["a"],
            "email": [" Ann "],
            "note": ["2026-01-31T08:30:00Z"],
            "count": [3],
            "seen": [dt.datetime(2026, 1, 31, 8, 30, tzinfo=dt.UTC)],
            "vip": [True],
            "plan": [None],
            "order": ["358401234567890123"],
        },
        schema_overrides={"plan": pl.String},
    )
    body = {
        "t": "{email|trim}",
        "u": "{email|trim|upper}",
        "l": "{email|trim|lower}",
        "m": "{email|trim|lower|md5}",
        "s1": "{email|trim|lower|sha1}",
        "s2": "{email|trim|lower|sha256}",
        "b": "{email|trim|base64}",
        "url": "{email|url}",
        "s": "{count|string}",
        "n": "{count|number}",
        "e": "{note|epoch}",
        "ms": "{seen|epoch_ms}",
        "d": "{seen|date}",
        "f": "{seen|format:%d/%m/%Y}",
        "z": "{note|first:4}",
        "o": "{plan|or:free}",
        "y": "{vip|yes_no}",
        "y1": "{vip|yes_no:1,0}",
        "j": "{fields|json}",
        "i": "{settings.list|integer}",
        "id": "{order|integer}",
    }
    (rendered,) = compiled(body).requests(
        rows.select(KEY, "email", "note", "count", "seen", "vip", "plan", "order")
    )
    found = json.loads(rendered.request.body)
    inner = json.loads(found.pop("j"))
    assert inner["seen"] == "2026-01-31T08:30:00Z"
    assert inner["count"] == 3
    assert found == {
        "t": "Ann",
        "u": "ANN",
        "l": "ann",
        "m": hashlib.md5(b"ann").hexdigest(),
        "s1": hashlib.sha1(b"ann").hexdigest(),
        "s2": hashlib.sha256(b"ann").hexdigest(),
        "b": "QW5u",
        "url": "%20Ann%20",
        "s": "3",
        "n": 3,
        "id": 358401234567890123,
        "e": 1769848200,
        "ms": 1769848200000,
        "d": "2026-01-31",
        "f": "31/01/2026",
        "z": "2026",
        "o": "free",
        "y": "yes",
        "y1": "1",
    }


def test_no_rows_make_no_requests():
    empty = pl.DataFrame(schema=SCHEMA)
    batch = {"rows": 9, "docs": "https://example.com"}
    assert list(compiled({"e": "{email}"}).requests(empty)) == []
    assert list(compiled({"ids": {"each": "{email}"}}, batch=batch).requests(empty)) == []


def test_a_later_step_takes_captured_values():
    made = compiled({"id": "{contact.id}", "to": "{contact.name|upper}"})
    rows = pl.DataFrame({KEY: ["a"], "email": ["x"]})
    request = made.following(0, rows, {"contact.id": 12, "contact.name": "ann"})
    assert json.loads(request.body) == {"id": 12, "to": "ANN"}
