"""One destination on the bench: opened, with a sandbox that can be told to fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from destinations.conformance.people import people
from destinations.connections import Connection
from destinations.driver import KEY, REMOTE_ID, Driver, Operation, Outcome, Status
from destinations.http.limits import Limiter
from destinations.http.opening import open_http
from destinations.language.spec import Spec
from destinations.previews import example_model
from destinations.registry import adapter_module, offered_operations
from destinations.sandbox import Sandbox
from destinations.sandbox.routes import names_people

AUDIENCE = "loyal_customers"
ORDER = (
    Operation.UPSERT,
    Operation.ADD,
    Operation.TRACK,
    Operation.REMOVE,
    Operation.DELETE,
)
"""The order in which operations make sense for one person."""


class Failed(AssertionError):  # noqa: N818 - it is a verdict
    """The destination does not hold to what is asked."""


class DoesNotApply(Exception):  # noqa: N818 - it is a verdict
    """The question makes no sense for this destination; says why."""


@dataclass
class Bench:
    """One destination, opened, with a sandbox that can be told to fail where it has requests."""

    spec: Spec
    driver: Driver
    sandbox: Sandbox | None
    outcomes: list[Outcome] = field(default_factory=list)
    """Everything that was answered in this case."""

    @property
    def operations(self) -> list[Operation]:
        """What it offers, in an order that makes sense for one person."""
        offered = offered_operations(self.spec)
        return [one for one in ORDER if one in offered]

    @property
    def joining(self) -> Operation:
        """The operation that makes somebody a member.

        Raises:
            DoesNotApply: it keeps nobody, it only takes events or appends records.
        """
        if not names_people(self.spec):
            raise DoesNotApply("it keeps records, of nobody in particular")
        for one in (Operation.ADD, Operation.UPSERT):
            if one in self.operations:
                return one
        raise DoesNotApply("it keeps no people")

    @property
    def first(self) -> Operation:
        """An operation that needs nothing to be there before."""
        return next(
            (one for one in (Operation.ADD, *self.operations) if one in self.operations),
            self.operations[0],
        )

    @property
    def played(self) -> Sandbox:
        """Raises: DoesNotApply: nothing plays this destination; its own tests ask a real server."""
        if self.sandbox is None:
            raise DoesNotApply("its own tests ask a real server")
        return self.sandbox

    def rows(self, count: int = 3, **how: Any) -> pl.DataFrame:
        return people(self.spec, count, **how)

    def send(self, operation: Operation, rows: pl.DataFrame) -> pl.DataFrame:
        """Send rows and give what was said of each, in their order (``Outcome.results``)."""
        answered = [self.driver.send(one) for one in self.driver.deliveries(operation, rows)]
        self.outcomes += answered
        results = pl.concat([one.results for one in answered])
        expect(
            sorted(results[KEY]) == sorted(rows[KEY]),
            f"{operation.value}: {rows.height} rows were sent, {results.height} are told of",
        )
        return rows.select(KEY).join(results, on=KEY, how="left", maintain_order="left")

    def deliver(self, operation: Operation, rows: pl.DataFrame) -> pl.DataFrame:
        """Send rows that have to be accepted; the rows with the remote ids that were learned."""
        results = self.send(operation, rows)
        wrong = results.filter(pl.col("status") != Status.ACCEPTED.value)
        if not wrong.is_empty():
            raise Failed(f"{operation.value}: {_first(wrong)} {self._request()}")
        known = pl.coalesce(results["remote_id"], rows[REMOTE_ID]).alias(REMOTE_ID)
        return rows.with_columns(known)

    def statuses(self, operation: Operation, rows: pl.DataFrame) -> list[str]:
        return self.send(operation, rows)["status"].to_list()

    def members(self) -> int:
        """How many people the destination holds in the audience."""
        targets = self.played.state(self.spec.id)["members"]
        return max((len(held) for held in targets.values()), default=0)

    def fail(self, kind: str, **how: Any) -> None:
        self.played.fail(self.spec.id, kind, **how)

    def _request(self) -> str:
        """The last request that was made, as its record has it."""
        asked = self.outcomes[-1].sample.get("request") if self.outcomes else None
        if not isinstance(asked, dict):
            return ""
        return f"({asked['method']} {asked['url']} {str(asked['body'])[:200]})"


def expect(holds: bool, otherwise: str) -> None:
    """Raises: Failed: it does not hold."""
    if not holds:
        raise Failed(otherwise)


@contextmanager
def bench(spec: Spec, sandbox: Sandbox | None) -> Iterator[Bench]:
    """A destination opened for the suite; what it said before is forgotten.

    Raises:
        StoreroomError: the optional package of a code adapter is not installed.
    """
    if spec.adapter is not None:
        driver: Driver = adapter_module(spec).open(example_model(spec))
        sandbox = None
    else:
        driver = _open(spec, sandbox)
    try:
        yield Bench(spec, driver, sandbox)
    finally:
        driver.close()


def _open(spec: Spec, sandbox: Sandbox | None) -> Driver:
    if sandbox is None:
        raise ValueError("a destination with requests needs a sandbox")
    connection = Connection(
        name="conformance",
        destination=spec.id,
        consent="not_required",
        settings=_settings(spec),
        sandbox=True,
    )
    clock = _Clock()
    limits = Path(sandbox.state_file).parent / "conformance" / f"{spec.id}.json"
    limiter = Limiter(limits, (), clock=clock.now, sleep=clock.sleep)
    return open_http(spec, connection, {}, AUDIENCE, limiter=limiter, sandbox=sandbox.url)


def _settings(spec: Spec) -> dict[str, Any]:
    """Those without an example: secrets, and the id of an audience that nobody creates."""
    given: dict[str, Any] = {
        name: {"env": "UNSET"} for name, one in spec.settings.items() if one.secret
    }
    if spec.audience is not None and spec.audience.create is None:
        given[spec.audience.setting] = spec.settings[spec.audience.setting].example
    return given


class _Clock:
    """Waits in no time, so that a vendor's pace costs the suite none."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds


def _first(wrong: pl.DataFrame) -> str:
    row = wrong.row(0, named=True)
    return f"{row[KEY]} is {row['status']}: {row['message']}"
