"""Tables into calls by declared expressions."""

from __future__ import annotations

import json

import duckdb
import polars as pl
import pytest

from dagster_project.ingestion.engine import open_engine

ORDER = {
    "type": "track",
    "event": "Order Completed",
    "message_id": "'order-' || id",
    "user_id": "customer",
    "timestamp": "placed_at",
    "properties": {
        "order_id": "id",
        "revenue": "cast(price as decimal(18, 2)) * cast(quantity as integer)",
    },
}
ROWS = """id,customer,placed_at,price,quantity,status
1,c1,2024-05-01 10:00:00,9.99,2,paid
2,c2,2024-05-01 11:00:00,5.00,1,void
3,,2024-05-01 12:00:00,1.10,3,paid
4,c1,2024-05-01 13:00:00,cheap,1,paid
5,c3,some day,2.00,1,paid
"""


def source(*calls, path="orders/*"):
    return {"name": "orders", "path": path, "calls": list(calls)}


def test_rows_become_calls_or_are_accounted_for(make_zone):
    zone = make_zone(source(ORDER | {"where": "status = 'paid'"}))
    zone.land("orders/a.csv", ROWS)
    report = zone.ingest()
    assert (report.lines, report.events, report.filtered) == (5, 1, 1)
    assert zone.reasons() == {
        4: "missing_identity",
        5: "expression_failed",
        6: "invalid_timestamp",
    }
    (event,) = zone.events().to_dicts()
    assert (event["message_id"], event["user_id"], event["line"]) == ("order-1", "c1", 2)
    assert json.loads(event["properties"]) == {"order_id": "1", "revenue": 19.98}
    files = zone.table("files").row(0, named=True)
    assert (files["mapped"], files["filtered"], files["rejected_lines"]) == (1, 1, 3)
    raw = zone.table("rejected").sort("line")["raw"].to_list()
    assert json.loads(raw[1])["price"] == "cheap"


def test_the_same_rows_in_every_format(make_zone, tmp_path):
    call = ORDER | {"where": "status = 'paid'"}
    zone = make_zone(source(call))
    frame = pl.read_csv(ROWS.encode(), infer_schema=False)
    frame.write_parquet(tmp_path / "a.parquet")
    zone.land("orders/a.parquet", (tmp_path / "a.parquet").read_bytes())
    zone.land("orders/a.jsonl", frame.to_dicts())
    zone.land("orders/a.csv", ROWS)
    report = zone.ingest()
    assert (report.lines, report.events, report.filtered) == (15, 3, 3)
    events = zone.events().drop("file", "line").unique()
    assert events.height == 1
    offsets = {"orders/a.csv": 1, "orders/a.parquet": 0, "orders/a.jsonl": 0}
    rejected = zone.table("rejected")
    for name, offset in offsets.items():
        found = rejected.filter(pl.col("file") == name).sort("line")
        assert [line - offset for line in found["line"]] == [3, 4, 5], name


def test_one_row_may_become_several_calls(make_zone):
    person = {
        "type": "identify", "user_id": "customer", "timestamp": "placed_at", "traits": {"last": "id"}
    }  # fmt: skip
    zone = make_zone(source(ORDER | {"properties": {}}, person))
    zone.land("orders/a.csv", "id,customer,placed_at\n1,c1,2024-05-01\n,c2,2024-05-02\n3,c3,x\n")
    report = zone.ingest()
    assert (report.lines, report.events) == (3, 4)
    events = zone.events()
    assert sorted(events["type"]) == ["identify", "identify", "track", "track"]
    assert events.filter(pl.col("line") == 3)["message_id"].str.starts_with("sha256-").all()
    assert zone.reasons() == {4: "invalid_timestamp"}, (
        "two rejected calls of a row are one rejection"
    )
    files = zone.table("files").row(0, named=True)
    assert (files["mapped"], files["rejected_lines"], files["rejected"]) == (2, 1, 1)


def test_groups_of_rows_become_one_call_each(make_zone):
    call = {
        "type": "track", "event": "Order Completed", "group_by": ["id"], "message_id": "'o' || id",
        "user_id": "min(customer)", "timestamp": "min(placed_at)", "where": "quantity <> '0'",
        "properties": {"items": "list({'sku': sku, 'n': _line} order by _line)"},
    }  # fmt: skip
    zone = make_zone(source(call))
    zone.land(
        "orders/a.csv",
        "id,customer,placed_at,sku,quantity\n1,c1,2024-05-02,a,1\n2,,2024-05-01,b,1\n"
        "1,c1,2024-05-01,c,1\n2,,2024-05-01,d,1\n1,c1,2024-05-01,e,0\n",
    )
    report = zone.ingest()
    assert (report.lines, report.events, report.filtered) == (5, 1, 1)
    (event,) = zone.events().to_dicts()
    assert (event["line"], event["timestamp"].day) == (2, 1)
    assert json.loads(event["properties"]) == {
        "items": [{"sku": "a", "n": 2}, {"sku": "c", "n": 4}]
    }
    assert zone.reasons() == {3: "missing_identity"}
    files = zone.table("files").row(0, named=True)
    assert (files["mapped"], files["rejected_lines"], files["rejected"]) == (2, 2, 1)


