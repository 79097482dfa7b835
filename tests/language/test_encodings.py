"""What was rendered, read by real parsers: the rows come back, whatever they hold."""

from __future__ import annotations

import csv
import gzip
import io
import re
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.driver import KEY, Operation
from destinations.language.compile import Compiled
from destinations.language.loader import SpecError, load_spec_text
from destinations.language.spec import Spec

TEXTS = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(['"', ",;\t|", "\r\n", "=1+1", "@x", " a ", "]]>", "&amp;<b>", "--b", "\x00\x0b", ""]),
)  # fmt: skip
ROWS = st.lists(
    st.fixed_dictionaries({"email": TEXTS, "note": TEXTS, "count": st.none() | st.integers(0, 99)}),
    min_size=1,
    max_size=5,
)
SCHEMA = {KEY: pl.String, "email": pl.String, "note": pl.String, "count": pl.Int64}
BATCH = {"rows": 100, "docs": "https://example.com"}
LINE = {"each": {"Email": "{email}", "...": "{custom}"}}


def bodies(rows, *, batch=BATCH, nulls="drop", **step):
    spec = Spec.model_validate(
        {
            "id": "test", "name": "Test", "category": "test", "kind": "http_api",
            "docs": "https://example.com", "base_url": "https://example.com", "fields": {"email": {}},
            "operations": {"upsert": {"request": "POST /", "batch": batch, "nulls": nulls, **step}},
        }
    )  # fmt: skip
    frame = pl.DataFrame([{KEY: str(n), **row} for n, row in enumerate(rows)], schema=SCHEMA)
    return [made.request for made in Compiled(spec, Operation.UPSERT, {}, "x").requests(frame)]


def as_text(row):
    return ["" if v is None else str(v) for v in (row["email"], row["note"], row["count"])]


def read_csv(body, delimiter=","):
    return list(
        csv.reader(io.StringIO(body.decode(), newline=""), delimiter=delimiter, strict=True)
    )


@settings(max_examples=40, deadline=None)
@given(ROWS, st.sampled_from([",", ";", "\t", "|"]))
def test_csv(rows, delimiter):
    (request,) = bodies(rows, encoding="csv", csv={"delimiter": delimiter}, body=LINE)
    wanted = [["Email", "note", "count"], *map(as_text, rows)]
    assert read_csv(request.body, delimiter) == wanted
    assert request.headers["Content-Type"] == "text/csv"


def test_a_column_that_is_empty_is_still_a_line():
    rows = [{"email": None}, {"email": "a"}]
    body = {"each": ["{email}"]}
    (request,) = bodies(rows, encoding="csv", csv={"header": False}, body=body)
    assert request.body == b'""\r\na\r\n'


def test_what_a_spreadsheet_takes_for_a_formula_is_not_altered():
    (request,) = bodies([{"email": "=1+1"}], encoding="csv", body={"each": {"a": "{email}"}})
    assert request.body == b"a\r\n=1+1\r\n"


def cleaned(text):
    """Text as XML 1.0 can hold it."""
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "", text)


@settings(max_examples=40, deadline=None)
@given(ROWS, st.sampled_from(["drop", "empty"]))
def test_xml(rows, nulls):
    body = {"s:a": {"@xmlns:s": "urn:x", "p": {"each": {"@e": "{email}", "n": "{note}", "t": ["x", "{count}"]}}}}  # fmt: skip
    (request,) = bodies(rows, nulls=nulls, encoding="xml", body=body)
    root = ElementTree.fromstring(request.body)
    assert root.tag == "{urn:x}a"
    for row, element in zip(rows, root, strict=True):
        if row["email"] is None and nulls == "drop":
            assert "e" not in element.attrib
        else:
            assert element.attrib["e"] == cleaned(row["email"] or "")
        notes = [one.text or "" for one in element.findall("n")]
        assert notes == (
            [] if row["note"] is None and nulls == "drop" else [cleaned(row["note"] or "")]
        )
        counts = [one.text for one in element.findall("t")]
        assert counts[0] == "x"
        assert counts[1:] == (
            [] if row["count"] is None and nulls == "drop" else [None if row["count"] is None else str(row["count"])]
        )  # fmt: skip


