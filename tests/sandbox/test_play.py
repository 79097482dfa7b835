"""Every shape of destination is played from its spec: members come, change and go."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_batch_names_its_rows_and_a_refused_one_is_not_kept(client: Any, contact: Any) -> None:
    answer = client.crm(
        contact("p1", "ada@example.org", city="Köln", visits=3),
        contact("p2", "not an address"),
        contact("p3", "bob@example.org", vip="true"),
    )
    assert answer.status_code == 207
    assert answer.json() == {
        "results": [
            {"id": "1", "trace": "p1"},
            {"id": "2", "trace": "p3"},
        ],
        "errors": [
            {
                "message": "Email address not an address is invalid",
                "context": {"trace": "p2"},
            }
        ],
    }
    assert client.members("crm", "in_loyal") == {
        "ada@example.org": {
            "email": "ada@example.org",
            "city": "Köln",
            "visits": 3,
            "in_loyal": "true",
        },
        "bob@example.org": {"email": "bob@example.org", "vip": "true", "in_loyal": "true"},
    }


def test_a_body_constant_tells_remove_from_add(client: Any, contact: Any) -> None:
    client.crm(contact("p1", "ada@example.org"), contact("p2", "bob@example.org"))
    gone = {
        "id": "1",
        "idProperty": "object_id",
        "trace": "p1",
        "properties": {"in_loyal": "false"},
    }
    stranger = {**gone, "id": "77", "trace": "p9"}
    answer = client.crm(gone, stranger)
    assert [one["trace"] for one in answer.json()["results"]] == ["p1"]
    assert answer.json()["errors"][0]["context"] == {"trace": "p9"}
    assert set(client.members("crm", "in_loyal")) == {"bob@example.org"}
    assert len(client.state("crm")["profiles"]) == 2


def test_steps_capture_the_id_and_a_removal_goes_by_it(client: Any) -> None:
    body = {"contact": {"email": "ada@example.org", "firstName": "Ada"}}
    created = client.mail("POST", "contact/sync", body)
    remote_id = created.json()["contact"]["id"]
    assert client.members("mail", "17") == {}
    entry = {"list": "17", "contact": remote_id, "status": 1}
    assert client.mail("POST", "contactLists", {"contactList": entry}).ok
    assert client.members("mail", "17") == {
        "ada@example.org": {"email": "ada@example.org", "first_name": "Ada"}
    }
    client.mail("POST", "contactLists", {"contactList": {**entry, "status": 2}})
    assert client.members("mail", "17") == {}
    assert len(client.state("mail")["profiles"]) == 1
    assert client.mail("DELETE", f"contacts/{remote_id}").status_code == 200
    assert client.mail("DELETE", f"contacts/{remote_id}").status_code == 404
    assert client.state("mail")["profiles"] == []
    refused = client.mail("POST", "contactLists", {"contactList": entry})
    assert refused.status_code == 404
    assert refused.json()["errors"][0]["title"] == f"No contact with id {remote_id}"


def test_an_update_changes_fields_and_a_null_clears_one(client: Any) -> None:
    client.people("PUT", "customers/u%201", {"email": "ada@example.org", "plan": "gold"})
    client.people("POST", "segments/17/add", {"ids": ["u 1"]})
    client.people("PUT", "customers/u%201", {"plan": "silver", "city": "Oslo"})
    client.people("PUT", "customers/u%201", {"city": None})
    expected = {"u 1": {"id": "u 1", "email": "ada@example.org", "plan": "silver"}}
    assert client.members("people", "17") == expected
    client.people("POST", "segments/17/remove", {"ids": ["u 1", "stranger"]})
    assert client.members("people", "17") == {}
    client.people("DELETE", "customers/u%201")
    assert client.state("people")["profiles"] == []


def test_a_list_of_digests_is_kept_per_audience(client: Any, digest: Any) -> None:
    ada = [digest("ada@example.org"), digest("49123"), ""]
    bob = ["", digest("49456"), ""]
    counted = {"num_received": 2, "num_invalid": 0}
    assert client.ads("POST", ada, bob).json() == counted
    client.ads("POST", ada, audience="9")
    client.ads("DELETE", ada)
    assert set(client.members("ads", "238")) == {digest("49456")}
    assert set(client.members("ads", "9")) == {digest("ada@example.org")}


def test_operations_of_one_hook_differ_by_a_constant(client: Any) -> None:
    row = {"key": "p1", "fields": {"email": "ada@example.org", "plan": None}}
    assert client.hook("add", row).status_code == 200
    assert client.members("hook", "loyal") == {"p1": {"email": "ada@example.org"}}
    client.hook("upsert", {"key": "p1", "fields": {"plan": "gold"}})
    assert client.members("hook", "loyal")["p1"]["plan"] == "gold"
    client.hook("upsert", {"key": "p2", "fields": {"plan": "gold"}})
    assert set(client.members("hook", "loyal")) == {"p1"}
    client.hook("remove", {"key": "p1"})
    assert client.members("hook", "loyal") == {}


def test_an_event_sent_again_under_its_delivery_counts_once(client: Any) -> None:
    row = {"key": "p1", "fields": {"name": "entered"}}
    client.hook("track", row)
    client.hook("track", row)
    client.hook("track", {"key": "p1", "fields": {"name": "left"}})
    events = client.state("hook")["events"]
    assert [event["fields"]["name"] for event in events] == ["entered", "left"]


def test_an_answer_without_row_detail_refuses_the_whole_batch(client: Any) -> None:
    good = {"key": "p1", "fields": {"email": "ada@example.org"}}
    bad = {"key": "p2", "fields": {"email": "ada at example.org"}}
    answer = client.hook("add", good, bad)
    assert answer.status_code == 400
    assert answer.json() == {"message": "Email address ada at example.org is invalid"}
    assert client.members("hook", "loyal") == {}
    assert client.state("hook")["counts"]["rejected"] == 2


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ({"headers": {}}, 401, "Authorization must be 'Bearer ...'"),
        ({"headers": {"Authorization": "Bearer {settings.access_token}"}}, 401, "form"),
        ({"data": "no json"}, 400, "not JSON"),
        ({"json": {"inputs": []}}, 400, "empty"),
        ({"json": {"inputs": [{"id": "a@b.cc"}]}}, 400, "inputs[0].idProperty is missing"),
        ({"json": {"inputs": "x"}}, 400, "one element per row"),
        ({"json": {"inputs": [], "more": 1}}, 400, "not the vendor's: more"),
    ],
)
def test_what_the_vendor_would_refuse_is_refused_in_its_shape(
    client: Any, how: dict[str, Any], status: int, words: str
) -> None:
    headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}
    answer = client.send(
        "POST",
        "/crm/contacts/batch",
        **{"headers": headers, "json": {"inputs": []}, **how} if "data" not in how else how | {"headers": headers},
    )  # fmt: skip
    assert answer.status_code == status
    assert words in answer.json()["message"]


def test_wrong_paths_methods_and_forms_are_told_apart(client: Any) -> None:
    bearer = {"Authorization": "Bearer x"}
    assert client.send("POST", "/crm/nowhere", headers=bearer).status_code == 404
    path = "/crm/contacts/batch"
    wrong = client.send("PUT", path, headers=bearer)
    assert wrong.status_code == 405
    assert "POST" in wrong.json()["message"]
    assert client.send("POST", path, headers=bearer, data={"a": "1"}).status_code == 400
    assert client.send("GET", "/no_such_vendor/x").status_code == 404
    check = client.send("GET", "/crm/contacts?limit=1", headers=bearer)
    assert check.status_code == 200


def test_more_rows_than_the_vendor_takes_are_refused(client: Any, contact: Any) -> None:
    rows = [contact(f"p{i}", f"u{i}@example.org") for i in range(101)]
    answer = client.crm(*rows)
    assert answer.status_code == 413
    assert "at most 100" in answer.json()["message"]
    assert client.crm(*rows[:100]).status_code == 200
    one = {"key": "p", "fields": {"note": "x" * 1_000_000}}
    assert client.hook("add", one).status_code == 413


@pytest.mark.parametrize("value", ["ada@example.org", "ADA", "a" * 63, "A" * 64])
def test_a_hashed_field_never_takes_clear_text(client: Any, value: str) -> None:
    answer = client.ads("POST", [value, "", ""])
    assert answer.status_code == 400
    assert "hashed field email" in answer.json()["error"]["message"]
    assert client.state("ads")["profiles"] == []


def test_a_row_without_any_identifier_is_refused(client: Any, digest: Any) -> None:
    answer = client.ads("POST", ["", "", digest("ada")])
    assert answer.json() == {"num_received": 1, "num_invalid": 1}
    assert client.state("ads")["members"] == {}


def test_signatures_and_their_age_are_checked(client: Any) -> None:
    row = {"key": "p1", "fields": {}}
    wrong = client.hook("add", row, secret="another")
    assert wrong.status_code == 401
    assert "sandbox-secret" in wrong.json()["message"]
    assert client.hook("add", row, age=3600).status_code == 401
    client.admin("POST", "settings/hook", json={"secret": "another"})
    assert client.hook("add", row, secret="another").status_code == 200
    assert client.hook("add", row).status_code == 401


def test_a_told_token_is_the_only_one_taken(client: Any, contact: Any) -> None:
    client.admin("POST", "settings/crm", json={"access_token": "right"})
    refused = client.crm(contact("p1", "ada@example.org"))
    assert refused.status_code == 401
    assert "sandbox-access_token" not in refused.text
    assert client.crm(contact("p1", "a@example.org"), Authorization="Bearer right").ok
