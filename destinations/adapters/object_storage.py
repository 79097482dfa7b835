"""Object storage and local folders: one immutable file per delivery.

The file is named by the delivery, so that sending it again overwrites it with
the same rows. Every row carries ``_operation`` and ``_key``. The same rows with
the same content give the same name however often they are sent: readers order
files by their time of writing and apply each, or take each away when it is done.

URLs: https://developmentseed.org/obstore/latest/api/store/
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import obstore
import obstore.exceptions
import obstore.store
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from destinations.adapters.outcomes import accepted, later, stopped, words
from destinations.adapters.previews import file_body, previewed, shown
from destinations.adapters.rendering import (
    FileFormat,
    file_bytes,
    file_suffix,
    labelled,
    operation_problems,
    within_limits,
)
from destinations.driver import Capabilities, Delivery, Driver, Operation, Outcome, Shown
from destinations.errors import StoreroomError

REFUSALS = (
    obstore.exceptions.PermissionDeniedError,
    obstore.exceptions.UnauthenticatedError,
    obstore.exceptions.NotFoundError,
    obstore.exceptions.InvalidPathError,
    obstore.exceptions.NotSupportedError,
    FileNotFoundError,
    PermissionError,
)


class Settings(BaseModel):
    """What a connection to object storage or a folder says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        description="Where files go: s3://bucket/folder, gs://bucket/folder, "
        "az://container/folder, file:///folder or file://./folder (from the working directory)",
        pattern=r"^((s3|gs|az)://[^/?#]+(/[^?#]*)?|file://\.?/.*)$",
        examples=["s3://example-bucket/storeroom"],
    )
    folder: str = Field(
        default="",
        description="Folder below url; by default the audience's name.",
        pattern=r"^[^?#]*$",
    )
    format: FileFormat = Field(default="parquet", description="parquet, csv or jsonl.")
    gzip: bool = Field(default=False, description="Compress csv and jsonl with gzip.")
    batch_rows: int = Field(default=100_000, ge=1, description="Most rows of one file.")
    batch_bytes: int = Field(default=64 << 20, ge=1024, description="Most bytes of one file.")
    region: str | None = Field(default=None, description="Region of the S3 bucket.")
    endpoint: str | None = Field(
        default=None,
        description="Endpoint of another S3-compatible service; http only on the loopback.",
        pattern=r"^(https://.+|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?/?)$",
    )
    access_key_id: str | None = Field(
        default=None, description="S3 access key; without it the machine's own role is used."
    )
    secret_access_key: SecretStr | None = Field(default=None, description="S3 secret key.")
    session_token: SecretStr | None = Field(default=None, description="S3 session token.")
    service_account_key: SecretStr | None = Field(
        default=None, description="Google service account key (JSON text), for gs://."
    )
    account_name: str | None = Field(default=None, description="Azure storage account, for az://.")
    account_key: SecretStr | None = Field(
        default=None, description="Azure storage account key, for az://."
    )
    timeout_seconds: int = Field(default=60, ge=1, description="Most seconds of one upload.")

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if self.gzip and self.format == "parquet":
            raise ValueError("gzip is for csv and jsonl: parquet files are compressed already")
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise ValueError("access_key_id and secret_access_key go together")
        return self


class ObjectStorageDriver:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store: Any = None
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operations=frozenset(
                {Operation.UPSERT, Operation.ADD, Operation.REMOVE, Operation.TRACK}
            ),
            batch_rows=self._settings.batch_rows,
            clears=True,
            batch_bytes=self._settings.batch_bytes,
            per_row_results=False,
        )

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        return operation_problems(self.capabilities, operation, rows)

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        settings = self._settings

        def render(part: pl.DataFrame) -> tuple[bytes, int]:
            content = file_bytes(labelled(operation, part), settings.format, settings.gzip)
            return content, len(content)

        return within_limits(operation, rows, render, settings.batch_rows, settings.batch_bytes)

    def send(self, delivery: Delivery) -> Outcome:
        name = self._name(delivery)
        try:
            store = self._opened()
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            return stopped(delivery, _said(error))
        try:
            obstore.put(store, name, delivery.payload)
        except REFUSALS as error:
            return stopped(delivery, _said(error))
        except (obstore.exceptions.BaseError, OSError) as error:
            # A put lands whole or not at all, and again under the same name: never in doubt.
            return later(delivery, _said(error))
        return accepted(delivery, {"request": f"PUT {name}, {delivery.size} bytes"})

    def _name(self, delivery: Delivery) -> str:
        settings = self._settings
        name = delivery.id + file_suffix(settings.format, settings.gzip)
        return f"{settings.folder.strip('/')}/{name}".lstrip("/")

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        settings = self._settings
        url = f"{settings.url.rstrip('/')}/{self._name(delivery)}"
        yield shown("PUT", url, file_body(delivery.payload, settings.format, settings.gzip))

    def check(self) -> str:
        """Writes a probe: a key that may list need not be one that may write."""
        probe = ".storeroom-probe"
        try:
            store = self._opened()
            obstore.put(store, probe, b"")
            with contextlib.suppress(*REFUSALS):  # nor need it be one that may delete
                obstore.delete(store, probe)
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise StoreroomError(
                f"{self._settings.url} refused a file: {words(_said(error))}.",
                "Mend the connection's url, region or keys, or the rights of the key.",
            ) from None
        return f"{self._settings.url} takes {self._settings.format} files"

    def _opened(self) -> Any:
        with self._lock:
            if self._store is None:
                self._store = _store(self._settings)
            return self._store

    def close(self) -> None:
        self._store = None


def _store(settings: Settings) -> Any:
    kind = urlsplit(settings.url).scheme
    if kind == "file":
        folder = Path(unquote(settings.url.removeprefix("file://")))
        return obstore.store.LocalStore(folder.absolute(), mkdir=True)
    settings_of: dict[str, dict[str, SecretStr | str | None]] = {
        "s3": {
            "aws_access_key_id": settings.access_key_id,
            "aws_secret_access_key": settings.secret_access_key,
            "aws_session_token": settings.session_token,
            "aws_region": settings.region,
            "aws_endpoint": settings.endpoint,
        },
        "gs": {"google_service_account_key": settings.service_account_key},
        "az": {
            "azure_storage_account_name": settings.account_name,
            "azure_storage_account_key": settings.account_key,
        },
    }
    config = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in settings_of[kind].items()
        if value is not None
    }
    seconds = settings.timeout_seconds
    return obstore.store.from_url(
        settings.url,
        config=config,
        client_options={
            "allow_http": bool(settings.endpoint and settings.endpoint.startswith("http://")),
            "timeout": f"{seconds}s",
            "connect_timeout": f"{min(seconds, 10)}s",
        },
        # The engine retries and says so; the client only bridges a hiccup.
        retry_config={
            "max_retries": 2,
            "retry_timeout": timedelta(seconds=seconds),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=1),
                "base": 2,
            },
        },
    )


def _said(error: Exception) -> str:
    """The service's answer, without the client's dump of its own state."""
    return str(error).partition("Debug source:")[0]


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    return ObjectStorageDriver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(ObjectStorageDriver(settings), operation, rows)
