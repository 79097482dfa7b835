"""Redis and Valkey: a hash per key, and a set of an audience's members if one is named.

Commands: https://valkey.io/commands/ (hset, hdel, sadd, srem, del, expire). A
delivery is one pipeline; the server answers every command, so every row has
its own verdict. Values are text, as everywhere in Redis.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import Any, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from destinations.adapters.extras import require
from destinations.adapters.outcomes import in_doubt, later, row_by_row, stopped, words
from destinations.adapters.previews import previewed, shown, without_login
from destinations.adapters.rendering import (
    mapped_fields,
    operation_problems,
    text_ready,
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

WRITES = frozenset({Operation.UPSERT, Operation.ADD})
# Error replies that the client library has no class for, by their first word
PASSING = ("BUSY ", "MISCONF ")


class Settings(BaseModel):
    """What a connection to Redis or Valkey says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr = Field(
        description="redis://user:password@host:6379/0, or rediss:// for TLS.",
        examples=["redis://127.0.0.1:6379/0"],
    )
    prefix: str = Field(
        default="profile:", description="Start of every hash's name; its key follows."
    )
    members_set: str | None = Field(
        default=None, description="Name of a set that holds the keys of the audience's members."
    )
    keep_hash_on_remove: bool = Field(
        default=False, description="A removal leaves the hash and only takes the key off the set."
    )
    expire_seconds: int | None = Field(
        default=None, ge=1, description="Hashes expire this long after they were last written."
    )
    batch_rows: int = Field(default=5_000, ge=1, description="Most rows of one pipeline.")
    timeout_seconds: float = Field(default=15, gt=0, description="Most seconds of silence.")

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if self.keep_hash_on_remove and self.members_set is None:
            raise ValueError("keep_hash_on_remove needs members_set, or a removal does nothing")
        return self


