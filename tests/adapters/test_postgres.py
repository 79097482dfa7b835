"""PostgreSQL in particular: types, constraints, lost connections, other people's tables."""

import datetime
import decimal
import uuid

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from destinations.adapters import postgres
from destinations.driver import Operation
from destinations.errors import StoreroomError

UPSERT, REMOVE = Operation.UPSERT, Operation.REMOVE


@pytest.fixture
def sql(postgres_server):
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        yield lambda text: connection.execute(text)


@pytest.fixture
def table():
    return "t" + uuid.uuid4().hex[:8]


@pytest.fixture
def opened(postgres_server, table):
    drivers = []

    def start(**settings):
        given = {"dsn": postgres_server.dsn(), "table": table} | settings
        drivers.append(postgres.open(postgres.Settings(**given)))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.close()


def test_new_tables_are_typed_and_grow_columns(opened, sql, table, frame, deliver):
    rows = frame(
        ["a", "b"],
        member=[True, None],
        money=[decimal.Decimal("10.05"), None],
        day=[datetime.date(2026, 1, 2), None],
        at=[datetime.datetime.fromisoformat("2026-01-02T03:04:05"), None],
        tags=[["x", 'y"'], None],
        score=[float("nan"), float("inf")],
        nothing=[None, None],
    )
    driver = opened()
    assert set(deliver(driver, UPSERT, rows)["status"]) == {"accepted"}
    (found,) = sql(f"select * from {table} where profile_id = 'a'").fetchall()
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    money, day = decimal.Decimal("10.05"), datetime.date(2026, 1, 2)
    assert found[1:6] == (True, money, day, at, ["x", 'y"'])
    assert sql(f"select member, money, day, at, tags, score from {table} where profile_id = 'b'").fetchone() == (
        None, None, None, None, None, float("inf"),
    )  # fmt: skip

    more = frame(["b", "c"], city=["Bern", "Genf"], member=[False, True])
    assert set(deliver(driver, UPSERT, more)["status"]) == {"accepted"}
    found = sql(f"select profile_id, member, city from {table} order by 1").fetchall()
    assert found == [("a", True, None), ("b", False, "Bern"), ("c", True, "Genf")]


def test_rows_that_break_a_rule_are_named_in_the_servers_words(opened, sql, table, frame, deliver):
    sql(
        f"create table {table} (profile_id bigint primary key, email text unique not null,"
        " code varchar(3), age integer check (age > 0))"
    )
    sql(f"insert into {table} values (99, 'taken@example.org')")
    rows = frame(
        ["1", "2", "3", "4", "5", "x", "6"],
        email=["a@x", "b@x", None, "taken@example.org", "e@x", "f@x", "g@x"],
        code=["abc", "abcd", "a", "b", "c", "d", None],
        age=["1", "2", "3", "4", "-5", "6", "seven"],
    )
    results = deliver(opened(), UPSERT, rows)
    assert results["status"].to_list() == ["accepted"] + ["rejected"] * 6
    said = results["message"].to_list()
    for position, words in enumerate(
        [
            "value too long",
            "not-null",
            "unique constraint",
            "check constraint",
            "bigint",
            "integer",
        ],
        1,
    ):
        assert words in said[position]
    assert "taken@example.org" not in "".join(said[1:])
    assert sql(f"select profile_id from {table} order by 1").fetchall() == [(1,), (99,)]


def test_a_removal_that_breaks_a_rule_is_named(opened, sql, table, frame, deliver):
    driver = opened()
    deliver(driver, UPSERT, frame(["a", "b", "c"], city=["x", "y", "z"]))
    sql(f"create table {table}_orders (who text references {table})")
    sql(f"insert into {table}_orders values ('b')")
    results = deliver(driver, REMOVE, frame(["a", "b", "c"]))
    assert results["status"].to_list() == ["accepted", "rejected", "accepted"]
    assert "foreign key" in results["message"][1]
    assert sql(f"select profile_id from {table}").fetchall() == [("b",)]


def test_a_commit_without_an_answer_is_in_doubt_and_sending_again_mends_it(
    opened, postgres_server, sql, table, frame, only_delivery, cut_after
):
    rows = frame(["a", "b"], city=["Bern", "Genf"])
    setup = opened()
    setup.send(only_delivery(setup, UPSERT, frame(["0"], city=["x"])))
    port = cut_after(postgres_server.port, b"COMMIT")
    cut = opened(dsn=postgres_server.dsn(port=port) + "?sslmode=disable", create_table=True)
    cut._columns = dict(setup._columns)  # so that the first commit is the delivery's own
    outcome = cut.send(only_delivery(cut, UPSERT, rows))
    assert set(outcome.results["status"]) == {"in_doubt"}
    assert sql(f"select count(*) from {table}").fetchone() == (3,)
    again = setup.send(only_delivery(setup, UPSERT, rows))
    assert set(again.results["status"]) == {"accepted"}
    assert sql(f"select count(*) from {table}").fetchone() == (3,)


