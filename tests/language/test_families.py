"""Specs of one family, and specs whose API ends."""

import datetime as dt

import pytest

from destinations.catalog_index import summaries_in
from destinations.driver import Operation
from destinations.http.check import check
from destinations.http.preview import preview
from destinations.language.loader import SpecError, load_spec_file

FAMILY = """
settings:
  account: {description: account, example: acme, pattern: "[a-z]+"}
  key: {description: key, secret: true}
headers: {Accept: application/json, X-Version: "1"}
fields:
  email: {identifier: true, required: true}
  phone: {type: string}
remove_none: It has none.
other_fields: false
"""
SPEC = """
id: one
name: One
category: crm
kind: http_api
docs: https://docs.example.com
extends: common
base_url: https://api.example.com
auth:
  {type: oauth2, grant: client_credentials, token_url: "https://{settings.account}.example.com/token",
   client_id: "{settings.account}", client_secret: "{settings.key}"}
fields: {phone: null}
headers: {X-Version: "2"}
operations:
  add: {request: POST /people, body: {email: "{email}"}}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "_families").mkdir()
    (tmp_path / "_families" / "common.yaml").write_text(FAMILY)
    (tmp_path / "crm").mkdir()
    return tmp_path


def written(folder, text=SPEC):
    path = folder / "crm" / "one.yaml"
    path.write_text(text)
    return path


def test_a_spec_takes_its_familys_keys(folder):
    spec = load_spec_file(written(folder))
    assert set(spec.settings) == {"account", "key"}
    assert set(spec.fields) == {"email"}
    assert spec.headers == {"Accept": "application/json", "X-Version": "2"}
    (request,) = preview(spec, Operation.ADD, 1)["requests"]
    assert request["headers"]["Authorization"] == "Bearer <access_token>"
    (summary,) = summaries_in(folder, "test", "1")
    assert (summary.id, summary.operations) == ("one", ("add",))


def test_a_mistake_in_the_family_is_told_with_its_line(folder):
    family = folder / "_families" / "common.yaml"
    family.write_text(FAMILY.replace("secret: true", "secrets: true"))
    with pytest.raises(
        SpecError, match=r"one.yaml:7: there is no key 'secrets'.*line 4 of its family"
    ):
        load_spec_file(written(folder))


@pytest.mark.parametrize("name", ["other", "../common"])
def test_a_family_that_is_not_there(folder, name):
    with pytest.raises(SpecError, match=r"one.yaml:7: "):
        load_spec_file(written(folder, SPEC.replace("extends: common", f"extends: {name}")))


@pytest.mark.parametrize(("days", "state"), [(3, "note"), (-3, "problem")])
def test_an_api_that_ends_is_told(folder, days, state):
    day = (dt.datetime.now(dt.UTC) + dt.timedelta(days=days)).date().isoformat()
    more = f'deprecated: {{date: {day}, docs: "https://docs.example.com/end", successor: two}}\n'
    found = check(load_spec_file(written(folder, SPEC + more)))
    (told,) = [one for one in found if day in one.text]
    assert told.state == state
    assert "use two" in told.text


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ('"https://{settings.account}.example.com/token"', '"http://login.example.com/token"', "is not https"),
        ('"https://{settings.account}.example.com/token"', '"https://{settings.key}.example.com/token"', "may be any text"),
        ('base_url: https://api.example.com', 'base_url: "{auth.host}/v1"', "names no field"),
        ("grant: client_credentials", "grant: refresh_token", "needs refresh_token"),
        ("POST /people,", "POST /people, when: emial,", "'emial' is no field"),
        ("POST /people,", "GET /people, pages: {page: p},", "pages are those of a list"),
        ("POST /people,", 'POST /people, answer: {match: {email: "{email}"}},', "nothing says in which list"),
    ],
)  # fmt: skip
def test_what_no_run_could_do_is_refused(folder, before, after, wanted):
    assert before in SPEC
    with pytest.raises(SpecError, match=wanted):
        load_spec_file(written(folder, SPEC.replace(before, after)))


def test_a_captured_host_needs_hosts(folder):
    text = SPEC.replace("base_url: https://api.example.com", 'base_url: "{auth.host}/v1"')
    text = text.replace("grant: client", "capture: {host: instance_url}, grant: client")
    with pytest.raises(SpecError, match="may lead anywhere"):
        load_spec_file(written(folder, text))
    text = text.replace("capture:", 'hosts: ["*.example.com"], capture:')
    (request,) = preview(load_spec_file(written(folder, text)), Operation.ADD, 1)["requests"]
    assert request["url"] == "https://example.example.com/v1/people"
