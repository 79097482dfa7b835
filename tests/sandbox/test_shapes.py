"""Shapes of API that the first destinations lack, as small made-up vendors, by the real driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from destinations.connections import Connection
from destinations.driver import HASH, KEY, REMOTE_ID, Operation, Status
from destinations.http.driver import HttpDriver
from destinations.http.opening import open_http
from destinations.language.spec import Spec
from destinations.sandbox import Sandbox, serve
from destinations.sandbox.admin import state

COMMON = """
id: vendor
name: Vendor
category: crm
kind: http_api
docs: https://vendor.example/docs
base_url: https://api.vendor.example/v9
settings: {list_id: {description: list, example: "17"}, token: {description: token, secret: true}}
auth: {type: bearer, token: "{settings.token}"}
fields: {email: {normalise: email, identifier: true, required: true}}
message: error
"""

DIGEST_IN_PATH = """
operations:
  add:
    request: PUT /lists/{settings.list_id}/members/{email|lower|md5}
    body: {email_address: "{email}", merge_fields: {"...": "{custom|keys:F_*}"}}
  remove:
    request: DELETE /lists/{settings.list_id}/members/{email|lower|md5}
    errors: [{status: [404], means: accept}]
  delete: {request: "POST /lists/{settings.list_id}/members/{email|lower|md5}/erase"}
"""

FORM = """
auth: {type: query, name: key, value: "{settings.token}"}
operations:
  add:
    request: POST /subscribe
    encoding: form
    body: {list: "{settings.list_id}", email: "{email}", confirmed: true, data: {"...": "{custom}"}}
    answer: {body: {ok: true}, id: person.id}
  remove: {request: POST /unsubscribe, encoding: form, body: {list: "{settings.list_id}", email: "{email}"}}
"""

LINES = """
operations:
  upsert: &bulk
    request: POST /_bulk
    encoding: ndjson
    batch: {rows: 3, docs: "https://vendor.example"}
    body: {each: [{index: {id: "{email|base64}", list: "{settings.list_id}"}}, {"...": "{fields}"}]}
    answer: &parallel
      accepted: {at: items, index: "#", when: {status: [200, 201]}, id: _id}
      rejected: {at: items, index: "#", when: {status: 400}, message: error.reason}
  remove:
    <<: *bulk
    body: {each: [{delete: {id: "{email|base64}", list: "{settings.list_id}"}}]}
"""

LOOKUP = """
operations:
  add:
    request: POST /people
    body: {email: "{email}", segment: "{settings.list_id}", "...": "{custom}"}
  remove:
    steps:
      - name: find
        request: GET /people
        query: {email: "{email}"}
        answer: {capture: {id: results.0.id}}
        errors: [{status: [404], means: accept}]
      - {request: "DELETE /people/{find.id}/segments/{settings.list_id}"}
"""

PAIRS = """
operations:
  add:
    request: POST /import
    batch: {rows: 10, docs: "https://vendor.example"}
    body:
      list: "{settings.list_id}"
      people:
        each:
          ids: [{type: email, value: "{email}"}, {type: phone, value: "{phone}"}]
          tags: ["{vip|yes_no:Y,N}", "{city}"]
          attributes: "{custom|pairs:name,value}"
    answer: {rejected: {at: failed, key: "@", field: email}}
  remove: {request: "DELETE /lists/{settings.list_id}/{email}"}
fields:
  email: {normalise: email, identifier: true, required: true}
  phone: {}
  city: {}
  vip: {type: boolean}
"""

GROUPED = """
operations:
  add:
    request: POST /regions/{region}/people
    batch: {rows: 10, group_by: [region], docs: "https://vendor.example"}
    body: {list: "{settings.list_id}", "people": {each: "{email}"}}
    answer: {count: accepted}
  remove: {request: POST /remove, body: {list: "{settings.list_id}", id: "{email}"}}
fields: {email: {normalise: email, identifier: true, required: true}, region: {}}
"""

SECRET_IN_PATH = """
operations:
  add: {request: "POST /bot{settings.token}/add", body: {email: "{email}", "...": "{custom}"}}
  remove: {request: "POST /bot{settings.token}/remove", body: {email: "{email}"}}
