"""Any sequence of operations leaves the members that a plain dictionary would hold."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.driver import HASH, KEY, REMOTE_ID, Operation
from destinations.language.compile import Compiled
from destinations.language.spec import Spec
from destinations.sandbox.admin import state
from destinations.sandbox.faults import Faults
from destinations.sandbox.play import Player, Request
from destinations.sandbox.storage import Store

PEOPLE = st.integers(0, 5)
STEP = st.tuples(
    st.sampled_from([Operation.ADD, Operation.UPSERT, Operation.REMOVE]),
    st.lists(PEOPLE, min_size=1, max_size=6, unique=True),
    st.sampled_from(["gold", "silver", "öre"]),
)


def rows_of(people: list[int], plan: str, known: Mapping[str, str]) -> pl.DataFrame:
    keys = [f"p{number}" for number in people]
    return pl.DataFrame(
        {
            KEY: keys,
            HASH: [plan] * len(keys),
            REMOTE_ID: [known.get(key) for key in keys],
            "email": [f"{key}@example.org" for key in keys],
            "plan": [plan] * len(keys),
        },
        schema_overrides={REMOTE_ID: pl.String},
    )


@pytest.mark.parametrize("destination", ["crm", "hook"])
@settings(max_examples=30, deadline=None)
@given(steps=st.lists(STEP, max_size=12), restart_at=st.integers(0, 12))
def test_members_are_those_of_a_dictionary(
    destination: str, vendors: dict[str, Spec], steps: list[Any], restart_at: int
) -> None:
    spec = vendors[destination].model_copy(update={"auth": None})
    expected: dict[str, str] = {}
    plans: dict[str, str] = {}
    known: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        player = Player(spec, store, Faults())
        for number, (operation, people, plan) in enumerate(steps):
            if number == restart_at:
                store.close()
                store = Store(Path(folder))
                player = Player(spec, store, Faults())
            rows = rows_of(people, plan, known)
            if operation is Operation.REMOVE and destination == "crm":
                rows = rows.filter(pl.col(REMOTE_ID).is_not_null())
            compiled = Compiled(spec, operation, _examples(spec), "loyal")
            for rendered in compiled.requests(rows):
                request = rendered.request
                headers = {name.lower(): text for name, text in request.headers.items()}
                reply = player.play(
                    Request(request.method, request.path, "", headers, request.body or b"")
                )
                assert reply.status == 200, reply
                for one in orjson.loads(reply.body or b"{}").get("results", []):
                    known[one["trace"]] = one["id"]
            for key in rows[KEY]:
                if operation is Operation.REMOVE:
                    expected.pop(key, None)
                    continue
                plans[key] = plan
                if operation is Operation.ADD or key in expected:
                    expected[key] = plan
        found = state(store, destination)
        store.close()
    members = next(iter(found["members"].values()), [])
    assert len(found["members"]) <= 1
    assert {one["key"]: one["fields"]["plan"] for one in members} == expected
    assert {one["key"]: one["fields"]["plan"] for one in found["profiles"]} == plans


def _examples(spec: Spec) -> dict[str, Any]:
    return {name: one.example or one.default or "x" for name, one in spec.settings.items()}
