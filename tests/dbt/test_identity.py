"""Any order, any increments, any duplication: the graph that a union-find gives."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

PRIORITY = ("user_id", "email", "phone", "anonymous_id")
COMPONENTS = 120


def identifiers_of(call: dict[str, Any]) -> dict[str, bool]:
    """The call's identifiers, as ``type:value``, and whether it carries them for certain."""
    found = {}
    if call["type"] == "alias" and call["previous_id"]:
        found |= {f"{kind}:{call['previous_id']}": False for kind in ("user_id", "anonymous_id")}
    values = {
        "user_id": call["user_id"],
        "anonymous_id": call["anonymous_id"],
        "email": call.get("traits", {}).get("email", "").strip().lower(),
        "phone": call.get("traits", {}).get("phone", "").replace(" ", ""),
    }
    return found | {f"{kind}:{value}": True for kind, value in values.items() if value}


def union_find(calls: list[dict[str, Any]]) -> dict[str, str]:
    """Identifier to profile id, the plain way."""
    parent: dict[str, str] = {}
    first_seen: dict[str, int] = {}

    def root(node: str) -> str:
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    for call in calls:
        names = identifiers_of(call)
        if not any(names.values()):
            continue
        for name, is_certain in names.items():
            parent.setdefault(name, name)
            parent[root(name)] = root(next(iter(names)))
            if is_certain:
                first_seen[name] = min(first_seen.get(name, call["at"]), call["at"])

    def age(name: str) -> tuple[int, int, str]:
        kind, _, value = name.partition(":")
        return first_seen.get(name, 1 << 60), PRIORITY.index(kind), value

    oldest: dict[str, str] = {}
    for name in sorted(parent, key=age, reverse=True):
        oldest[root(name)] = name
    return {name: hashlib.md5(oldest[root(name)].encode()).hexdigest() for name in parent}


def random_calls(chance: random.Random) -> Iterator[dict[str, Any]]:
    """Calls of many separate crowds: chains, stars, rings, lone devices; many at one moment."""
    for crowd in range(COMPONENTS):
        size = chance.choice([1, 2, 3, 5, 8, 40])
        shape = chance.choice(["chain", "star", "random"])
        for n in range(size):
            other = {"chain": n + 1, "star": 0, "random": chance.randrange(size)}[shape]
            call: dict[str, Any] = {
                "type": "track",
                "at": chance.randrange(6),
                "user_id": f"u{crowd}-{n}"
                if chance.random() < 0.7
                else chance.choice(["", "NULL"]),
                "anonymous_id": f"a{crowd}-{other}" if chance.random() < 0.8 else None,
                "previous_id": None,
            }
            if call["user_id"] in ("", "NULL"):
                # Blocked: it must not make one person of all crowds.
                call["sent_user_id"], call["user_id"] = call["user_id"], None
            if chance.random() < 0.3:
                call["type"] = "identify"
                call["traits"] = {"email": f" E{crowd}-{other}@Example.com"}
                if chance.random() < 0.3:
                    call["traits"]["phone"] = f"+49 {crowd:04} {other:04}"
            elif chance.random() < 0.1:
                call |= {"type": "alias", "previous_id": f"a{crowd}-{chance.randrange(size)}"}
            yield call


def sent(call: dict[str, Any], number: int) -> dict[str, Any]:
    return call | {
        "message_id": f"m{number}",
        "user_id": call.get("sent_user_id", call["user_id"]),
    }


GRAPH = "select identifier_id, profile_id from identity_graph"


@pytest.mark.parametrize("seed", [1, 2])
def test_graph_is_that_of_a_union_find(
    seed: int,
    tmp_path: Path,
    new_raw_zone: Callable[[Path], Any],
    make_warehouse: Callable[[Path, Path], Any],
) -> None:
    chance = random.Random(seed)
    calls = list(random_calls(chance))
    expected = union_find(calls)
    assert len(set(expected.values())) >= COMPONENTS

    lines = [sent(call, number) for number, call in enumerate(calls)]
    chance.shuffle(lines)
    raw = new_raw_zone(tmp_path / "raw")
    warehouse = make_warehouse(tmp_path / "warehouse.duckdb", tmp_path / "raw")
    cuts = [0, *sorted(chance.sample(range(len(lines)), 3)), len(lines)]
    for start, end in pairwise(cuts):
        raw.load(lines[start:end] + chance.sample(lines[:end], min(end, 20)))
        warehouse.dbt("run", "--select", "+identity_redirects")
    assert dict(warehouse.query(GRAPH)) == expected

    # Whatever id a person can have had leads to the one they have.
    redirects = dict(
        warehouse.query("select former_profile_id, profile_id from identity_redirects")
    )
    for identifier, profile in expected.items():
        own = hashlib.md5(identifier.encode()).hexdigest()
        assert redirects.get(own, own) == profile

    warehouse.dbt("run", "--select", "+identity_redirects", "--full-refresh")
    assert dict(warehouse.query(GRAPH)) == expected


def test_long_chains_and_large_hubs_settle(
    tmp_path: Path, raw_zone: Any, make_warehouse: Callable[[Path, Path], Any]
) -> None:
    """A chain whose names run along it, one that zigzags, and a hub."""
    length = 1_000
    order = [n // 2 if n % 2 else length - n // 2 for n in range(length + 1)]
    pairs = [
        *((f"c{n:05}", f"c{n + 1:05}") for n in range(length)),
        *((f"z{a:05}", f"z{b:05}") for a, b in pairwise(order)),
        *(("hub", f"h{n:05}") for n in range(5 * length)),
    ]
    raw_zone.load([{"user_id": a, "anonymous_id": b} for a, b in pairs])
    # user_id:c1 and anonymous_id:c1 are two identifiers; one call makes each pair one.
    raw_zone.load(
        [
            {"user_id": f"{p}{n:05}", "anonymous_id": f"{p}{n:05}"}
            for p in "cz"
            for n in range(length)
        ]
    )
    warehouse = make_warehouse(tmp_path / "warehouse.duckdb", raw_zone.folder)
    warehouse.dbt("run", "--select", "+identity_graph")
    assert warehouse.query(
        """select left(split_part(identifier_id, ':', 2), 1) as crowd, count(distinct profile_id)
        from identity_graph group by crowd order by crowd"""
    ) == [("c", 1), ("h", 1), ("z", 1)]
