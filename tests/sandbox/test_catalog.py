"""The real driver against the sandbox: fields and members of a few destinations, each of another shape.

What every destination has to hold to is asked by ``tests/conformance``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from destinations.connections import Connection
from destinations.driver import HASH, KEY, REMOTE_ID, Operation, Outcome, Status
from destinations.http.driver import HttpDriver
from destinations.http.opening import open_http
from destinations.language.spec import DestinationField, Spec
from destinations.language.template import FIELDS
from destinations.registry import load_spec
from destinations.sandbox import Sandbox, serve
from destinations.sandbox.routes import routes

SHAPES = (
    "active_campaign",
    "customerio",
    "facebook_custom_audiences",
    "hubspot",
    "slack",
    "webhook",
)
SPECS = {one: load_spec(one) for one in SHAPES}
JOINED = sorted(
    name for name, spec in SPECS.items() if {Operation.ADD, Operation.UPSERT} & set(spec.operations)
)
"""Destinations that keep people; the others only take events."""
PEOPLE = ("ada", "bob", "çağla 木")

EXAMPLES = {
    "email": "{n}{i}@example.org",
    "email_gmail": "{n}{i}@example.org",
    "phone_e164": "+4915123450{i}",
    "phone_digits": "+4915123450{i}",
    "name": "{n}",
    "city": "Köln",
    "postal_code": "50667",
    "country_2": "DE",
    "country_2_lower": "DE",
    "state": "CA",
    "gender": "f",
    "birth_date": "1990-01-3{i}",
    "maid": "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaa{i}",
}


def value(name: str, declared: DestinationField, number: int, person: str) -> Any:
    """A value the field takes, another for each person."""
    if declared.type in ("number", "integer"):
        return 100 + number
    if declared.type == "boolean":
        return number % 2 == 0
    if declared.type in ("datetime", "date"):
        return f"2026-01-0{number + 1}"
    word = "ada" if person.isascii() is False and "email" in str(declared.normalise) else person
    pattern = EXAMPLES.get(declared.normalise or "", f"{name} {{n}}")
    return pattern.format(n=word, i=number)


def rows_for(spec: Spec, **changed: str) -> pl.DataFrame:
    """Three people with every field the spec declares, and one more where it takes any."""
    columns: dict[str, list[Any]] = {
        KEY: [f"key-{number}" for number in range(len(PEOPLE))],
        HASH: [f"hash-{number}{changed}" for number in range(len(PEOPLE))],
        REMOTE_ID: [None] * len(PEOPLE),
    }
    for name, declared in spec.fields.items():
        columns[name] = [value(name, declared, i, person) for i, person in enumerate(PEOPLE)]
    if spec.other_fields:
        columns["favourite"] = [changed.get("favourite", "tea")] * len(PEOPLE)
    return pl.DataFrame(columns, schema_overrides={REMOTE_ID: pl.String})


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """One that plays the catalog, as a user's does."""
    with serve(0, tmp_path / "sandbox") as running:
        yield running


@pytest.fixture(params=sorted(SPECS))
def spec(request: pytest.FixtureRequest) -> Spec:
    # The vendor's pace is the rate limiter's own subject; here it would only cost time.
    return SPECS[request.param].model_copy(update={"limits": ()})


@pytest.fixture
def driver(
    spec: Spec, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HttpDriver]:
    monkeypatch.setenv("STOREROOM_SANDBOX_URL", sandbox.url)
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path))
    secrets = {name: {"env": "G_NOT_SET"} for name, s in spec.settings.items() if s.secret}
    connection = Connection(
        name="sandboxed",
        destination=spec.id,
        consent="not_required",
        settings=secrets,  # type: ignore[arg-type]
        sandbox=True,
    )
    opened = open_http(spec, connection, {}, "loyal")
    yield opened
    opened.close()


def send(driver: HttpDriver, operation: Operation, rows: pl.DataFrame) -> pl.DataFrame:
    """Send all rows, expect all accepted, and return them with the remote ids learned."""
    outcomes: list[Outcome] = [driver.send(d) for d in driver.deliveries(operation, rows)]
    results = pl.concat([outcome.results for outcome in outcomes])
    assert results[KEY].to_list() == rows[KEY].to_list()
    refused = results.filter(pl.col("status") != Status.ACCEPTED.value)
    assert refused.is_empty(), (refused.to_dicts(), outcomes[-1].sample)
    return rows.with_columns(pl.coalesce(results["remote_id"], rows[REMOTE_ID]).alias(REMOTE_ID))


