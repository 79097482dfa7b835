"""Every way to fail, at every kind of destination, with one worker and with several.

Each case: people are at the destination; some join, some change, some leave; the run that
should carry it there meets a fault; the next one does not. Both runs' accounts are exact, in
the end the destination holds the audience, and no row was sent twice but those in flight.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from destinations.language.spec import Spec
from destinations.registry import load_spec
from destinations.sandbox import Sandbox, serve
from destinations.sync.pace import Policy
from destinations.sync.report import SyncReport

BATCH = 10
PEOPLE = 50
FIFTH = PEOPLE // 5
PATIENT = {"attempts": 50, "breaker": 10_000, "backoff": 0.02, "backoff_limit": 0.05}
TOKEN = {"env": "FAULTS_TOKEN"}


@dataclass(frozen=True)
class Kind:
    """A destination of the catalog, and how its own pages call what we sent."""

    destination: str
    settings: dict[str, Any]
    mapping: dict[str, Any]
    target: str


KINDS = {
    # Answers name each row.
    "rows": Kind(
        "hubspot",
        {"access_token": TOKEN, "membership_property": "in_people"},
        {"email": "email", "v": "v"},
        "in_people",
    ),
    # A batch is taken or refused as a whole.
    "whole": Kind(
        "webhook",
        {"url": "https://hooks.example.com/people", "secret": TOKEN},
        {"email": "email", "v": "v"},
        "people",
    ),
    # One row a request, two requests a row.
    "steps": Kind(
        "customerio",
        {"site_id": "7bcee1f4e4e5", "api_key": TOKEN, "segment_id": "17"},
        {"id": "id", "email": "email", "v": "v"},
        "17",
    ),
}


@dataclass(frozen=True)
class Case:
    """A fault as the sandbox takes it, and what the run that meets it comes to."""

    fault: dict[str, Any]
    status: str = "ok"
    twice: int = 0
    """Deliveries that may have been taken twice."""
    kinds: tuple[str, ...] = tuple(KINDS)
    policy: dict[str, Any] = field(default_factory=dict)


CASES = {
    "429_seconds": Case({"kind": "status", "status": 429, "retry_after": 0.05, "times": 3}),
    "429_date": Case(
        {"kind": "status", "status": 429, "retry_after": 1, "retry_after_form": "date", "times": 1}
    ),
    "429_epoch": Case(
        {"kind": "status", "status": 429, "retry_after": 1, "retry_after_form": "epoch", "times": 1}
    ),
    "429_without_a_time": Case({"kind": "status", "status": 429, "times": 3}),
    "429_for_good": Case({"kind": "status", "status": 429, "retry_after": 3600}, "deferred"),
    "500_now_and_then": Case({"kind": "status", "status": 500, "every": 3}, policy=PATIENT),
    "503_for_a_while": Case(
        {"kind": "status", "status": 503, "seconds": 0.3},
        policy=PATIENT,
    ),
    "503_and_come_back": Case({"kind": "status", "status": 503, "retry_after": 0.05, "times": 2}),
    "503_for_good": Case({"kind": "status", "status": 503}, "deferred"),
    "413": Case({"kind": "status", "status": 413, "times": 2}, kinds=("rows", "whole")),
    "slow": Case({"kind": "slow", "delay": 0.1, "times": 4}),
    "too_slow": Case({"kind": "slow", "delay": 1.0, "times": 2}, twice=2),
    "drip": Case({"kind": "slow", "delay": 0.2, "drip": True, "times": 2}),
    "drip_too_slow": Case(
        # The body of an answer without words cannot drip.
        {"kind": "slow", "delay": 3.0, "drip": True, "times": 1},
        twice=1,
        kinds=("rows",),
    ),
    "cut_after_it_was_taken": Case({"kind": "drop", "times": 3}, twice=3),
    "cut_before": Case({"kind": "drop", "keep": False, "times": 3}),
    "cut_for_good": Case({"kind": "drop", "keep": False}, "deferred"),
    "wrong_json": Case(
        # Where the status alone says yes, nothing in the body can say no.
        {"kind": "garbage", "times": 2},
        kinds=("rows",),
    ),
    "another_success": Case({"kind": "garbage", "status": 299, "times": 2}),
    "redirect": Case({"kind": "redirect", "times": 1}, "failed"),
    "permanent_redirect": Case({"kind": "redirect", "status": 308, "times": 1}, "failed"),
    "expired_token": Case({"kind": "status", "status": 401, "times": 1}, "failed"),
    "forbidden": Case({"kind": "status", "status": 403, "times": 1}, "failed"),
    "errors_in_a_success": Case(
        {"kind": "errors", "message": "Not today", "times": 1}, "rejected", kinds=("rows",)
    ),
    "errors_in_a_207": Case(
        {"kind": "errors", "status": 207, "message": "Not today", "times": 1},
        "rejected",
        kinds=("rows",),
    ),
    "rows_refused": Case({"kind": "rows", "rule": {"fraction": 0.05}}, "rejected"),
    "rows_refused_in_a_207": Case(
        {"kind": "rows", "rule": {"fraction": 0.05}, "status": 207}, "rejected", kinds=("rows",)
    ),
    "one_row_refused": Case({"kind": "rows", "rule": {"contains": {"email": "k55@"}}}, "rejected"),
}


@functools.cache
def spec_of(kind: str, workers: int) -> Spec:
    """The catalog's spec with small batches, so that few people make several."""
    spec = load_spec(KINDS[kind].destination)
    operations = {
        operation: declared.model_copy(
            update={"batch": declared.batch and declared.batch.model_copy(update={"rows": BATCH})}
        )
        for operation, declared in spec.operations.items()
    }
    return spec.model_copy(
        update={"operations": operations, "concurrency": workers, "timeout": 0.6}
    )


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    specs = [spec_of(kind, 1) for kind in KINDS]
    with serve(0, tmp_path_factory.mktemp("sandbox"), specs=specs) as served:
        yield served


