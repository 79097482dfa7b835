"""What a run could not do is refused before it runs."""

from __future__ import annotations

from typing import Any

import pytest

from destinations.driver import Capabilities, Operation
from destinations.errors import ConfigurationError
from destinations.sync.config import SyncConfig
from destinations.sync.validation import changes_of, operation_for, problems_of, validate

COLUMNS = {"id": "String", "email": "String", "age": "Int64", "consent_email": "Boolean"}
EVERYTHING = Capabilities(operations=frozenset(Operation))


def sync(**settings: Any) -> SyncConfig:
    return SyncConfig.model_validate(
        {"audience": "vip", "connection": "crm", "key": "id", "mapping": {"email": "email"}}
        | settings
    )


def only(*operations: Operation, **more: Any) -> Capabilities:
    return Capabilities(operations=frozenset(operations), **more)


@pytest.mark.parametrize(
    "mode", ["upsert", "mirror", "add_only", "update_only", "remove_only", "full_refresh"]
)
def test_a_sync_that_can_run_has_no_problem(mode: str) -> None:
    assert problems_of(sync(mode=mode, where="age > 17"), COLUMNS, EVERYTHING, "email") == []


EVENT = {"email": "email", "event": {"entered": "In", "exited": "Out"}}


@pytest.mark.parametrize(
    ("settings", "capabilities", "consent", "message", "fix"),
    [
        ({"key": "idd"}, EVERYTHING, "email", "'idd'", "`id`"),
        ({"mapping": {"email": "emial"}}, EVERYTHING, "email", "'emial'", "`email`"),
        ({"mapping": {"_key": "email"}}, EVERYTHING, "email", "underscore", "Rename"),
        ({}, only(Operation.ADD, fields=frozenset({"mail"})), "email", "no such field", "`mail`"),
        ({}, only(Operation.ADD, required=(("phone", "uid"),)), "email", "`phone` or `uid`", "Add `phone"),
        ({"mode": "mirror"}, only(Operation.UPSERT), "email", "offers no remove", "mode: upsert"),
        ({"mode": "mirror"}, only(Operation.UPSERT, Operation.DELETE), "email", "no remove", "on_remove: delete"),
        ({}, only(Operation.TRACK), "email", "offers only track", "append_event"),
        ({"mode": "append_event", "mapping": EVENT}, only(Operation.UPSERT), "email", "no events", "upsert"),
        ({"mode": "append_event"}, EVERYTHING, "email", "entered or left", "entered:"),
        ({"mapping": EVENT}, EVERYTHING, "email", "only events do", "append_event"),
        ({}, EVERYTHING, "sms", "'consent_sms'", "consent_sms"),
        ({"mapping": {"email": {"column": "email", "nulls": "clear"}}}, EVERYTHING, "email", "empty a field", "skip"),
        ({"where": "emai is null"}, EVERYTHING, "email", "'emai'", "`email`"),
        ({"where": "email >"}, EVERYTHING, "email", "cannot be read", "country"),
        ({"where": "email > 3"}, EVERYTHING, "email", "does not fit", "country"),
        ({"where": "age"}, EVERYTHING, "email", "gives Int64", "country"),
    ],
)  # fmt: skip
def test_each_problem_is_named_with_what_to_write(
    settings: dict[str, Any], capabilities: Capabilities, consent: str, message: str, fix: str
) -> None:
    (problem,) = problems_of(sync(**settings), COLUMNS, capabilities, consent)
    assert message in problem.message
    assert fix in problem.fix


def test_consent_must_be_boolean_and_may_be_not_required() -> None:
    columns = COLUMNS | {"consent_email": "String"}
    (problem,) = problems_of(sync(), columns, EVERYTHING, "email")
    assert "not Boolean" in problem.message
    assert problems_of(sync(), {"id": "", "email": ""}, EVERYTHING, "not_required") == []


def test_validate_raises_every_problem_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        validate(sync(mapping={"a": "x", "b": "y"}), COLUMNS, EVERYTHING, "email")
    assert "'x'" in caught.value.message
    assert "'y'" in caught.value.message


def test_changes_choose_their_operation() -> None:
    mirror = sync(mode="mirror", on_remove="delete")
    every = EVERYTHING.operations
    assert [operation_for(mirror, c, every) for c in changes_of(mirror.mode)] == [
        Operation.ADD,
        Operation.UPSERT,
        Operation.DELETE,
    ]
    assert operation_for(mirror, "add", frozenset({Operation.UPSERT})) is Operation.UPSERT
    assert operation_for(mirror, "update", frozenset({Operation.ADD})) is Operation.ADD
    assert operation_for(mirror, "remove", frozenset({Operation.ADD})) is None
