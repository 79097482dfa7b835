"""What analysts declare is refused at once where no run could carry it out."""

from __future__ import annotations

from typing import Any

import pytest

from dagster_project.declarations import audiences_of, check
from destinations.errors import ConfigurationError

FIELDS = {"profile_id": "profile_id", "email": "email"}


def sync(**declared: Any) -> dict[str, Any]:
    return {"connection": "tables", "mode": "mirror", "mapping": FIELDS} | declared


def refusal(declared: Any, *syncs: dict[str, Any], columns: dict[str, str] | None = None) -> str:
    """What is said of an audience with these syncs."""
    with pytest.raises(ConfigurationError) as refused:
        any(check(found) for found in declared(columns, vips=list(syncs)))
    return str(refused.value)


def test_a_good_sync_passes(declared: Any) -> None:
    (found,) = declared(vips=[sync(where="orders_count > 1 and country = 'DE'")])
    check(found)
    assert found.name == "tables/vips"
    assert found.consent_column is None
    assert found.audience.origin == "models/audiences/vips.yml"


def test_models_elsewhere_are_no_audiences(manifest: Any) -> None:
    content = manifest(vips=[], others=[])
    content["nodes"]["model.storeroom.others"]["fqn"] = ["storeroom", "segments", "others"]
    assert [audience.name for audience in audiences_of(content)] == ["vips"]


def test_an_unknown_connection_with_the_nearest_one(declared: Any, connections: Any) -> None:
    connections(newsletter={}, crm={})
    said = refusal(declared, sync(connection="newsleter"))
    assert "models/audiences/vips.yml" in said
    assert "Did you mean 'newsletter'?" in said
    assert "crm, newsletter" in refusal(declared, sync(connection="zzz"))


def test_two_syncs_to_one_connection(declared: Any) -> None:
    assert "two syncs to connection 'tables'" in refusal(declared, sync(), sync(mode="upsert"))


def test_what_the_destination_cannot_do(declared: Any, connections: Any) -> None:
    connections(
        tables={
            "destination": "facebook_custom_audiences",
            "settings": {"access_token": {"env": "META_TOKEN"}, "audience_id": "1"},
        }
    )
    said = refusal(declared, sync(mapping={"email": "email"}, on_remove="delete"))
    assert "offers no delete" in said
    assert "on_remove: remove" in said
    said = refusal(declared, sync(mapping={"email": "email"}, mode="append_event"))
    assert "takes no events" in said


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"mapping": {"email": "e_mail"}}, ["mapping.email", "e_mail", "`email`"]),
        ({"where": "cuntry = 'DE'"}, ["`where`", "cuntry", "`country`"]),
        ({"where": "country ="}, ["`where` cannot be read"]),
        ({"where": "orders_count + 1"}, ["not true or false"]),
        ({"mode": "mirorr"}, ["mode"]),
        ({"cadence": "weekly"}, ["cadence"]),
        ({"guard": {"max_removes": 1}}, ["guard", "guards"]),
    ],
)
def test_a_slip_and_what_to_write_instead(declared: Any, entry: Any, words: list[str]) -> None:
    said = refusal(declared, sync(**entry))
    assert [word for word in words if word not in said] == [], said


def test_the_consent_column_must_be_there(declared: Any, connections: Any) -> None:
    connections(tables={"consent": "sms"})
    said = refusal(declared, sync())
    assert "'consent_sms'" in said
    connections(tables={"consent": "email"})
    (found,) = declared(vips=[sync()])
    check(found)
    assert found.consent_column == "consent_email"


def test_columns_that_the_yml_leaves_out(declared: Any, published: Any) -> None:
    """Then those last published count; before the first time only the destination's side."""
    slip = sync(mapping={"email": "e_mail"}, where="cuntry = 'DE'")
    for found in declared({}, vips=[slip]):
        check(found)
    said = refusal(declared, sync(mode="append_event"), columns={})
    assert "no field says whether a person entered or left" in said
    published("vips")
    said = refusal(declared, slip, columns={})
    assert "e_mail" in said
    assert "cuntry" in said
