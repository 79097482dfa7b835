"""RabbitMQ: one persistent message per row, accepted when the broker confirms it.

The body is a JSON object of the fields with ``_operation`` and ``_key``; the properties say the
key (``message_id``), the operation (``type``) and the delivery (header ``delivery``). Messages are
published in confirm mode (https://www.rabbitmq.com/docs/confirms#publisher-confirms) with the flag
``mandatory``: one that no queue takes comes back and is refused, because the broker confirms it all
the same. A delivery sent again makes the same messages again.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from destinations.adapters.extras import require
from destinations.adapters.outcomes import later, row_by_row, stopped, words
from destinations.adapters.previews import previewed, shown, without_login
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
# https://www.rabbitmq.com/amqp-0-9-1-reference#constants
REFUSED_CODES = {403, 404, 530}


class Settings(BaseModel):
    """What a connection to RabbitMQ says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr = Field(
        description="amqps://user:password@host:5671/vhost, or amqp:// without TLS "
        "(%2F is the vhost /).",
        examples=["amqp://storeroom:secret@127.0.0.1:5672/%2F"],
    )
    exchange: str = Field(
        default="",
        description="Exchange that takes the messages; without it the default one, which hands "
        "them to the queue named by routing_key.",
        max_length=255,
    )
    routing_key: str = Field(
        description="Routing key of every message: the queue's name where no exchange is named.",
        min_length=1,
        max_length=255,
        examples=["audiences"],
    )
    batch_rows: int = Field(default=1_000, ge=1, description="Most rows of one delivery.")
    timeout_seconds: float = Field(
        default=30, gt=0, description="Most seconds of silence, and until a message is confirmed."
    )


