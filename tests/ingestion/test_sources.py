"""sources.yaml: what it may say, and what it is told otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dagster_project.ingestion import load_sources
from destinations.errors import ConfigurationError

EXAMPLE = Path(__file__).parents[2] / "docs/examples/online_retail/sources.yaml"
GOOD = {"type": "track", "event": "e", "user_id": "u", "timestamp": "t"}


def load(tmp_path, document):
    path = tmp_path / "sources.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return load_sources(path)


def one(**call):
    kept = {key: value for key, value in (GOOD | call).items() if value is not None}
    return {"sources": [{"name": "orders", "path": "orders/*", "calls": [kept]}]}


def test_the_example_and_a_plain_source_are_read(tmp_path):
    assert [call.event for call in load_sources(EXAMPLE).sources[0].calls] == [
        "Order Completed", "Order Refunded",
    ]  # fmt: skip
    sources = load(tmp_path, one(properties={"n": 1, "gift": True}, where="a > 1 -- no comment"))
    call = sources.sources[0].calls[0]
    assert call.properties == {"n": "1", "gift": "true"}
    source = sources.sources[0]
    assert [source.format_of(n) for n in ("a.JSONL.GZ", "a.csv.zst", "a.pq", "a.txt")] == [
        "jsonl", "csv", "parquet", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("a: [", ["is not YAML"]),
        ("", ["`sources:`"]),
        ("sources: {}", ["`sources:`"]),
        ({"sources": [{"path": "x"}]}, ["source '1'", "name", "missing"]),
        ({"sources": [{"name": "a", "path": "/etc/*"}]}, ["source 'a'", "leaves the landing zone"]),
        ({"sources": [{"name": "a", "path": "../*"}]}, ["leaves the landing zone"]),
        ({"sources": [{"name": "A b", "path": "x"}]}, ["source 'A b'", "name"]),
        ({"sources": [{"name": "a", "path": "x"}] * 2}, ["two sources are named 'a'"]),
        ({"sources": [{"name": "a", "path": "x", "format": "xml"}]}, ["format", "jsonl"]),
        ({"sources": [{"name": "a", "path": "x", "pth": 1}]}, ["pth", "did you mean `path`?"]),
        (one(propertys={}), ["calls[0].propertys", "did you mean `properties`?"]),
        (one(type="tack"), ["calls[0].type", "track"]),
        (one(event=None), ["a track call needs `event"]),
        (one(user_id=None), ["require_identity: false"]),
        (one(timestamp=None), ["calls[0].timestamp", "missing"]),
        (one(type="group", event=None), ["a group call needs `group_id"]),
        (one(type="alias", event=None), ["an alias call needs `previous_id"]),
        (one(type="identify"), ["`event` has no meaning in identify"]),
        (one(where="a = = b"), ["source 'orders'", "where", "not an SQL expression"]),
        (one(where="a; drop table x"), ["where", "not an SQL expression"]),
        (one(where="a) or (b"), ["where"]),
        (one(user_id="a, b"), ["user_id", "single one"]),
        (one(user_id="a) from x where (b"), ["user_id", "single one"]),
        (one(user_id="(select 1)"), ["user_id", "query"]),
        (one(user_id="exists (from x)"), ["user_id", "query"]),
        (one(properties={"all": "*"}), ["properties.all", "name the columns"]),
        (one(message_id="uuid()"), ["message_id", "differs from run to run"]),
        (one(timestamp="Current_Timestamp"), ["timestamp", "differs from run to run"]),
        (one(group_by=["random()"]), ["group_by[0]", "differs from run to run"]),
    ],
)
def test_what_no_run_could_do_is_refused_with_its_place(tmp_path, document, words):
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, document)
    text = str(caught.value)
    for word in (str(tmp_path / "sources.yaml"), *words):
        assert word in text, text


def test_a_missing_file_says_what_to_write(tmp_path):
    with pytest.raises(ConfigurationError, match=r"does not exist.*Create it with `sources:"):
        load_sources(tmp_path / "sources.yaml")
