"""A spec that cannot be used is refused with file, line and what to write instead."""

import copy

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from destinations.errors import ConfigurationError
from destinations.http.check import check
from destinations.http.preview import preview
from destinations.language.loader import SpecError, load_spec_text

GOOD = """\
id: acme
name: Acme
category: crm
kind: http_api
docs: https://docs.acme.io/api
settings:
  key: {description: API key, secret: true}
  list: {description: Id of a list, example: "7", pattern: "[0-9]+"}
base_url: https://api.acme.io
auth: {type: bearer, token: "{settings.key}"}
limits: [{requests: 10, per: 1, docs: "https://docs.acme.io/limits"}]
fields: {email: {normalise: email, identifier: true, required: true}, name: {}}
other_fields: false
operations:
  add:
    request: POST /lists/{settings.list}/people
    batch: {rows: 4, docs: "https://docs.acme.io/api"}
    body: {people: {each: {email: "{email}", name: "{name}"}}}
    answer: {rejected: {at: errors, index: row, message: why}}
  remove: {request: "DELETE /lists/{settings.list}/people/{email}"}
examples:
  - operation: add
    rows: [{email: ann@example.com, name: Ann}]
    requests: [{request: POST /lists/7/people, body: {people: [{email: ann@example.com, name: Ann}]}}]
"""


def test_the_spec_itself_is_taken():
    spec = load_spec_text(GOOD, "acme.yaml")
    assert [one.text for one in check(spec) if one.state == "problem"] == []


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("name: Acme", "nmae: Acme", 2, "Did you mean 'name'"),
        ("index: row", "indx: row", 19, "Did you mean 'index'"),
        ('name: "{name}"', 'name: "{nmae}"', 18, "Did you mean 'name'"),
        ("/people/{email}", "/people/{settings.lst}", 20, "Did you mean 'settings.list'"),
        ('"{name}"', '"{name|lowr}"', 18, "Did you mean 'lower'"),
        ("docs: https://docs.acme.io/api\n", "docs: ''\n", 5, "docs: https://"),
        ("docs: https://docs.acme.io/api\n", "", 1, "'docs' is missing"),
        ('docs: "https://docs.acme.io/limits"', 'docs: ""', 11, "docs: https://"),
        ('token: "{settings.key}"', "token: abcdef", 10, "secret: true"),
        ("key: {description: API key, secret: true}", "key: {description: API key, secret: true, example: abc}", 7, "has a value"),
        ("description: API key", "description: xoxb-1234567890-abcdefgh", 7, "stands in clear"),
        ("https://api.acme.io", "http://api.acme.io", 9, "https://"),
        ("https://api.acme.io", "ftp://api.acme.io", 9, "https://"),
        ('pattern: "[0-9]+"', 'pattern: "["', 8, "regular expression"),
        ("rows: 4", "rows: 0", 17, "greater than 0"),
        ("body: {people: {each: {", "body: {people: {any: {", 16, "each"),
        ("category: crm", "category: crm\nlanguage: 2", 4, "language"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_the_fix(old, new, line, words):
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    with pytest.raises(SpecError) as refusal:
        load_spec_text(text, "acme.yaml")
    assert "acme.yaml:" in refusal.value.message
    assert words in refusal.value.message
    assert any(abs(found - line) <= 1 for found, _ in refusal.value.problems)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("email: ann@example.com, name: Ann}]}}", "email: bob@example.com, name: Ann}]}}", "has the body"),
        ("requests: [{request: POST /lists/7", "requests: [{request: POST /lists/8", "request 1 is POST"),
    ],
)  # fmt: skip
def test_an_example_that_does_not_render_is_a_problem(old, new, words):
    spec = load_spec_text(GOOD.replace(old, new), "acme.yaml")
    assert any(words in one.text for one in check(spec) if one.state == "problem")


WORDS = st.one_of(
    st.sampled_from([
        "", "/", "//evil.io", "https://evil.io", "http://evil.io", "file:///etc/passwd", "../../x", "{", "}", "{{",
        "{email}", "{settings.key}", "{settings.list}", "{name|x}", "{email|format:%s}", "{__class__}", "{meta.now}",
        "{email.__init__}", "!!python/object:os.system", "\x00", "@evil.io", ":80", "?a=b", "#x", "GET /", "POST /x",
        "(a+)+$", "[", "remote_id", "{remote_id}", "each", "...", "*", "&a", "~", "null", "add", "json", "1e400",
    ]),
    st.text(max_size=12), st.integers(), st.floats(), st.booleans(), st.none(),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)  # fmt: skip


def places(node, path=()):
    yield path
    members = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, inner in members:
        yield from places(inner, (*path, key))


PLACES = [path for path in places(yaml.safe_load(GOOD)) if path]


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(["set", "drop", "add"]), WORDS),
        min_size=1,
        max_size=3,
    )
)
def test_a_mutated_spec_is_refused_or_stays_within_the_language(changes):
    document = copy.deepcopy(yaml.safe_load(GOOD))
    for path, how, value in changes:
        node = document
        for key in path[:-1]:
            try:
                node = node[key]
            except (KeyError, IndexError, TypeError):
                node = None
                break
        if isinstance(node, list):
            if not isinstance(path[-1], int) or path[-1] >= len(node):
                continue
        elif not isinstance(node, dict):
            continue
        if how == "drop" and isinstance(node, dict):
            node.pop(path[-1], None)
        elif how == "add" and isinstance(node, dict):
            node[str(value)] = value
        else:
            node[path[-1]] = value
    try:
        spec = load_spec_text(yaml.safe_dump(document, allow_unicode=True), "acme.yaml")
    except SpecError:
        return
    if spec.adapter is not None:
        return
    for operation in spec.operations:
        try:
            shown = preview(spec, operation, 2)
        except ConfigurationError:
            continue
        for request in shown["requests"]:
            host = request["url"].partition("//")[2].partition("/")[0]
            assert (
                host == spec.base_url.partition("//")[2].partition("/")[0] or "{" in spec.base_url
            )
            assert "root:" not in str(request)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_spec_or_refused(text):
    with pytest.raises(SpecError):
        load_spec_text(text, "acme.yaml")
