"""Every listing as a table for people and as one JSON object a line for scripts."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.xdist_group("cli"), pytest.mark.end_to_end]


@pytest.mark.parametrize(
    ("listing", "key", "value"),
    [
        ("syncs list", "sync", "crm/audience_loyal_customers"),
        ("syncs plan", "sync", "crm/audience_loyal_customers"),
        ("syncs status", "sync", "crm/audience_loyal_customers"),
        ("destinations list", "id", "hubspot"),
        ("destinations list --category crm", "id", "hubspot"),
        ("destinations show hubspot", "id", "hubspot"),
        ("destinations preview hubspot", "destination", "hubspot"),
        ("destinations check hubspot", "destination", "hubspot"),
        ("doctor", "topic", "syncs"),
    ],
)
def test_as_a_table_and_as_json(
    built: Any, storeroom: Any, listing: str, key: str, value: str
) -> None:
    arguments = listing.split()
    rows = storeroom(*arguments, "--json").rows
    assert value in {row[key] for row in rows}
    table = storeroom(*arguments)
    assert table.code == 0
    assert value in table.out
    assert not table.out.lstrip().startswith("{")


def test_every_destination_can_be_previewed(storeroom: Any) -> None:
    listed = storeroom("destinations", "list", "--json").rows
    previews = storeroom("destinations", "preview", "--all", "--json").rows
    offered = {(row["id"], operation) for row in listed for operation in row["operations"]}
    assert {(row["destination"], row["operation"]) for row in previews} == offered
    assert all(row["requests"] for row in previews)
    hubspot = [r for row in previews if row["destination"] == "hubspot" for r in row["requests"]]
    assert all(request["url"].startswith("https://api.hubapi.com/") for request in hubspot)


def test_an_operation_that_a_destination_lacks_is_a_wrong_usage(storeroom: Any) -> None:
    said = storeroom("destinations", "preview", "hubspot", "--operation", "track", "--json")
    assert said.code == 2
    assert "HubSpot CRM has no track" in said.err
    assert said.out == ""


def test_specs_hold_and_a_connection_is_asked(storeroom: Any) -> None:
    findings = storeroom("destinations", "check", "--json").rows
    assert {finding["state"] for finding in findings} <= {"ok", "note"}
    said = storeroom("destinations", "check", "--connection", "crm")
    assert said.code == 0
    assert "crm: " in said.out + said.err


def test_a_filter_narrows(storeroom: Any) -> None:
    rows = storeroom("syncs", "list", "--connection", "crm", "--json").rows
    assert [row["sync"] for row in rows] == ["crm/audience_loyal_customers"]
    assert rows[0]["mode"] == "mirror"
    assert rows[0]["declared_in"] == "models/audiences/audience_loyal_customers.yml"