def held(sandbox: Sandbox, kind: Kind) -> dict[str, int]:
    """Who is in the audience there, by address, with their ``v``."""
    members = sandbox.state(kind.destination)["members"].get(kind.target, [])
    return {row["fields"]["email"]: int(row["fields"]["v"]) for row in members}


def accepted(sandbox: Sandbox, kind: Kind) -> int:
    return int(sandbox.state(kind.destination)["counts"].get("accepted", 0))


@pytest.mark.parametrize(
    ("name", "kind", "workers"),
    [
        (name, kind, workers)
        for name, case in CASES.items()
        for kind in case.kinds
        for workers in ((1, 4) if kind == "rows" else (4,))
    ],
)
def test_a_fault_and_a_clean_run(
    name: str,
    kind: str,
    workers: int,
    sandbox: Sandbox,
    new_bench: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STOREROOM_SANDBOX_URL", sandbox.url)
    monkeypatch.setattr("destinations.http.driver.UNSAID", 0.02)
    case, place = CASES[name], KINDS[kind]
    sandbox.reset(place.destination)
    quick = {"backoff": 0.001, "backoff_limit": 0.002, "wait_budget": 10.0}
    bench = new_bench(
        spec_of(kind, workers),
        settings=place.settings,
        mapping=place.mapping,
        sandbox=True,
        policy=Policy(**(quick | case.policy)),
    )
    before = {f"k{number}": 0 for number in range(PEOPLE)}
    bench.publish(before)
    assert bench.run().status == "ok"
    # A fifth leaves, a fifth changes, a fifth joins.
    after = {f"k{number}": int(number < 2 * FIFTH) for number in range(FIFTH, PEOPLE + FIFTH)}
    bench.publish(after)
    taken = accepted(sandbox, place)

    sandbox.fail(place.destination, **case.fault)
    report = bench.run()
    assert report.status == case.status, (report.accounting, report.reasons, report.message)
    told = {reason.fate: reason for reason in report.reasons}
    assert set(told) <= {"rejected", "deferred"}
    if report.rejected or report.removes_rejected:
        assert told["rejected"].message
        assert told["rejected"].keys
    fired = sandbox.faults.listing()[0]["fired"]
    sandbox.faults.clear(place.destination)
    forget_closed_accounts(bench.folder)

    again = bench.run()
    assert again.status == "ok", (again.accounting, again.reasons)
    assert again.delivered == 2 * FIFTH - report.delivered
    assert again.removed == FIFTH - report.removed
    assert held(sandbox, place) == {f"{key}@example.com": v for key, v in after.items()}
    twice = accepted(sandbox, place) - taken
    if kind == "steps":
        # Who joins is written in two steps; a second step that failed has the first one repeated.
        twice -= 4 * FIFTH
        assert 0 <= twice <= fired + case.twice * BATCH
    else:
        twice -= 3 * FIFTH
        assert 0 <= twice <= case.twice * BATCH
    third = bench.run()
    assert (third.requests, third.delivered, third.removes) == (0, 0, 0)


def forget_closed_accounts(state: Path) -> None:
    """As if the time that a vendor asked for had passed."""
    for file in (state / "limits").glob("*.json"):
        file.unlink()


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_connection_is_tried_again_and_given_up_soon(
    kind: str, sandbox: Sandbox, new_bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.reset(KINDS[kind].destination)
    bench = new_bench(
        spec_of(kind, 4),
        settings=KINDS[kind].settings,
        mapping=KINDS[kind].mapping,
        sandbox=True,
    )
    bench.publish({f"k{number}": 0 for number in range(PEOPLE)})
    monkeypatch.setenv("STOREROOM_SANDBOX_URL", "http://127.0.0.1:9")
    report: SyncReport = bench.run()
    assert (report.status, report.delivered, report.deferred) == ("deferred", 0, PEOPLE)
    assert report.requests <= 40
    monkeypatch.setenv("STOREROOM_SANDBOX_URL", sandbox.url)
    report = bench.run()
    assert (report.status, report.delivered) == ("ok", PEOPLE)
    assert len(held(sandbox, KINDS[kind])) == PEOPLE
    assert accepted(sandbox, KINDS[kind]) == PEOPLE * (2 if kind == "steps" else 1)
