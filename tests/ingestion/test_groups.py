"""Groups of rows that become one call each, some of them unreadable."""

from __future__ import annotations

import json

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CALL = {
    "type": "track",
    "event": "Order Completed",
    "group_by": ["id"],
    "message_id": "'o' || id",
    "user_id": "min(customer)",
    "timestamp": "min(placed_at)",
    "properties": {"total": "sum(cast(price as integer))", "lines": "list(_line order by _line)"},
}


def source(**changes):
    return {"name": "orders", "path": "orders/*", "calls": [CALL | changes]}


def csv(*rows):
    """Rows of id and price."""
    lines = [f"{order},c1,2024-05-01,{price}\n" for order, price in rows]
    return "id,customer,placed_at,price\n" + "".join(lines)


def totals(zone):
    return {
        row["message_id"]: json.loads(row["properties"])["total"]
        for row in zone.events().to_dicts()
    }


def test_an_unreadable_value_costs_its_own_group_only(make_zone):
    zone = make_zone(source())
    zone.land("orders/a.csv", csv((1, 5), (2, 1), (3, 7), (2, "n/a"), (1, 6), (2, 2), (4, "free")))
    report = zone.ingest()
    assert (report.lines, report.events) == (7, 2)
    assert totals(zone) == {"o1": 11, "o3": 7}
    assert zone.reasons() == {3: "expression_failed", 8: "expression_failed"}
    first, second = zone.table("rejected").sort("line").to_dicts()
    assert first["detail"].startswith("`properties.total` fails on line 5: Conversion Error: ")
    assert "'n/a'" in first["detail"]
    assert json.loads(first["raw"])["price"] == "n/a"
    assert "'free'" in second["detail"]
    files = zone.table("files").row(0, named=True)
    assert (files["mapped"], files["rejected_lines"], files["rejected"]) == (3, 4, 2)


def test_groups_that_fail_after_their_rows_were_read(make_zone):
    """A total that is too large for its type, and a cast of a chosen value."""
    properties = {
        "total": "cast(sum(cast(price as integer)) as tinyint)",
        "x": "cast(min(price) as int)",
    }
    zone = make_zone(source(properties=properties))
    prices = [(order, price) for order in range(40) for price in (1, order)]
    zone.land("orders/a.csv", csv(*prices, (41, 100), (41, 100), (42, 5), (17, 127)))
    report = zone.ingest()
    assert (report.lines, report.events) == (84, 40)
    assert zone.reasons() == {36: "expression_failed", 82: "expression_failed"}
    details = zone.table("rejected").sort("line")["detail"]
    assert all("cannot be made: Conversion Error" in detail for detail in details)
    assert zone.table("files")["rejected_lines"].item() == 5


def test_rows_without_a_readable_key_stand_alone(make_zone):
    zone = make_zone(source(group_by=["cast(id as integer)"], message_id="'o' || min(id)"))
    zone.land("orders/a.csv", csv((1, 5), ("x", 1), ("x", 2), (1, 6), (2, 1)))
    assert zone.ingest().events == 2
    assert totals(zone) == {"o1": 11, "o2": 1}
    assert zone.reasons() == {3: "expression_failed", 4: "expression_failed"}
    assert zone.table("rejected")["detail"].str.starts_with("`group_by[0]` fails on line").all()


def test_a_row_rejected_in_one_call_may_serve_in_another(make_zone):
    person = {
        "type": "identify",
        "user_id": "customer",
        "timestamp": "placed_at",
        "traits": {"a": "id"},
    }
    zone = make_zone({"name": "orders", "path": "orders/*", "calls": [CALL, person]})
    zone.land("orders/a.csv", csv((1, 5), (2, "n/a")))
    report = zone.ingest()
    assert (report.lines, report.events) == (2, 3)
    files = zone.table("files").row(0, named=True)
    assert (files["mapped"], files["rejected_lines"], files["rejected"]) == (2, 0, 1)


def test_a_whole_file_of_unreadable_groups(make_zone, tmp_path):
    count = 30_000
    frame = pl.select(
        id=pl.int_range(count) // 2, customer=pl.lit("c"), placed_at=pl.lit("2024-05-01"),
        price=pl.format("{},50", pl.int_range(count)),
    )  # fmt: skip
    frame.write_parquet(tmp_path / "a.parquet")
    zone = make_zone(source())
    zone.land("orders/a.parquet", (tmp_path / "a.parquet").read_bytes())
    assert zone.ingest().rejected == {"expression_failed": count // 2}
    details = zone.table("rejected")["detail"]
    assert 0 < details.str.contains("Conversion Error").sum() < count // 2, "asked for some only"
    assert details.str.starts_with("`properties.total` fails on line").all()


def test_groups_are_replayed_once_the_mapping_reads_them(make_zone):
    zone = make_zone(source())
    zone.land("orders/a.csv", csv((1, 5), (2, 1), (3, "free"), (2, "n/a"), (1, 6)))
    assert zone.ingest().events == 1
    assert zone.replay().still_rejected == 2
    fixed = {"total": "sum(cast(replace(price, 'n/a', '0') as integer))"}
    zone.sources = type(zone.sources).model_validate({"sources": [source(properties=fixed)]})
    report = zone.replay()
    assert (report.replayed, report.still_rejected, report.events) == (1, 1, 1)
    assert totals(zone) == {"o1": 11, "o2": 1}
    assert zone.reasons() == {4: "expression_failed"}
    assert zone.replay().replayed == 0


PRICES = st.sampled_from([1, 2, 3, 200, "n/a", ""])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(st.integers(0, 6), PRICES), min_size=1, max_size=25))
def test_any_mixture_is_accounted_for(make_zone, tmp_path_factory, rows):
    total = "cast(sum(cast(price as integer)) as tinyint)"
    call = source(where="id <> '0'", properties={"total": total})
    zone = make_zone(call, root=tmp_path_factory.mktemp("zone"))
    zone.land("orders/a.csv", csv(*rows))
    zone.ingest()
    groups: dict[int, list[tuple[int, object]]] = {}
    for line, (order, price) in enumerate(rows, 2):
        groups.setdefault(order, []).append((line, price))
    kept = groups.pop(0, [])
    good, bad = {}, {}
    for order, members in groups.items():
        numbers = [price for _, price in members if price != ""]
        if "n/a" in numbers or sum(numbers) > 127:
            bad[members[0][0]] = len(members)
        else:
            good[f"o{order}"] = sum(numbers) if numbers else None
    assert totals(zone) == good
    assert zone.reasons() == dict.fromkeys(bad, "expression_failed")
    files = zone.table("files").row(0, named=True)
    assert files["rejected_lines"] == sum(bad.values())
    assert files["filtered"] == len(kept)
    assert files["lines"] == len(rows)