class RedisDriver:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: Any = None

    @functools.cached_property
    def _redis(self) -> Any:
        return require("redis", "redis")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operations=WRITES | {Operation.REMOVE, Operation.DELETE},
            batch_rows=self._settings.batch_rows,
            clears=True,
            batch_bytes=16 << 20,
        )

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        fields = mapped_fields(rows)
        if operation not in WRITES or not fields or self._settings.members_set is not None:
            return operation_problems(self.capabilities, operation, rows)
        empty = pl.all_horizontal(pl.col(fields).is_null())
        text = "a hash has at least one field, and all mapped fields of this row are null"
        return rows.select(pl.when(empty).then(pl.lit(text)).alias("problem")).to_series()

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        writes = operation in WRITES
        limits = self.capabilities

        def render(part: pl.DataFrame) -> tuple[pl.DataFrame, int]:
            fields = mapped_fields(part) if writes else []
            texts = text_ready(part.select(KEY, *fields)).cast(pl.String)
            return texts, int(texts.estimated_size())

        return within_limits(operation, rows, render, limits.batch_rows, limits.batch_bytes)

    def send(self, delivery: Delivery) -> Outcome:
        errors = self._redis.exceptions
        try:
            client = self._opened()
            client.ping()  # what fails here was never sent
        except (errors.RedisError, OSError, ValueError) as error:
            closed = self._is_closed(error) or isinstance(error, ValueError)
            return stopped(delivery, error) if closed else later(delivery, error)
        try:
            if delivery.operation in WRITES:
                refusals = self._write(client, delivery)
            else:
                refusals = self._remove(client, delivery)
        except errors.ResponseError as error:  # of a command for all rows: no single row's fault
            return later(delivery, error) if self._is_passing(error) else stopped(delivery, error)
        except (errors.RedisError, OSError) as error:
            return in_doubt(delivery, error)
        closed_by = next(filter(self._is_closed, refusals.values()), None)
        verdicts = {
            position: (
                Status.RETRY
                if self._is_passing(answer) or self._is_closed(answer)
                else Status.REJECTED,
                str(answer),
            )
            for position, answer in refusals.items()
        }
        sample = {"request": f"{delivery.operation} {delivery.rows.height} keys"}
        return row_by_row(delivery, verdicts, sample, words(closed_by) if closed_by else None)

    def _write(self, client: Any, delivery: Delivery) -> dict[int, Exception]:
        """Write the hashes, then name as members those that were written."""
        pipeline = client.pipeline(transaction=False)
        owners: list[int] = []  # the position of the row of each command
        for position, command in self._writes(delivery.payload):
            pipeline.execute_command(*command)
            owners.append(position)
        refusals: dict[int, Exception] = {}
        for owner, answer in zip(owners, pipeline.execute(raise_on_error=False), strict=True):
            if isinstance(answer, Exception):
                refusals.setdefault(owner, answer)
        keys = enumerate(delivery.payload[KEY])
        written = [key for position, key in keys if position not in refusals]
        if self._settings.members_set is not None and written:
            client.sadd(self._settings.members_set, *written)
        return refusals

    def _writes(self, frame: pl.DataFrame) -> Iterator[tuple[int, list[str | int]]]:
        """The commands that write the hashes, each with the position of its row."""
        settings = self._settings
        fields = frame.columns[1:]
        rows = zip(frame[KEY], frame.select(fields).rows(), strict=True)
        for position, (key, values) in enumerate(rows):
            name = settings.prefix + key
            pairs = zip(fields, values, strict=True)
            held = {field: value for field, value in pairs if value is not None}
            if held:
                yield position, ["HSET", name, *(part for pair in held.items() for part in pair)]
            if len(held) < len(fields):
                yield position, ["HDEL", name, *(field for field in fields if field not in held)]
            if settings.expire_seconds is not None:
                yield position, ["EXPIRE", name, settings.expire_seconds]

    def _remove(self, client: Any, delivery: Delivery) -> dict[int, Exception]:
        for command in self._removals(delivery):
            client.execute_command(*command)
        return {}

    def _removals(self, delivery: Delivery) -> Iterator[list[str]]:
        settings = self._settings
        keys = delivery.payload[KEY]
        if settings.members_set is not None:
            yield ["SREM", settings.members_set, *keys]
        if delivery.operation is Operation.DELETE or not settings.keep_hash_on_remove:
            yield ["DEL", *(settings.prefix + keys)]

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        """The commands of a delivery; the body is what follows the verb."""
        url = without_login(self._settings.url.get_secret_value())
        writes = delivery.operation in WRITES
        commands: list[list[Any]] = (
            [command for _, command in self._writes(delivery.payload)]
            if writes
            else [*self._removals(delivery)]
        )
        if writes and self._settings.members_set is not None:
            commands.append(["SADD", self._settings.members_set, *delivery.payload[KEY]])
        for verb, *arguments in commands:
            yield shown(verb, url, arguments)

    def _is_passing(self, answer: Exception) -> bool:
        errors = self._redis.exceptions
        passing = (
            errors.OutOfMemoryError,
            errors.ReadOnlyError,
            errors.BusyLoadingError,
            errors.TryAgainError,
            errors.ClusterDownError,
            errors.MasterDownError,
        )
        return isinstance(answer, passing) or str(answer).startswith(PASSING)

    def _is_closed(self, answer: Exception) -> bool:
        errors = self._redis.exceptions
        return isinstance(answer, (errors.AuthenticationError, errors.NoPermissionError))

    def check(self) -> str:
        errors = self._redis.exceptions
        try:
            client = self._opened()
            server = client.info("server")
        except (errors.RedisError, OSError, ValueError) as error:
            raise StoreroomError(
                f"The server refused: {words(error)}.", "Mend the connection's url."
            ) from None
        name, version = server.get("server_name", "redis"), server.get("redis_version", "?")
        return f"{name} {server.get('valkey_version', version)}, hashes {self._settings.prefix}*"

    def _opened(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._redis.Redis.from_url(
                    self._settings.url.get_secret_value(),
                    socket_timeout=self._settings.timeout_seconds,
                    socket_connect_timeout=min(self._settings.timeout_seconds, 10),
                    decode_responses=True,
                    # Retries are the engine's, which counts them; no second try in silence.
                    retry=self._redis.retry.Retry(self._redis.backoff.NoBackoff(), 0),
                )
            return self._client

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    require("redis", "redis")
    return RedisDriver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(RedisDriver(settings), operation, rows)
