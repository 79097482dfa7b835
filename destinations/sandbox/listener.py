"""Listening on loopback: HTTP/1.1 with keep-alive on the stdlib, one thread per connection."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import orjson

from destinations.errors import StoreroomError
from destinations.sandbox.admin import administer
from destinations.sandbox.bodies import MOST_BYTES
from destinations.sandbox.catalog import Catalog
from destinations.sandbox.faults import Faults
from destinations.sandbox.pages import CONTENT_SECURITY, page
from destinations.sandbox.play import Reply, Request
from destinations.sandbox.storage import Store

ADMIN = "_sandbox"
IDLE_SECONDS = 120.0
DRAIN_SECONDS = 5.0


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # Clients open many connections at once; the default queue of 5 would refuse some.
    request_queue_size = 256

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.stopping = False
        self._connections: set[socket.socket] = set()
        self._busy = 0
        self._idle = threading.Condition()
        super().__init__((host, port), _Handler)

    def attach(self, store: Store, catalog: Catalog, faults: Faults) -> None:
        self.store, self.catalog, self.faults = store, catalog, faults

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for a host name, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._idle:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._idle:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away is its own affair; anything else is a fault of ours.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def begin(self) -> bool:
        """A request was read and may be answered; False once the server stops."""
        with self._idle:
            if self.stopping:
                return False
            self._busy += 1
            return True

    def end(self) -> None:
        with self._idle:
            self._busy -= 1
            if not self._busy:
                self._idle.notify_all()

    def stop(self) -> None:
        with self._idle:
            self.stopping = True
        self.shutdown()
        self.server_close()
        with self._idle:
            self._idle.wait_for(lambda: not self._busy, DRAIN_SECONDS)
            open_connections = list(self._connections)
        for connection in open_connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "StoreroomSandbox"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    server: Server

    def _handle(self) -> None:
        body = self._body()
        if body is None:
            return
        if not self.server.begin():
            self.close_connection = True
            return
        try:
            self._send(self._reply(body))
        finally:
            self.server.end()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

    def _body(self) -> bytes | None:
        """The request's body; None where its end cannot be told, which is answered here."""
        length = self.headers.get("Content-Length", "0")
        if self.headers.get("Transfer-Encoding") or not length.isdigit():
            self.close_connection = True
            self._send(Reply(411, b'{"message": "Content-Length is required"}'))
            return None
        if int(length) > MOST_BYTES:
            self.close_connection = True
            self._send(Reply(413, b'{"message": "at most 64 MiB are taken"}'))
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        return body

    def _reply(self, body: bytes) -> Reply:
        if _PORT.sub("", self.headers.get("Host", "")) not in _OWN_NAMES:
            # A page in a browser could reach us under a name of its own that leads to loopback.
            return Reply(403, b'{"message": "the sandbox answers to 127.0.0.1 and localhost only"}')
        path, _, query = self.path.partition("?")
        first, slash, rest = path.removeprefix("/").partition("/")
        server = self.server
        if first == ADMIN:
            return administer(
                server.store, server.catalog, server.faults,
                self.command, rest, query, self.headers.get("Content-Type", ""), body,
            )  # fmt: skip
        if not rest and self.command == "GET":
            status, html = page(server.store, server.catalog, unquote(first))
            html_headers = {
                "Content-Type": "text/html; charset=utf-8",
                "Content-Security-Policy": CONTENT_SECURITY,
            }
            return Reply(status, html.encode(), html_headers)
        try:
            player = server.catalog.player(first)
        except StoreroomError as error:
            return Reply(500, orjson.dumps({"message": str(error)}))
        if player is None:
            return Reply(404, b'{"message": "no destination of the catalog has this id"}')
        headers = {name.lower(): value for name, value in self.headers.items()}
        return player.play(Request(self.command, slash + rest, query, headers, body))

    def _send(self, reply: Reply) -> None:
        if reply.cut:
            self.close_connection = True
            return
        body = b"" if reply.body is None else reply.body
        phrase = HTTPStatus(reply.status).phrase if reply.status in _STATUSES else "Status"
        lines = [f"HTTP/1.1 {reply.status} {phrase}"]
        headers = {"Content-Type": "application/json", "Server": "storeroom-sandbox"}
        if reply.status != HTTPStatus.NO_CONTENT:
            headers["Content-Length"] = str(len(body))
        else:
            body = b""
        if self.close_connection or self.server.stopping:
            self.close_connection = True
            headers["Connection"] = "close"
        headers.update(reply.headers)
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        with contextlib.suppress(ConnectionError, TimeoutError):
            if reply.drip and body:
                self.wfile.write(head)
                pause = reply.delay / len(body)
                _drip(self.wfile.write, body, pause)
                return
            if reply.delay:
                time.sleep(reply.delay)
            self.wfile.write(head + body)

    def log_message(self, *_: Any) -> None:
        """Nothing: requests stand in the state file, without secrets."""


def _drip(write: Callable[[bytes], Any], body: bytes, pause: float) -> None:
    for position in range(len(body)):
        time.sleep(pause)
        write(body[position : position + 1])


_PORT = re.compile(r":[0-9]+$")
_OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
_STATUSES = frozenset(int(status) for status in HTTPStatus)