def test_a_column_the_file_lacks_rejects_that_file_only(make_zone):
    zone = make_zone(source(ORDER | {"properties": {"order_id": "ordr_id"}}))
    zone.land("orders/a.csv", "id,customer,placed_at,order_id\n1,c1,2024-05-01,7\n")
    zone.land("orders/b.csv", "id,customer,placed_at,ordr_id\n1,c1,2024-05-01,7\n")
    report = zone.ingest()
    assert (report.rejected, report.events, report.lines) == ({"mapping_failed": 1}, 1, 2)
    detail = zone.table("rejected")["detail"].item()
    assert "properties.order_id" in detail
    assert "`ordr_id`" in detail
    assert "did you mean `order_id`?" in detail


def test_a_type_that_no_value_could_have_rejects_the_file_whole(make_zone):
    call = ORDER | {"group_by": ["id"], "user_id": "min(customer)", "timestamp": "min(placed_at)"}
    zone = make_zone(source(call | {"properties": {"total": "sum(price)"}}))
    zone.land("orders/a.csv", ROWS)
    assert zone.ingest().rejected == {"mapping_failed": 1}
    assert "sum(VARCHAR)" in zone.table("rejected")["detail"].item()
    assert zone.events().is_empty()


def test_keys_that_objects_leave_out_are_null(make_zone):
    zone = make_zone(source(ORDER | {"properties": {"coupon": "coupon", "note": "note"}}))
    zone.land(
        "orders/a.jsonl",
        [
            {"id": 1, "customer": "c", "placed_at": "2024-05-01", "note": {"a": 1}},
            {"id": 2, "customer": "c", "placed_at": "2024-05-01", "b.c": 1, 'q"': 2},
        ],
    )
    assert zone.ingest().events == 2
    assert json.loads(zone.events()["properties"][0]) == {"coupon": None, "note": '{"a":1}'}


def test_lines_that_are_no_objects_are_rejected_beside_the_mapping(make_zone):
    zone = make_zone(source(ORDER | {"properties": {}}))
    good = json.dumps({"id": 1, "customer": "c", "placed_at": "2024-05-01"})
    zone.land("orders/a.jsonl", f"{good}\n[]\n{{\n{good}\n")
    report = zone.ingest()
    assert (report.lines, report.events) == (4, 2)
    assert zone.reasons() == {2: "not_an_object", 3: "bad_json"}
    zone.land("orders/b.jsonl", "{\n")
    assert zone.ingest().rejected == {"bad_json": 1}


@pytest.mark.parametrize(
    "expression",
    [
        "getenv('HOME')",
        "content", "read_text('/etc/passwd')",
    ],
)  # fmt: skip
def test_expressions_reach_nothing_outside(make_zone, expression):
    zone = make_zone(source(ORDER | {"properties": {"x": expression}}))
    zone.land("orders/a.csv", ROWS)
    report = zone.ingest()
    assert report.rejected == {"mapping_failed": 1}
    assert report.events == 0


@pytest.mark.parametrize(
    "statement",
    [
        "from read_text('{file}')", "copy (select 1) to '{file}'", "attach '{file}.db'",
        "set enable_external_access = true", "set TimeZone = 'Asia/Tokyo'",
    ],
)  # fmt: skip
def test_the_session_itself_is_locked(tmp_path, statement):
    (tmp_path / "secret").write_text("x")
    with open_engine(tmp_path / "scratch.duckdb") as engine, pytest.raises(duckdb.Error):
        engine.execute(statement.format(file=tmp_path / "secret"))


def test_many_rows_are_mapped_in_chunks(make_zone, tmp_path):
    count = 150_000
    frame = pl.select(
        id=pl.int_range(count), customer=pl.int_range(count) % 1000, placed_at=pl.lit("2024-05-01")
    )
    frame.write_parquet(tmp_path / "a.parquet")
    zone = make_zone(source(ORDER | {"properties": {}, "where": "id % 10 <> 3"}))
    zone.land("orders/a.parquet", (tmp_path / "a.parquet").read_bytes())
    report = zone.ingest()
    assert (report.lines, report.events, report.filtered) == (count, count * 9 // 10, count // 10)
    assert zone.events()["message_id"].n_unique() == count * 9 // 10
