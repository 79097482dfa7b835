"""Redis and Valkey: a hash per key, and a set of an audience's members if one is named.

Commands: https://valkey.io/commands/ (hset, hdel, sadd, srem, del, expire). A
delivery is one pipeline; the server answers every command, so every row has
its own verdict. Values are text, as everywhere in Redis.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from destinations.adapters.extras import require
from destinations.adapters.outcomes import in_doubt, later, row_by_row, stopped, words
from destinations.adapters.rendering import (
    mapped_fields,
    operation_problems,
    text_ready,
    within_limits,
)
from destinations.driver import KEY, Capabilities, Delivery, Driver, Operation, Outcome, Status
from destinations.errors import StoreroomError

WRITES = frozenset({Operation.UPSERT, Operation.ADD})
# First words of error replies: https://valkey.io/topics/protocol/ and the server's own texts
TRANSIENT = (
    "OOM",
    "LOADING",
    "BUSY",
    "TRYAGAIN",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "MISCONF",
    "READONLY",
)
CLOSED = ("NOAUTH", "WRONGPASS", "NOPERM")


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
        self._redis = require("redis", "redis")
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operations=WRITES | {Operation.REMOVE, Operation.DELETE},
            batch_rows=self._settings.batch_rows,
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
        except (errors.AuthenticationError, errors.NoPermissionError, ValueError) as error:
            return stopped(delivery, error)
        except errors.ResponseError as error:
            return self._later_or_stopped(delivery, error)
        except (errors.RedisError, OSError) as error:
            return later(delivery, error)
        pipeline = client.pipeline(transaction=False)
        owners = (self._writes if delivery.operation in WRITES else self._removals)(
            pipeline, delivery
        )
        try:
            answers = pipeline.execute(raise_on_error=False)
        except (errors.RedisError, OSError) as error:
            return in_doubt(delivery, error)
        verdicts: dict[int, tuple[Status, str]] = {}
        stop = None
        for owner, answer in zip(owners, answers, strict=True):
            if isinstance(answer, Exception):
                verdicts.setdefault(owner, (self._status(answer), words(answer)))
                stop = words(answer) if self._is_closed(answer) else stop
        sample = {"request": f"pipeline of {len(owners)} commands"}
        return row_by_row(delivery, verdicts, sample, stop)

    def _writes(self, pipeline: Any, delivery: Delivery) -> list[int]:
        """One hset (and hdel of nulls) per row; the position of the row of each command."""
        settings = self._settings
        frame: pl.DataFrame = delivery.payload
        owners: list[int] = []
        fields = frame.columns[1:]
        keys = frame[KEY].to_list()
        for position, (key, values) in enumerate(
            zip(keys, frame.select(fields).rows(), strict=True)
        ):
            name = settings.prefix + key
            commands = len(pipeline)
            held = {
                field: value
                for field, value in zip(fields, values, strict=True)
                if value is not None
            }
            if held:
                pipeline.hset(name, mapping=held)
            if len(held) < len(fields):
                pipeline.hdel(name, *(field for field in fields if field not in held))
            if settings.expire_seconds is not None:
                pipeline.expire(name, settings.expire_seconds)
            if settings.members_set is not None:
                pipeline.sadd(settings.members_set, key)
            owners += [position] * (len(pipeline) - commands)
        return owners

    def _removals(self, pipeline: Any, delivery: Delivery) -> list[int]:
        settings = self._settings
        keep = settings.keep_hash_on_remove and delivery.operation is Operation.REMOVE
        owners: list[int] = []
        for position, key in enumerate(delivery.payload[KEY].to_list()):
            if settings.members_set is not None:
                pipeline.srem(settings.members_set, key)
                owners.append(position)
            if not keep:
                pipeline.delete(settings.prefix + key)
                owners.append(position)
        return owners

    def _status(self, answer: Exception) -> Status:
        transient = str(answer).startswith(TRANSIENT) or self._is_closed(answer)
        errors = self._redis.exceptions
        transient |= isinstance(
            answer, (errors.OutOfMemoryError, errors.ReadOnlyError, errors.BusyLoadingError)
        )
        return Status.RETRY if transient else Status.REJECTED

    def _is_closed(self, answer: Exception) -> bool:
        errors = self._redis.exceptions
        refusals = (errors.AuthenticationError, errors.NoPermissionError)
        return isinstance(answer, refusals) or str(answer).startswith(CLOSED)

    def _later_or_stopped(self, delivery: Delivery, error: Exception) -> Outcome:
        return stopped(delivery, error) if self._is_closed(error) else later(delivery, error)

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
    return RedisDriver(settings)
