"""Kafka in particular: a broker process, messages too large, tombstones, refused logins."""

import uuid

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from pydantic import ValidationError

from destinations.adapters import kafka
from destinations.driver import Operation
from destinations.errors import StoreroomError

ADD, REMOVE, DELETE = Operation.ADD, Operation.REMOVE, Operation.DELETE


def read(servers, topic, count):
    """``count`` messages, and that no other follows."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "g", "fetch.wait.max.ms": 5})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    messages = [consumer.poll(10) for _ in range(count)]
    assert consumer.poll(0.3) is None
    consumer.close()
    return messages


def test_a_broker_process_takes_one_message_per_row(tansu, frame, deliver):
    servers, topic = tansu(), "audience"
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, 2)])[topic].result(10)
    driver = kafka.open(kafka.Settings(bootstrap_servers=servers, topic=topic))
    assert "2 partition(s)" in driver.check()
    keys = [f"k{number}" for number in range(500)]
    rows = frame(keys, city=["Zürich"] * 500)
    assert set(deliver(driver, ADD, rows)["status"]) == {"accepted"}
    messages = read(servers, topic, 500)
    assert sorted(message.key().decode() for message in messages) == sorted(keys)
    assert messages[0].value().decode().endswith('"city":"Zürich"}')
    assert len(dict(messages[0].headers())["delivery"]) == 32


def test_a_message_too_large_is_refused_and_the_others_land(kafka_servers, frame, deliver):
    topic = uuid.uuid4().hex
    settings = kafka.Settings(bootstrap_servers=kafka_servers, topic=topic, max_message_bytes=1000)
    driver = kafka.open(settings)
    results = deliver(driver, ADD, frame(["a", "b", "c"], text=["x", "x" * 2000, "y"]))
    assert results["status"].to_list() == ["accepted", "rejected", "accepted"]
    assert "too large" in results["message"][1]
    assert {message.key() for message in read(kafka_servers, topic, 2)} == {b"a", b"c"}


def test_tombstones_have_no_value(kafka_servers, frame, deliver):
    topic = uuid.uuid4().hex
    driver = kafka.open(kafka.Settings(bootstrap_servers=kafka_servers, topic=topic))
    deliver(driver, DELETE, frame(["a"], city=["Bern"]))
    stones = kafka.Settings(bootstrap_servers=kafka_servers, topic=topic, remove_as="tombstone")
    deliver(kafka.open(stones), REMOVE, frame(["b"], city=["Bern"]))
    messages = read(kafka_servers, topic, 2)
    assert {(message.key(), message.value()) for message in messages} == {
        (b"a", None),
        (b"b", None),
    }
    operations = {message.key(): dict(message.headers())["operation"] for message in messages}
    assert operations == {b"a": b"delete", b"b": b"remove"}


def test_a_refused_login_stops_at_once(tansu, frame, only_delivery):
    settings = kafka.Settings(
        bootstrap_servers=tansu("--authentication"), topic="t", security_protocol="sasl_plaintext",
        sasl_mechanism="SCRAM-SHA-256", username="me", password="hunter2", timeout_seconds=20,
    )  # fmt: skip
    driver = kafka.open(settings)
    outcome = driver.send(only_delivery(driver, ADD, frame(["a", "b"], city=["x", "y"])))
    assert "authentication" in outcome.stop
    assert outcome.results["status"].to_list() == ["retry", "retry"]
    assert "hunter2" not in str(outcome)
    quick = settings.model_copy(update={"timeout_seconds": 1})
    with pytest.raises(StoreroomError, match="authentication"):
        kafka.open(quick).check()


@pytest.mark.parametrize(
    "wrong",
    [{"bootstrap_servers": "host"}, {"topic": "a b"}, {"security_protocol": "sasl_ssl"}],
)
def test_settings_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValidationError):
        kafka.Settings(**({"bootstrap_servers": "host:9092", "topic": "t"} | wrong))
