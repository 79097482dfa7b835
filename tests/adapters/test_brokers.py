"""RabbitMQ and MQTT in particular: what a broker does not take is not delivered."""

import json
import uuid

import pytest
from pydantic import ValidationError

from destinations.adapters import mqtt, rabbitmq
from destinations.connections import Connection
from destinations.driver import Operation
from destinations.registry import describe, open_driver

UPSERT, DELETE = Operation.UPSERT, Operation.DELETE


def test_a_message_that_no_queue_takes_is_not_delivered(rabbitmq_server, frame, only_delivery):
    url, channel = rabbitmq_server
    name = uuid.uuid4().hex
    channel.exchange_declare(name, "direct")
    driver = rabbitmq.open(rabbitmq.Settings(url=url, exchange=name, routing_key="nobody"))
    assert driver.check()  # the exchange is there: only publishing shows that no queue is bound
    outcome = driver.send(only_delivery(driver, UPSERT, frame(["a", "b"], n=[1, 2])))
    channel.exchange_delete(name)
    assert outcome.results["status"].to_list() == ["retry", "retry"]
    assert "no queue takes" in outcome.stop


def test_a_full_queue_refuses_row_by_row(rabbitmq_server, frame, deliver):
    url, channel = rabbitmq_server
    name = uuid.uuid4().hex
    limits = {"x-max-length": 2, "x-overflow": "reject-publish"}
    channel.queue_declare(name, arguments=limits)
    driver = rabbitmq.open(rabbitmq.Settings(url=url, routing_key=name))
    results = deliver(driver, UPSERT, frame(list("abcd"), n=[1, 2, 3, 4]))
    held = channel.queue_declare(name, passive=True).method.message_count
    channel.queue_delete(name)
    assert results["status"].to_list().count("accepted") == held
    assert set(results["status"]) == {"accepted", "retry"}


def test_rabbitmq_cut_off_leaves_the_message_in_doubt_and_the_rest_unsent(
    rabbitmq_server, cut_after, frame, deliver
):
    url, channel = rabbitmq_server
    name = uuid.uuid4().hex
    channel.queue_declare(name)
    port = cut_after(5672, b"the second")
    driver = rabbitmq.open(rabbitmq.Settings(url=url.replace("5672", str(port)), routing_key=name))
    rows = frame(["a", "b", "c"], text=["the first", "the second", "the third"])
    results = deliver(driver, UPSERT, rows)
    channel.queue_delete(name)
    assert results["status"].to_list() == ["accepted", "in_doubt", "retry"]


def test_a_long_key_is_named_before(frame):
    driver = rabbitmq.open(rabbitmq.Settings(url="amqp://h/", routing_key="q"))
    assert driver.problems(UPSERT, frame(["ü" * 127, "ü" * 128])).is_null().to_list() == [
        True,
        False,
    ]


def test_retained_state_per_key_is_cleared_by_a_delete(mqtt_broker, frame, deliver):
    topic = uuid.uuid4().hex
    settings = mqtt.Settings(
        host="127.0.0.1", port=mqtt_broker.port, tls="off", topic=topic + "/{key}", retain=True
    )
    driver = mqtt.open(settings)
    rows = frame([str(number) for number in range(250)], n=range(250))
    assert set(deliver(driver, UPSERT, rows)["status"]) == {"accepted"}
    assert set(deliver(driver, DELETE, rows[10:].select("_key", "_hash"))["status"]) == {"accepted"}
    reader = mqtt_broker.reader()
    reader.subscribe(topic + "/#")
    held = sorted(json.loads(body)["n"] for body in reader.taken())
    reader.close()
    assert held == list(range(10))


def test_mqtt_cut_off_is_in_doubt(mqtt_broker, cut_after, frame, deliver):
    port = cut_after(mqtt_broker.port, b'"text"')
    driver = mqtt.open(
        mqtt.Settings(host="127.0.0.1", port=port, tls="off", topic="t", timeout_seconds=5)
    )
    results = deliver(driver, UPSERT, frame(["a", "b"], text=["x", "y"]))
    assert set(results["status"]) == {"in_doubt"}


def test_keys_that_no_topic_takes_are_named_before(frame):
    driver = mqtt.open(mqtt.Settings(host="h", topic="a/{key}"))
    problems = driver.problems(UPSERT, frame(["ok", "a/b", "+", ""]))
    assert problems.is_null().to_list() == [True, False, False, False]
    plain = mqtt.open(mqtt.Settings(host="h", topic="a"))
    assert plain.problems(UPSERT, frame(["a/b"])).null_count() == 1


def test_retain_needs_a_topic_per_key():
    with pytest.raises(ValidationError, match=r"\{key\}"):
        mqtt.Settings(host="h", topic="a", retain=True)


@pytest.mark.parametrize("destination", ["confluent_cloud", "azure_event_hubs"])
def test_a_variant_of_kafka_sets_what_its_vendor_asks_for(destination, monkeypatch):
    monkeypatch.setenv("SECRET", "right")
    settings = {
        "bootstrap_servers": "h:9093",
        "topic": "t",
        "username": "u",
        "password": {"env": "SECRET"},
    }
    connection = Connection(
        name="c", destination=destination, consent="not_required", settings=settings
    )
    driver = open_driver(connection, {}, sync_key="profile_id", audience="people")
    configuration = driver._configuration()
    assert configuration["security.protocol"] == "sasl_ssl"
    assert configuration["sasl.mechanism"] == "PLAIN"
    assert "default sasl_ssl" in describe(destination)["settings"]["security_protocol"]


def test_the_username_of_event_hubs_is_fixed(monkeypatch):
    monkeypatch.setenv("SECRET", "Endpoint=sb://acme/")
    settings = {"bootstrap_servers": "h:9093", "topic": "t", "password": {"env": "SECRET"}}
    connection = Connection(
        name="c", destination="azure_event_hubs", consent="not_required", settings=settings
    )
    driver = open_driver(connection, {}, sync_key="profile_id", audience="people")
    assert driver._configuration()["sasl.username"] == "$ConnectionString"
