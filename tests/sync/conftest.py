"""A destination that lives in memory or in a file, and can be told to fail in every way."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from destinations.driver import (
    HASH,
    KEY,
    META_COLUMNS,
    Capabilities,
    Delivery,
    Operation,
    Outcome,
    Status,
    results_for,
)
from destinations.sync.config import SyncConfig
from destinations.sync.engine import run_sync
from destinations.sync.pace import Policy
from destinations.sync.report import SyncReport
from destinations.sync.snapshot import Snapshot, publish
from tests.loopback_destination import Destination
from tests.object_store import put_in, s3_server

QUICK = Policy(backoff=0.001, backoff_limit=0.002, wait_budget=5.0)
Fault = Callable[["FakeDriver", Delivery], Outcome | None]


@dataclass
class FakeDriver:
    """Holds members by key; ``faults`` are asked before each send and may answer instead."""

    capabilities: Capabilities = field(
        default_factory=lambda: Capabilities(
            operations=frozenset(Operation), batch_rows=10, concurrency=3
        )
    )
    members: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[tuple[str, Any]] = field(default_factory=list)
    bad_keys: set[str] = field(default_factory=set)
    """Keys that the destination refuses for good."""
    rule_breakers: set[str] = field(default_factory=set)
    """Keys that a rule of the vendor forbids to send."""
    faults: list[Fault] = field(default_factory=list)
    writes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Times a key was written with a content."""
    sends: list[Delivery] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        broken = pl.col(KEY).is_in(list(self.rule_breakers))
        return rows.select(
            pl.when(broken).then(pl.lit("breaks the vendor's rule")).alias("p").cast(pl.String)
        )["p"]

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        for batch in rows.iter_slices(self.capabilities.batch_rows):
            yield Delivery(operation, batch, payload=None)

    def send(self, delivery: Delivery) -> Outcome:
        with self.lock:
            self.sends.append(delivery)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            for fault in self.faults:
                outcome = fault(self, delivery)
                if outcome is not None:
                    return outcome
            return self.apply(delivery)
        finally:
            with self.lock:
                self.in_flight -= 1

    def apply(self, delivery: Delivery) -> Outcome:
        with self.lock:
            rows, bad = delivery.rows, delivery.rows[KEY].is_in(list(self.bad_keys))
            if bad.any() and not self.capabilities.per_row_results:
                return Outcome(results_for(rows, Status.REJECTED, "the batch is bad"), whole=True)
            for row, refused in zip(rows.iter_rows(named=True), bad, strict=True):
                if refused:
                    continue
                key = row[KEY]
                if delivery.operation is Operation.TRACK:
                    self.events.append((key, row.get("event")))
                elif delivery.operation in (Operation.REMOVE, Operation.DELETE):
                    self.members.pop(key, None)
                else:
                    self.writes[key, row[HASH]] += 1
                    self.members[key] = {n: v for n, v in row.items() if n not in META_COLUMNS}
            return Outcome(
                rows.select(
                    KEY,
                    pl.when(bad)
                    .then(pl.lit("rejected"))
                    .otherwise(pl.lit("accepted"))
                    .alias("status"),
                    pl.when(bad).then(pl.lit("no such address")).alias("message"),
                    pl.concat_str([pl.lit("r-"), KEY]).alias("remote_id"),
                )
            )

    def check(self) -> str:
        return "fake"

    def close(self) -> None: ...


def times(count: int, answer: Callable[[FakeDriver, Delivery], Outcome]) -> Fault:
    """A fault for the first ``count`` sends."""
    left = [count]

    def fault(driver: FakeDriver, delivery: Delivery) -> Outcome | None:
        with driver.lock:
            if left[0] <= 0:
                return None
            left[0] -= 1
        return answer(driver, delivery)

    return fault


def outage(driver: FakeDriver, delivery: Delivery) -> Outcome:
    return Outcome(results_for(delivery.rows, Status.RETRY, "503 try later"))


def rate_limit(driver: FakeDriver, delivery: Delivery) -> Outcome:
    return Outcome(results_for(delivery.rows, Status.RETRY, "429 slow down"), retry_after=0.01)


