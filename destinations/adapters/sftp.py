"""SFTP: one file per delivery, uploaded under another name and renamed when whole.

The file is named by the delivery: sent again it replaces itself. The server's
host key is always verified (https://docs.paramiko.org/en/stable/api/client.html).
"""

from __future__ import annotations

import contextlib
import functools
import io
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from destinations.adapters.extras import require
from destinations.adapters.outcomes import accepted, in_doubt, later, stopped, words
from destinations.adapters.pool import Pool
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

PART = ".part"
"""Ends the name of a file that is not whole yet."""


class Settings(BaseModel):
    """What a connection to an SFTP server says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(description="Host name of the server.", examples=["sftp.example.com"])
    port: int = Field(default=22, ge=1, le=65535, description="Port of the server.")
    username: str = Field(description="Who logs in.", examples=["storeroom"])
    password: SecretStr | None = Field(default=None, description="Password, or use private_key.")
    private_key: SecretStr | None = Field(
        default=None, description="Private key, the text of an OpenSSH or PEM file."
    )
    private_key_passphrase: SecretStr | None = Field(
        default=None, description="Passphrase of the private key."
    )
    host_fingerprint: str | None = Field(
        default=None,
        description="Fingerprint of the server's host key, as `ssh-keygen -lf` prints it.",
        pattern=r"^SHA256:[A-Za-z0-9+/]{43}=?$",
    )
    known_hosts: Path | None = Field(
        default=None, description="known_hosts file; without it and a fingerprint the user's own."
    )
    folder: str = Field(default=".", description="Folder on the server; it must exist.")
    prefix: str = Field(
        default="", description="Start of every file name.", pattern=r"^[A-Za-z0-9._-]*$"
    )
    format: FileFormat = Field(default="csv", description="csv, jsonl or parquet.")
    gzip: bool = Field(default=False, description="Compress csv and jsonl with gzip.")
    batch_rows: int = Field(default=100_000, ge=1, description="Most rows of one file.")
    batch_bytes: int = Field(default=64 << 20, ge=1024, description="Most bytes of one file.")
    timeout_seconds: float = Field(default=30, gt=0, description="Most seconds of silence.")

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if self.gzip and self.format == "parquet":
            raise ValueError("gzip is for csv and jsonl: parquet files are compressed already")
        if self.password is None and self.private_key is None:
            raise ValueError("give password or private_key")
        return self


class SftpDriver:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: Pool[Any] = Pool(self._connect, lambda client: client.close())

    @functools.cached_property
    def _paramiko(self) -> Any:
        return require("paramiko", "sftp")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operations=frozenset(
                {Operation.UPSERT, Operation.ADD, Operation.REMOVE, Operation.TRACK}
            ),
            batch_rows=self._settings.batch_rows,
            clears=True,
            batch_bytes=self._settings.batch_bytes,
            concurrency=2,
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
        try:
            client = self._pool.borrow()
        except StoreroomError as error:
            return stopped(delivery, error.message)
        except (self._paramiko.SSHException, OSError, EOFError) as error:
            return later(delivery, error)
        settings = self._settings
        name = self._name(delivery)
        renaming = False
        try:
            sftp = client.open_sftp()
            sftp.get_channel().settimeout(settings.timeout_seconds)
            part = name + PART
            sftp.putfo(io.BytesIO(delivery.payload), part, file_size=delivery.size, confirm=True)
            renaming = True
            self._replace(sftp, part, name)
            sftp.close()
        except (PermissionError, FileNotFoundError) as error:
            self._pool.give_back(client)
            return stopped(delivery, f"{settings.folder}: {error}")
        except (self._paramiko.SSHException, OSError, EOFError) as error:
            self._pool.drop(client)
            return in_doubt(delivery, error) if renaming else later(delivery, error)
        self._pool.give_back(client)
        return accepted(delivery, {"request": f"PUT {name}, {delivery.size} bytes"})

    def _name(self, delivery: Delivery) -> str:
        settings = self._settings
        suffix = file_suffix(settings.format, settings.gzip)
        return posixpath.join(settings.folder, f"{settings.prefix}{delivery.id}{suffix}")

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        """The upload under another name, then the renaming."""
        settings, name = self._settings, posixpath.normpath(self._name(delivery))
        server = f"sftp://{settings.host}:{settings.port}/"
        content = file_body(delivery.payload, settings.format, settings.gzip)
        yield shown("PUT", server + name.lstrip("/") + PART, content)
        yield shown("RENAME", server + name.lstrip("/") + PART, {"to": name})

    def _replace(self, sftp: Any, part: str, name: str) -> None:
        """Plain SFTP refuses to rename onto a file; OpenSSH's extension replaces it in one step."""
        try:
            sftp.posix_rename(part, name)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                sftp.remove(name)
            sftp.rename(part, name)

    def check(self) -> str:
        settings = self._settings
        try:
            client = self._pool.borrow()
            sftp = client.open_sftp()
            folder = sftp.normalize(settings.folder)
            sftp.listdir(folder)
            sftp.close()
        except (self._paramiko.SSHException, OSError, EOFError) as error:
            raise StoreroomError(
                f"{settings.host}:{settings.port} refused: {words(error)}.",
                "Mend the connection's host, port or folder.",
            ) from None
        self._pool.give_back(client)
        return f"{settings.username}@{settings.host}:{settings.port}, folder {folder}"

    def _connect(self) -> Any:
        """A logged-in client.

        Raises:
            StoreroomError: the server is not the one we know, or it does not know us.
        """
        settings, paramiko = self._settings, self._paramiko
        client = paramiko.SSHClient()
        if settings.host_fingerprint:
            client.set_missing_host_key_policy(_pinned(paramiko, settings.host_fingerprint))
        else:
            client.set_missing_host_key_policy(paramiko.RejectPolicy())
            try:
                known = settings.known_hosts
                client.load_system_host_keys(str(known) if known else None)
            except OSError as error:
                raise StoreroomError(f"known_hosts cannot be read: {words(error)}.") from None
        try:
            client.connect(
                settings.host,
                settings.port,
                settings.username,
                password=_text(settings.password),
                pkey=self._private_key(),
                allow_agent=False,
                look_for_keys=False,
                timeout=settings.timeout_seconds,
                banner_timeout=settings.timeout_seconds,
                auth_timeout=settings.timeout_seconds,
            )
        except (paramiko.AuthenticationException, paramiko.BadHostKeyException) as error:
            client.close()
            raise StoreroomError(
                f"{settings.host}:{settings.port} refused: {words(error)}.",
                "Mend username, password or private_key; or the host key, if the server's is new.",
            ) from None
        except BaseException as error:
            client.close()
            if isinstance(error, paramiko.SSHException) and "known_hosts" in str(error):
                raise StoreroomError(
                    f"{words(error)}.", "Add its host key to known_hosts, or set host_fingerprint."
                ) from None
            raise
        return client

    def _private_key(self) -> Any:
        settings = self._settings
        if settings.private_key is None:
            return None
        text = settings.private_key.get_secret_value()
        for kind in (self._paramiko.Ed25519Key, self._paramiko.ECDSAKey, self._paramiko.RSAKey):
            with contextlib.suppress(self._paramiko.SSHException, ValueError):
                return kind.from_private_key(
                    io.StringIO(text), password=_text(settings.private_key_passphrase)
                )
        raise StoreroomError(
            "private_key is not an Ed25519, ECDSA or RSA key, or its passphrase is another.",
            "Give the whole text of the file, with its first and last line.",
        )

    def close(self) -> None:
        self._pool.close()


def _text(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _pinned(paramiko: Any, fingerprint: str) -> Any:
    """Takes exactly one host key: the one with this fingerprint."""

    class Pinned(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
        def missing_host_key(self, _client: Any, hostname: str, key: Any) -> None:
            if key.fingerprint.rstrip("=") != fingerprint.rstrip("="):
                raise StoreroomError(
                    f"{hostname} shows the host key {key.fingerprint}, not {fingerprint}.",
                    "Find out why before you change host_fingerprint.",
                )

    return Pinned()


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    require("paramiko", "sftp")
    return SftpDriver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(SftpDriver(settings), operation, rows)
