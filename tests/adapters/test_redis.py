"""Valkey in particular: refusals of single commands, nulls, sets, lost answers."""

import uuid

import pytest
import redis
from pydantic import ValidationError

from destinations.adapters import redis as adapter
from destinations.driver import Operation

UPSERT, REMOVE, DELETE = Operation.UPSERT, Operation.REMOVE, Operation.DELETE


@pytest.fixture
def prefix():
    return uuid.uuid4().hex + ":"


@pytest.fixture
def client(valkey_server):
    with redis.Redis(port=valkey_server.port, password="right", decode_responses=True) as client:
        yield client


@pytest.fixture
def opened(valkey_server, prefix):
    def start(port=valkey_server.port, **settings):
        given = {"url": f"redis://:right@127.0.0.1:{port}/0", "prefix": prefix}
        return adapter.open(adapter.Settings(**(given | settings)))

    return start


def test_a_refused_command_names_its_row(opened, client, prefix, frame, deliver):
    client.set(prefix + "b", "not a hash")
    driver = opened(members_set=prefix + "all")
    rows = frame(["a", "b", "c"], city=["Bern", "Genf", None], tags=[["x"], None, None])
    results = deliver(driver, UPSERT, rows)
    assert results["status"].to_list() == ["accepted", "rejected", "accepted"]
    assert "WRONGTYPE" in results["message"][1]
    assert client.hgetall(prefix + "a") == {"city": "Bern", "tags": '["x"]'}
    assert client.smembers(prefix + "all") == {"a", "c"}


def test_a_set_that_is_none_stops_the_connection(opened, client, prefix, frame, only_delivery):
    client.set(prefix + "all", "not a set")
    driver = opened(members_set=prefix + "all")
    for operation in (UPSERT, REMOVE):
        outcome = driver.send(only_delivery(driver, operation, frame(["a"], city=["Bern"])))
        assert "WRONGTYPE" in outcome.stop
        assert outcome.results["status"].to_list() == ["retry"]


def test_nulls_clear_fields_and_other_fields_stay(opened, client, prefix, frame, deliver):
    driver = opened(expire_seconds=100)
    client.hset(prefix + "a", mapping={"other": "kept"})
    deliver(driver, UPSERT, frame(["a"], city=["Bern"], n=[1]))
    deliver(driver, UPSERT, frame(["a"], city=[None], n=[2]))
    assert client.hgetall(prefix + "a") == {"other": "kept", "n": "2"}
    assert 0 < client.ttl(prefix + "a") <= 100


def test_a_row_without_any_value_has_no_hash_to_be(opened, prefix, frame):
    rows = frame(["a", "b"], city=["Bern", None])
    assert opened().problems(UPSERT, rows).is_null().to_list() == [True, False]
    with_set = opened(members_set=prefix + "all")
    assert with_set.problems(UPSERT, rows).null_count() == 2


def test_a_removal_may_leave_the_hash_and_a_deletion_never_does(
    opened, client, prefix, frame, deliver
):
    driver = opened(members_set=prefix + "all", keep_hash_on_remove=True)
    rows = frame(["a", "b"], city=["Bern", "Genf"])
    deliver(driver, UPSERT, rows)
    deliver(driver, REMOVE, rows[:1])
    assert client.smembers(prefix + "all") == {"b"}
    assert client.exists(prefix + "a") == 1
    deliver(driver, DELETE, rows)
    assert client.keys(prefix + "*") == []
    with pytest.raises(ValidationError, match="members_set"):
        opened(keep_hash_on_remove=True)


def test_memory_and_rights_are_not_the_rows_fault(
    opened, client, prefix, valkey_server, frame, only_delivery
):
    rows = frame(["a", "b"], city=["Bern", "Genf"])
    driver = opened()
    delivery = only_delivery(driver, UPSERT, rows)
    client.config_set("maxmemory", 1)
    try:
        full = driver.send(delivery)
    finally:
        client.config_set("maxmemory", 0)
    assert set(full.results["status"]) == {"retry"}
    assert full.stop is None

    client.acl_setuser(
        "reader", enabled=True, passwords=["+right"], keys="*", commands=["+ping", "+hget"]
    )
    reader = opened(url=f"redis://reader:right@127.0.0.1:{valkey_server.port}/0")
    refused = reader.send(delivery)
    client.acl_deluser("reader")
    assert set(refused.results["status"]) == {"retry"}
    assert "permission" in refused.stop.lower()


def test_a_pipeline_without_an_answer_is_in_doubt(
    opened, client, prefix, valkey_server, frame, only_delivery, cut_after
):
    rows = frame(["a", "b"], city=["Bern", "Genf"])
    cut = opened(port=cut_after(valkey_server.port, b"HSET"))
    outcome = cut.send(only_delivery(cut, UPSERT, rows))
    assert set(outcome.results["status"]) == {"in_doubt"}
    assert client.hgetall(prefix + "b") == {"city": "Genf"}
    driver = opened()
    again = driver.send(only_delivery(driver, UPSERT, rows))
    assert set(again.results["status"]) == {"accepted"}
