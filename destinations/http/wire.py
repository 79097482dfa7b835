"""One kept connection: a request's bytes out, its answer parsed as it comes in.

urllib3 makes the connection (names, proxies, TLS), httptools, the parser of Node.js, reads the
answers. What lies between in the usual clients (sessions, redirects, cookies, header objects)
costs many times what sending does, and nothing of it is wanted here.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
import urllib.request
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import httptools
import urllib3.exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Timeout, Url, make_headers, parse_url, wait_for_read

MOST_BYTES = 32 << 20
"""Longer answers are cut: no vendor's answer to a batch comes near."""
PIECE = 64 << 10
_USUAL = {
    "user-agent": "User-Agent: storeroom\r\n",
    "accept": "Accept: */*\r\n",
    "accept-encoding": "Accept-Encoding: gzip, deflate\r\n",
}
_TARGET = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-F]{2})*")
_DOTS = re.compile(r"/\.\.?(?:[/?]|$)")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ILLEGAL = re.compile(r"[\r\n\0]|^\s")


_NOT_READY = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


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


@dataclass(frozen=True)
class Peer:
    """Whom to connect to, and how; the same for every connection of a session."""

    url: Url
    proxy: Url | None
    ca_certs: str | None
    """A file of certificate authorities; None for those that certifi names."""

    @classmethod
    def of(cls, base_url: str, trust_environment: bool) -> Peer:
        """The host of a URL, reached as the environment says (``HTTPS_PROXY``, ``NO_PROXY`` ...)."""
        url = parse_url(base_url)
        proxy = _proxy_for(base_url) if trust_environment else None
        bundle = None
        if trust_environment:
            bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        return cls(url, proxy, bundle)

    @cached_property
    def host_header(self) -> str:
        """RFC 9112, section 3.2: the port is left out where it is the scheme's own."""
        usual = {"http": 80, "https": 443}[self.url.scheme or "https"]
        host = self.url.host or ""
        return host if self.url.port in (None, usual) else f"{host}:{self.url.port}"

    def connect(self, connect_seconds: float, seconds: float) -> socket.socket:
        """A connection, with TLS where the URL asks for it.

        Raises:
            NotSentError: there is none.
        """
        try:
            connection = self._connection(Timeout(connect=connect_seconds, read=seconds))
            connection.connect()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise NotSentError(_words(error)) from error
        connected: socket.socket = connection.sock
        # Detached: a connection object that is collected would close it.
        connection.sock = None
        connected.settimeout(seconds)
        return connected

    def _connection(self, timeout: Timeout) -> HTTPConnection:
        url, proxy = self.url, self.proxy
        host = (url.host or "").strip("[]")
        port = url.port or {"http": 80, "https": 443}[url.scheme or "https"]
        if url.scheme == "http":
            return HTTPConnection(host, port, timeout=timeout.connect_timeout)
        import certifi

        authorities = self.ca_certs or certifi.where()
        folder = authorities if os.path.isdir(authorities) else None  # noqa: PTH112
        made = HTTPSConnection(
            (proxy.host or "").strip("[]") if proxy else host,
            (proxy.port or (443 if proxy.scheme == "https" else 8080)) if proxy else port,
            timeout=timeout.connect_timeout,
            cert_reqs="CERT_REQUIRED",
            ca_certs=None if folder else authorities,
            ca_cert_dir=folder,
            proxy=proxy,
        )
        if proxy:
            login = make_headers(proxy_basic_auth=proxy.auth) if proxy.auth else {}
            made.set_tunnel(host, port, headers=login, scheme=proxy.scheme or "http")
        return made


def _proxy_for(url: str) -> Url | None:
    if not urllib.request.getproxies():
        return None
    from requests.utils import get_environ_proxies, select_proxy

    found = select_proxy(url, get_environ_proxies(url))
    if not found:
        return None
    return parse_url(found if "://" in found else f"http://{found}")


