"""E-mail digest by SMTP: one mail per delivery, a summary and the rows as a CSV file.

All recipients are named to the server before any text is sent: if it refuses
one, nothing is sent to the others either, so that a second try does not reach
them twice. Replies: https://www.rfc-editor.org/rfc/rfc5321#section-4.2
"""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import formatdate, parseaddr
from pathlib import Path
from typing import Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from destinations.adapters.outcomes import accepted, in_doubt, later, refused, stopped, words
from destinations.adapters.previews import file_body, previewed, shown
from destinations.adapters.rendering import (
    file_bytes,
    file_suffix,
    labelled,
    operation_problems,
    within_limits,
)
from destinations.driver import Capabilities, Delivery, Driver, Operation, Outcome, Shown
from destinations.errors import StoreroomError

ADDRESS = r"^[^\s@<>,]+@[^\s@<>,]+$"
NOT_PERMANENT = range(400, 500)


class Settings(BaseModel):
    """What a connection to an SMTP server says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(description="Host name of the SMTP server.", examples=["smtp.example.com"])
    port: int = Field(default=587, ge=1, le=65535, description="Port of the server.")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="starttls, tls from the start (port 465), or none."
    )
    ca_file: Path | None = Field(default=None, description="CA certificates of the server (PEM).")
    username: str | None = Field(default=None, description="Who logs in, if anybody has to.")
    password: SecretStr | None = Field(default=None, description="Password of the user.")
    sender: str = Field(
        description="Address the mail is from.", pattern=ADDRESS, examples=["storeroom@example.com"]
    )
    recipients: tuple[str, ...] = Field(
        description="Addresses the mail goes to.", min_length=1, examples=[["team@example.com"]]
    )
    subject: str = Field(
        default="Storeroom digest", description="Start of the subject.", pattern=r"^[^\r\n]+$"
    )
    gzip: bool = Field(default=False, description="Compress the attachment.")
    batch_rows: int = Field(default=50_000, ge=1, description="Most rows of one mail.")
    batch_bytes: int = Field(default=8 << 20, ge=1024, description="Most bytes of an attachment.")
    timeout_seconds: float = Field(default=30, gt=0, description="Most seconds of silence.")

    @field_validator("recipients", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        """Commas part addresses too, so that an environment variable can hold several."""
        parts = value.split(",") if isinstance(value, str) else value
        return [str(part).strip() for part in parts] if isinstance(parts, (list, tuple)) else parts

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if bool(self.username) != bool(self.password):
            raise ValueError("username and password go together")
        if (
            self.username
            and self.security == "none"
            and self.host not in ("127.0.0.1", "localhost")
        ):
            raise ValueError("a password is not sent in clear: set security to starttls or tls")
        wrong = [address for address in self.recipients if "@" not in parseaddr(address)[1]]
        if wrong:
            raise ValueError(f"not an address: {', '.join(wrong)}")
        return self


class EmailDriver:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operations=frozenset(
                {Operation.UPSERT, Operation.ADD, Operation.REMOVE, Operation.TRACK}
            ),
            batch_rows=self._settings.batch_rows,
            clears=True,
            batch_bytes=self._settings.batch_bytes,
            concurrency=1,
            per_row_results=False,
            idempotent=False,
        )

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        return operation_problems(self.capabilities, operation, rows)

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        settings = self._settings

        def render(part: pl.DataFrame) -> tuple[bytes, int]:
            content = file_bytes(labelled(operation, part), "csv", settings.gzip)
            return content, len(content)

        return within_limits(operation, rows, render, settings.batch_rows, settings.batch_bytes)

    def send(self, delivery: Delivery) -> Outcome:
        try:
            server = self._connect()
        except (
            smtplib.SMTPAuthenticationError,
            smtplib.SMTPNotSupportedError,
            ssl.SSLError,
        ) as error:
            return stopped(delivery, _reply(error))
        except (smtplib.SMTPException, OSError) as error:
            return later(delivery, _reply(error))
        sending = False
        answer: bytes | str
        try:
            for code, text in self._envelope(server):
                if code in NOT_PERMANENT:
                    return later(delivery, text)
                if code >= 500:
                    return stopped(delivery, text)
            sending = True
            code, answer = server.data(self._mail(delivery).as_bytes(policy=SMTP_POLICY))
        except smtplib.SMTPDataError as error:  # refused before the text went out
            code, answer = error.smtp_code, error.smtp_error
        except (smtplib.SMTPException, OSError) as error:
            return in_doubt(delivery, _reply(error)) if sending else later(delivery, _reply(error))
        finally:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                server.quit()
        said = f"{code} {_decoded(answer)}"
        if code == 250:
            return accepted(delivery, {"response": said})
        return later(delivery, said) if code in NOT_PERMANENT else refused(delivery, said)

    def _envelope(self, server: smtplib.SMTP) -> Iterator[tuple[int, str]]:
        """Name sender and recipients; every reply as (code, words)."""
        server.ehlo_or_helo_if_needed()
        code, answer = server.mail(self._settings.sender)
        yield code, f"{self._settings.sender}: {code} {_decoded(answer)}"
        for address in self._settings.recipients:
            code, answer = server.rcpt(address)
            yield code, f"{address}: {code} {_decoded(answer)}"

    def _mail(self, delivery: Delivery) -> EmailMessage:
        settings = self._settings
        count, what = delivery.rows.height, delivery.operation.value
        mail = EmailMessage(policy=SMTP_POLICY)
        mail["From"] = settings.sender
        mail["To"] = ", ".join(settings.recipients)
        mail["Subject"] = f"{settings.subject}: {count} x {what}"
        mail["Date"] = formatdate(usegmt=True)
        mail["Message-ID"] = f"<{delivery.id}@{settings.sender.rpartition('@')[2]}>"
        mail.set_content(
            f"Rows: {count}\nOperation: {what}\nDelivery: {delivery.id}\n\n"
            "The attached file has one line per row.\n"
        )
        suffix = file_suffix("csv", settings.gzip)
        kind = ("application", "gzip") if settings.gzip else ("text", "csv")
        mail.add_attachment(
            delivery.payload,
            maintype=kind[0],
            subtype=kind[1],
            filename=f"{delivery.id}{suffix}",
            params=None if settings.gzip else {"charset": "utf-8"},
        )
        return mail

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        """The mail: its headers without the moment, its text, its attachment."""
        mail = self._mail(delivery)
        (attached,) = mail.iter_attachments()
        text = mail.get_body()
        url = f"smtp://{self._settings.host}:{self._settings.port}"
        headers = {name: mail[name] for name in ("From", "To", "Subject", "Message-ID")}
        content = file_body(delivery.payload, "csv", self._settings.gzip)
        body = {
            "text": text.get_content() if text is not None else "",
            "attachment": {"filename": attached.get_filename(), "content": content},
        }
        yield shown("MAIL", url, body, headers)

    def check(self) -> str:
        settings = self._settings
        try:
            server = self._connect()
            server.noop()
            server.quit()
        except (smtplib.SMTPException, OSError) as error:
            raise StoreroomError(
                f"{settings.host}:{settings.port} refused: {words(_reply(error))}.",
                "Mend the connection's host, port, security or credentials.",
            ) from None
        who = settings.username or "nobody"
        return f"{settings.host}:{settings.port}, logged in as {who}, mail from {settings.sender}"

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=settings.timeout_seconds, context=context
            )
        else:
            server = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_seconds)
        try:
            if settings.security == "starttls":
                server.starttls(context=context)
            if settings.username and settings.password:
                server.login(settings.username, settings.password.get_secret_value())
        except BaseException:
            server.close()
            raise
        return server

    def close(self) -> None:
        """Nothing stays open between deliveries."""


def _decoded(answer: bytes | str) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer


def _reply(error: Exception) -> str:
    """The server's code and words, where the error carries them."""
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_decoded(error.smtp_error)}"
    return str(error)


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    return EmailDriver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(EmailDriver(settings), operation, rows)
