"""MySQL in particular: types, refused values, rows that would stand for another."""

import datetime
import decimal
import uuid

import polars as pl
import pytest

from destinations.adapters import mysql
from destinations.driver import Operation
from destinations.errors import StoreroomError

UPSERT, REMOVE = Operation.UPSERT, Operation.REMOVE


@pytest.fixture
def table(mysql_server):
    name = "t" + uuid.uuid4().hex[:8]
    yield name
    mysql_server.sql(f"drop table if exists {name}")


@pytest.fixture
def opened(mysql_server, table):
    drivers = []

    def start(**settings):
        given = mysql_server.settings | {"table": table} | settings
        drivers.append(mysql.open(mysql.Settings(**given)))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.close()


def test_new_tables_are_typed_and_grow_columns(opened, mysql_server, table, frame, deliver):
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 6)  # noqa: DTZ001 - a column without a zone
    rows = frame(
        ["a", "b"],
        member=[True, None],
        money=[decimal.Decimal("10.05"), None],
        born=[datetime.date(1990, 5, 1), None],
        seen=pl.Series([moment, None]).dt.replace_time_zone("Europe/Berlin"),
        tags=[["x", "y"], None],
    )
    deliver(opened(), UPSERT, rows[:1])
    deliver(opened(), UPSERT, rows.with_columns(score=pl.Series([1.5, None])))
    first, second = mysql_server.sql(f"select * from {table} order by profile_id")
    assert first == {
        "profile_id": "a",
        "member": 1,
        "money": decimal.Decimal("10.05"),
        "born": datetime.date(1990, 5, 1),
        "seen": moment - datetime.timedelta(hours=1),  # in UTC
        "tags": '["x","y"]',
        "score": 1.5,
    }
    assert set(second.values()) == {"b", None}


def test_keys_that_differ_in_case_or_accent_are_two_rows(
    opened, mysql_server, table, frame, deliver
):
    rows = frame(["a", "A", "á"], n=[1, 2, 3])
    assert set(deliver(opened(), UPSERT, rows)["status"]) == {"accepted"}
    assert len(mysql_server.sql(f"select * from {table}")) == 3


def test_a_value_that_does_not_fit_is_refused_and_never_cut(
    opened, mysql_server, table, frame, deliver
):
    mysql_server.sql(
        f"create table {table} (profile_id varchar(20) collate utf8mb4_bin primary key,"
        " name varchar(3) not null, n tinyint)"
    )
    rows = frame(
        ["ok", "long", "null", "big", "fine"],
        name=["abc", "abcd", None, "x", "y"],
        n=[1, 1, 1, 1000, None],
    )
    results = deliver(opened(), UPSERT, rows)
    assert results["status"].to_list() == [
        "accepted",
        "rejected",
        "rejected",
        "rejected",
        "accepted",
    ]
    assert results["message"].str.len_chars().min() > 10
    held = mysql_server.sql(f"select profile_id, name from {table}")
    assert {row["profile_id"]: row["name"] for row in held} == {"ok": "abc", "fine": "y"}


def test_a_row_that_would_stand_for_another_by_its_collation_is_refused(
    opened, mysql_server, table, frame, deliver
):
    mysql_server.sql(
        f"create table {table} (profile_id varchar(20) collate utf8mb4_general_ci primary key, n int)"
    )
    driver = opened()
    assert set(deliver(driver, UPSERT, frame(["a", "b"], n=[1, 2]))["status"]) == {"accepted"}
    results = deliver(driver, UPSERT, frame(["A", "c"], n=[9, 3]))
    assert results["status"].to_list() == ["rejected", "accepted"]
    deliver(driver, REMOVE, frame(["B"]))
    held = mysql_server.sql(f"select * from {table}")
    assert {row["profile_id"]: row["n"] for row in held} == {"a": 1, "b": 2, "c": 3}


def test_a_row_that_would_stand_for_another_by_a_unique_column_is_refused(
    opened, mysql_server, table, frame, deliver
):
    mysql_server.sql(
        f"create table {table} (profile_id varchar(20) collate utf8mb4_bin primary key,"
        " email varchar(50) unique)"
    )
    driver = opened()
    deliver(driver, UPSERT, frame(["a"], email=["x@example.com"]))
    results = deliver(driver, UPSERT, frame(["b", "c"], email=["x@example.com", "c@example.com"]))
    assert results["status"].to_list() == ["rejected", "accepted"]
    held = mysql_server.sql(f"select * from {table}")
    assert {row["profile_id"] for row in held} == {"a", "c"}


def test_rows_it_cannot_hold_are_named_before(opened, frame):
    rows = frame(["a", "b ", "c"], n=[1.0, 2.0, float("nan")])
    problems = opened().problems(UPSERT, rows).to_list()
    assert problems[0] is None
    assert "space" in problems[1]
    assert "NaN" in problems[2]


def test_other_peoples_tables_are_checked(opened, mysql_server, table, frame, deliver):
    with pytest.raises(StoreroomError, match="does not exist"):
        opened(create_table=False).check()
    outcome = deliver(opened(create_table=False), UPSERT, frame(["a"], n=[1]))
    assert outcome["status"].to_list() == ["retry"]
    mysql_server.sql(f"create table {table} (id varchar(20) primary key)")
    with pytest.raises(StoreroomError, match="no column 'profile_id'"):
        opened().check()


def test_a_table_dropped_meanwhile_is_made_again(opened, mysql_server, table, frame, deliver):
    driver = opened()
    deliver(driver, UPSERT, frame(["a"], n=[1]))
    mysql_server.sql(f"drop table {table}")
    assert deliver(driver, UPSERT, frame(["b"], n=[1]))["status"].to_list() == ["retry"]
    assert deliver(driver, UPSERT, frame(["b"], n=[1]))["status"].to_list() == ["accepted"]


def test_an_answer_that_never_came_is_in_doubt(opened, mysql_server, cut_after, frame, deliver):
    port = cut_after(mysql_server.settings["port"], b"\x03COMMIT")
    driver = opened()
    deliver(driver, UPSERT, frame(["a"], n=[1]))
    # The first COMMIT through the proxy is that of reading the columns: nothing was written yet.
    cut = opened(port=port)
    assert deliver(cut, UPSERT, frame(["b"], n=[1]))["status"].to_list() == ["retry"]
    cut._columns = driver._columns
    assert deliver(cut, UPSERT, frame(["b"], n=[1]))["status"].to_list() == ["in_doubt"]
    assert deliver(driver, UPSERT, frame(["b"], n=[1]))["status"].to_list() == ["accepted"]