class Connection:
    """An open connection, used by one thread at a time."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._seconds = connected.gettimeout()
        self._out = memoryview(b"")
        self._answer = _Answer()
        self.reusable = True

    def fileno(self) -> int:
        return self._socket.fileno()

    def wait_for_nothing(self, nothing: bool) -> None:
        """Whether :meth:`begin` and :meth:`go_on` are used (True) or :meth:`exchange`."""
        self._socket.settimeout(0.0 if nothing else self._seconds)

    @property
    def idle(self) -> bool:
        """Whether it may carry another request: neither closed by the peer nor spoken to unasked."""
        return not wait_for_read(self._socket, timeout=0.0)

    def exchange(self, message: bytes, deadline: float) -> Response:
        """Send a whole request and read its whole answer.

        Args:
            deadline: by ``time.monotonic()``.

        Raises:
            NoAnswerError: none came whole and in time; the connection is of no more use.
        """
        self.reusable = False
        answer = _Answer()
        try:
            # Whoever closes without reading to the end may have answered before.
            with suppress(BrokenPipeError, ConnectionResetError):
                self._socket.sendall(message)
            while not answer.complete:
                part = self._socket.recv(PIECE)
                if not part:
                    answer.end()
                    return answer.response()
                answer.feed(part)
                if not answer.complete and time.monotonic() > deadline:
                    raise NoAnswerError("the answer did not arrive in time")
            response = answer.response()
        except OSError as error:
            raise NoAnswerError(type(error).__name__) from error
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, zlib.error) as error:
            raise NoAnswerError("the answer is no HTTP that can be read") from error
        self.reusable = answer.keeps_alive
        return response

    def begin(self, message: bytes) -> None:
        """Start to send a request; :meth:`go_on` whenever the connection is ready for more."""
        self.reusable = False
        self._out = memoryview(message)
        self._answer = _Answer()
        self._send()

    @property
    def writes(self) -> bool:
        """Whether part of the request is still to be sent."""
        return len(self._out) > 0

    def go_on(self) -> Response | None:
        """Send and read what can be without waiting; the answer once it is whole.

        Raises:
            NoAnswerError: none can come any more.
        """
        try:
            if self._out:
                self._send()
            return self._receive()
        except OSError as error:
            raise NoAnswerError(type(error).__name__) from error
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, zlib.error) as error:
            raise NoAnswerError("the answer is no HTTP that can be read") from error

    def _send(self) -> None:
        try:
            while self._out:
                self._out = self._out[self._socket.send(self._out) :]
        except _NOT_READY:
            return
        except OSError:
            # The answer may be there all the same, and if not, reading finds out.
            self._out = memoryview(b"")

    def _receive(self) -> Response | None:
        answer = self._answer
        while True:
            try:
                part = self._socket.recv(PIECE)
            except _NOT_READY:
                return None
            if part:
                answer.feed(part)
            else:
                answer.end()
            if answer.complete or not part:
                self.reusable = answer.keeps_alive and not self._out
                return answer.response()

    def speaks_unasked(self) -> bool:
        """Whether an unused connection that is readable has ended (TLS sends notes of its own)."""
        try:
            self._socket.recv(1)
        except _NOT_READY:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        self._socket.close()


class _Answer:
    """One answer as it comes in; the parser calls ``on_...`` (RFC 9112)."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.complete = False
        self._read = 0
        self._status = 0
        self._surplus = False
        self._keeps_alive = False
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []

    def feed(self, part: bytes) -> None:
        self._read += len(part)
        if self._read > MOST_BYTES:
            raise NoAnswerError(f"the answer is longer than {MOST_BYTES} bytes")
        try:
            self._parser.feed_data(part)
        except httptools.HttpParserError:
            if not self.complete:
                raise
            self._surplus = True

    def end(self) -> None:
        """The peer closed. That ends a body only where nothing has said its length."""
        lengths = ("content-length", "transfer-encoding")
        if not self._status or any(name in self._headers for name in lengths):
            raise NoAnswerError("the connection was closed before the whole answer was there")

    @property
    def keeps_alive(self) -> bool:
        """What stands behind an answer could be taken for the next one's: then it does not."""
        return self._keeps_alive and not self._surplus

    def response(self) -> Response:
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        coding = self._headers.get("content-encoding")
        return Response(self._status, self._headers, _decoded(body, coding) if coding else body)

    def on_message_begin(self) -> None:
        self._surplus = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        lower, text = name.decode("latin-1").lower(), value.decode("latin-1")
        before = self._headers.get(lower)
        self._headers[lower] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        if not self.complete:
            self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if not self.complete:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._status < 200:
            # "Continue" and its like stand before the answer (RFC 9110, section 15.2).
            self._status, self._headers, self._parts = 0, {}, []
            return
        self.complete = True
        self._keeps_alive = self._parser.should_keep_alive()


def _decoded(body: bytes, coding: str) -> bytes:
    """The body as it was before it was compressed (RFC 9110, section 8.4.1)."""
    for name in reversed(coding.lower().split(",")):
        if name.strip() in ("gzip", "x-gzip", "deflate"):
            # 47: gzip or zlib, told apart by what is there; some send deflate bare.
            bare = name.strip() == "deflate" and body[:1] and body[0] & 0x0F != 8
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS if bare else 47)
            body = unpacker.decompress(body, MOST_BYTES)
            if unpacker.unconsumed_tail:
                raise NoAnswerError(f"the answer is longer than {MOST_BYTES} bytes")
        elif name.strip() != "identity":
            raise NoAnswerError("the answer is compressed in a way nobody asked for")
    return body


def written(
    method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    """A request as it goes out.

    Raises:
        ValueError: a header cannot be one (RFC 9110, section 5.5).
    """
    lines = [f"{method} {target} HTTP/1.1\r\n"]
    given = {name.lower() for name in headers}
    if "host" not in given:
        lines.append(f"Host: {host}\r\n")
    lines += [line for name, line in _USUAL.items() if name not in given]
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or _ILLEGAL.search(value):
            raise ValueError(name)
        lines.append(f"{name}: {value}\r\n")
    if (body is not None or method in ("POST", "PUT", "PATCH")) and "content-length" not in given:
        lines.append(f"Content-Length: {len(body or b'')}\r\n")
    lines.append("\r\n")
    head = "".join(lines).encode("latin-1")
    return head + body if body else head


def target_of(url: str) -> str:
    """Path and query of a URL as they may stand in a request, dots resolved, the rest escaped."""
    return parse_url(url).request_uri


def is_target(path: str) -> bool:
    """Whether a path may stand in a request as it is."""
    return _TARGET.fullmatch(path) is not None and _DOTS.search(path) is None


def _words(error: BaseException) -> str:
    """The innermost cause by name: its words repeat the URL, which may hold a key."""
    cause = error.__cause__ or error.__context__
    names = [type(error).__name__]
    if cause is not None:
        names.append(type(cause).__name__)
    return ": ".join(names)
