"""Rejections tried again."""

from __future__ import annotations

import json

import pytest

from dagster_project.ingestion import Sources
from destinations.errors import ConfigurationError

ORDER = {
    "type": "track", "event": "Order Completed", "message_id": "'o' || id", "user_id": "customer",
    "timestamp": "placed_at", "properties": {"price": "cast(price as decimal(18, 2))"},
}  # fmt: skip


def orders(**changes):
    return {"name": "orders", "path": "orders/*", "calls": [ORDER | changes]}


def remap(zone, *sources):
    zone.sources = Sources.model_validate({"sources": list(sources)})


def test_calls_are_taken_once_the_rule_allows_them(zone, make_call, monkeypatch):
    zone.land("events/a.jsonl", [make_call(type="install"), make_call(messageId="m2"), {"x": 1}])
    zone.ingest()
    assert zone.reasons() == {1: "unknown_type", 3: "unknown_type"}
    assert zone.replay().replayed == 0
    assert zone.table("files")["load_seq"].to_list() == [1], "nothing taken, no load"

    types = ("track", "identify", "page", "screen", "group", "alias", "install")
    monkeypatch.setattr("dagster_project.ingestion.calls.TYPES", types)
    report = zone.replay(reason="unknown_type")
    assert (report.replayed, report.still_rejected, report.events) == (1, 1, 1)
    assert zone.reasons() == {3: "unknown_type"}
    event = zone.events().to_dicts()[-1]
    assert (event["type"], event["file"], event["line"]) == ("install", "events/a.jsonl", 1)
    again = zone.replay()
    assert (again.replayed, again.still_rejected) == (0, 1)


def test_only_what_was_asked_for(zone, make_call, monkeypatch):
    for name in ("a", "b"):
        zone.land(f"events/{name}.jsonl", [make_call(timestamp="1999-01-01", messageId=name), {}])
    zone.ingest()
    from datetime import datetime

    monkeypatch.setattr("dagster_project.ingestion.calls.EARLIEST", datetime(1990, 1, 1))  # noqa: DTZ001
    assert zone.replay(reason="bad_json").replayed == 0
    assert zone.replay(file="events/b.jsonl").replayed == 1
    assert zone.events()["message_id"].to_list() == ["b"]
    assert zone.replay().replayed == 1
    with pytest.raises(ConfigurationError, match="no reason 'nonsense'"):
        zone.replay(reason="nonsense")


@pytest.mark.parametrize("name", ["orders/a.csv", "orders/a.jsonl"])
def test_rows_of_text_are_mapped_again_without_their_file(make_zone, name):
    zone = make_zone(orders())
    rows = [
        {"id": "1", "customer": "c", "placed_at": "2024-05-01", "price": "1.50"},
        {"id": "2", "customer": "c", "placed_at": "2024-05-01", "price": "1,50"},
        {"id": "3", "customer": "c", "placed_at": "2024-05-01", "price": "free"},
    ]
    text = "id,customer,placed_at,price\n" + "".join(
        ",".join(f'"{v}"' for v in row.values()) + "\n" for row in rows
    )
    path = zone.land(name, rows if name.endswith("jsonl") else text)
    zone.ingest()
    assert set(zone.reasons().values()) == {"expression_failed"}
    path.unlink()
    fixed = {"price": "cast(replace(price, ',', '.') as decimal(18, 2))"}
    remap(zone, orders(properties=fixed))
    report = zone.replay()
    assert (report.replayed, report.still_rejected) == (1, 1)
    assert zone.events()["message_id"].to_list() == ["o1", "o2"]
    assert json.loads(zone.events()["properties"][1]) == {"price": 1.5}


def test_groups_are_read_from_the_file_again(make_zone):
    grouped = {
        "group_by": ["id"], "user_id": "min(customer)", "timestamp": "min(placed_at)", "properties": {}
    }  # fmt: skip
    zone = make_zone(orders(**grouped))
    text = "id,customer,placed_at\n1,c,2024-05-01\n2,,2024-05-01\n2,,2024-05-01\n"
    path = zone.land("orders/a.csv", text)
    assert zone.ingest().events == 1
    assert zone.reasons() == {3: "missing_identity"}
    remap(zone, orders(**grouped, require_identity=False))
    path.rename(zone.root / "away")
    assert zone.replay().replayed == 0, "the file is gone"
    (zone.root / "away").rename(path)
    report = zone.replay()
    assert (report.replayed, report.events) == (1, 1)
    assert zone.events()["message_id"].to_list() == ["o1", "o2"]


def test_a_file_rejected_whole_is_read_again(make_zone):
    zone = make_zone(orders(user_id="custmer"))
    zone.land("orders/a.csv", "id,customer,placed_at,price\n1,c,2024-05-01,2\n2,,2024-05-01,2\n")
    assert zone.ingest().rejected == {"mapping_failed": 1}
    assert zone.replay().still_rejected == 1
    remap(zone, orders())
    report = zone.replay()
    assert (report.replayed, report.events, report.lines) == (1, 1, 2)
    assert zone.reasons() == {3: "missing_identity"}
    assert zone.ingest().files_skipped == 1


def test_a_source_that_is_gone_leaves_its_rejections_open(zone, make_call):
    zone.land("events/a.jsonl", [{}])
    zone.ingest()
    remap(zone, {"name": "other", "path": "x/*"})
    report = zone.replay()
    assert (report.replayed, report.still_rejected) == (0, 1)
