"""SQLite in particular: constraints, locks, values."""

import datetime
import decimal
import sqlite3

import pytest

from destinations.adapters import sqlite
from destinations.driver import Operation
from destinations.errors import StoreroomError

UPSERT, REMOVE = Operation.UPSERT, Operation.REMOVE


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.sqlite"


@pytest.fixture
def driver(path):
    opened = sqlite.open(sqlite.Settings(path=path, table="people", timeout_seconds=0.2))
    yield opened
    opened.close()


def ask(path, text):
    with sqlite3.connect(path) as connection:
        return connection.execute(text).fetchall()


def test_values_and_new_columns(driver, path, frame, deliver):
    rows = frame(
        ["a"],
        member=[True],
        money=[decimal.Decimal("10.05")],
        day=[datetime.date(2026, 1, 2)],
        at=[datetime.datetime.fromisoformat("2026-01-02T03:04:05")],
        tags=[["x", 'y"']],
    )
    deliver(driver, UPSERT, rows)
    deliver(driver, UPSERT, frame(["b"], city=["Bern"], MONEY=[1.5]))
    assert ask(path, "select * from people order by 1") == [
        ("a", 1, 10.05, "2026-01-02", "2026-01-02T03:04:05.000000Z", '["x","y\\""]', None),
        ("b", None, 1.5, None, None, None, "Bern"),
    ]


def test_rows_that_break_a_rule_are_named(driver, path, frame, deliver):
    ask(
        path,
        "create table people (profile_id text primary key, age integer check (age > 0), n integer)",
    )
    rows = frame(["a", "b", "c", "d"], age=[1, -1, 2, 3], n=[1, 1, 2**64 - 1, 2])
    results = deliver(driver, UPSERT, rows)
    assert results["status"].to_list() == ["accepted", "rejected", "rejected", "accepted"]
    assert "CHECK constraint failed" in results["message"][1]
    assert ask(path, "select profile_id from people") == [("a",), ("d",)]


def test_another_writer_makes_it_wait_and_then_try_later(driver, path, frame, deliver):
    deliver(driver, UPSERT, frame(["a"], n=[1]))
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("begin immediate")
        results = deliver(driver, REMOVE, frame(["a"]))
        other.execute("rollback")
    assert results["status"].to_list() == ["retry"]
    assert "locked" in results["message"][0]
    assert deliver(driver, REMOVE, frame(["a"]))["status"].to_list() == ["accepted"]
    assert ask(path, "select * from people") == []


def test_what_is_no_database_and_no_key_column_is_said(driver, path, frame, only_delivery):
    path.write_text("not a database, but long enough to have a header to read " * 20)
    assert "not a database" in driver.send(only_delivery(driver, UPSERT, frame(["a"]))).stop
    with pytest.raises(StoreroomError, match="not a database"):
        driver.check()
    path.unlink()
    ask(path, "create table people (id text)")
    assert driver.send(only_delivery(driver, UPSERT, frame(["a"]))).stop
    with pytest.raises(StoreroomError, match="key_column to one of: id"):
        driver.check()
