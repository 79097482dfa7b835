"""Whether a day is the same whenever it is made, and holds what it says it holds."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from datetime import date

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from dagster_project.demo import DemoDay, generate, generator

# A day has too few orders for its share of bad ones.
_FIRST_DAY_ONLY = ("bad_price", "truncated_file")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Two days of the default shop."""
    landing = tmp_path_factory.mktemp("landing")
    return landing, generate(landing, 1), generate(landing, 2)


def _calls_of(read_calls, day: DemoDay) -> list[dict]:
    whole = [path for path in day.files if path.parent.name in ("web", "app")]
    return [call for path in whole if "upload" not in path.name for call in read_calls(path)]


def _flaw(call: dict) -> str | None:
    """The kind of flaw a line that is JSON has, by what it holds."""
    if call["type"] == "telemetry":
        return "unknown_type"
    if isinstance(call["userId"], dict):
        return "wrong_type"
    if not (call["userId"] or call["anonymousId"]):
        return "missing_ids"
    year = call["timestamp"][:4]
    return f"timestamp_{year}" if year in ("1970", "2099") else None


def _good(calls: list[dict]) -> list[dict]:
    return [call for call in calls if _flaw(call) is None]


def _good_orders(day: DemoDay) -> pl.DataFrame:
    orders = pl.read_csv(day.files[2], infer_schema=False)
    return orders.filter(pl.col("unit_price") != "n/a")


def test_a_day_made_again_is_byte_identical(tmp_path, bytes_by_name):
    first = generate(tmp_path, 1, users=300)
    before = bytes_by_name(tmp_path)
    assert generate(tmp_path, 1, users=300) == first
    assert bytes_by_name(tmp_path) == before
    assert len(before) == 5


def test_a_day_does_not_need_the_days_before_it(tmp_path, bytes_by_name):
    for day in (1, 2, 3):
        generate(tmp_path / "in order", day, users=300)
    alone = generate(tmp_path / "alone", 3, users=300)
    together = bytes_by_name(tmp_path / "in order")
    for name, content in bytes_by_name(tmp_path / "alone").items():
        assert together[name] == content
    assert len(alone.files) == 4


def test_another_seed_is_another_shop(tmp_path, bytes_by_name):
    generate(tmp_path / "a", 1, users=50, seed=1)
    generate(tmp_path / "b", 1, users=50, seed=2)
    a, b = bytes_by_name(tmp_path / "a"), bytes_by_name(tmp_path / "b")
    assert a.keys() == b.keys()
    assert all(a[name] != b[name] for name in a)


def test_slices_of_the_population_make_the_same_calls(tmp_path, monkeypatch, read_calls):
    whole = generate(tmp_path / "whole", 1, users=120)
    monkeypatch.setattr(generator, "_SLICE_FIRST", 50)
    sliced = generate(tmp_path / "sliced", 1, users=120)
    assert (sliced.calls["app"], sliced.calls["erp"], sliced.calls["crm"]) == (
        whole.calls["app"],
        whole.calls["erp"],
        whole.calls["crm"],
    )

    def ids(day: DemoDay) -> list[str]:
        return sorted(call["messageId"] for call in _good(_calls_of(read_calls, day)))

    assert ids(sliced) == ids(whole)
    for read in (_good_orders, lambda day: pl.read_parquet(day.files[3])):
        assert_frame_equal(read(sliced), read(whole), check_row_order=False)


def test_the_files_hold_what_the_day_reports(shop, read_calls):
    landing, one, two = shop
    for day in (one, two):
        web, app = (read_calls(path) for path in day.files[:2])
        good = _good(web)
        bad = Counter(flaw for call in web if (flaw := _flaw(call)))
        assert bad == {
            kind: number
            for kind, number in day.bad.items()
            if kind not in ("bad_json", "bad_price", "truncated_file")
        }
        readable = 0
        if day is one:
            broken = day.files[4].read_bytes()
            with pytest.raises(EOFError):
                read_calls(day.files[4])
            readable = zlib.decompressobj(wbits=31).decompress(broken).count(b"\n")
            assert readable > 10
        assert len(good) + readable == day.calls["web"]
        assert len(app) == len(_good(app)) == day.calls["app"]
        ids = [call["messageId"] for call in good + app]
        assert len(ids) - len(set(ids)) + readable == day.repeated
        orders = pl.read_csv(day.files[2], infer_schema=False)
        good = _good_orders(day)
        assert good.n_unique(["order_id", "status"]) == day.calls["erp"]
        assert orders.height - good.height == day.bad["bad_price"]
        assert orders["order_id"].n_unique() - good["order_id"].n_unique() == day.bad["bad_price"]
        assert pl.read_parquet(day.files[3]).height == day.calls["crm"]
        assert min(n for kind, n in day.bad.items() if kind not in _FIRST_DAY_ONLY) >= 1
    assert (one.bad["truncated_file"], two.bad["truncated_file"]) == (1, 0)
    assert one.bad["bad_price"] > 0
    assert sorted(p for p in landing.rglob("*") if p.is_file()) == sorted(one.files + two.files)


