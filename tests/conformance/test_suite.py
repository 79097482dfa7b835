"""The suite itself: a spec with a fault in it fails the question that is about the fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from destinations.conformance import CASES, ask, bench
from destinations.conformance.people import ODD, crowd, people
from destinations.language.loader import load_spec_text
from destinations.language.spec import Spec
from destinations.sandbox import Sandbox, serve

SPEC = """
id: acme
name: Acme
category: crm
kind: http_api
docs: https://docs.acme.io/api
settings: {key: {description: API key, secret: true}, list: {description: Id of a list, example: "7"}}
base_url: https://api.acme.io
auth: {type: bearer, token: "{settings.key}"}
fields: {email: {normalise: email, identifier: true, required: true, hash: sha256}, name: {}}
other_fields: false
operations:
  add:
    request: POST /lists/{settings.list}/people
    batch: {rows: 4, docs: "https://docs.acme.io/api"}
    body: {people: {each: {email: "{email}", name: "{name}"}}}
    answer: {body: {ok: true}, rejected: {at: errors, index: row, message: why}}
  remove:
    request: DELETE /lists/{settings.list}/people/{email}
    errors: [{status: [404], means: done}]
"""


@pytest.fixture
def verdicts(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    def run(text: str) -> dict[str, str]:
        spec: Spec = load_spec_text(text, "acme.yaml")
        sandbox: Sandbox
        with serve(0, tmp_path / "s", specs=[spec]) as sandbox, bench(spec, sandbox) as opened:
            return {name: ask(opened, name).state for name in CASES}

    return run


def test_a_right_spec_passes(verdicts):
    found = verdicts(SPEC)
    assert {name for name, state in found.items() if state == "failed"} == set()
    assert {name for name, state in found.items() if state == "skipped"} == {"check_request"}


@pytest.mark.parametrize(
    ("old", "new", "question"),
    [
        ("    body: {people", "    errors: [{status: [429], means: accept}]\n    body: {people", "too_many_requests"),
        ("    body: {people", "    errors: [{status: [500, 503], means: reject}]\n    body: {people", "outage"),
        ("    body: {people", "    errors: [{status: [401], means: reject}]\n    body: {people", "wrong_credentials"),
        ("    body: {people", "    errors: [{status: [400], means: accept}]\n    body: {people", "refused_batch"),
        ("    body: {people", "    errors: [{status: [302], means: reject}]\n    body: {people", "redirect"),
    ],
)  # fmt: skip
def test_a_wrong_spec_fails_its_question(verdicts, old, new, question):
    assert old in SPEC
    found = verdicts(SPEC.replace(old, new))
    failed = {name for name, state in found.items() if state == "failed"}
    assert question in failed


def test_people_differ_in_every_field_and_stay_the_same():
    spec = load_spec_text(SPEC, "acme.yaml")
    rows = people(spec, 5)
    assert rows["email"].n_unique() == 5
    assert people(spec, 2, first=3)["email"].to_list() == rows["email"].to_list()[3:]
    assert ODD in people(spec, 1, text=ODD)["name"][0]
    many = crowd(spec, 25_001)
    assert many["_key"].n_unique() == many.height == 25_001
