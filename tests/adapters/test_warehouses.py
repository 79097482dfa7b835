"""Warehouses that no test can start: Redshift's statements run on PostgreSQL, which knows them all,
Snowflake's on DuckDB, translated.
"""

import datetime
import uuid

import duckdb
import psycopg
import pytest
import sqlglot

from destinations.adapters import redshift, snowflake
from destinations.adapters.table_driver import Fault, TableDriver
from destinations.driver import Operation
from destinations.previews import example_model
from destinations.registry import load_spec

UPSERT, ADD, REMOVE = Operation.UPSERT, Operation.ADD, Operation.REMOVE


def settings_of(destination, **changes):
    return example_model(load_spec(destination)).model_copy(update=changes)


class OnPostgres(redshift.RedshiftServer):
    """Redshift's server, its statements said to PostgreSQL."""

    dsn = ""

    def connect(self):
        return psycopg.connect(self.dsn, client_encoding="utf8")

    def fault(self, error):
        if not isinstance(error, psycopg.Error):
            return None
        return Fault.DATA if (error.sqlstate or "").startswith(redshift.DATA) else Fault.CLOSED


class DuckdbAsSnowflake:
    """A connection that translates; DuckDB has one cursor, and every statement commits itself."""

    def __init__(self, path):
        self.inner = duckdb.connect(path)

    def cursor(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def execute(self, sql, bound=None):
        if "information_schema" in sql:
            bound = tuple(value.lower() for value in bound)
            sql = sql.replace("= ?", "ilike ?")
        (translated,) = sqlglot.transpile(sql, read="snowflake", write="duckdb")
        self.inner.execute(translated, bound)

    def executemany(self, sql, rows):
        self.inner.executemany(sql, rows)

    def fetchall(self):
        return self.inner.fetchall()

    def commit(self):
        return None

    rollback = commit

    def close(self):
        self.inner.close()


class OnDuckdb(snowflake.SnowflakeServer):
    path = ""
    concurrency = 1

    def connect(self):
        return DuckdbAsSnowflake(self.path)

    def fault(self, error):
        if not isinstance(error, duckdb.Error):
            return None
        return Fault.DATA if isinstance(error, duckdb.ConversionException) else Fault.CLOSED


@pytest.fixture
def on_postgres(postgres_server):
    server = OnPostgres(settings_of("redshift", table="T" + uuid.uuid4().hex[:8]))
    server.dsn = postgres_server.dsn()
    driver = TableDriver(server, 1000, 1 << 20)
    yield driver, server
    driver.close()


@pytest.fixture
def on_duckdb(tmp_path):
    server = OnDuckdb(settings_of("snowflake", table_schema="main"))
    server.path = str(tmp_path / "a.duckdb")
    server.table = '"main"."LOYAL_CUSTOMERS"'
    driver = TableDriver(server, 1000, 1 << 20)
    yield driver, server
    driver.close()


@pytest.mark.parametrize("kind", ["on_postgres", "on_duckdb"])
def test_rows_are_written_changed_and_taken_out(kind, request, frame, deliver):
    driver, server = request.getfixturevalue(kind)
    moment = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
    first = frame(["a", "b'; --"], name=["Ada", None], n=[1, None], seen=[moment, None])
    assert set(deliver(driver, ADD, first)["status"]) == {"accepted"}
    second = frame(["b'; --", "c"], name=["Bo", "Cy"], n=[2, 3], extra=[True, None])
    assert set(deliver(driver, UPSERT, second)["status"]) == {"accepted"}
    assert set(deliver(driver, UPSERT, second)["status"]) == {"accepted"}
    assert set(deliver(driver, REMOVE, frame(["c", "nobody"]))["status"]) == {"accepted"}
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute(f"select * from {server.table} order by 1")
    assert cursor.fetchall() == [
        ("a", "Ada", 1, moment.replace(tzinfo=None), None),
        ("b'; --", "Bo", 2, None, True),
    ]
    connection.close()


@pytest.mark.parametrize("kind", ["on_postgres", "on_duckdb"])
def test_a_value_that_does_not_fit_is_refused_alone(kind, request, frame, deliver):
    driver, _ = request.getfixturevalue(kind)
    assert set(deliver(driver, UPSERT, frame(["a"], n=[1]))["status"]) == {"accepted"}
    results = deliver(driver, UPSERT, frame(["b", "c", "d"], n=["2", "many", "4"]))
    assert results["status"].to_list() == ["accepted", "rejected", "accepted"]


def test_a_text_is_refused_and_never_cut(on_postgres, frame, deliver):
    driver, server = on_postgres
    connection = server.connect()
    connection.execute(
        f"create table {server.table} (profile_id varchar(9) primary key, t varchar(3))"
    )
    connection.commit()
    results = deliver(driver, UPSERT, frame(["a", "b"], t=["abc", "abcd"]))
    assert results["status"].to_list() == ["accepted", "rejected"]
    connection.close()


def test_many_rows_are_bound_in_several_statements(on_postgres, frame, deliver, monkeypatch):
    monkeypatch.setattr(redshift, "MOST_MARKS", 7)
    driver, server = on_postgres
    rows = frame([str(number) for number in range(50)], n=range(50))
    assert set(deliver(driver, UPSERT, rows)["status"]) == {"accepted"}
    connection = server.connect()
    assert connection.execute(f"select count(*) from {server.table}").fetchone() == (50,)
    connection.close()


def test_names_follow_the_case_of_the_warehouse():
    assert snowflake.SnowflakeServer(settings_of("snowflake")).table == '"PUBLIC"."LOYAL_CUSTOMERS"'
    kept = settings_of("snowflake", table="Loyal")
    assert snowflake.SnowflakeServer(kept).table == '"PUBLIC"."Loyal"'
    assert redshift.RedshiftServer(settings_of("redshift", table="Loyal")).table == (
        '"public"."loyal"'
    )


def test_nested_values_are_read_as_such():
    server = snowflake.SnowflakeServer(settings_of("snowflake"))
    assert server.cast("c1", "VARIANT") == "parse_json(c1)"
    assert server.cast("c1", "NUMBER") == "c1"
    other = redshift.RedshiftServer(settings_of("redshift"))
    assert other.cast("c1", "super") == "json_parse(c1)"
    assert other.cast("c1", "numeric(10,2)") == "cast(c1 as numeric(10,2))"
    assert other.cast("c1", "character varying(3)") == "c1"


def test_errors_of_redshift(frame):
    from redshift_connector.error import InterfaceError, ProgrammingError

    server = redshift.RedshiftServer(settings_of("redshift"))
    faults = {
        "22001": Fault.DATA, "42P01": Fault.STALE, "57014": Fault.PASSING, "28000": Fault.CLOSED,
        "XX000": Fault.PASSING,
    }  # fmt: skip
    for code, fault in faults.items():
        assert server.fault(ProgrammingError({"C": code, "M": "text"})) is fault
    digit = {"C": "XX000", "M": "Invalid digit, Value 'm', Pos 0, Type: Integer"}
    assert server.fault(ProgrammingError(digit)) is Fault.DATA
    assert server.fault(InterfaceError("communication error")) is Fault.LOST
    long = frame(["a", "b"], t=["x" * 65_536, "x"])
    problems = redshift.open(settings_of("redshift")).problems(UPSERT, long)
    assert problems.is_null().to_list() == [False, True]
