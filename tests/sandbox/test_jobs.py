"""The real driver against the sandbox, for destinations that take rows in other ways than JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import polars as pl
import pytest
import requests
import yaml

from destinations.connections import Connection
from destinations.driver import HASH, KEY, Operation, Outcome
from destinations.http.driver import HttpDriver
from destinations.http.opening import open_http
from destinations.language.loader import load_spec_text
from destinations.language.spec import Spec
from destinations.sandbox import serve

HEAD = """
id: bulk
name: Bulk
category: crm
kind: http_api
docs: https://example.com
settings: {token: {description: A token, secret: true}}
base_url: https://api.example.com
auth: {type: bearer, token: "{settings.token}"}
fields:
  email: {normalise: email, identifier: true, required: true}
  name: {}
other_fields: false
remove_none: Nobody leaves.
message: message
"""
BATCH = {"rows": 100, "docs": "https://example.com"}
LINE = {"each": {"Email": "{email}", "Name": "{name}"}}
CREATE = {
    "name": "create",
    "request": "POST /jobs",
    "body": {"object": "person"},
    "answer": {"status": [201], "capture": {"id": "id", "upload": "links.upload"}},
}
POLL = {
    "request": "GET /jobs/{create.id}",
    "until": {"state": ["Done"]},
    "failed": {"state": ["Failed"]},
    "every": 0.01,
    "for": 1,
}
FAILED = {
    "request": "GET /jobs/{create.id}/failed",
    "answer": {
        "format": "csv",
        "rejected": {"at": "@", "key": "Email", "field": "email", "message": "Error"},
    },
}
PUT = {"request": "PUT", "url": "{create.upload}", "hosts": ["*.example.com"], "body": LINE}
ROWS = pl.DataFrame(
    {
        KEY: ["a", "b", "c"],
        HASH: ["1", "2", "3"],
        "email": ["a@x.de", "b@x.de", "c@x.de"],
        "name": ['Ann, "A"', "Bob & <b>\r\n", None],
    }
)


def spec_of(**operation: Any) -> Spec:
    return load_spec_text(HEAD + yaml.safe_dump({"operations": {"upsert": operation}}), "bulk.yaml")


@pytest.fixture
def played(tmp_path, monkeypatch) -> Iterator[Callable[..., tuple[HttpDriver, str]]]:
    """Opens a driver for a spec's part of a running sandbox; gives it with the sandbox's URL."""
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path / "state"))
    with ExitStack() as stack:

        def play(spec: Spec) -> tuple[HttpDriver, str]:
            running = stack.enter_context(serve(0, tmp_path / "sandbox", specs=[spec]))
            monkeypatch.setenv("STOREROOM_SANDBOX_URL", running.url)
            driver = open_http(
                spec,
                Connection(name="bulk", destination="bulk", consent="email", sandbox=True),
                {},
                "x",
            )
            stack.callback(driver.close)
            return driver, running.url

        yield play


def deliver(driver: HttpDriver) -> Outcome:
    (delivery,) = driver.deliveries(Operation.UPSERT, ROWS)
    return driver.send(delivery)


def names(url: str) -> dict[str, Any]:
    session = requests.Session()
    session.trust_env = False
    state = session.get(f"{url}/_sandbox/state/bulk", timeout=10).json()
    people = [one for group in state["members"].values() for one in group]
    return {one["identity"]: one["fields"].get("name") for one in people}


@pytest.mark.parametrize(
    "operation",
    [
        {"request": "POST /rows", "encoding": "csv", "body": LINE},
        {"request": "POST /rows", "encoding": "csv", "gzip": True, "body": LINE},
        {"request": "POST /rows", "encoding": "xml", "body": {"people": {"@v": "1", "person": LINE}}},
        {
            "request": "POST /rows",
            "encoding": "multipart",
            "body": {"list": "7", "people": {"file": "people.csv", "encoding": "csv", "body": LINE}},
        },
        {
            "request": "POST /graphql",
            "graphql": "mutation($people: [Person!]!) { add(people: $people) { id } }",
            "body": {"people": LINE},
        },
    ],
    ids=["csv", "gzip", "xml", "multipart", "graphql"],
)  # fmt: skip
def test_rows_arrive_as_they_were_sent(played, operation):
    driver, url = played(spec_of(batch=BATCH, **operation))
    assert set(deliver(driver).results["status"]) == {"accepted"}
    assert names(url) == dict(ROWS.select("email", "name").iter_rows())


@pytest.mark.parametrize("encoding", ["csv", "ndjson"])
def test_a_job_is_created_filled_and_asked_after(played, encoding):
    spec = spec_of(batch=BATCH, steps=[CREATE, {**PUT, "encoding": encoding}, POLL, FAILED])
    driver, url = played(spec)
    outcome = deliver(driver)
    assert outcome.results["status"].to_list() == ["accepted"] * 3, outcome
    assert outcome.requests == 4
    assert names(url) == dict(ROWS.select("email", "name").iter_rows())


def refuse_bob(url: str) -> None:
    session = requests.Session()
    session.trust_env = False
    fault = {
        "destination": "bulk",
        "kind": "rows",
        "rule": {"contains": {"email": "b@x.de"}},
        "message": "No",
    }
    answer = session.post(f"{url}/_sandbox/faults", json=fault, timeout=10)
    assert answer.status_code < 300, answer.text


def test_a_job_names_the_rows_it_refused(played):
    driver, url = played(
        spec_of(batch=BATCH, steps=[CREATE, {**PUT, "encoding": "csv"}, POLL, FAILED])
    )
    refuse_bob(url)
    outcome = deliver(driver)
    assert outcome.results["status"].to_list() == ["accepted", "rejected", "accepted"]
    assert outcome.results["message"].to_list() == [None, "No", None]
    assert "b@x.de" not in names(url)


def test_a_job_without_row_detail_fails_as_a_whole(played):
    driver, url = played(spec_of(batch=BATCH, steps=[CREATE, {**PUT, "encoding": "csv"}, POLL]))
    refuse_bob(url)
    outcome = deliver(driver)
    assert outcome.whole
    assert set(outcome.results["status"]) == {"rejected"}
    assert names(url) == {}