def test_some_calls_of_a_day_are_sent_again_the_day_after(shop, read_calls):
    _, one, two = shop
    before = {call["messageId"]: call for call in _good(_calls_of(read_calls, one))}
    again = [c for c in _good(_calls_of(read_calls, two)) if c["messageId"] in before]
    assert len(again) == two.resent > 0
    assert one.resent == 0
    assert all(before[call["messageId"]] == call for call in again)


def test_late_calls_are_received_days_after_they_happened(shop, read_calls):
    _, _, two = shop
    late = [
        call
        for call in _good(_calls_of(read_calls, two))
        if call["timestamp"][:10] < call["receivedAt"][:10] == "2026-01-06"
    ]
    assert len(late) == two.late > 0
    assert {call["timestamp"][:10] for call in late} <= {"2026-01-03", "2026-01-04", "2026-01-05"}


def test_every_kind_of_call_occurs(shop, read_calls):
    _, one, two = shop
    kinds = Counter(call["type"] for call in _good(_calls_of(read_calls, one)))
    assert set(kinds) == {"track", "identify", "page", "screen", "group", "alias"}
    tracks = {call.get("event") for call in _good(_calls_of(read_calls, one))} - {None}
    assert tracks == {"Product Viewed", "Product Added", "Checkout Started"}
    assert {call["type"] for call in read_calls(two.files[1])} <= {
        "screen",
        "identify",
        "track",
        "group",
        "alias",
    }


def test_a_checkout_is_worth_what_its_cart_holds(shop, read_calls):
    _, one, _ = shop
    calls = {call["messageId"]: call for call in _good(_calls_of(read_calls, one))}
    carts: dict[str, float] = {}
    for call in calls.values():
        if call.get("event") == "Product Added":
            bought = call["properties"]
            value = bought["price"] * bought["quantity"]
            carts[bought["cart_id"]] = carts.get(bought["cart_id"], 0) + value
    checkouts = [c["properties"] for c in calls.values() if c.get("event") == "Checkout Started"]
    assert len(checkouts) > 50
    for checkout in checkouts:
        assert checkout["value"] == pytest.approx(carts[checkout["cart_id"]])


def test_devices_of_a_person_meet_in_their_user_id(shop, read_calls):
    _, one, _ = shop
    devices: dict[str, set[str]] = {}
    owners: dict[str, set[str]] = {}
    for call in _good(_calls_of(read_calls, one)):
        if call["userId"]:
            devices.setdefault(call["userId"], set()).add(call["anonymousId"])
            owners.setdefault(call["anonymousId"], set()).add(call["userId"])
    assert sum(len(ids) > 1 for ids in devices.values()) > 20
    assert all(len(ids) == 1 for ids in owners.values())


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(users=st.integers(0, 40), day=st.integers(1, 400), seed=st.integers(-(2**40), 2**40))
def test_any_size_day_and_seed(tmp_path_factory, read_calls, users, day, seed):
    landing = tmp_path_factory.mktemp("any")
    made = generate(landing, day, users=users, seed=seed)
    assert all(path.is_file() for path in made.files)
    calls = _calls_of(read_calls, made)
    readable = made.calls["web"] + made.calls["app"]
    if day > 1:
        assert len(_good(calls)) == readable
    (customers,) = [path for path in made.files if path.suffix == ".parquet"]
    assert pl.read_parquet(customers).height == made.calls["crm"] <= users
    landed = {path.parent.name for path in made.files}
    assert landed - {"erp", "crm"} == {name for name in ("web", "app") if made.calls[name]}
    assert not [path for path in landing.rglob(".*") if path.is_file()]


@pytest.mark.parametrize(("day", "users"), [(0, 10), (1, -1)])
def test_days_and_people_that_cannot_be_are_refused(tmp_path, day, users):
    with pytest.raises(ValueError, match="day counts from 1"):
        generate(tmp_path, day, users=users)


def test_the_calendar_starts_where_it_is_told(tmp_path):
    made = generate(tmp_path, 3, users=200, start=date(2025, 12, 30))
    assert made.date == date(2026, 1, 1)
    assert made.files[0] == tmp_path / "web/2026-01-01.jsonl.gz"


def test_a_day_of_the_default_shop_takes_less_than_a_second(tmp_path):
    generate(tmp_path, 1, users=10)
    began = time.process_time()
    generate(tmp_path, 1)
    assert time.process_time() - began < 2  # CPU of both cores, on a busy machine
