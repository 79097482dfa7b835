"""A real HTTP server on loopback that answers as it is told, and opened drivers for it."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from destinations.connections import Connection
from destinations.http.driver import HttpDriver
from destinations.http.opening import open_http
from destinations.language.spec import Spec


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    reset: bool = False
    """Read the request, then break the connection without an answer."""
    drip: bool = False
    """Promise a body and send a byte now and then."""


class Vendor:
    """Answers requests in order with ``replies``; the last one repeats."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.replies: list[Reply | Callable[[Received], Reply]] = [Reply()]
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                return

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                vendor.play(self, Received(self.command, self.path, dict(self.headers), body))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def play(self, handler: BaseHTTPRequestHandler, received: Received) -> None:
        self.received.append(received)
        planned = self.replies[0] if len(self.replies) == 1 else self.replies.pop(0)
        reply = planned(received) if callable(planned) else planned
        time.sleep(reply.delay)
        if reply.reset:
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
            handler.close_connection = True
            return
        text = (
            reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode()
        )
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        if not reply.drip:
            handler.wfile.write(text)
            return
        for byte in text:
            time.sleep(0.2)
            try:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
            except OSError:
                return

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    served = Vendor()
    yield served
    served.close()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TEST_KEY", "very-secret-key-123")


SECRET = "very-secret-key-123"


@pytest.fixture
def opened(vendor: Vendor) -> Iterator[Callable[..., HttpDriver]]:
    """Opens a driver for operations as a spec would declare them."""
    drivers: list[HttpDriver] = []

    def open_(operations: dict[str, Any], url: str | None = None, **more: Any) -> HttpDriver:
        document = {
            "id": "test_vendor",
            "name": "Test vendor",
            "category": "test",
            "kind": "http_api",
            "docs": "https://example.com/docs",
            "settings": {"key": {"description": "API key", "secret": True}},
            "base_url": url or vendor.url,
            "auth": {"type": "bearer", "token": "{settings.key}"},
            "fields": {"email": {"normalise": "email", "identifier": True, "required": True}},
            "operations": operations,
            "message": "message",
            "timeout": 2.0,
            **more,
        }
        connection = Connection(
            name="test",
            destination="test_vendor",
            consent="not_required",
            settings={"key": {"env": "TEST_KEY"}},
        )
        driver = open_http(Spec.model_validate(document), connection, {}, "loyal")
        drivers.append(driver)
        return driver

    yield open_
    for driver in drivers:
        driver.close()