"""

Run = Callable[[Operation, pl.DataFrame], pl.DataFrame]


@contextmanager
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Iterator[Any]:
    """A driver and a sandbox for the vendor that ``text`` describes."""
    spec = Spec.model_validate({**yaml.safe_load(COMMON), **yaml.safe_load(text)})
    with serve(0, tmp_path, specs=[spec]) as sandbox:
        monkeypatch.setenv("STOREROOM_SANDBOX_URL", sandbox.url)
        monkeypatch.setenv("STOREROOM_STATE", str(tmp_path))
        connection = Connection(
            name="v", destination="vendor", consent="not_required", sandbox=True,
            settings={"token": {"env": "VENDOR_NOT_SET"}},  # type: ignore[dict-item]
        )  # fmt: skip
        driver = open_http(spec, connection, {}, "loyal")
        yield driver, sandbox
        driver.close()


def people(*emails: str, **columns: Any) -> pl.DataFrame:
    fixed = {KEY: [f"k-{one}" for one in emails], HASH: list(emails), "email": list(emails)}
    spread = {name: value if isinstance(value, list) else [value] * len(emails) for name, value in columns.items()}  # fmt: skip
    return pl.DataFrame({**fixed, **spread}).with_columns(
        pl.lit(None, dtype=pl.String).alias(REMOTE_ID)
    )


def run(driver: HttpDriver, operation: Operation, rows: pl.DataFrame) -> dict[str, str]:
    """Status by e-mail; the words where a row was not accepted."""
    results = pl.concat(
        [driver.send(one).results for one in driver.deliveries(operation, rows)]
    ).join(rows.select(KEY, "email"), on=KEY, how="left", maintain_order="left")
    accepted = Status.ACCEPTED.value
    return {
        row["email"]: row["status"]
        if row["status"] == accepted
        else row["message"] or row["status"]
        for row in results.to_dicts()
    }


def held(sandbox: Sandbox, target: str = "17") -> dict[str, Any]:
    members = state(sandbox.store, "vendor")["members"]
    assert set(members) <= {target}
    return {one["identity"]: one["fields"] for one in members.get(target, [])}


TWO = ("ada@example.org", "bob@example.org")


def test_a_digest_in_the_path_names_a_person(tmp_path: Path, monkeypatch: Any) -> None:
    with vendor(tmp_path, monkeypatch, DIGEST_IN_PATH) as (driver, sandbox):
        assert set(run(driver, Operation.ADD, people(*TWO, city="Köln")).values()) == {"accepted"}
        assert held(sandbox)[TWO[0]] == {"email": TWO[0], "city": "Köln"}
        assert run(driver, Operation.REMOVE, people(TWO[0])) == {TWO[0]: "accepted"}
        assert run(driver, Operation.REMOVE, people("x@example.org")) == {
            "x@example.org": "accepted"
        }
        assert set(held(sandbox)) == {TWO[1]}
        assert run(driver, Operation.DELETE, people(TWO[0])) == {TWO[0]: "accepted"}
        assert len(state(sandbox.store, "vendor")["profiles"]) == 1


def test_a_form_with_a_key_in_the_query(tmp_path: Path, monkeypatch: Any) -> None:
    with vendor(tmp_path, monkeypatch, FORM) as (driver, sandbox):
        rows = people(*TWO, note='a "quoted" & odd=one', n=7)
        assert set(run(driver, Operation.ADD, rows).values()) == {"accepted"}
        expected = {"email": TWO[0], "note": 'a "quoted" & odd=one', "n": 7}
        assert held(sandbox)[TWO[0]] == expected
        run(driver, Operation.REMOVE, people(TWO[0]))
        assert set(held(sandbox)) == {TWO[1]}
        sandbox.fail("vendor", "errors", message="No")
        assert run(driver, Operation.ADD, people(TWO[0])) != {TWO[0]: "accepted"}
        assert b"sandbox-token" not in sandbox.state_file.read_bytes()


def test_lines_are_answered_one_by_one_in_their_order(tmp_path: Path, monkeypatch: Any) -> None:
    with vendor(tmp_path, monkeypatch, LINES) as (driver, sandbox):
        emails = [f"u{number}@example.org" for number in range(5)]
        sandbox.fail("vendor", "rows", rule={"contains": {"email": "u1@"}}, message="Not you")
        said = run(driver, Operation.UPSERT, people(*emails, plan="gold"))
        assert said.pop("u1@example.org") == "Not you"
        assert set(said.values()) == {"accepted"}
        assert held(sandbox)["u4@example.org"] == {"email": "u4@example.org", "plan": "gold"}
        run(driver, Operation.REMOVE, people("u4@example.org"))
        assert set(held(sandbox)) == {"u0@example.org", "u2@example.org", "u3@example.org"}


def test_a_lookup_captures_the_id(tmp_path: Path, monkeypatch: Any) -> None:
    with vendor(tmp_path, monkeypatch, LOOKUP) as (driver, sandbox):
        run(driver, Operation.ADD, people(*TWO, plan="gold"))
        assert run(driver, Operation.REMOVE, people(TWO[0])) == {TWO[0]: "accepted"}
        assert set(held(sandbox)) == {TWO[1]}


def test_pairs_arrays_that_shrink_and_rows_named_by_a_field(
    tmp_path: Path, monkeypatch: Any
) -> None:
    with vendor(tmp_path, monkeypatch, PAIRS) as (driver, sandbox):
        rows = people(
            *TWO, phone=[None, "12"], city=[None, "Oslo"], vip=[True, False], size=["L", "M"]
        )
        sandbox.fail("vendor", "rows", rule={"contains": {"email": "bob"}}, times=1)
        said = run(driver, Operation.ADD, rows)
        assert said[TWO[0]] == "accepted"
        assert said[TWO[1]] != "accepted"
        assert held(sandbox) == {TWO[0]: {"email": TWO[0], "vip": True, "size": "L"}}
        assert run(driver, Operation.ADD, rows.tail(1)) == {TWO[1]: "accepted"}
        assert held(sandbox)[TWO[1]] == {
            "email": TWO[1], "phone": "12", "city": "Oslo", "vip": False, "size": "M",
        }  # fmt: skip


def test_a_batch_per_group_with_a_count(tmp_path: Path, monkeypatch: Any) -> None:
    with vendor(tmp_path, monkeypatch, GROUPED) as (driver, sandbox):
        emails = [f"u{number}@example.org" for number in range(4)]
        said = run(driver, Operation.ADD, people(*emails, region=["eu", "us", "eu", "us"]))
        assert set(said.values()) == {"accepted"}
        assert {one["region"] for one in held(sandbox).values()} == {"eu", "us"}
        run(driver, Operation.REMOVE, people(emails[0], region="eu"))
        assert set(held(sandbox)) == set(emails[1:])


def test_a_secret_in_the_path_is_not_logged(tmp_path: Path, monkeypatch: Any) -> None:
    with vendor(tmp_path, monkeypatch, SECRET_IN_PATH) as (driver, sandbox):
        assert run(driver, Operation.ADD, people(TWO[0])) == {TWO[0]: "accepted"}
        assert set(held(sandbox, "")) == {TWO[0]}
        with sandbox.store.reading() as reading:
            paths = [row["path"] for row in reading.execute("select path from requests")]
        assert paths == ["/bot***/add"]
