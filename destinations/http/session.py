"""Sending one request and reading its answer, with what may go wrong told apart.

What matters to a sync is whether the request can have reached the destination:
:class:`NotSentError` means it did not, :class:`NoAnswerError` that it may have.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlsplit

from destinations.errors import ConfigurationError
from destinations.http.wire import (
    Connection,
    NoAnswerError,
    NotSentError,
    Peer,
    Response,
    is_target,
    target_of,
    written,
)

__all__ = ["NoAnswerError", "NotSentError", "Response", "Session", "Sessions"]

CONNECT_SECONDS = 10.0


class Session:
    """Pooled connections to one base URL. Safe to use from several threads.

    Redirects are never followed: a destination that moves says so, and its
    credentials are not carried to another host. No cookie travels between rows,
    and no ``.netrc`` puts its own login in the place of ours.

    Args:
        timeout: most seconds from sending until the whole answer is there.
        connections: most connections kept open.
    """

    def __init__(self, base_url: str, *, timeout: float, connections: int) -> None:
        require_tls(base_url)
        self._base_url = base_url
        self._timeout = timeout
        try:
            # A proxy has no business between us and our own machine.
            self._peer = Peer.of(base_url, trust_environment=not is_loopback(base_url))
            self._prefix = target_of(base_url.rstrip("/") + "/")[:-1]
        except ValueError as error:
            raise ConfigurationError(
                f"The URL of '{urlsplit(base_url).hostname}' cannot be read.",
                "Write https://host/path.",
            ) from error
        self._connections = max(connections, 1)
        self._idle: deque[Connection] = deque()

    def url(self, path: str) -> str:
        """A path below the base URL; a path of just ``/`` is the base URL itself.

        Raises:
            NotSentError: it is a whole URL (of a next page), and of another host.
        """
        if not path.startswith("/") and urlsplit(path)[:2] != urlsplit(self._base_url)[:2]:
            raise NotSentError("the destination leads to another host")
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
        message = self.written(method, path, headers, body)
        connection = self.kept() or self.connected()
        try:
            return connection.exchange(message, deadline)
        finally:
            self.keep(connection)

    @property
    def timeout(self) -> float:
        return self._timeout

    @property
    def may_be_shared(self) -> bool:
        """Whether connections can be read without waiting; TLS within a proxy's TLS cannot."""
        return self._peer.proxy is None or self._peer.proxy.scheme != "https"

    def written(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> bytes:
        """A request as it goes out.

        Raises:
            NotSentError: it cannot be written.
        """
        try:
            target = self._target(path)
            return written(method, target, self._peer.host_header, headers, body)
        except ValueError as error:
            raise NotSentError("the request cannot be written as HTTP") from error

    def kept(self) -> Connection | None:
        """An open connection that nobody uses, the last used first."""
        while self._idle:
            try:
                kept = self._idle.pop()
            except IndexError:
                break
            if kept.idle:
                return kept
            kept.close()
        return None

    def connected(self) -> Connection:
        """A new connection.

        Raises:
            NotSentError: there is none.
        """
        connect = min(CONNECT_SECONDS, self._timeout)
        return Connection(self._peer.connect(connect, self._timeout))

    def keep(self, connection: Connection) -> None:
        """Take a connection back."""
        if connection.reusable and len(self._idle) < self._connections:
            self._idle.append(connection)
        else:
            connection.close()

    def _target(self, path: str) -> str:
        if path != "/" and is_target(path):
            return self._prefix + path
        return target_of(self.url(path))

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class Sessions:
    """Sessions by base URL: the vendor's, those of its login and of its uploads."""

    def __init__(self, *, timeout: float, connections: int) -> None:
        self._timeout = timeout
        self._connections = connections
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def to(self, base_url: str) -> Session:
        """Raises: ConfigurationError: the URL is none that may be used."""
        session = self._sessions.get(base_url)
        if session is None:
            with self._lock:
                session = self._sessions.get(base_url) or Session(
                    base_url, timeout=self._timeout, connections=self._connections
                )
                self._sessions[base_url] = session
        return session

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()


def split_url(url: str) -> tuple[str, str]:
    """A URL as the base URL of its host, and the path below with its query."""
    parts = urlsplit(url)
    path = parts.path or "/"
    return f"{parts.scheme}://{parts.netloc}", f"{path}?{parts.query}" if parts.query else path


def joined(base_url: str, path: str) -> str:
    """A path below the base URL; a whole URL (of a next page) as it stands."""
    if not path.startswith("/"):
        return path
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
