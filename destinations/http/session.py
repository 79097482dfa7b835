"""Sending one request and reading its answer, with what may go wrong told apart.

What matters to a sync is whether the request can have reached the destination:
:class:`NotSentError` means it did not, :class:`NoAnswerError` that it may have.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from destinations.errors import ConfigurationError
from destinations.masking import masked_text

CONNECT_SECONDS = 10.0
MOST_BYTES = 32 << 20
"""Longer answers are cut: no vendor's answer to a batch comes near."""


class _WithoutQueries(logging.Filter):
    """urllib3 logs every URL; some vendors want their keys in it, or people's addresses."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                masked_text(re.sub(r"\?\S+", "?...", part)) if isinstance(part, str) else part
                for part in record.args
            )
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutQueries())


class NotSentError(Exception):
    """The request never left: no address, no connection, no agreement on TLS."""


class NoAnswerError(Exception):
    """The request left and no whole answer came back."""


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Session:
    """Pooled connections to one base URL. Safe to use from several threads.

    Redirects are never followed: a destination that moves says so, and its
    credentials are not carried to another host.

    Args:
        timeout: most seconds from sending until the whole answer is there.
        connections: most connections kept open.
    """

    def __init__(self, base_url: str, *, timeout: float, connections: int) -> None:
        require_tls(base_url)
        self._base_url = base_url
        self._timeout = timeout
        self._session = requests.Session()
        # No .netrc may put its own login in the place of ours, no cookie travels between rows.
        self._session.auth = lambda prepared: prepared
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # A proxy has no business between us and our own machine.
        self._session.trust_env = not is_loopback(base_url)
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connections, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def url(self, path: str) -> str:
        """A path below the base URL; a path of just ``/`` is the base URL itself."""
        return joined(self._base_url, path)

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Response:
        """Send one request.

        Raises:
            NotSentError: it never left.
            NoAnswerError: it left, and no whole answer came back in time.
        """
        deadline = time.monotonic() + self._timeout
        try:
            answer = self._session.request(
                method,
                self.url(path),
                headers=dict(headers),
                data=body,
                timeout=(min(CONNECT_SECONDS, self._timeout), self._timeout),
                allow_redirects=False,
                stream=True,
            )
        except requests.exceptions.RequestException as error:
            if _never_left(error):
                raise NotSentError(_words(error)) from error
            raise NoAnswerError(_words(error)) from error
        except (ValueError, UnicodeError) as error:
            raise NotSentError("the request cannot be written as HTTP") from error
        with answer:
            return Response(
                answer.status_code,
                {name.lower(): value for name, value in answer.headers.items()},
                _read(answer, deadline),
            )

    def close(self) -> None:
        self._session.close()


def joined(base_url: str, path: str) -> str:
    return base_url if path == "/" else base_url.rstrip("/") + path


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_tls(url: str) -> None:
    """Refuse a URL that would carry people's data in clear.

    Raises:
        ConfigurationError: neither https nor http to this machine.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"'{url}' is not a URL of a host.", "Write https://host/path.")
    if parts.scheme == "http" and not is_loopback(url):
        raise ConfigurationError(
            f"'{parts.hostname}' would be sent people's data without encryption (http).",
            "Use https; http is allowed to this machine alone.",
        )


def _read(answer: requests.Response, deadline: float) -> bytes:
    """The body, in pieces, so that a server that drips it does not hold us for ever."""
    parts: list[bytes] = []
    length = 0
    try:
        # read1 gives what has arrived, where read would wait for all that was asked for.
        while part := answer.raw.read1(64 << 10, decode_content=True):
            parts.append(part)
            length += len(part)
            if length > MOST_BYTES:
                raise NoAnswerError(f"the answer is longer than {MOST_BYTES} bytes")
            if time.monotonic() > deadline:
                raise NoAnswerError("the answer did not arrive in time")
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise NoAnswerError(type(error).__name__) from error
    return b"".join(parts)


def _never_left(error: requests.exceptions.RequestException) -> bool:
    if isinstance(
        error,
        requests.exceptions.ConnectTimeout
        | requests.exceptions.SSLError
        | requests.exceptions.ProxyError
        | requests.exceptions.InvalidHeader
        | requests.exceptions.InvalidURL,
    ):
        return True
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    # A name that does not resolve is a NewConnectionError too.
    return isinstance(
        reason,
        urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError,
    )


def _words(error: BaseException) -> str:
    """The innermost cause: the outer ones repeat the URL, which may hold a key."""
    cause = error.args[0] if error.args else error
    reason = getattr(cause, "reason", cause)
    return f"{type(error).__name__}: {type(reason).__name__}"
