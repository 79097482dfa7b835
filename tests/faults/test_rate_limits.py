"""One account, eight processes: the vendor never sees more than it grants, measured at its door."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = "https://example.com"


class Door:
    """Takes every request, notes when it came, and answers at once; ``refuse`` tells which not."""

    def __init__(self) -> None:
        self.arrivals: list[float] = []
        self.refusals: list[float] = []
        self.refuse: Callable[[int], str | None] = lambda number: None
        """Retry-After for the request of that number, None to take it."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)
        self._ready = threading.Event()
        self._thread.start()
        self._ready.wait(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=256)
        )
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                arrived = time.monotonic()
                self.arrivals.append(arrived)
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                rows = json.loads(await reader.readexactly(length))["rows"]
                wait = self.refuse(len(self.arrivals))
                status, header = "200 OK", ""
                if wait is not None:
                    self.refusals.append(arrived)
                    status, header = "429 Told", f"Retry-After: {wait}\r\n"
                answer = {"taken": [{"key": row["key"]} for row in rows], "refused": []}
                text = json.dumps(answer).encode()
                head = f"HTTP/1.1 {status}\r\n{header}Content-Length: {len(text)}\r\n\r\n"
                writer.write(head.encode() + text)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def most_within(self, seconds: float) -> int:
        """Most requests in any window of that length."""
        moments = sorted(self.arrivals)
        most = first = 0
        for last, moment in enumerate(moments):
            while moment - moments[first] >= seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.close()


def sync_at_once(
    state: Path, spec: dict[str, Any], processes: int, rows: int
) -> list[dict[str, Any]]:
    """The reports of so many processes with an audience of so many rows each."""
    run = subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("many_syncs.py"),
            state,
            str(processes),
            str(rows),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "1"},
        input=json.dumps(spec) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_eight_processes_keep_an_account_s_limit(
    tmp_path: Path, door: Door, spec_of: Callable[..., dict[str, Any]]
) -> None:
    limits = [{"requests": 50, "per": 1, "docs": DOCS}]
    spec = spec_of(door.url, batch=1, workers=4, limits=limits)
    reports = sync_at_once(tmp_path, spec, processes=8, rows=25)
    assert [report["delivered"] for report in reports] == [25] * 8
    assert len(door.arrivals) == 200
    assert door.most_within(1.0) <= 50


def test_several_buckets_of_one_account_hold_at_once(
    tmp_path: Path, door: Door, spec_of: Callable[..., dict[str, Any]]
) -> None:
    limits = [
        {"requests": 10, "per": 0.5, "docs": DOCS},
        {"requests": 30, "per": 3, "docs": DOCS},
    ]
    spec = spec_of(door.url, batch=1, workers=4, limits=limits)
    reports = sync_at_once(tmp_path, spec, processes=4, rows=12)
    assert [report["delivered"] for report in reports] == [12] * 4
    assert door.most_within(0.5) <= 10
    assert door.most_within(3.0) <= 30


def test_an_answer_to_come_back_later_closes_the_account_for_every_process(
    tmp_path: Path, door: Door, spec_of: Callable[..., dict[str, Any]]
) -> None:
    door.refuse = lambda number: "1" if number == 20 else None
    limits = [{"requests": 60, "per": 1, "docs": DOCS}]
    spec = spec_of(door.url, batch=1, workers=2, limits=limits)
    reports = sync_at_once(tmp_path, spec, processes=4, rows=15)
    assert [report["delivered"] for report in reports] == [15] * 4
    assert len(door.arrivals) == 61
    (refused,) = door.refusals
    # What had left when the answer came may still arrive; nothing else does before the second is over.
    assert not [moment for moment in door.arrivals if refused + 0.25 < moment < refused + 1.0]
    assert sum(report["retries"] for report in reports) == 1
