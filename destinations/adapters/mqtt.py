"""MQTT: one message per row, accepted when the broker acknowledges it (QoS 1: PUBACK).

The payload is a JSON object of the fields with ``_operation`` and ``_key``. With the key in the
topic (``topic: audiences/{key}``) and ``retain`` the broker holds the last state of every row, and
a removal is a retained message with operation remove, or, for a delete, an empty one, which clears
the topic (https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901104). MQTT 5 is
spoken: its acknowledgement says why a message was refused. A delivery sent again makes the same
messages again.
"""

from __future__ import annotations

import functools
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
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
KEY_MARK = "{key}"
# Reason codes: https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901079
SUCCESS = (0x00, 0x10)
"""Taken; taken, though nobody is subscribed."""
NOT_AUTHORISED = 0x87
REFUSED = (0x90, 0x99)
"""The topic's name, the payload's format."""
LOGIN_REFUSED = (0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C)


class Settings(BaseModel):
    """What a connection to an MQTT broker says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(description="Host name of the broker.", examples=["mqtt.example.com"])
    port: int = Field(default=8883, ge=1, le=65535, description="Port of the broker.")
    tls: Literal["verify", "off"] = Field(
        default="verify",
        description="verify: encrypted, the broker's certificate checked; off: in clear (usually "
        "port 1883), for brokers on this machine.",
    )
    ca_file: Path | None = Field(
        default=None, description="CA certificates of the broker (PEM), if not the system's own."
    )
    username: str | None = Field(default=None, description="Who logs in.")
    password: SecretStr | None = Field(default=None, description="Password of the user.")
    topic: str = Field(
        description="Topic of the messages; {key} in it stands for the row's key.",
        pattern=r"^[^+#\x00]{1,1000}$",
        examples=["audiences/loyal/{key}"],
    )
    retain: bool = Field(
        default=False, description="The broker keeps the last message of each topic."
    )
    batch_rows: int = Field(
        default=1_000, ge=1, le=50_000, description="Most rows of one delivery."
    )
    timeout_seconds: float = Field(
        default=30, gt=0, description="Most seconds until all messages of a delivery are taken."
    )

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if self.retain and KEY_MARK not in self.topic:
            raise ValueError("retain keeps one message of a topic: put {key} into the topic")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        return self


class MqttDriver:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @functools.cached_property
    def _mqtt(self) -> Any:
        return require("paho.mqtt.client", "mqtt")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operations=frozenset(Operation),
            batch_rows=self._settings.batch_rows,
            batch_bytes=16 << 20,
            concurrency=2,
            clears=True,
            idempotent=False,
        )

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        lacking = operation_problems(self.capabilities, operation, rows)
        if KEY_MARK not in self._settings.topic:
            return lacking
        key = pl.col(KEY)
        odd = key.str.contains("[+#/\\x00]") | (key == "") | (key.str.len_bytes() > 60_000)
        text = "a key in a topic has one character at least, and no /, +, # or NUL"
        broken = rows.select(pl.when(odd).then(pl.lit(text)).alias("problem")).to_series()
        return pl.select(pl.coalesce(lacking, broken).alias("problem")).to_series()

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        clears = operation is Operation.DELETE and self._settings.retain

        def render(part: pl.DataFrame) -> tuple[list[str], int]:
            if clears:
                return [""] * part.height, 0
            bodies = json_objects(labelled(operation, part))
            return bodies.to_list(), int(bodies.str.len_bytes().sum())

        limits = self.capabilities
        return within_limits(operation, rows, render, limits.batch_rows, limits.batch_bytes)

    def send(self, delivery: Delivery) -> Outcome:
        """On a connection of its own: a broker knows one client by one name at a time."""
        session = Session(self._mqtt, self._settings)
        try:
            refusal = session.open()
            if refusal is not None:
                why, closed = refusal
                return stopped(delivery, why) if closed else later(delivery, why)
            for position, (topic, body) in enumerate(self._messages(delivery)):
                session.publish(position, topic, body)
            session.wait(delivery.rows.height)
        finally:
            session.close()
        verdicts: Verdicts = {}
        for position in range(delivery.rows.height):
            code = session.answers.get(position)
            if code is None:
                verdicts[position] = (Status.IN_DOUBT, "the broker did not acknowledge it")
            elif code not in SUCCESS:
                status = Status.REJECTED if code in REFUSED else Status.RETRY
                verdicts[position] = (status, f"the broker refused it with reason {code:#04x}")
        closed = NOT_AUTHORISED in session.answers.values()
        stop = f"{self._settings.username or 'nobody'} may not publish there" if closed else None
        sample = {"request": f"{delivery.rows.height} messages to {self._settings.topic}"}
        return row_by_row(delivery, verdicts, sample, stop)

    def _messages(self, delivery: Delivery) -> Iterator[tuple[str, str]]:
        topics = (self._settings.topic.replace(KEY_MARK, key) for key in delivery.keys)
        return zip(topics, delivery.payload, strict=True)

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        settings = self._settings
        server = (
            f"{'mqtt' if settings.tls == 'off' else 'mqtts'}://{settings.host}:{settings.port}/"
        )
        for topic, body in self._messages(delivery):
            flags = {"qos": "1", "retain": str(settings.retain).lower()}
            yield shown("PUBLISH", server + topic, body and json.loads(body), flags)

    def check(self) -> str:
        settings = self._settings
        session = Session(self._mqtt, settings)
        try:
            refusal = session.open()
        finally:
            session.close()
        if refusal is not None:
            raise StoreroomError(
                f"{settings.host}:{settings.port} refused: {words(refusal[0])}.",
                "Mend the connection's host, port, tls, username or password.",
            )
        who = settings.username or "nobody in particular"
        return f"{settings.host}:{settings.port} as {who}, topic {settings.topic}"

    def close(self) -> None:
        """Nothing stays open between deliveries."""


class Session:
    """One connection to the broker, with what it answered to each message."""

    def __init__(self, mqtt: Any, settings: Settings) -> None:
        self._settings = settings
        self.answers: dict[int, int] = {}
        """Position of a message to the broker's reason code."""
        self._positions: dict[int, int] = {}
        self._early: dict[int, int] = {}
        self._login: int | None = None
        self._changed = threading.Condition()
        self._lost = False
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.connect_timeout = min(settings.timeout_seconds, 10)
        client.max_inflight_messages_set(1000)
        client.on_connect = lambda _c, _u, _f, reason, _p: self._logged_in(reason.value)
        client.on_publish = lambda _c, _u, mid, reason, _p: self._answered(mid, reason.value)
        client.on_disconnect = lambda *_: self._disconnected()
        if settings.username is not None:
            secret = settings.password.get_secret_value() if settings.password else None
            client.username_pw_set(settings.username, secret)
        self._client = client

    def open(self) -> tuple[str, bool] | None:
        """Log in; why not, and whether somebody has to mend it."""
        settings = self._settings
        try:
            if settings.tls == "verify":
                self._client.tls_set_context(ssl.create_default_context(cafile=settings.ca_file))
            self._client.connect(settings.host, settings.port)
        except ssl.SSLCertVerificationError as error:
            return words(error), True
        except (OSError, ValueError) as error:
            return words(error), False
        self._client.loop_start()
        self._until(lambda: self._login is not None or self._lost)
        if self._login is None:
            return "the broker did not answer the login", False
        if self._login != 0:
            return f"login refused with reason {self._login:#04x}", self._login in LOGIN_REFUSED
        return None

    def publish(self, position: int, topic: str, body: str) -> None:
        sent = self._client.publish(topic, body.encode(), qos=1, retain=self._settings.retain)
        with self._changed:
            self._positions[sent.mid] = position
            if sent.mid in self._early:
                self.answers[position] = self._early.pop(sent.mid)

    def wait(self, count: int) -> None:
        self._until(lambda: len(self.answers) == count or self._lost)

    def _until(self, done: Any) -> None:
        deadline = time.monotonic() + self._settings.timeout_seconds
        with self._changed:
            self._changed.wait_for(done, max(0, deadline - time.monotonic()))

    def _logged_in(self, reason: int) -> None:
        with self._changed:
            self._login = reason
            self._changed.notify_all()

    def _answered(self, mid: int, reason: int) -> None:
        with self._changed:
            if mid in self._positions:
                self.answers[self._positions[mid]] = reason
            else:
                self._early[mid] = reason  # faster than publish() returned
            self._changed.notify_all()

    def _disconnected(self) -> None:
        with self._changed:
            self._lost = True
            self._changed.notify_all()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    require("paho.mqtt.client", "mqtt")
    return MqttDriver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(MqttDriver(settings), operation, rows)
