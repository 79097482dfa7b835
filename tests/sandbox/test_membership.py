"""Who the sandbox takes for a member where a request alone does not say it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from destinations.conformance import CASES, ask, bench
from destinations.language.loader import load_spec_text
from destinations.sandbox import serve

HEAD = """
id: acme
name: Acme
category: crm
kind: http_api
docs: https://docs.acme.io/api
settings:
  key: {description: API key, secret: true}
  list: {description: Id of a list, example: "7"}
  other_list: {description: Id of the list of all others, example: "1"}
  attribute: {description: Name of an attribute, example: vip}
base_url: https://api.acme.io
auth: {type: bearer, token: "{settings.key}"}
fields: {email: {normalise: email, identifier: true, required: true}}
other_fields: false
"""
FIND = (
    '{name: find, unless: remote_id, request: GET /people, query: {email: "{email}"},'
    ' answer: {id: "people.0.id?"}}'
)

BY_VALUE = f"""{HEAD}
operations:
  add: {{request: PUT /people, body: {{email: "{{email}}", list: "{{settings.list}}"}}}}
  remove: {{request: PUT /people, body: {{email: "{{email}}", list: "{{settings.other_list}}"}}}}
"""
BY_LIFETIME = f"""{HEAD}
operations:
  add: {{request: PUT /people, body: {{email: "{{email}}", days: "{{settings.list|integer}}"}}}}
  remove: {{request: PUT /people, body: {{email: "{{email}}", days: 0}}}}
"""
BY_PARAMETER = f"""{HEAD}
operations:
  add: {{request: GET /set, query: {{email: "{{email}}", "{{settings.attribute}}": "yes"}}}}
  remove: {{request: GET /set, query: {{email: "{{email}}", "{{settings.attribute}}": "no"}}}}
"""
BY_NULL = f"""{HEAD}
operations:
  add: {{request: PUT /people, body: {{email: "{{email}}", list: "{{settings.list}}"}}}}
  remove: {{request: PUT /people, nulls: send, body: {{email: "{{email}}", list: null}}}}
"""
BY_ENTRY = f"""{HEAD}
operations:
  add:
    steps:
      - &find {FIND}
      - {{name: create, unless: remote_id, request: POST /people, body: {{email: "{{email}}"}}, answer: {{id: id}}}}
      - &entry
        name: entry
        when: remote_id
        request: GET /people/{{remote_id}}
        answer: {{at: entries, match: {{list: "{{settings.list|integer}}"}}, capture: {{id: "id?"}}}}
      - {{unless: entry.id, request: "POST /lists/{{settings.list}}/entries", body: {{person: "{{remote_id}}"}}}}
  remove:
    steps:
      - *find
      - *entry
      - {{when: entry.id, request: "DELETE /lists/{{settings.list}}/entries/{{entry.id}}"}}
"""
WITHIN_LIST = f"""{HEAD}
operations:
  add:
    steps:
      - &find
        name: find
        request: GET /people
        query: {{email: "{{email}}", list: "{{settings.list}}"}}
        answer: {{capture: {{id: "people.0.id?"}}}}
      - {{unless: find.id, request: POST /people, body: {{email: "{{email}}", list: "{{settings.list}}"}}}}
      - {{when: find.id, request: "PUT /people/{{find.id}}", body: {{list: "{{settings.list}}"}}}}
  remove:
    steps: [*find, {{when: find.id, request: "DELETE /people/{{find.id}}"}}]
"""
NOBODY_MADE = f"""{HEAD}
operations:
  add:
    steps:
      - &find {{name: person, request: GET /people, query: {{email: "{{email}}"}}, answer: {{capture: {{id: people.0.id}}}}}}
      - {{request: "POST /lists/{{settings.list}}", body: {{person: "{{person.id}}"}}}}
  remove:
    steps:
      - *find
      - {{request: "DELETE /lists/{{settings.list}}/{{person.id}}"}}
"""


@pytest.fixture
def asked(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    def ask_all(text: str) -> dict[str, str]:
        spec = load_spec_text(text, "acme.yaml")
        with serve(0, tmp_path / "s", specs=[spec]) as sandbox, bench(spec, sandbox) as opened:
            found = [ask(opened, name) for name in CASES]
        return {one.case: one.text for one in found if one.state == "failed"}

    return ask_all


@pytest.mark.parametrize(
    "text",
    [BY_VALUE, BY_LIFETIME, BY_PARAMETER, BY_NULL, BY_ENTRY, WITHIN_LIST, NOBODY_MADE],
    ids=["value", "lifetime", "parameter", "null", "entry", "within", "nobody"],
)
def test_people_come_and_go(asked: Callable[[str], dict[str, str]], text: str) -> None:
    assert asked(text) == {}


@pytest.mark.parametrize("text", [BY_VALUE, BY_LIFETIME, BY_PARAMETER, BY_NULL])
def test_a_removal_that_says_what_an_addition_says_is_noticed(
    asked: Callable[[str], dict[str, str]], text: str
) -> None:
    head, _, removal = text.partition("  remove:")
    added = head.partition("  add:")[2]
    assert removal != added
    assert "membership" in asked(f"{head}  remove:{added}")
