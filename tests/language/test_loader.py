import contextlib
import copy
import string
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from destinations.language.loader import SpecError, load_spec_file, load_spec_text
from destinations.language.spec import Spec

CATALOG = Path(__file__).parents[2] / "destinations" / "catalog"
GOOD = """\
id: acme
name: Acme
category: crm
kind: http_api
docs: https://acme.example/docs
settings:
  tenant: {description: Tenant, example: a, pattern: "[a-z]+"}
  key: {description: API key, secret: true}
base_url: https://{settings.tenant}.acme.example
auth: {type: bearer, token: "{settings.key}"}
fields:
  email: {normalise: email, identifier: true}
other_fields: false
operations:
  upsert:
    request: PUT /people/{email}
    body: {mail: "{email}"}
  remove:
    request: POST /gone
    batch: {rows: 10, docs: "https://acme.example/limits"}
    body: {ids: {each: "{email}"}}
"""


def test_the_good_spec_loads():
    assert load_spec_text(GOOD, "acme.yaml").id == "acme"


@pytest.mark.parametrize("path", sorted(CATALOG.glob("[!_]*/*.yaml")), ids=lambda path: path.stem)
def test_the_catalog_loads(path):
    spec = load_spec_file(path)
    assert spec.category == path.parent.name


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("docs: https://acme.example/docs\n", "", 1, "the key 'docs' is missing"),
        ("docs: https://acme.example/docs", "docs: acme", 5, "no vendor page"),
        ("category: crm", "categry: crm", 3, "Did you mean 'category'?"),
        ("normalise: email", "normalize: email", 12, "Did you mean 'normalise'?"),
        ("normalise: email", "normalise: emial", 12, "Did you mean 'email'?"),
        ("  remove:", "  erase:", 18, "'erase'"),
        ('mail: "{email}"', 'mail: "{emial}"', 17, "Did you mean 'email'?"),
        ('mail: "{email}"', 'mail: "{settings.tennant}"', 17, "Did you mean 'settings.tenant'?"),
        ('mail: "{email}"', 'mail: "{contact.id}"', 17, "names no field"),
        ('mail: "{email}"', 'mail: "{email|lowr}"', 17, "Did you mean 'lower'?"),
        ('mail: "{email}"', 'mail: "{email"', 17, "does not close"),
        ("/people/{email}", "/people/{email|url}", 16, "escaped anyway"),
        ("https://{settings.tenant}.acme.example", "http://acme.example", 9, "not https"),
        (', pattern: "[a-z]+"', "", 9, "may be any text"),
        ('pattern: "[a-z]+"', 'pattern: ".+"', 9, "another host"),
        ('pattern: "[a-z]+"', 'pattern: "["', 7, "regular expression"),
        ('token: "{settings.key}"', "token: abcdef", 10, "no secret setting"),
        ("secret: true", "secret: true, example: abc", 8, "has a value"),
        (", example: a", "", 7, "has no example"),
        ("    request: POST /gone\n", "", 18, "one request or several steps"),
        ("POST /gone", "FETCH /gone", 19, "no request"),
        ('{ids: {each: "{email}"}}', '{ids: "{email}"}', 21, "differs from row to row"),
        ('{ids: {each: "{email}"}}', "{all: true}", 18, "nowhere to put its rows"),
        (', docs: "https://acme.example/limits"', "", 20, "'docs' is missing"),
        ("rows: 10", "rows: 0", 20, "greater than 0"),
        ("other_fields: false\n", "", 1, "no request sends them"),
        ("name: Acme", "name: Acme\nid: acme", 3, "stands twice"),
        ("name: Acme", "name: [Acme", 3, "not YAML"),
        ("name: Acme", "name: sk_live_abcdefghijklmnop", 2, "secret stands in clear"),
        ("other_fields: false", "other_fields: false\nremove_none: never", 14, "there is a remove"),
        (
            "    body: {mail",
            "    headers: {X-Api-Key: abc}\n    body: {mail",
            17,
            "secret in clear",
        ),
        (
            "    body: {mail",
            "    answer: {rejected: {at: errors}}\n    body: {mail",
            17,
            "exactly one of index and key",
        ),
    ],
)
def test_what_is_refused_says_where_and_what_to_write(old, new, line, words):
    assert old in GOOD
    with pytest.raises(SpecError) as caught:
        load_spec_text(GOOD.replace(old, new, 1), "acme.yaml")
    assert words in caught.value.message
    assert f"acme.yaml:{line}:" in caught.value.message


def test_a_spec_without_remove_says_so_aloud():
    start = GOOD.index("  remove:")
    with pytest.raises(SpecError, match="remove_none"):
        load_spec_text(GOOD[:start], "acme.yaml")
    assert load_spec_text(GOOD[:start] + "remove_none: There is none.\n", "acme.yaml").remove_none


def test_every_problem_is_named_in_one_go():
    text = GOOD.replace("{email}", "{emial}")
    with pytest.raises(SpecError) as caught:
        load_spec_text(text, "acme.yaml")
    assert len(caught.value.problems) == 4  # three places and the field that nothing sends


def test_editors_get_a_schema_with_hover_texts():
    schema = Spec.model_json_schema()
    assert schema["properties"]["remove_none"]["description"]
    assert schema["$defs"]["Answer"]["properties"]["count"]["description"]


def test_the_file_is_named_after_the_id(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(GOOD)
    with pytest.raises(SpecError, match=r"Rename the file to acme\.yaml"):
        load_spec_file(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a: &a [*a]",
        "id: !!python/object/apply:os.system [id]",
        "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
        "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
        "e: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]",
        "[" * 500,
        "id: \x00",
        "<<: 3\nid: a",
        "? {a: 1}\n: b",
        "a: .inf\nb: 0x\nc: 1:2:3",
        "--- a\n--- b",
    ],
)
def test_yaml_that_is_no_spec_is_refused(text):
    with pytest.raises(SpecError):
        load_spec_text(text, "x.yaml")


DOCUMENTS = [yaml.safe_load(path.read_text()) for path in sorted(CATALOG.glob("[!_]*/*.yaml"))]
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(string.printable + "{}é😀", max_size=12)
    | st.sampled_from(
        ["{email|lower}", "{custom}", "{{", "{", "{settings.x}", "POST /{a}", "[", "("]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["each", "...", "a", "steps", "request"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_fuzzed_specs_load_or_are_refused_and_nothing_else(data):
    document = copy.deepcopy(data.draw(st.sampled_from(DOCUMENTS)))
    for _ in range(data.draw(st.integers(1, 3))):
        node = document
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and data.draw(st.booleans()):
                node = node[key]
                continue
            node[key] = data.draw(JUNK)
            break
    with contextlib.suppress(SpecError):
        assert isinstance(load_spec_text(yaml.safe_dump(document), "fuzz.yaml"), Spec)


@settings(max_examples=150, deadline=None)
@given(text=st.text(string.printable + "&*!{}[]|>é", max_size=80))
def test_fuzzed_text_is_refused(text):
    with pytest.raises(SpecError):
        load_spec_text(text, "fuzz.yaml")