def test_a_connection_lost_before_the_commit_is_tried_later(
    opened, postgres_server, sql, table, frame, only_delivery, cut_after
):
    setup = opened()
    setup.send(only_delivery(setup, UPSERT, frame(["0"], city=["x"])))
    port = cut_after(postgres_server.port, b"copy ")
    cut = opened(dsn=postgres_server.dsn(port=port) + "?sslmode=disable")
    outcome = cut.send(only_delivery(cut, UPSERT, frame(["a"], city=["Bern"])))
    assert outcome.results["status"].to_list() == ["retry"]
    assert sql(f"select profile_id from {table}").fetchall() == [("0",)]


def test_a_dropped_connection_and_a_dropped_table_heal(
    opened, sql, table, frame, deliver, only_delivery
):
    driver = opened()
    rows = frame(["a"], city=["Bern"])
    deliver(driver, UPSERT, rows)
    sql(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'storeroom'"
    )
    assert deliver(driver, UPSERT, rows)["status"].to_list() == ["retry"]
    assert deliver(driver, UPSERT, rows)["status"].to_list() == ["accepted"]
    sql(f"drop table {table}")
    assert deliver(driver, UPSERT, rows)["status"].to_list() == ["retry"]
    assert deliver(driver, UPSERT, rows)["status"].to_list() == ["accepted"]


def test_two_drivers_may_create_the_same_table(opened, frame, only_delivery):
    from concurrent.futures import ThreadPoolExecutor

    drivers = [opened() for _ in range(4)]
    rows = [frame([str(number)], city=["x"]) for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        outcomes = threads.map(lambda d, r: d.send(only_delivery(d, UPSERT, r)), drivers, rows)
    assert [outcome.results["status"][0] for outcome in outcomes] == ["accepted"] * 4


def test_rights_and_tables_that_do_not_fit_stop_the_connection(
    opened, postgres_server, sql, table, frame, only_delivery
):
    rows = frame(["a"], city=["Bern"])
    sql(f"create role {table} login password 'right'")
    reader = opened(dsn=postgres_server.dsn().replace("postgres:right", f"{table}:right"))
    assert "permission denied" in reader.send(only_delivery(reader, UPSERT, rows)).stop

    strict = opened(create_table=False)
    assert "does not exist" in strict.send(only_delivery(strict, UPSERT, rows)).stop
    with pytest.raises(StoreroomError, match="does not exist"):
        strict.check()

    sql(f"create table {table} (profile_id text, city text)")
    driver = opened()
    assert "ON CONFLICT" in driver.send(only_delivery(driver, UPSERT, rows)).stop
    with pytest.raises(StoreroomError, match="key_column to one of: profile_id, city"):
        opened(key_column="id").check()


def test_an_unreadable_dsn_is_not_repeated(opened, frame, only_delivery):
    driver = opened(dsn="postgresql://me:hunter2 2@[host/db")
    outcome = driver.send(only_delivery(driver, UPSERT, frame(["a"])))
    assert outcome.stop
    assert "hunter2" not in str(outcome)
    with pytest.raises(StoreroomError) as refusal:
        driver.check()
    assert "hunter2" not in str(refusal.value)


def test_nul_is_refused_before_sending_and_by_the_server(opened, frame, only_delivery):
    driver = opened()
    rows = frame(["a", "b"], city=["Bern", "Ge\0nf"])
    assert driver.problems(UPSERT, rows).is_null().to_list() == [True, False]
    outcome = driver.send(only_delivery(driver, UPSERT, rows))
    assert outcome.whole
    assert set(outcome.results["status"]) == {"rejected"}


CLEAN = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=st.lists(st.one_of(st.none(), CLEAN), min_size=1, max_size=30, unique=True))
def test_any_text_arrives_as_it_is(opened, sql, table, frame, texts):
    driver = opened()
    keys = [f"{number}{text}" for number, text in enumerate(texts)]
    rows = frame(keys, t=pl.Series(texts, dtype=pl.String))
    (delivery,) = driver.deliveries(UPSERT, rows)
    assert set(driver.send(delivery).results["status"]) == {"accepted"}
    found = dict(sql(f"select profile_id, t from {table}").fetchall())
    assert found == dict(zip(keys, texts, strict=True))
    (removal,) = driver.deliveries(REMOVE, rows)
    assert set(driver.send(removal).results["status"]) == {"accepted"}
    assert sql(f"select count(*) from {table}").fetchone() == (0,)
    driver.close()
