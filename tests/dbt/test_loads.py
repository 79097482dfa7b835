"""What models make of loads: only new ones are read, and rejections close when put right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_only_new_loads_are_read(
    tmp_path: Path, raw_zone: Any, make_warehouse: Callable[[Path, Path], Any]
) -> None:
    warehouse = make_warehouse(tmp_path / "warehouse.duckdb", raw_zone.folder)
    raw_zone.load([{"user_id": "1", "message_id": "a"}, {"user_id": "2", "message_id": "b"}])
    warehouse.dbt("run", "--select", "+obs_ingestion")

    # An old load that cannot be read any more shows whether anybody tries.
    (raw_zone.folder / "loads/load_seq=00000001/events.parquet").write_bytes(b"gone")
    raw_zone.load([{"user_id": "1", "message_id": "b"}, {"message_id": "c"}])
    warehouse.dbt("run", "--select", "+obs_ingestion")
    assert warehouse.table("stg_events", "message_id, user_id, load_seq") == [
        ("a", "1", 1),
        ("b", "2", 1),
        ("c", None, 2),
    ]
    assert warehouse.query(
        "select files, lines, events, staged_events, duplicates, without_profile from obs_ingestion"
    ) == [(2, 4, 4, 3, 1, 1)]


def test_rejections_close_when_replayed_or_corrected(
    tmp_path: Path, raw_zone: Any, make_warehouse: Callable[[Path, Path], Any]
) -> None:
    def refused(line: int | None, reason: str) -> dict[str, Any]:
        return {"line": line, "reason": reason, "detail": "because", "raw": "{"}

    first = raw_zone.load(
        [{"user_id": "1"}],
        rejected=[refused(2, "bad_json"), refused(3, "bad_json"), refused(4, "no_identity")],
        file="day.jsonl",
    )
    raw_zone.load([], rejected=[refused(None, "truncated")], file="cut.jsonl.gz")
    raw_zone.load([], replayed=[{"file_digest": f"digest-of-day.jsonl-{first}", "line": 3}])
    warehouse = make_warehouse(tmp_path / "warehouse.duckdb", raw_zone.folder)
    select = ["run", "--select", "+obs_rejections", "+obs_ingestion"]
    warehouse.dbt(*select)
    assert warehouse.table("obs_rejections", "reason, rejections") == [
        ("bad_json", 1),
        ("no_identity", 1),
        ("truncated", 1),
    ]

    raw_zone.load([{"user_id": "1"}], file="cut.jsonl.gz")
    warehouse.dbt(*select)
    assert warehouse.table("stg_rejected_events", "source_line, reason") == [
        (2, "bad_json"),
        (4, "no_identity"),
    ]
    assert warehouse.query("select rejected, open_rejections from obs_ingestion") == [(4, 2)]


def test_the_clock_can_be_set(
    tmp_path: Path, raw_zone: Any, make_warehouse: Callable[[Path, Path], Any]
) -> None:
    order = {"event": "Order Completed", "properties": {"order_id": "1", "revenue": 5}}
    raw_zone.load([order | {"user_id": "1", "at": 0}])
    warehouse = make_warehouse(tmp_path / "warehouse.duckdb", raw_zone.folder)
    warehouse.dbt("run", "--select", "+lapsed_customers")
    assert warehouse.table("lapsed_customers") == []
    later = "{as_of: '2026-04-02'}"
    warehouse.dbt("run", "--select", "+audience_lapsed_customers", "--vars", later)
    assert len(warehouse.table("lapsed_customers")) == 1
    assert warehouse.table("audience_lapsed_customers", "consent_ads") == [(None,)]
