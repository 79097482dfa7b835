"""The sandbox plays what makes a request depend on answers: tokens, look-ups, audiences."""

import polars as pl
import pytest

from destinations.connections import SANDBOX_URL_VARIABLE, Connection
from destinations.driver import KEY, REMOTE_ID, Operation
from destinations.http.opening import open_http
from destinations.language.spec import Spec
from destinations.sandbox.server import serve

DOCUMENT = {
    "id": "steps",
    "name": "Steps",
    "category": "crm",
    "kind": "http_api",
    "docs": "https://docs.example.com",
    "settings": {
        "refresh_token": {"description": "token", "secret": True},
        "list_id": {"description": "list", "example": "17"},
    },
    "base_url": "{auth.instance}/v1",
    "auth": {
        "type": "oauth2",
        "grant": "refresh_token",
        "token_url": "https://login.example.com/token",
        "refresh_token": "{settings.refresh_token}",
        "capture": {"instance": "instance_url"},
        "hosts": ["*.example.com"],
    },
    "audience": {
        "setting": "list_id",
        "find": {
            "request": "GET /lists",
            "answer": {"at": "lists", "match": {"name": "{meta.audience}"}, "id": "id?"},
        },
        "create": {
            "request": "POST /lists",
            "body": {"name": "{meta.audience}"},
            "answer": {"status": [201], "id": "list.id"},
        },
    },
    "fields": {"email": {"normalise": "email", "identifier": True, "required": True}},
    "operations": {
        "add": {
            "steps": [
                {
                    "name": "find",
                    "unless": "remote_id",
                    "request": "GET /people",
                    "query": {"email": "{email}"},
                    "pages": {"page": "page"},
                    "answer": {"at": "data", "match": {"email": "{email}"}, "id": "id?"},
                },
                {
                    "name": "create",
                    "unless": "remote_id",
                    "request": "POST /people",
                    "body": {"email": "{email}", "list": "{settings.list_id|integer}"},
                    "answer": {"status": [201], "id": "id"},
                },
                {
                    "request": "PUT /people/{remote_id}",
                    "unless": "create.id",
                    "body": {"email": "{email}", "list": "{settings.list_id|integer}"},
                    "errors": [{"status": [410], "means": "gone"}],
                },
            ]
        },
        "remove": {
            "steps": [
                {
                    "name": "find",
                    "request": "GET /people",
                    "query": {"email": "{email}"},
                    "pages": {"page": "page"},
                    "answer": {"at": "data", "match": {"email": "{email}"}, "id": "id?"},
                },
                {
                    "request": "DELETE /people/{find.id}/lists/{settings.list_id}",
                    "when": "find.id",
                    "answer": {"status": [204]},
                },
            ]
        },
    },
}


@pytest.fixture
def driver(tmp_path, monkeypatch):
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path / "state"))
    with serve(0, tmp_path / "sandbox", specs=[Spec.model_validate(DOCUMENT)]) as running:
        monkeypatch.setenv(SANDBOX_URL_VARIABLE, running.url)
        connection = Connection(
            name="steps",
            destination="steps",
            consent="not_required",
            sandbox=True,
            settings={"refresh_token": {"env": "NOT_SET"}},
        )
        opened = open_http(Spec.model_validate(DOCUMENT), connection, {}, "loyal")
        yield opened
        opened.close()


def people(*remote_ids):
    return pl.DataFrame(
        {
            KEY: [f"k{n}" for n in range(len(remote_ids))],
            "_hash": ["h"] * len(remote_ids),
            REMOTE_ID: list(remote_ids),
            "email": [f"p{n}@example.com" for n in range(len(remote_ids))],
        },
        schema_overrides={REMOTE_ID: pl.String},
    )


def sent(driver, operation, rows):
    results = pl.concat([driver.send(d).results for d in driver.deliveries(operation, rows)])
    assert results["status"].to_list() == ["accepted"] * rows.height, results.to_dicts()
    return results["remote_id"].to_list()


def test_people_come_are_known_again_and_go(driver):
    first = sent(driver, Operation.ADD, people(None, None))
    assert len(set(first)) == 2
    # found by their address, taken by their id, and found again where the id is stale
    assert sent(driver, Operation.ADD, people(None, None)) == first
    sent(driver, Operation.ADD, people(*first))
    assert sent(driver, Operation.ADD, people("999", first[1]))[0] == first[0]
    sent(driver, Operation.REMOVE, people(*first))
    # nobody of that address: there is nothing to take out
    stranger = people(None).with_columns(email=pl.lit("x@example.com"))
    sent(driver, Operation.REMOVE, stranger)


def test_a_token_the_sandbox_forgot_is_renewed(driver):
    sent(driver, Operation.ADD, people(None))
    login = driver._account._login
    login._token = type(login._token)("sandbox-of-another-day", login._token.until, {})
    sent(driver, Operation.ADD, people(None))
    assert login.token().text != "sandbox-of-another-day"