def lost_answer(driver: FakeDriver, delivery: Delivery) -> Outcome:
    """The destination takes the rows, and nobody hears of it."""
    driver.apply(delivery)
    return Outcome(results_for(delivery.rows, Status.IN_DOUBT, "connection reset"))


def lost_request(driver: FakeDriver, delivery: Delivery) -> Outcome:
    return Outcome(results_for(delivery.rows, Status.IN_DOUBT, "timeout"))


def bad_credentials(driver: FakeDriver, delivery: Delivery) -> Outcome:
    return Outcome(results_for(delivery.rows, Status.RETRY, "401"), stop="401 bad token")


def half_an_answer(driver: FakeDriver, delivery: Delivery) -> Outcome:
    """Rows are missing from the answer, one is named twice."""
    results = driver.apply(delivery).results
    return Outcome(pl.concat([results.head(1), results.head(1), results.slice(2)]))


FAULTS: dict[str, Callable[[FakeDriver, Delivery], Outcome]] = {
    "outage": outage,
    "rate_limit": rate_limit,
    "lost_answer": lost_answer,
    "lost_request": lost_request,
    "bad_credentials": bad_credentials,
    "half_an_answer": half_an_answer,
}


@dataclass
class Bench:
    """One sync of audience ``vip`` to connection ``crm``, in a temporary folder."""

    folder: Path
    driver: FakeDriver = field(default_factory=FakeDriver)
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def publish(self, rows: pl.DataFrame) -> Snapshot:
        self.now += timedelta(minutes=1)
        return publish(self.folder / "audiences", "vip", "id", rows.write_parquet, self.now)

    def audience(self, people: dict[str | None, Any], consent: Any = True) -> Snapshot:
        """Publish people: key -> value of column ``v``."""
        return self.publish(
            pl.DataFrame(
                {
                    "id": list(people),
                    "v": list(people.values()),
                    "consent_email": [consent] * len(people),
                },
                schema={"id": pl.String, "v": pl.Int64, "consent_email": pl.Boolean},
            )
        )

    def config(self, **settings: Any) -> SyncConfig:
        document = {
            "audience": "vip",
            "connection": "crm",
            "key": "id",
            "mode": "mirror",
            "mapping": {"v": "v", "id": "id"},
        }
        return SyncConfig.model_validate(document | settings)

    def run(self, consent: str | None = None, **settings: Any) -> SyncReport:
        names = ("dry_run", "allow_guards", "on_progress", "policy", "expected")
        options = {"policy": QUICK} | {n: settings.pop(n) for n in names if n in settings}
        self.now += timedelta(minutes=1)
        report = run_sync(
            self.config(**settings),
            self.driver,
            consent,
            self.folder / "audiences",
            self.folder / "syncs",
            self.now,
            **options,
        )
        assert report.balances(), report.accounting
        return report

    @property
    def held(self) -> dict[str, Any]:
        """Values at the destination by key."""
        return {key: fields["v"] for key, fields in self.driver.members.items()}

    @property
    def ledger_folder(self) -> Path:
        return self.folder / "syncs" / "crm" / "vip"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(params=["folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where state stands (``STORES``): the state folder unless a test asks for others."""
    kind: str = request.param
    if kind != "folder":
        endpoint = request.getfixturevalue("s3_endpoint") if kind.startswith("s3") else ""
        put_in(kind, tmp_path, endpoint, monkeypatch)
    return kind


@pytest.fixture
def bench(tmp_path: Path, store: str) -> Bench:
    random.seed(0)
    return Bench(tmp_path)


@pytest.fixture
def new_bench() -> Callable[[Path], Bench]:
    return Bench


@pytest.fixture
def fake_driver() -> type[FakeDriver]:
    return FakeDriver


@pytest.fixture
def failing() -> Callable[..., Fault]:
    """``failing("outage", 2)``: the first two sends meet that fault."""

    def make(name: str, count: int = 10**9) -> Fault:
        return times(count, FAULTS[name])

    return make


@pytest.fixture
def destination() -> Iterator[Destination]:
    server = Destination()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