class RabbitmqDriver:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @functools.cached_property
    def _pika(self) -> Any:
        return require("pika", "rabbitmq")

    @functools.cached_property
    def _errors(self) -> Any:
        return require("pika.exceptions", "rabbitmq")

    @functools.cached_property
    def _failures(self) -> tuple[type[Exception], ...]:
        workflow = require("pika.adapters.utils.connection_workflow", "rabbitmq")
        return self._errors.AMQPError, workflow.AMQPConnectorException, OSError

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
        # Properties are short strings: https://www.rabbitmq.com/amqp-0-9-1-reference#domain.shortstr
        rule = "the key has more than 255 bytes, the most of a message's id"
        long = rows.select(pl.when(pl.col(KEY).str.len_bytes() > 255).then(pl.lit(rule)))
        lacking = operation_problems(self.capabilities, operation, rows)
        return pl.select(pl.coalesce(lacking, long.to_series()).alias("problem")).to_series()

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        def render(part: pl.DataFrame) -> tuple[list[str], int]:
            bodies = json_objects(labelled(operation, part))
            return bodies.to_list(), int(bodies.str.len_bytes().sum())

        limits = self.capabilities
        return within_limits(operation, rows, render, limits.batch_rows, limits.batch_bytes)

    def send(self, delivery: Delivery) -> Outcome:
        """On a connection of its own: one kept would be cut off for its silence between deliveries."""
        try:
            connection = self._connect()
        except StoreroomError as error:
            return stopped(delivery, error.message)
        except self._failures as error:
            closed = self._is_closed(error)
            return stopped(delivery, _text(error)) if closed else later(delivery, _text(error))
        try:
            return self._publish_all(connection, delivery)
        finally:
            with contextlib.suppress(*self._failures):
                connection.close()

    def _publish_all(self, connection: Any, delivery: Delivery) -> Outcome:
        verdicts: Verdicts = {}
        position, stop = 0, None
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            for position, (key, body) in enumerate(self._messages(delivery)):
                try:
                    self._publish(channel, delivery, key, body)
                except self._errors.NackError:
                    verdicts[position] = (Status.RETRY, "the broker took the message not for now")
        except self._errors.UnroutableError:
            stop = f"no queue takes messages with the key {self._settings.routing_key}"
            verdicts |= _rest(delivery, position, Status.RETRY, stop)
        except self._errors.ChannelClosedByBroker as error:
            stop = _text(error) if self._is_closed(error) else None
            verdicts |= _rest(delivery, position, Status.RETRY, _text(error))
        except self._failures as error:
            verdicts |= _rest(delivery, position, Status.IN_DOUBT, _text(error))
        where = self._settings.exchange or "the default exchange"
        sample = {"request": f"{delivery.rows.height} messages to {where}"}
        return row_by_row(delivery, verdicts, sample, stop)

    def _publish(self, channel: Any, delivery: Delivery, key: str, body: str) -> None:
        """Returns when the broker confirmed and some queue took it."""
        properties = self._pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2,  # persistent
            message_id=key,
            type=delivery.operation.value,
            app_id="storeroom",
            headers={"delivery": delivery.id},
        )
        channel.basic_publish(
            self._settings.exchange,
            self._settings.routing_key,
            body.encode(),
            properties,
            mandatory=True,
        )

    def _messages(self, delivery: Delivery) -> Iterator[tuple[str, str]]:
        return zip(delivery.keys, delivery.payload, strict=True)

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        settings = self._settings
        url = without_login(settings.url.get_secret_value())
        for key, body in self._messages(delivery):
            headers = {"message_id": key, "type": delivery.operation.value, "delivery": delivery.id}
            message = {
                "exchange": settings.exchange,
                "routing_key": settings.routing_key,
                "body": json.loads(body),
            }
            yield shown("PUBLISH", url, message, headers)

    def check(self) -> str:
        settings = self._settings
        fix = "Mend the connection's url: host, vhost, user or password."
        connection = None
        try:
            connection = self._connect()
            fix = "Create the exchange or queue, or allow this user to write to it."
            channel = connection.channel()
            if settings.exchange:
                channel.exchange_declare(settings.exchange, passive=True)
            else:
                channel.queue_declare(settings.routing_key, passive=True)
        except self._failures as error:
            raise StoreroomError(f"RabbitMQ refused: {_text(error)}.", fix) from None
        finally:
            if connection is not None:
                with contextlib.suppress(*self._failures):
                    connection.close()
        what = f"exchange {settings.exchange}" if settings.exchange else "the default exchange"
        return f"RabbitMQ, {what}, routing key {settings.routing_key}"

    def _connect(self) -> Any:
        settings = self._settings
        try:
            parameters = self._pika.URLParameters(settings.url.get_secret_value())
        except (ValueError, TypeError, IndexError):
            raise StoreroomError(
                "The url is none that the RabbitMQ client can read.",
                "Write amqps://user:password@host:5671/vhost.",
            ) from None
        parameters.connection_attempts = 1  # retries are the engine's, which counts them
        parameters.socket_timeout = min(settings.timeout_seconds, 10)
        parameters.stack_timeout = settings.timeout_seconds
        parameters.blocked_connection_timeout = settings.timeout_seconds
        parameters.heartbeat = max(
            2, int(settings.timeout_seconds)
        )  # a broker gone silent is noticed
        return self._pika.BlockingConnection(parameters)

    def _is_closed(self, error: Exception) -> bool:
        refusals = (
            self._errors.ProbableAuthenticationError,
            self._errors.ProbableAccessDeniedError,
            self._errors.AuthenticationError,
        )
        return isinstance(error, refusals) or getattr(error, "reply_code", 0) in REFUSED_CODES

    def close(self) -> None:
        """Nothing stays open between deliveries."""


def _rest(delivery: Delivery, position: int, status: Status, why: str) -> Verdicts:
    """The message under way has this status; those after it were never sent."""
    after = range(position + 1, delivery.rows.height)
    return {position: (status, why), **dict.fromkeys(after, (Status.RETRY, why))}


def _text(error: Exception) -> str:
    return words(str(error) or repr(error))


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    require("pika", "rabbitmq")
    return RabbitmqDriver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(RabbitmqDriver(settings), operation, rows)
