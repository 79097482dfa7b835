"""What the driver renders, the sandbox reads back: the same rows, whatever is in them."""

from __future__ import annotations

import re
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.driver import HASH, KEY, REMOTE_ID, Operation
from destinations.language.compile import Compiled
from destinations.language.spec import Spec
from destinations.language.template import parse_body
from destinations.sandbox.inversion import Reading, Row
from destinations.sandbox.reading import read_route, rows_of
from destinations.sandbox.routes import routes

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
PLAIN = st.text("abcdefghijkl0123456789", min_size=1, max_size=12)


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """Rows for every vendor: an address and a few fields of any content."""
    size = draw(st.integers(1, 8))
    names = draw(st.lists(PLAIN.map(lambda name: f"c_{name}"), max_size=4, unique=True))
    emails = draw(st.lists(PLAIN, min_size=size, max_size=size, unique=True))
    columns: dict[str, Any] = {
        KEY: [f"k{number}" for number in range(size)],
        HASH: ["h"] * size,
        "email": [f"{name}@example.org" for name in emails],
    }
    for name in names:
        kind = draw(
            st.sampled_from([st.none() | TEXT, st.none() | st.integers(-9, 9**9), st.booleans()])
        )
        columns[name] = draw(st.lists(kind, min_size=size, max_size=size))
    return pl.DataFrame(columns).with_columns(pl.lit(None, dtype=pl.String).alias(REMOTE_ID))


def read_back(spec: Spec, operation: Operation, rows: pl.DataFrame) -> list[Row]:
    example = {name: s.example or s.default or "x" for name, s in spec.settings.items()}
    compiled = Compiled(spec, operation, example, "loyal")
    found: list[Row] = []
    for rendered in compiled.requests(rows):
        request = rendered.request
        readings = []
        for route in routes(spec):
            path = route.path.fullmatch(request.path)
            if path and route.method == request.method:
                headers = {name.lower(): text for name, text in request.headers.items()}
                body = orjson.loads(request.body or b"null")
                readings.append(read_route(route, spec, path, {}, headers, body))
        fitting = [reading for reading in readings if not reading.problems]
        assert fitting, [reading.problems for reading in readings]
        found += rows_of(fitting[0])
    return found


@pytest.mark.parametrize("destination", ["crm", "hook", "mail", "people"])
@settings(max_examples=60, deadline=None)
@given(rows=frames())
def test_every_row_and_field_is_found_again(
    destination: str, vendors: dict[str, Spec], rows: pl.DataFrame
) -> None:
    spec = vendors[destination]
    if destination == "people":
        rows = rows.with_columns(id=pl.col("email"))
    if not spec.other_fields:
        rows = rows.select(KEY, HASH, REMOTE_ID, "email")
    found = read_back(spec, Operation.UPSERT, rows)
    sent = rows.drop(KEY, HASH, REMOTE_ID).to_dicts()
    assert [_present(row.fields) for row in found] == [_present(row) for row in sent]
    if destination in ("crm", "hook"):
        assert [row.key for row in found] == rows[KEY].to_list()


@settings(max_examples=200, deadline=None)
@given(body=st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                         lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["inputs", "id", "properties", "idProperty", "trace", "x"]), inner, max_size=4),
                         max_leaves=12))  # fmt: skip
def test_no_body_breaks_the_reader(vendors: dict[str, Spec], body: Any) -> None:
    spec = vendors["crm"]
    for route in routes(spec):
        path = re.fullmatch("", "")
        if route.body is not None and path is not None:
            reading = read_route(route, spec, path, {}, {}, body)
            assert reading.problems or reading.rows is not None


@pytest.mark.parametrize(
    ("template", "value", "problem"),
    [
        ({"a": 1}, {"a": True}, "a must be 1, not True"),
        ({"a": "x"}, {}, "a is missing"),
        ({"a": "{meta.key}"}, {}, "a is missing"),
        ({"a": {"b": "{f}-{g}"}}, {"a": {"b": "nothing"}}, "a.b must read like '{f}-{g}'"),
        ([1, "{f}"], [1], None),
        ([1, 2], [1], "must have 2 elements, not 1"),
        ({"a": "{custom|json}"}, {"a": "{"}, "a is not JSON"),
        ({"a": "{f|yes_no}"}, {"a": "perhaps"}, "a must be 'yes' or 'no'"),
        ({"...": "{custom|keys:cf_*}"}, {"x": 1}, "has the key 'x'"),
        ({"a": "{f}"}, {"a": None}, None),
    ],
)
def test_what_cannot_have_come_from_the_template_is_said(
    template: Any, value: Any, problem: str | None
) -> None:
    reading = Reading({})
    reading.read(parse_body(template), value, "", Row())
    if problem is None:
        assert reading.problems == []
    else:
        assert problem in reading.problems[0]


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
