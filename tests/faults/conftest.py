"""The real engine and the real HTTP driver against servers on loopback that fail as they are told."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from destinations.connections import Connection
from destinations.http.opening import open_http
from destinations.language.spec import Spec
from destinations.sync.config import SyncConfig
from destinations.sync.engine import run_sync
from destinations.sync.pace import Policy
from destinations.sync.report import SyncReport
from destinations.sync.snapshot import Snapshot, publish

QUICK = Policy(backoff=0.001, backoff_limit=0.002, wait_budget=10.0)
SECRET = "planted-secret-4711"


@dataclass(frozen=True)
class Request:
    operation: str
    rows: list[dict[str, Any]]
    headers: dict[str, str]
    number: int
    """Counted from 1."""


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    keep: bool = False
    """Take the rows all the same."""
    reset: bool = False
    """Break the connection instead of answering."""
    drip: float = 0.0
    """Seconds between the bytes of the answer."""
    delay: float = 0.0


Rule = Callable[[Request], Reply | None]


class Loopback:
    """Keeps people by key and answers row by row; ``rules`` are asked first and may answer instead."""

    def __init__(self) -> None:
        self.members: dict[str, dict[str, Any]] = {}
        self.taken: Counter[str] = Counter()
        """How often each change of a row (``{meta.id}``) was taken."""
        self.keys: Counter[str] = Counter()
        """How often each key was sent since :meth:`forget_requests`."""
        self.bad: set[str] = set()
        """Keys that are refused for good."""
        self.rules: list[Rule] = []
        self.moments: list[float] = []
        """When each request arrived (``time.monotonic``)."""
        self.requests = 0
        self.turn = threading.Lock()
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                arrived = time.monotonic()
                body = self.rfile.read(int(self.headers["Content-Length"]))
                loopback.play(self, body, arrived)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.request_queue_size = 256
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # clients are killed while they wait
        self._server.server_bind()
        self._server.server_activate()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def play(self, handler: BaseHTTPRequestHandler, body: bytes, arrived: float) -> None:
        rows = json.loads(body)["rows"]
        with self.turn:
            self.moments.append(arrived)
            self.requests += 1
            request = Request(
                handler.path.strip("/"), rows, dict(handler.headers), number=self.requests
            )
            self.keys.update(row["key"] for row in rows)
            reply = next((found for rule in self.rules if (found := rule(request))), None)
            answer = self._take(request) if reply is None or reply.keep else {}
        if reply is None:
            reply = Reply(207 if answer["refused"] else 200, answer)
        elif reply.keep and reply.body is None:
            reply = Reply(
                reply.status, answer, reply.headers, True, reply.reset, reply.drip, reply.delay
            )
        self._answer(handler, reply)

    def _take(self, request: Request) -> dict[str, Any]:
        taken, refused = [], []
        for row in request.rows:
            key = row["key"]
            if key in self.bad:
                refused.append({"key": key, "message": f"No mailbox {row['fields'].get('email')}"})
                continue
            self.taken[row["id"]] += 1
            taken.append({"key": key, "id": f"r-{key}"})
            if request.operation == "remove":
                self.members.pop(key, None)
            else:
                self.members[key] = row["fields"]
        return {"taken": taken, "refused": refused}

    def _answer(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        time.sleep(reply.delay)
        if reply.reset:
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
            handler.close_connection = True
            return
        text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body or {})
        head = [f"HTTP/1.1 {reply.status} Told", f"Content-Length: {len(text.encode())}"]
        head += [f"{name}: {value}" for name, value in reply.headers.items()]
        try:
            handler.wfile.write(("\r\n".join(head) + "\r\n\r\n").encode())
            for byte in text.encode() if reply.drip else b"":
                time.sleep(reply.drip)
                handler.wfile.write(bytes([byte]))
            if not reply.drip:
                handler.wfile.write(text.encode())
        except OSError:
            handler.close_connection = True

    @property
    def twice(self) -> int:
        """Rows taken again although they had been taken: one for every extra time."""
        return sum(count - 1 for count in self.taken.values())

    def forget_requests(self) -> None:
        with self.turn:
            self.keys.clear()
            self.taken.clear()
            self.moments.clear()
            self.requests = 0

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def document(url: str, batch: int = 20, workers: int = 3, **changes: Any) -> dict[str, Any]:
    """A spec for :class:`Loopback`, as the catalog would hold it."""
    body = {"rows": {"each": {"id": "{meta.id}", "key": "{meta.key}", "fields": "{fields}"}}}
    answer = {
        "status": [200, 207],
        "accepted": {"at": "taken", "key": "key", "id": "id"},
        "rejected": {"at": "refused", "key": "key", "message": "message"},
    }
    operation = {
        "batch": {"rows": batch, "docs": "https://example.com"},
        "body": body,
        "answer": changes.pop("answer", answer),
        "idempotent": changes.pop("idempotent", True),
    }
    return {
        "id": "loopback",
        "name": "Loopback",
        "category": "test",
        "kind": "http_api",
        "docs": "https://example.com",
        "settings": {"token": {"description": "Token", "secret": True}},
        "base_url": url,
        "auth": {"type": "bearer", "token": "{settings.token}"},
        "headers": {"Idempotency-Key": "{meta.delivery}"},
        "operations": {
            "upsert": {"request": "POST /upsert", **operation},
            "remove": {"request": "POST /remove", **operation},
        },
        "message": "message",
        "concurrency": workers,
        "timeout": 2.0,
        **changes,
    }


@dataclass
class Bench:
    """One sync of audience ``people`` to connection ``tool``, in a temporary folder."""

    folder: Path
    spec: Spec
    settings: dict[str, Any] = field(default_factory=lambda: {"token": {"env": "FAULTS_TOKEN"}})
    sandbox: bool = False
    mapping: dict[str, Any] = field(default_factory=lambda: {"email": "email", "v": "v"})
    policy: Policy = QUICK
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def publish(self, people: dict[str, int]) -> Snapshot:
        """Publish people: key -> value of column ``v``; each has an e-mail address of its own."""
        self.now += timedelta(minutes=1)
        rows = pl.DataFrame(
            {
                "id": list(people),
                "email": [f"{key}@example.com" for key in people],
                "v": list(people.values()),
            },
            schema={"id": pl.String, "email": pl.String, "v": pl.Int64},
        )
        return publish(self.folder / "audiences", "people", "id", rows.write_parquet, self.now)

    def run(self, **options: Any) -> SyncReport:
        """Run the sync; its accounts are exact or the test fails."""
        self.now += timedelta(minutes=1)
        config = SyncConfig.model_validate(
            {
                "audience": "people",
                "connection": "tool",
                "key": "id",
                "mode": "mirror",
                "mapping": self.mapping,
                **options,
            }
        )
        connection = Connection(
            name="tool",
            destination=self.spec.id,
            consent="not_required",
            settings=self.settings,
            sandbox=self.sandbox,
        )
        driver = open_http(self.spec, connection, {}, "people")
        try:
            report = run_sync(
                config,
                driver,
                None,
                self.folder / "audiences",
                self.folder / "syncs",
                self.now,
                policy=self.policy,
            )
        finally:
            driver.close()
        assert report.balances(), report.accounting
        return report

    @property
    def ledger_folder(self) -> Path:
        return self.folder / "syncs" / "tool" / "people"


class Killer:
    """Has syncs run and killed by a process that forks for each (forked_sync.py)."""

    def __init__(self, state: Path, spec: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("forked_sync.py"), state],
            cwd=Path(__file__).parents[2],
            env=os.environ
            | {"PYTHONPATH": str(Path(__file__).parents[2]), "POLARS_MAX_THREADS": "2"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.phases: list[str] = self._ask(spec)

    def _ask(self, order: dict[str, Any]) -> Any:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def kill(self, people: dict[str, int] | None, phase: str, nth: int, delay: float) -> Any:
        return self._ask({"people": people, "phase": phase, "nth": nth, "delay": delay})

    def run(self) -> dict[str, Any]:
        told = self._ask({"people": None, "phase": None, "nth": 0, "delay": 0})
        assert told["fate"] == "done", told
        return told["report"]

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=90)
        self._process.stdout.close()


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path))
    monkeypatch.setenv("FAULTS_TOKEN", SECRET)
    random.seed(0)


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    server = Loopback()
    yield server
    server.close()


@pytest.fixture
def spec_of() -> Callable[..., dict[str, Any]]:
    return document


@pytest.fixture
def new_bench(tmp_path: Path) -> Callable[..., Bench]:
    """Makes a bench; a plain dictionary is taken for a spec."""

    def make(spec: Spec | dict[str, Any], **more: Any) -> Bench:
        made = spec if isinstance(spec, Spec) else Spec.model_validate(spec)
        return Bench(more.pop("folder", tmp_path), made, **more)

    return make


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def new_killer(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Killer]]:
    """Starts a killer for a spec; it is stopped in the end."""
    made: list[Killer] = []

    def make(spec: dict[str, Any]) -> Killer:
        made.append(Killer(tmp_path, spec))
        return made[-1]

    yield make
    for killer in made:
        killer.stop()
