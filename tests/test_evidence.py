import json
from pathlib import Path

import pytest

from destinations.driver import Operation
from destinations.errors import ConfigurationError
from destinations.evidence import check_spec, compared, recorded, sources_in
from destinations.http.check import check
from destinations.http.openapi import Description
from destinations.http.preview import preview
from destinations.language.loader import load_spec_text
from destinations.previews import previews
from destinations.registry import CATALOG, list_destinations, load_spec, offered_operations

OPENAPI = Path(__file__).parents[1] / ".." / "shared" / "openapi"
IDS = [row.id for row in list_destinations()]


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path / "state"))


@pytest.mark.parametrize("destination", IDS)
def test_every_spec_of_the_catalog_checks(destination):
    findings = check_spec(destination)
    assert [finding.text for finding in findings if finding.state == "problem"] == []
    assert all(set(finding.as_row()) == {"state", "text"} for finding in findings)


@pytest.mark.parametrize("destination", IDS)
def test_every_destination_previews_every_operation(destination):
    spec = load_spec(destination)
    found = list(previews(destination, None, 2))
    assert [row["operation"] for row in found] == [one.value for one in offered_operations(spec)]
    for row in found:
        assert set(row) == {"destination", "operation", "requests"}
        assert row["requests"]
        for request in row["requests"]:
            assert set(request) == {"method", "url", "headers", "query", "body"}
            assert "{" not in request["url"]
            assert "@" not in request["url"].partition("//")[2].partition("/")[0]
            assert request["url"].startswith("https://") or spec.adapter is not None
        assert json.dumps(row)


def test_a_preview_shows_placeholders_for_secrets():
    (shown,) = previews("facebook_custom_audiences", "add", 2)
    (request,) = shown["requests"]
    assert request["query"] == {"access_token": "<access_token>"}
    assert len(request["body"]["payload"]["data"]) == 2
    (shown,) = previews("hubspot", "upsert", 1)
    assert shown["requests"][0]["headers"]["Authorization"] == "Bearer <access_token>"


@pytest.mark.parametrize(
    ("operation", "words"), [("track", "has no track"), ("upsrt", "Did you mean 'upsert'")]
)
def test_an_operation_that_there_is_not(operation, words):
    with pytest.raises(ConfigurationError, match=words):
        list(previews("hubspot", operation, 2))


def test_a_preview_of_no_rows_is_refused():
    with pytest.raises(ConfigurationError, match="1 or more"):
        list(previews("hubspot", "upsert", 0))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("visits: '3'", "visits: '4'", "request 1 has the body"),
        ("outcomes: [accepted, rejected]", "outcomes: [accepted, accepted]", "accepted, rejected"),
        ("[{request: POST /crm/v3/objects/contacts/batch/update", "[{request: POST /x", "request 1 is POST"),
    ],
)  # fmt: skip
def test_an_example_that_does_not_hold_is_a_problem(old, new, words):
    text = (CATALOG / "crm" / "hubspot.yaml").read_text(encoding="utf-8")
    assert old in text
    findings = check(load_spec_text(text.replace(old, new), "hubspot.yaml"))
    problems = [finding.text for finding in findings if finding.state == "problem"]
    assert len(problems) == 1
    assert words in problems[0]


@pytest.mark.skipif(not OPENAPI.is_dir(), reason="the vendors' OpenAPI files are not here")
def test_what_is_recorded_of_the_vendors_descriptions_is_what_they_say_now():
    sources = sources_in(OPENAPI)
    known = {name: sources[name] for name in IDS if name in sources}
    assert compared(known) == recorded(), (
        "run `storeroom destinations check --all --openapi ../shared/openapi --record`"
    )


def test_every_recorded_comparison_is_of_a_spec_that_there_is():
    assert set(recorded()) <= set(IDS)


DESCRIPTION = {
    "paths": {
        "/v1/people/{id}": {
            "parameters": [{"name": "force", "in": "query"}],
            "put": {
                "parameters": [{"name": "token", "in": "query", "required": True}],
                "requestBody": {"$ref": "#/components/requestBodies/Person"},
            },
        }
    },
    "components": {
        "requestBodies": {
            "Person": {
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/P"}}}
            }
        },
        "schemas": {
            "P": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string", "nullable": True}},
            }
        },
    },
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"body": {"name": None}}, None),
        ({"body": {}}, "'name' is missing"),
        ({"body": {"name": 3}}, "not of type"),
        ({"query": {}}, "token is missing"),
        ({"query": {"token": "x", "other": "y"}}, "no query parameter other"),
        ({"method": "POST"}, "no POST"),
        ({"url": "https://api.example.com/v2/people/1"}, "no path like"),
    ],
)
def test_disagreements_with_a_description_are_named(change, words):
    request = {
        "method": "PUT",
        "url": "https://api.example.com/v1/people/7",
        "query": {"token": "x"},
        "headers": {"Content-Type": "application/json"},
        "body": {"name": "Ann"},
        **change,
    }
    found = Description(DESCRIPTION).disagreements(request)
    assert (found == []) if words is None else any(words in said for said in found), found


def test_a_preview_of_many_rows_keeps_to_the_batch():
    shown = preview(load_spec("hubspot"), Operation.ADD, 101)
    assert [len(request["body"]["inputs"]) for request in shown["requests"]] == [100, 1]