def held(client: Any, spec: Spec) -> list[dict[str, Any]]:
    targets = client.state(spec.id)["members"]
    assert len(targets) <= 1, targets.keys()
    return next(iter(targets.values()), [])


def joining(spec: Spec) -> Operation:
    return Operation.ADD if Operation.ADD in spec.operations else Operation.UPSERT


@pytest.mark.parametrize("spec", JOINED, indirect=True)
def test_members_come_change_and_go(spec: Spec, driver: HttpDriver, client: Any) -> None:
    rows = send(driver, joining(spec), rows_for(spec))
    assert len(held(client, spec)) == len(PEOPLE)
    people = {one["remote_id"]: one for one in client.state(spec.id)["profiles"]}
    if rows[REMOTE_ID].null_count() == 0:
        assert set(rows[REMOTE_ID].to_list()) == set(people)

    writing = Operation.UPSERT if Operation.UPSERT in spec.operations else joining(spec)
    if spec.other_fields:
        changed = rows_for(spec, favourite="coffee").with_columns(rows[REMOTE_ID])
        send(driver, writing, changed)
        assert [one["fields"].get("favourite") for one in held(client, spec)] == ["coffee"] * 3
    send(driver, writing, rows)
    assert len(client.state(spec.id)["profiles"]) == len(PEOPLE)

    if Operation.REMOVE in spec.operations:
        send(driver, Operation.REMOVE, rows.head(1))
        assert len(held(client, spec)) == len(PEOPLE) - 1
        send(driver, Operation.REMOVE, rows.head(1))
        assert len(held(client, spec)) == len(PEOPLE) - 1
        rows = send(driver, joining(spec), rows)
        assert len(held(client, spec)) == len(PEOPLE)
    if Operation.DELETE in spec.operations:
        send(driver, Operation.DELETE, rows.tail(2))
        assert len(client.state(spec.id)["profiles"]) == 1
        assert len(held(client, spec)) == 1
    assert client.state(spec.id)["counts"].get("rejected", 0) == 0


@pytest.mark.parametrize("spec", JOINED, indirect=True)
def test_every_field_arrives_as_it_was_sent(spec: Spec, driver: HttpDriver, client: Any) -> None:
    rows = rows_for(spec)
    send(driver, joining(spec), rows)
    prepared = driver._compiled[joining(spec)].prepared(rows)
    taken = frozenset[str]().union(
        *(route.fields for route in routes(spec) if route.operation is joining(spec))
    )
    sent = [
        {
            name: value
            for name, value in row.items()
            if value is not None and (name in taken or FIELDS in taken or name not in spec.fields)
        }
        for row in prepared.drop(KEY, HASH, REMOTE_ID).to_dicts()
    ]
    # Beside the fields a property of the audience may stand, named by a setting.
    own = {setting.example for setting in spec.settings.values()} - {None}
    arrived = [
        {name: value for name, value in one["fields"].items() if name not in own}
        for one in held(client, spec)
    ]
    assert sorted(map(repr, map(_sorted, arrived))) == sorted(map(repr, map(_sorted, sent)))


@pytest.mark.parametrize("spec", sorted(set(SPECS) - set(JOINED)), indirect=True)
def test_events_are_taken_and_make_no_members(spec: Spec, driver: HttpDriver, client: Any) -> None:
    send(driver, Operation.TRACK, rows_for(spec))
    state = client.state(spec.id)
    assert state["counts"] == {"accepted": len(PEOPLE), "requests": len(PEOPLE)}
    assert len(state["events"]) == len(PEOPLE)
    assert state["members"] == {}


def test_the_check_request_is_answered(spec: Spec, driver: HttpDriver) -> None:
    assert spec.name in driver.check()


def _sorted(fields: dict[str, Any]) -> dict[str, str]:
    return {name: str(fields[name]) for name in sorted(fields)}
