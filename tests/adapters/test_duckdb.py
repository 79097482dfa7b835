"""DuckDB in particular: constraints, locks, types."""

import datetime
import decimal
import subprocess
import sys

import duckdb
import pytest

from destinations.adapters import duckdb as adapter
from destinations.driver import Operation
from destinations.errors import StoreroomError

UPSERT, REMOVE = Operation.UPSERT, Operation.REMOVE


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.duckdb"


@pytest.fixture
def driver(path):
    return adapter.open(adapter.Settings(path=path, table="people"))


def ask(path, text):
    with duckdb.connect(str(path)) as connection:
        return connection.execute(text).fetchall()


def test_values_and_new_columns(driver, path, frame, deliver):
    at = datetime.datetime.fromisoformat("2026-01-02T03:04:05")
    money, day = decimal.Decimal("10.05"), datetime.date(2026, 1, 2)
    rows = frame(
        ["a"],
        member=[True],
        money=[money],
        day=[day],
        at=[at],
        tags=[["x"]],
        big=[2**64 - 1],
        no=[None],
    )
    assert deliver(driver, UPSERT, rows)["status"].to_list() == ["accepted"]
    deliver(driver, UPSERT, frame(["b"], city=["Bern"]))
    assert ask(path, "select * from people order by 1") == [
        ("a", True, money, day, at, '["x"]', 2**64 - 1, None, None),
        ("b", None, None, None, None, None, None, None, "Bern"),
    ]


def test_rows_that_break_a_rule_are_named(driver, path, frame, deliver):
    ask(path, "create table people (profile_id bigint primary key, age integer check (age > 0))")
    rows = frame(["1", "2", "x", "4"], age=["1", "-1", "2", "three"])
    results = deliver(driver, UPSERT, rows)
    assert results["status"].to_list() == ["accepted", "rejected", "rejected", "rejected"]
    assert "CHECK constraint" in results["message"][1]
    assert ask(path, "select * from people") == [(1, 1)]
    assert deliver(driver, REMOVE, frame(["1", "2"]))["status"].to_list() == ["accepted"] * 2
    assert ask(path, "select * from people") == []


def test_a_file_open_elsewhere_is_tried_later(driver, path, frame, deliver):
    deliver(driver, UPSERT, frame(["a"], n=[1]))
    script = f"import duckdb; c = duckdb.connect({str(path)!r}); print('open', flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "open\n"
    results = deliver(driver, UPSERT, frame(["b"], n=[2]))
    with pytest.raises(StoreroomError, match="lock"):
        driver.check()
    other.communicate("\n", timeout=20)
    assert results["status"].to_list() == ["retry"]
    assert deliver(driver, UPSERT, frame(["b"], n=[2]))["status"].to_list() == ["accepted"]


def test_a_table_without_the_key_is_said(driver, path, frame, only_delivery):
    ask(path, "create table people (id text)")
    assert driver.send(only_delivery(driver, UPSERT, frame(["a"], n=[1]))).stop
    with pytest.raises(StoreroomError, match="key_column to one of: id"):
        driver.check()
