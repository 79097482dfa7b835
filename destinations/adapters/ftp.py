"""FTP over TLS: one file per delivery, uploaded under another name and renamed when whole.

The file is named by the delivery: sent again it replaces itself. TLS is asked for on the usual
port (``AUTH TLS``, https://www.rfc-editor.org/rfc/rfc4217) before the login, and for the data too.
"""

from __future__ import annotations

import contextlib
import ftplib
import io
import posixpath
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

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
    """What a connection to an FTP server says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(description="Host name of the server.", examples=["ftp.example.com"])
    port: int = Field(default=21, ge=1, le=65535, description="Port of the server.")
    username: str = Field(description="Who logs in.", examples=["storeroom"])
    password: SecretStr = Field(description="Password of the user.")
    tls: Literal["verify", "off"] = Field(
        default="verify",
        description="verify: encrypted, the server's certificate checked; off: everything in "
        "clear, the password too.",
    )
    ca_file: Path | None = Field(
        default=None, description="CA certificates of the server (PEM), if not the system's own."
    )
    folder: str = Field(
        default=".",
        description="Folder on the server; it must exist.",
        pattern=r"^[^\r\n\x00]*$",
    )
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
        return self


class _TlsClient(ftplib.FTP_TLS):
    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[Any, int | None]:
        """Data in the TLS session of the login: servers refuse a stranger's (RFC 4217, 10.2)."""
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321 - wrapped in TLS below
        session = self.sock.session  # type: ignore[union-attr]
        wrapped = self.context.wrap_socket(connection, server_hostname=self.host, session=session)
        return wrapped, size


class FtpDriver:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: Pool[ftplib.FTP] = Pool(self._connect, lambda client: client.close())

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
            client = self._borrowed()
        except StoreroomError as error:
            return stopped(delivery, error.message)
        except (ftplib.Error, OSError, EOFError) as error:
            return later(delivery, error)
        name = self._name(delivery)
        renaming = False
        try:
            client.storbinary(f"STOR {name}{PART}", io.BytesIO(delivery.payload))
            renaming = True
            _replace(client, name + PART, name)
        except ftplib.error_perm as error:
            self._pool.give_back(client)
            return stopped(delivery, error)  # a folder or a right, never a row
        except (ftplib.Error, OSError, EOFError) as error:
            self._pool.drop(client)
            return in_doubt(delivery, error) if renaming else later(delivery, error)
        self._pool.give_back(client)
        return accepted(delivery, {"request": f"STOR {name}, {delivery.size} bytes"})

    def _name(self, delivery: Delivery) -> str:
        settings = self._settings
        suffix = file_suffix(settings.format, settings.gzip)
        return posixpath.join(settings.folder, f"{settings.prefix}{delivery.id}{suffix}")

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        """The upload under another name, then the renaming."""
        settings, name = self._settings, posixpath.normpath(self._name(delivery))
        server = f"ftp://{settings.host}:{settings.port}/"
        content = file_body(delivery.payload, settings.format, settings.gzip)
        yield shown("STOR", server + name.lstrip("/") + PART, content)
        yield shown("RNTO", server + name.lstrip("/") + PART, {"to": name})

    def check(self) -> str:
        settings = self._settings
        try:
            client = self._borrowed()
            client.cwd(settings.folder)
            folder = client.pwd()
        except (ftplib.Error, OSError, EOFError) as error:
            raise StoreroomError(
                f"{settings.host}:{settings.port} refused: {words(error)}.",
                "Mend the connection's host, port, tls or folder.",
            ) from None
        self._pool.drop(client)  # it stands in the folder now
        return f"{settings.username}@{settings.host}:{settings.port}, folder {folder}"

    def _borrowed(self) -> ftplib.FTP:
        """A client that still answers: servers cut off those that were silent for long."""
        client = self._pool.borrow()
        try:
            client.voidcmd("NOOP")
        except (ftplib.Error, OSError, EOFError):
            self._pool.drop(client)
            return self._connect()
        return client

    def _connect(self) -> ftplib.FTP:
        """A logged-in client.

        Raises:
            StoreroomError: the server is not the one it says, or it does not know us.
        """
        settings = self._settings
        client: ftplib.FTP = ftplib.FTP()  # noqa: S321 - only where somebody turned TLS off
        if settings.tls == "verify":
            client = _TlsClient(context=ssl.create_default_context(cafile=settings.ca_file))
        password = settings.password.get_secret_value()
        try:
            client.connect(settings.host, settings.port, timeout=settings.timeout_seconds)
            client.login(settings.username, password)  # over TLS: after AUTH TLS
            if isinstance(client, ftplib.FTP_TLS):
                client.prot_p()
        except (ftplib.error_perm, ssl.SSLCertVerificationError) as error:
            client.close()
            raise StoreroomError(
                f"{settings.host}:{settings.port} refused: {words(str(error).replace(password, '***'))}.",
                "Mend username, password, tls or ca_file.",
            ) from None
        except BaseException:
            client.close()
            raise
        return client

    def close(self) -> None:
        self._pool.close()


def _replace(client: ftplib.FTP, part: str, name: str) -> None:
    """Some servers refuse to rename onto a file."""
    try:
        client.rename(part, name)
    except ftplib.error_perm:
        with contextlib.suppress(ftplib.error_perm):
            client.delete(name)
        client.rename(part, name)


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    return FtpDriver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(FtpDriver(settings), operation, rows)
