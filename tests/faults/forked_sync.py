"""Syncs in children that are killed: imports everything once and forks for each.

Usage: ``python forked_sync.py STATE`` with the spec as JSON in the first line of standard
input. Each further line is an order: ``{"people": {key: value} or null, "phase", "nth",
"delay"}``. The child publishes ``people`` (if there are any) and runs the sync; ``delay``
seconds after it entered ``phase`` for the ``nth`` time it is sent SIGKILL, or never where
``phase`` is null. The answer names its fate and the phases it was in.

Nothing of Polars runs before the fork: its threads would not be in the child.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from destinations.connections import Connection
from destinations.errors import StoreroomError
from destinations.http.flights import Flights
from destinations.http.opening import open_http
from destinations.language.spec import Spec
from destinations.sync import engine, fold, ledger, snapshot
from destinations.sync.config import SyncConfig
from destinations.sync.journal import Journal
from destinations.sync.pace import Policy

PHASES: dict[str, tuple[Any, str]] = {
    "publish": (snapshot, "publish"),
    "open": (ledger.Ledger, "open"),
    "plan": (engine, "make_plan"),
    "begin": (ledger.Ledger, "begin"),
    "journal": (Journal, "commit"),
    "send": (Flights, "start"),
    "fold": (ledger, "fold"),
    "settle": (ledger.Ledger, "settle"),
    "compact": (ledger.Ledger, "compact"),
    "report": (engine, "keep_report"),
}
NAMES = list(PHASES)
LONGEST = 60.0
"""Seconds after which a child counts as stuck."""


def announce(pipe: int) -> None:
    """Have every phase write a byte when it is entered and another when it is left."""
    for number, (owner, name) in enumerate(PHASES.values()):
        if owner is not Flights:
            setattr(owner, name, _announced(getattr(owner, name), pipe, number))
    _announce_flights(pipe, NAMES.index("send"))


def _announce_flights(pipe: int, number: int) -> None:
    """A delivery is being sent until its answer is there."""
    start, landed = Flights.start, Flights.landed

    def announced_start(flights: Flights, *arguments: Any) -> None:
        os.write(pipe, bytes([number]))
        start(flights, *arguments)

    def announced_landed(flights: Flights, *arguments: Any) -> Any:
        found = landed(flights, *arguments)
        os.write(pipe, bytes([number + 128] * len(found)))
        return found

    Flights.start, Flights.landed = announced_start, announced_landed  # type: ignore[method-assign]


def _announced(function: Callable[..., Any], pipe: int, number: int) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **named: Any) -> Any:
        os.write(pipe, bytes([number]))
        try:
            return function(*arguments, **named)
        finally:
            os.write(pipe, bytes([number + 128]))

    return wrapped


def sync(state: Path, spec: Spec, people: dict[str, int] | None) -> dict[str, Any]:
    if people is not None:
        rows = pl.DataFrame(
            {
                "id": list(people),
                "email": [f"{key}@example.com" for key in people],
                "v": list(people.values()),
            },
            schema={"id": pl.String, "email": pl.String, "v": pl.Int64},
        )
        snapshot.publish(state / "audiences", "people", "id", rows.write_parquet)
    config = SyncConfig.model_validate(
        {
            "audience": "people",
            "connection": "tool",
            "key": "id",
            "mode": "mirror",
            "mapping": {"email": "email", "v": "v"},
            "guards": {"allow_empty": True},
        }
    )
    connection = Connection(
        name="tool",
        destination=spec.id,
        consent="not_required",
        settings={"token": {"env": "FAULTS_TOKEN"}},
    )
    report = engine.run_sync(
        config,
        open_http(spec, connection, {}, "people"),
        None,
        state / "audiences",
        state / "syncs",
        datetime.now(UTC),
        policy=Policy(backoff=0.01, backoff_limit=0.05),
    )
    return report.as_row()


def carry_out(state: Path, spec: Spec, order: dict[str, Any]) -> dict[str, Any]:
    """Fork a child, kill it as ordered, and tell what became of it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        answer = state / "answer.json"
        try:
            announce(writing)
            answer.write_text(json.dumps(sync(state, spec, order["people"]), default=str))
        except StoreroomError as error:
            answer.write_text(json.dumps({"refused": str(error)}))
        except BaseException as error:
            answer.write_text(json.dumps({"broken": repr(error)}))
        os._exit(0)
    os.close(writing)
    seen = bytearray()
    killed = _watch(child, reading, seen, order)
    _, status = os.waitpid(child, 0)
    while more := os.read(reading, 65536):
        seen += more
    os.close(reading)
    died = os.WIFSIGNALED(status)
    entered = Counter(byte % 128 for byte in seen if byte < 128)
    left = Counter(byte % 128 for byte in seen if byte >= 128)
    told = {
        "fate": killed if died else "done",
        "open": [NAMES[number] for number in entered if entered[number] > left[number]],
    }
    if not died:
        told["report"] = json.loads((state / "answer.json").read_text())
    return told


def _watch(child: int, pipe: int, seen: bytearray, order: dict[str, Any]) -> str:
    """Follow the child to the ordered moment and kill it; returns "killed", "stuck" or ""."""
    started = time.monotonic()
    wanted = None if order["phase"] is None else NAMES.index(order["phase"])
    while True:
        if wanted is not None and seen.count(wanted) >= order["nth"]:
            time.sleep(order["delay"])
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            return "killed"
        ready, _, _ = select.select([pipe], [], [], 1.0)
        if ready:
            more = os.read(pipe, 65536)
            if not more:
                return ""
            seen += more
        if time.monotonic() - started > LONGEST:
            os.kill(child, signal.SIGKILL)
            return "stuck"


def main() -> None:
    state = Path(sys.argv[1])
    spec = Spec.model_validate(json.loads(sys.stdin.readline()))
    # So that few rows and few runs go through what many would: compactions, folding in parts.
    ledger.MAX_DELTAS = 3
    fold.EVENTS_AT_ONCE = 100
    print(json.dumps(NAMES), flush=True)
    for line in sys.stdin:
        print(json.dumps(carry_out(state, spec, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
