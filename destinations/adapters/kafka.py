"""Kafka: one message per row, keyed by the row's key, each acknowledged by the brokers.

The value is a JSON object of the fields with ``_operation`` and ``_key``; the
headers ``operation`` and ``delivery`` say the same without parsing. A delivery
sent again makes the same messages again: readers keep the last per key, or
drop what they have seen by the ``delivery`` header. Settings of the producer:
https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
"""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from destinations.adapters.extras import require
from destinations.adapters.outcomes import later, row_by_row, stopped, words
from destinations.adapters.previews import previewed, shown
from destinations.adapters.rendering import (
    json_objects,
    labelled,
    operation_problems,
    within_limits,
)
from destinations.driver import (
    KEY,
    Capabilities,
    Delivery,
    Driver,
    Operation,
    Outcome,
    Shown,
    Status,
)
from destinations.errors import StoreroomError

Verdicts = dict[int, tuple[Status, str]]


class Settings(BaseModel):
    """What a connection to Kafka says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = Field(
        description="Brokers to start from: host:port, separated by commas.",
        pattern=r"^[^\s,]+:\d+(,[^\s,]+:\d+)*$",
        examples=["broker-1.example.com:9092"],
    )
    topic: str = Field(
        description="Topic that takes the messages.",
        pattern=r"^[a-zA-Z0-9._-]{1,249}$",
        examples=["audiences"],
    )
    remove_as: Literal["message", "tombstone"] = Field(
        default="message",
        description="A removal is a message with operation remove, or a tombstone (empty value), "
        "which compaction takes to erase the key.",
    )
    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        default="plaintext", description="How to talk to the brokers."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="PLAIN", description="How to log in, with a sasl_ protocol."
    )
    username: str | None = Field(default=None, description="Who logs in.")
    password: SecretStr | None = Field(default=None, description="Password of the user.")
    ca_file: str | None = Field(default=None, description="CA certificates of the brokers (PEM).")
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="lz4", description="Compression of message sets."
    )
    max_message_bytes: int = Field(
        default=1_000_000, ge=1000, description="Largest message the topic takes."
    )
    batch_rows: int = Field(default=5_000, ge=1, description="Most rows of one delivery.")
    timeout_seconds: float = Field(
        default=30, ge=1, description="Most seconds until a message is acknowledged."
    )

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if self.security_protocol.startswith("sasl") and not (self.username and self.password):
            raise ValueError(f"{self.security_protocol} needs username and password")
        return self


class KafkaDriver:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._producer: Any = None
        self._reached = False
        self._trouble: Any = None

    @functools.cached_property
    def _kafka(self) -> Any:
        return require("confluent_kafka", "kafka")

    @functools.cached_property
    def _refusals(self) -> set[int]:
        codes = self._kafka.KafkaError
        return {codes.MSG_SIZE_TOO_LARGE, codes.INVALID_MSG, codes.POLICY_VIOLATION}

    @functools.cached_property
    def _closed(self) -> set[int]:
        codes = self._kafka.KafkaError
        return {
            codes._AUTHENTICATION, codes._SSL, codes.SASL_AUTHENTICATION_FAILED,
            codes.TOPIC_AUTHORIZATION_FAILED, codes.CLUSTER_AUTHORIZATION_FAILED,
            codes._UNKNOWN_TOPIC, codes.UNKNOWN_TOPIC_OR_PART, codes.TOPIC_EXCEPTION,
        }  # fmt: skip

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operations=frozenset(
                {
                    Operation.UPSERT,
                    Operation.ADD,
                    Operation.REMOVE,
                    Operation.DELETE,
                    Operation.TRACK,
                }
            ),
            batch_rows=self._settings.batch_rows,
            clears=True,
            batch_bytes=16 << 20,
            idempotent=False,
        )

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        return operation_problems(self.capabilities, operation, rows)

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        empty = operation is Operation.DELETE or (
            operation is Operation.REMOVE and self._settings.remove_as == "tombstone"
        )

        def render(part: pl.DataFrame) -> tuple[pl.DataFrame, int]:
            body = (
                pl.repeat(None, part.height, dtype=pl.String, eager=True)
                if empty
                else json_objects(labelled(operation, part))
            )
            messages = pl.DataFrame({"key": part[KEY], "value": body})
            return messages, int(
                messages.select(pl.all().str.len_bytes().sum()).sum_horizontal()[0]
            )

        limits = self.capabilities
        return within_limits(operation, rows, render, limits.batch_rows, limits.batch_bytes)

    def send(self, delivery: Delivery) -> Outcome:
        try:
            producer = self._opened()
        except self._kafka.KafkaException as error:
            return stopped(delivery, _text(error))
        reports: dict[int, Any] = {}
        verdicts = self._produce(producer, delivery, _headers(delivery), reports)
        # librdkafka reports every message by delivery.timeout.ms; the grace is for its clock.
        deadline = time.monotonic() + self._settings.timeout_seconds + 5
        expected = delivery.rows.height - len(verdicts)
        while len(reports) < expected and time.monotonic() < deadline:
            producer.poll(0.05)
            if not self._reached and self._trouble and self._trouble.code() in self._closed:
                producer.purge()  # nobody lets us in: the reports come at once
        return self._verdict(delivery, verdicts, reports)

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        """One message each; the body is its key and its value (null for a tombstone)."""
        url = f"kafka://{self._settings.bootstrap_servers}/{self._settings.topic}"
        for message in delivery.payload.to_dicts():
            value = message["value"]
            body = {"key": message["key"], "value": value and json.loads(value)}
            yield shown("PRODUCE", url, body, dict(_headers(delivery)))

    def _produce(
        self, producer: Any, delivery: Delivery, headers: list[Any], reports: dict[int, Any]
    ) -> Verdicts:
        """Queue every row; the rows that the client itself refuses, with its words."""
        verdicts: Verdicts = {}
        messages = zip(
            delivery.payload["key"].to_list(), delivery.payload["value"].to_list(), strict=True
        )
        for position, (key, value) in enumerate(messages):
            report = functools.partial(_note, reports, position)
            while True:
                try:
                    producer.produce(
                        self._settings.topic, value, key, on_delivery=report, headers=headers
                    )
                except BufferError:
                    producer.poll(0.05)  # the queue is full: let it drain
                    continue
                except self._kafka.KafkaException as error:
                    verdicts[position] = (self._status(error.args[0]), _text(error))
                break
            producer.poll(0)
        return verdicts

    def _verdict(self, delivery: Delivery, verdicts: Verdicts, reports: dict[int, Any]) -> Outcome:
        for position in range(delivery.rows.height):
            if position not in reports and position not in verdicts:
                verdicts[position] = (Status.IN_DOUBT, "no delivery report")
        failed = {position: error for position, error in reports.items() if error is not None}
        verdicts |= {
            position: (self._status(error), error.str()) for position, error in failed.items()
        }
        if len(failed) < len(reports):
            self._reached, self._trouble = True, None
        errors = [*failed.values(), *([self._trouble] if failed and self._trouble else [])]
        if any(error.fatal() for error in errors):
            self._forget()  # librdkafka: a fatal error ends the producer
        closed = next((error for error in errors if error.code() in self._closed), None)
        if not self._reached and failed and len(failed) == len(reports):
            # Never connected, so nothing can have arrived.
            why = self._trouble.str() if self._trouble else "no broker answered"
            outcome = later(delivery, why)
            return stopped(delivery, why) if closed else outcome
        sample = {"request": f"{delivery.rows.height} messages to {self._settings.topic}"}
        return row_by_row(delivery, verdicts, sample, words(closed.str()) if closed else None)

    def _status(self, error: Any) -> Status:
        if error.code() in self._refusals:
            return Status.REJECTED
        timed_out = error.code() in {
            self._kafka.KafkaError._MSG_TIMED_OUT,
            self._kafka.KafkaError._PURGE_INFLIGHT,
        }
        return Status.IN_DOUBT if timed_out else Status.RETRY

    def check(self) -> str:
        settings = self._settings
        producer = None
        try:
            producer = self._opened()
            metadata = producer.list_topics(settings.topic, timeout=settings.timeout_seconds)
        except self._kafka.KafkaException as error:
            if producer is not None:
                producer.poll(0.1)  # hands over the errors behind this one
            why = self._trouble.str() if self._trouble else _text(error)
            raise StoreroomError(
                f"Kafka at {settings.bootstrap_servers} refused: {words(why)}.",
                "Mend bootstrap_servers or the credentials.",
            ) from None
        topic = metadata.topics[settings.topic]
        if topic.error is not None:
            raise StoreroomError(
                f"Kafka refused topic '{settings.topic}': {topic.error.str()}.",
                "Create the topic, or allow this user to write to it.",
            )
        brokers = len(metadata.brokers)
        return f"{brokers} broker(s), topic {settings.topic}, {len(topic.partitions)} partition(s)"

    def _opened(self) -> Any:
        with self._lock:
            if self._producer is None:
                self._trouble, self._reached = None, False
                self._producer = self._kafka.Producer(self._configuration())
            return self._producer

    def _configuration(self) -> dict[str, Any]:
        settings = self._settings
        milliseconds = int(settings.timeout_seconds * 1000)
        configuration: dict[str, Any] = {
            "bootstrap.servers": settings.bootstrap_servers,
            "client.id": "storeroom",
            "security.protocol": settings.security_protocol,
            "enable.idempotence": True,
            "compression.type": settings.compression,
            "message.max.bytes": settings.max_message_bytes,
            "delivery.timeout.ms": milliseconds,
            "linger.ms": 5,
            "error_cb": self._note_trouble,
            "log_level": 0,  # troubles are reported through the outcome
        }
        if settings.ca_file:
            configuration["ssl.ca.location"] = settings.ca_file
        if settings.username and settings.password:
            configuration |= {
                "sasl.mechanism": settings.sasl_mechanism,
                "sasl.username": settings.username,
                "sasl.password": settings.password.get_secret_value(),
            }
        return configuration

    def _note_trouble(self, error: Any) -> None:
        """Keeps the cause: "all brokers down" only follows from it."""
        if self._trouble is None or error.code() in self._closed:
            self._trouble = error

    def _forget(self) -> None:
        with self._lock:
            self._producer = None

    def close(self) -> None:
        self._forget()


def _headers(delivery: Delivery) -> list[tuple[str, str]]:
    return [("operation", delivery.operation.value), ("delivery", delivery.id)]


def _note(reports: dict[int, Any], position: int, error: Any, _message: Any) -> None:
    reports[position] = error


def _text(error: Any) -> str:
    return str(error.args[0].str()) if error.args and hasattr(error.args[0], "str") else str(error)


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    require("confluent_kafka", "kafka")
    return KafkaDriver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(KafkaDriver(settings), operation, rows)