def parts(request):
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    assert not message.defects
    return {
        part.get_param("name", header="content-disposition"): (
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    }


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_multipart_with_a_file(rows):
    body = {"list": "7", "people": {"file": "people.csv", "encoding": "csv", "body": LINE}}
    (request,) = bodies(rows, encoding="multipart", body=body)
    found = parts(request)
    assert found["list"] == (None, b"7")
    name, content = found["people"]
    assert name == "people.csv"
    assert read_csv(content) == [["Email", "note", "count"], *map(as_text, rows)]
    (again,) = bodies(rows, encoding="multipart", body=body)
    assert again == request


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_multipart_and_forms_row_by_row(rows):
    body = {"email": "{email}", "...": "{custom}", "all": {"n": "{note}"}}
    made = bodies(rows, batch=None, encoding="multipart", body=body)
    forms = bodies(rows, batch=None, encoding="form", body=body)
    for row, request, form in zip(rows, made, forms, strict=True):
        known = {name: str(value) for name, value in row.items() if value is not None}
        inner = {} if row["note"] is None else {"n": row["note"]}
        found = {name: content for name, (_, content) in parts(request).items()}
        assert orjson.loads(found.pop("all")) == inner
        # Parsers of mail, unlike those of forms, take no lone line ends within a part for data.
        assert {n: re.sub(rb"\r\n|\r|\n", b"", c) for n, c in found.items()} == {
            n: re.sub(rb"\r\n|\r|\n", b"", c.encode()) for n, c in known.items()
        }
        pairs = dict(parse_qsl(form.body.decode(), keep_blank_values=True, strict_parsing=True))
        assert orjson.loads(pairs.pop("all")) == inner
        assert pairs == known


def test_graphql_and_gzip():
    document = "mutation($p: [P!]!) { add(p: $p) { id } }"
    (request,) = bodies(
        [{"email": "a"}], graphql=document, gzip=True, body={"p": {"each": "{email}"}}
    )
    assert request.headers["Content-Encoding"] == "gzip"
    said = orjson.loads(gzip.decompress(request.body))
    assert said == {"query": document, "variables": {"p": ["a"]}}
    assert request.plain_body == gzip.decompress(request.body)


@pytest.mark.parametrize("encoding", ["csv", "xml", "multipart", "ndjson", "json"])
def test_no_body_is_longer_than_the_vendor_takes(encoding):
    body = {"csv": LINE, "xml": {"a": {"b": LINE}}, "multipart": {"f": {"file": "f", "body": LINE}}}
    rows = [{"email": "é" * n, "note": '"' * n} for n in range(40)]
    batch = {**BATCH, "bytes": 400}
    made = bodies(rows, batch=batch, encoding=encoding, body=body.get(encoding, LINE))
    assert len(made) > 1
    assert max(len(request.body) for request in made) <= 400


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("request: POST /\n    encoding: xml\n    body: {a: 1, b: 2}", "one root"),
        ("request: POST /\n    encoding: xml\n    body: {a: {1x: 2}}", "no name"),
        ("request: POST /\n    encoding: csv\n    body: {each: [1]}", "names no columns"),
        ("request: POST /\n    encoding: multipart\n    body: [1]", "mapping"),
        ("request: POST /\n    encoding: multipart\n    body: {a: {file: x}}", "has a `body`"),
        ("request: PUT\n    body: {a: 1}", "no path"),
        ("request: PUT\n    url: '{meta.audience}'\n    body: {a: 1}", "which hosts"),
        (
            "request: PUT /x\n    url: '{meta.audience}'\n    hosts: [x.de]\n    body: {a: 1}",
            "not both",
        ),
        ("request: GET /x\n    every: 3", "without `until`"),
        ("request: GET /x\n    gzip: true", "no body"),
        ("request: GET /x\n    untill: {a: 1}", "Did you mean 'until'"),
        ("request: GET /x\n    fro: 3", "Did you mean 'for'"),
    ],
)
def test_what_cannot_be_written_is_refused(step, words):
    head = (
        "id: x\nname: X\ncategory: x\nkind: http_api\ndocs: https://x.de\nbase_url: https://x.de\n"
    )
    text = f"{head}other_fields: false\nremove_none: none\noperations:\n  upsert:\n    {step}\n"
    with pytest.raises(SpecError, match=re.escape(words)):
        load_spec_text(text, "x.yaml")
