"""Declarations: what fits is read, what does not is refused with what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from destinations.errors import ConfigurationError
from destinations.sync.config import Mode, SyncConfig, syncs_of

SYNC: dict[str, Any] = {"connection": "newsletter", "mapping": {"email": "email"}}


def read(*syncs: Any, **meta: Any) -> list[SyncConfig]:
    return syncs_of("vip", {"audience": {"key": "id"}, "syncs": list(syncs)} | meta, "vip.yml")


def test_a_full_declaration_is_read() -> None:
    (sync,) = read(
        {
            "connection": "newsletter",
            "mode": "mirror",
            "cadence": "hourly",
            "mapping": {
                "email": "mail",
                "plan": {"constant": "gold"},
                "phone": {"column": "phone", "nulls": "clear"},
            },
            "where": "mail is not null",
            "target": {"list_id": "17"},
            "guards": {"max_removes": 500, "max_remove_fraction": 0.3},
        }
    )
    assert (sync.audience, sync.key, sync.mode, sync.cadence) == (
        "vip",
        "id",
        Mode.MIRROR,
        "hourly",
    )
    assert sync.columns == {"email": "mail", "phone": "phone"}
    assert sync.mapping["plan"].constant == "gold"
    assert sync.mapping["phone"].nulls == "clear"
    assert sync.guards.max_removes == 500
    assert sync.name == "newsletter/vip"


def test_an_audience_without_syncs_has_none() -> None:
    assert syncs_of("vip", {"owner": "growth"}, "vip.yml") == []


@pytest.mark.parametrize(
    ("change", "message", "fix"),
    [
        ({"mode": "miror"}, "`mode`", "Did you mean `mirror`?"),
        ({"mod": "mirror"}, "unknown key `mod`", "Did you mean `mode`?"),
        ({"cadence": "weekly"}, "`cadence`", "hourly"),
        ({"mapping": {}}, "`mapping`", ""),
        ({"mapping": {"a": {"colum": "b"}}}, "`mapping.a.colum`", "Did you mean `column`?"),
        ({"mapping": {"a": {"column": "b", "constant": 1}}}, "write a column name", ""),
        ({"mapping": {"a": {"entered": "In"}}}, "needs both", ""),
        ({"guards": {"max_remove": 1}}, "`guards.max_remove`", "Did you mean `max_removes`?"),
        ({"guards": {"max_remove_fraction": 2}}, "`guards.max_remove_fraction`", ""),
        ({"connection": "News letter"}, "`connection`", ""),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(
    change: dict[str, Any], message: str, fix: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(SYNC | change)
    assert "vip.yml: audience 'vip', sync 1" in caught.value.message
    assert message in caught.value.message
    assert fix in caught.value.fix


def test_a_sync_without_mapping_or_key_says_what_to_add() -> None:
    with pytest.raises(ConfigurationError, match="Add `mapping"):
        read({"connection": "newsletter"})
    with pytest.raises(ConfigurationError, match="key: <column>"):
        read(SYNC, audience={})
    with pytest.raises(ConfigurationError, match="not a list"):
        read(SYNC, syncs={"connection": "x"})
    with pytest.raises(ConfigurationError, match="not a mapping"):
        read("newsletter")


def test_two_syncs_to_one_connection_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="two syncs to connection 'newsletter'"):
        read(SYNC, SYNC)


def test_fingerprints_follow_what_matters() -> None:
    (sync,) = read(SYNC)
    (guarded,) = read(SYNC | {"guards": {"max_adds": 1}, "cadence": "manual"})
    (other,) = read(SYNC | {"mapping": {"email": "mail"}})
    (moved,) = read(SYNC | {"target": {"list_id": 3}})
    assert sync.fingerprint(None) == guarded.fingerprint(None)
    assert len({sync.fingerprint(None), sync.fingerprint("c"), other.fingerprint(None)}) == 3
    assert sync.place_fingerprint("") == other.place_fingerprint("") != moved.place_fingerprint("")
    assert (
        sync.place_fingerprint("a") == moved.place_fingerprint("a") != sync.place_fingerprint("b")
    )
