"""Requests to a URL that an answer gave, such as a signed upload URL: without our login."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from urllib.parse import urlsplit

from destinations.errors import ConfigurationError
from destinations.http.session import NotSentError, Response, Session, is_loopback
from destinations.language.requests import Request

MOST_HOSTS = 16
"""Sessions kept open; a vendor has one upload host, or one for each region."""


class Elsewhere:
    """Sends to hosts that a step names. Safe to use from several threads.

    Args:
        local: whether a URL of this machine may be used (a connection to the sandbox).
    """

    def __init__(self, *, timeout: float, connections: int, local: bool) -> None:
        self._timeout = timeout
        self._connections = connections
        self._local = local
        self._sessions: dict[str, Session] = {}
        self._turn = threading.Lock()

    def send(self, request: Request, hosts: Iterable[str]) -> Response:
        """Send one request; ``request.path`` is the whole URL.

        Raises:
            NotSentError: the URL is no https URL of one of the hosts, or it never left.
            NoAnswerError: it left, and no whole answer came back in time.
        """
        try:
            url = urlsplit(request.path)
            host, port = url.hostname or "", url.port
        except ValueError:
            raise NotSentError("the destination gave no URL") from None
        local = self._local and is_loopback(request.path)
        fits = any(fits_host(host, pattern) for pattern in hosts)
        if not local and (url.scheme != "https" or not fits or url.username is not None):
            raise NotSentError(f"the destination leads to '{host}', which its spec does not name")
        origin = f"{url.scheme}://{host}" + (f":{port}" if port else "")
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        return self._session(origin).send(request.method, path, request.headers, request.body)

    def _session(self, origin: str) -> Session:
        with self._turn:
            if origin not in self._sessions and len(self._sessions) >= MOST_HOSTS:
                self._sessions.pop(next(iter(self._sessions))).close()
            if origin not in self._sessions:
                try:
                    made = Session(origin, timeout=self._timeout, connections=self._connections)
                except ConfigurationError as error:
                    raise NotSentError(str(error)) from None
                self._sessions[origin] = made
            return self._sessions[origin]

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()


def fits_host(host: str, pattern: str) -> bool:
    """Whether a host is the one of the pattern, or below it: ``*.vendor.com``."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern
