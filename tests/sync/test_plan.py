"""Plans: every row gets exactly one class, and removes are who left."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.sync.config import Mode, SyncConfig
from destinations.sync.content import with_hash
from destinations.sync.fold import STATE
from destinations.sync.hashes import CLASS, hashed
from destinations.sync.plan import ROW, Plan, make_plan
from destinations.sync.snapshot import Snapshot, publish
from destinations.sync.suppression import NOBODY

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = {"id": pl.String, "v": pl.Int64, "consent": pl.Boolean}


def config(**settings_: Any) -> SyncConfig:
    document = {"audience": "vip", "connection": "crm", "key": "id", "mapping": {"v": "v"}}
    return SyncConfig.model_validate(document | {"mode": "mirror", "where": "v < 8"} | settings_)


def hash_of(value: int) -> str:
    rows = pl.LazyFrame({"v": [value]})
    return with_hash(rows, {"v": pl.Int64()}, "h").collect()["h"][0]


HASHES = {value: hash_of(value) for value in range(10)}


def state_of(held: dict[str, tuple[int | None, bool, str | None]]) -> pl.LazyFrame:
    """Ledger state: key -> (value held or none, maybe, change refused)."""
    rows = [
        (key, "held", None if value is None else HASHES[value], None, maybe, refused, None, None, 0, NOW, NOW, "r", 0, NOW, "r")
        for key, (value, maybe, refused) in sorted(held.items())
    ]  # fmt: skip
    return pl.LazyFrame(rows, schema=STATE, orient="row")


def published(folder: Path, rows: list[tuple[str | None, int, bool | None]]) -> Snapshot:
    return publish(
        folder, "vip", "id", pl.DataFrame(rows, schema=SCHEMA, orient="row").write_parquet
    )


def planned(
    folder: Path,
    snapshot: Snapshot,
    config: SyncConfig,
    consent: str | None,
    state: pl.LazyFrame,
    hold: bool,
) -> Plan:
    hashes = hashed(snapshot, config, consent, NOBODY, folder, [])
    return make_plan(snapshot, hashes, state, config.mode, hold)


def named(plan: Plan) -> pl.DataFrame:
    """The rows to be sent, with key and hash."""
    rows = plan.hashes.drop(CLASS).with_row_index(ROW).collect()
    known = plan.sends.join(plan.remote_ids, on=ROW, how="left", maintain_order="left")
    return known.join(rows, on=ROW, maintain_order="left")


def classes(plan: Plan) -> dict[str, str]:
    return dict(named(plan).select("_key", CLASS).iter_rows())


row = st.tuples(
    st.none() | st.sampled_from("abcdefgh"), st.integers(0, 9), st.none() | st.booleans()
)
known = st.tuples(
    st.none() | st.integers(0, 9), st.booleans(), st.none() | st.sampled_from(["add", "update"])
).filter(lambda k: k != (None, False, None))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(row, max_size=12),
    st.dictionaries(st.sampled_from("abcdefghij"), known, max_size=10),
    st.sampled_from([m for m in Mode if m is not Mode.APPEND_EVENT]),
    st.booleans(),
)
def test_every_row_has_one_class_and_it_is_the_right_one(rows, held, mode, hold) -> None:
    with TemporaryDirectory() as folder:
        snapshot = published(Path(folder), rows)
        plan = planned(Path(folder), snapshot, config(mode=mode), "consent", state_of(held), hold)
        taken, rest = classes(plan), plan.rest
    keys = [key for key, _, _ in rows]
    sends, counts, stays = {}, dict.fromkeys([*plan.counts], 0), set()

    def put(name: str) -> None:
        counts[name] = counts.get(name, 0) + 1

    for key, value, consent in rows:
        old, maybe, _ = held.get(key, (None, False, None))
        if key is None:
            put("null_key")
            continue
        if keys.count(key) > 1:
            put("duplicate")
            stays.add(key)
            continue
        if not value < 8:
            put("filtered")
            continue
        if consent is not True:
            put("withheld")
            continue
        stays.add(key)
        if old == value and not maybe and mode is not Mode.FULL_REFRESH:
            put("unchanged")
        elif maybe and hold:
            put("in_doubt")
        else:
            change = "update" if old is not None else "add"
            if mode is Mode.ADD_ONLY and maybe:
                change = "add"
            if mode is Mode.UPDATE_ONLY and maybe:
                change = "update"
            sent = {
                Mode.ADD_ONLY: change == "add",
                Mode.UPDATE_ONLY: change == "update",
                Mode.REMOVE_ONLY: False,
            }
            if sent.get(mode, True):
                put(change)
                sends[key] = change
            else:
                put("not_sent")
    there = {key for key, (value, maybe, _) in held.items() if value is not None or maybe}
    assert plan.counts == counts
    assert sum(plan.counts.values()) == len(rows)
    assert taken == sends
    assert len(set(rest[ROW])) == rest.height == len(rows) - len(sends) - counts.get("unchanged", 0)
    assert set(plan.removes["_key"]) == (there - stays if mode.removes else set())
    assert set(plan.absent) == there - set(keys)
    lapsed = {
        k for k, (_, _, refused) in held.items() if refused and k not in stays and k not in there
    }
    assert lapsed <= set(plan.lapsed)
    assert not set(plan.lapsed) & (set(sends) | set(plan.removes["_key"]))
    assert plan.held == sum(value is not None for value, _, _ in held.values())


def test_sends_carry_row_hash_and_remote_id(tmp_path: Path) -> None:
    snapshot = published(tmp_path, [("b", 1, True), ("a", 2, True)])
    state = state_of({"a": (1, False, None)}).with_columns(remote_id=pl.lit("r-9"))
    plan = planned(tmp_path, snapshot, config(), None, state, hold=False)
    assert named(plan).select(ROW, "_key", "_hash", "_remote_id", CLASS).rows() == [
        (0, "a", HASHES[2], "r-9", "update"),
        (1, "b", HASHES[1], None, "add"),
    ]


@pytest.mark.parametrize("hold", [False, True])
def test_events_are_sent_on_entry_and_exit_only(tmp_path: Path, hold: bool) -> None:
    snapshot = published(tmp_path, [("a", 2, True), ("b", 1, True), ("c", 1, True)])
    state = state_of({"a": (1, False, None), "c": (1, True, None), "d": (1, False, None)})
    events = config(
        mode="append_event", mapping={"v": "v", "e": {"entered": "In", "exited": "Out"}}
    )
    plan = planned(tmp_path, snapshot, events, None, state, hold)
    assert classes(plan) == {"b": "add"} | ({} if hold else {"c": "add"})
    assert plan.removes["_key"].to_list() == ["d"]
