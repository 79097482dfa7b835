"""Descriptions in every version of OpenAPI, and what each says of a request."""

import json

import pytest

from destinations.errors import ConfigurationError
from destinations.evidence import sources_in
from destinations.http.openapi import Description, read_description

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def request(method="POST", url="https://api.acme.io/v1/people", **parts):
    return {"method": method, "url": url, "headers": JSON, "query": {}, "body": None, **parts}


def person(schema, **document):
    content = {"application/json": {"schema": schema}}
    operation = {"post": {"requestBody": {"content": content, "required": True}}}
    return Description(
        {
            "openapi": "3.0.1",
            "servers": [{"url": "https://api.acme.io/v1"}],
            "paths": {"/people": operation},
            **document,
        }
    )


def said(description, **parts):
    return description.disagreements(request(**parts))


def test_the_servers_path_stands_before_the_described_one():
    description = person({"type": "object"})
    assert said(description, body={}) == []
    assert said(description, body={}, url="https://eu.acme.io/v1/people/") == []
    assert "no path" in said(description, body={}, url="https://api.acme.io/v2/people")[0]
    assert "no path" in said(description, body={}, url="https://api.acme.io/people")[0]


@pytest.mark.parametrize(
    "servers",
    [[], [{"url": "/"}], [{"url": "http://localhost:8080"}], [{"url": "{base}", "variables": {}}]],
)
def test_a_server_that_is_made_up_says_nothing_of_the_path(servers):
    assert said(person({}, servers=servers), body={}, url="https://x.io/any/where/people") == []


def test_a_server_variable_may_be_part_of_the_path():
    server = {
        "url": "https://{host}/{base}",
        "variables": {"host": {}, "base": {"default": "api/v9"}},
    }
    description = person({}, servers=[server])
    assert said(description, body={}, url="https://a.io/api/v9/people") == []
    assert said(description, body={}, url="https://a.io/api/v8/people") != []


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string", "nullable": True}, None, 3),
        ({"type": ["string", "null"]}, None, 3),
        ({"type": "string", "enum": ["a"], "nullable": True}, None, "b"),
        ({"allOf": [{"type": "string"}], "nullable": True}, None, 3),
        ({"$ref": "#/components/schemas/Name"}, "Ann", 3),
        ({"$ref": "#/components/schemas/Maybe"}, None, 3),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 2, 1),
        ({"type": "integer", "exclusiveMinimum": 1}, 2, 1),
        ({"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 9}]}, "Ann", 3),
        ({"type": "string", "pattern": r"^\p{L}+$"}, "Ann", 3),
        ({"type": "string", "pattern": "^A"}, "Ann", "Bob"),
        ({"type": "string", "format": "uuid"}, "Ann", 3),
        ({"type": "string", "maxLength": 2}, "<api_key>", "Ann"),
        ({"type": "object", "required": ["id"], "properties": {"id": {"readOnly": True}}}, {}, 3),
        ({"type": "object", "required": ["id"], "properties": {"id": {}}}, {"id": 1}, {}),
    ],
)  # fmt: skip
def test_schemas_mean_what_their_version_says(schema, good, bad):
    components = {
        "schemas": {"Name": {"type": "string"}, "Maybe": {"type": "string", "nullable": True}}
    }
    description = person({"properties": {"name": schema}}, components=components)
    assert said(description, body={"name": good}) == []
    assert len(said(description, body={"name": bad})) == 1
    assert "name" in said(description, body={"name": bad})[0]


def test_a_recursive_schema_is_followed():
    tree = {
        "type": "object",
        "properties": {"child": {"$ref": "#/components/schemas/Tree"}, "n": {"type": "integer"}},
    }
    description = person(
        {"$ref": "#/components/schemas/Tree"}, components={"schemas": {"Tree": tree}}
    )
    assert said(description, body={"child": {"child": {"n": 1}}}) == []
    assert said(description, body={"child": {"child": {"n": "1"}}}) == [
        "body child.child.n: '1' is not of type 'integer'"
    ]


def test_an_unresolvable_reference_is_said_and_does_not_crash():
    assert "cannot be read" in said(person({"$ref": "#/components/schemas/Gone"}), body={"a": 1})[0]


def test_the_body_and_its_media_type_are_asked_for():
    description = person({"type": "object"})
    assert said(description) == ["the body is missing"]
    assert "application/json is described" in said(description, body="a=1", headers=FORM)[0]
    assert said(description, body={}, headers={"Content-Type": "application/vnd.api+json"}) == []


def test_parameters_are_declared_required_and_typed():
    parameters = [
        {"in": "query", "name": "page", "required": True, "schema": {"type": "integer"}},
        {"in": "query", "name": "tags[]", "schema": {"type": "array", "items": {"type": "string"}}},
        {"in": "header", "name": "X-Version", "required": True},
        {"in": "query", "name": "api_key", "required": True},
    ]
    description = Description(
        {
            "openapi": "3.1.0",
            "paths": {"/people": {"parameters": parameters, "get": {}}},
            "components": {
                "securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "api_key"}}
            },
        }
    )
    good = {"query": {"page": "2", "tags": "a,b"}, "headers": {"x-version": "1"}}
    assert said(description, method="GET", **good) == []
    wrong = said(description, method="GET", query={"page": "two", "pages": "1"}, headers={})
    assert len(wrong) == 3
    assert any("'two' is not of type 'integer'" in words for words in wrong)
    assert any("no query parameter pages" in words for words in wrong)
    assert any("header X-Version is missing" in words for words in wrong)
    assert (
        "query parameter page is missing"
        in said(description, method="GET", headers={"X-Version": "1"})[0]
    )


def test_forms_are_read_as_the_objects_they_stand_for():
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "email": {"type": "string"},
            "age": {"type": "integer"},
            "metadata": {
                "anyOf": [
                    {"type": "object", "additionalProperties": {"type": "string"}},
                    {"type": "string"},
                ]
            },
            "tags": {"type": "array", "items": {"type": "string"}},
        },
    }
    description = person(schema)
    description._document["paths"]["/people"]["post"]["requestBody"]["content"] = {
        "application/x-www-form-urlencoded": {"schema": schema}
    }
    body = "email=a%40b.c&age=3&metadata%5Bplan%5D=gold&tags%5B%5D=x&tags%5B%5D=y"
    assert said(description, body=body, headers=FORM) == []
    assert "age: 'old'" in said(description, body="age=old", headers=FORM)[0]
    assert "'nope' was unexpected" in said(description, body="nope=1", headers=FORM)[0]


def test_swagger_2_says_bodies_and_forms_as_parameters():
    description = Description(
        {
            "swagger": "2.0",
            "host": "api.acme.io",
            "basePath": "/v1",
            "consumes": ["application/json"],
            "definitions": {"Person": {"type": "object", "required": ["name"]}},
            "paths": {
                "/people": {"post": {"parameters": [{"in": "body", "name": "b", "schema": {"$ref": "#/definitions/Person"}}]}},
                "/form": {"post": {"consumes": ["application/x-www-form-urlencoded"], "parameters": [
                    {"in": "formData", "name": "age", "type": "integer", "required": True}]}},
            },
        }
    )  # fmt: skip
    assert said(description, body={"name": "Ann"}) == []
    assert "'name' is missing" in said(description, body={})[0]
    form = {"url": "https://api.acme.io/v1/form", "headers": FORM}
    assert said(description, body="age=3", **form) == []
    assert "'age' is missing" in said(description, body="x=1", **form)[0]


def test_paths_that_differ_by_a_fragment_are_alternatives():
    content = {
        c: {"requestBody": {"content": {"application/json": {"schema": {"required": [c]}}}}}
        for c in "ab"
    }
    description = Description(
        {"openapi": "3.1.0", "paths": {f"/people#{c}": {"post": content[c]} for c in "ab"}}
    )
    assert said(description, body={"b": 1}) == []
    assert len(said(description, body={"c": 1})) == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"openapi": "3.0.0"}'])
def test_what_is_no_description_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="OpenAPI file"):
        read_description(path)


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no index\.csv"):
        sources_in(tmp_path)
    (tmp_path / "index.csv").write_text("destination_id,file\nacme,acme.json\n")
    (tmp_path / "acme.json").write_text(json.dumps({"paths": {}}))
    (source,) = sources_in(tmp_path)["acme"]
    assert source.description.official
    assert source.as_record()["file"] == "acme.json"


def test_another_host_may_have_no_path_before_the_described_one():
    description = person({"type": "object"})
    assert said(description, body={}, url="https://people.acme.com/people") == []
    assert "no path" in said(description, body={}, url="https://people.acme.com/v2/people")[0]


def test_a_path_is_never_taken_for_a_shorter_one():
    paths = {
        "/people": {"post": {"requestBody": {"content": {"application/json": {"schema": False}}}}},
        "/lists/{list}/people": {"post": {"requestBody": {"content": {"application/json": {}}}}},
    }
    for server in ("https://api.acme.io", "/"):
        description = person({}, servers=[{"url": server}], paths=paths)
        assert said(description, body={}, url="https://api.acme.io/lists/7/people") == []
        assert said(description, body={}, url="https://api.acme.io/people") != []


def test_a_servers_path_written_twice_is_one():
    description = person({}, servers=[{"url": "https://api.acme.io/people"}])
    assert said(description, body={}, url="https://api.acme.io/people") == []


def test_the_name_of_a_resource_has_slashes_at_google():
    paths = {"/v1/{parent}/messages": {"post": {}}}
    servers = [{"url": "https://chat.googleapis.com/"}]
    url = "https://chat.googleapis.com/v1/spaces/A/messages"
    google = {"servers": servers, "paths": paths, "info": {"x-providerName": "googleapis.com"}}
    assert said(person({}, **google), url=url) == []
    assert said(person({}, servers=servers, paths=paths), url=url) != []


def test_times_are_numbers_at_aws():
    schema = {"properties": {"at": {"type": "string", "format": "date-time"}}}
    assert said(person(schema), body={"at": 1769848200}) != []
    described = person(schema, info={"x-aws-signingName": "events"})
    assert said(described, body={"at": 1769848200}) == []
    assert said(described, body={"at": True}) != []


def test_a_pattern_may_be_written_as_javascript_does():
    description = person({"properties": {"name": {"type": "string", "pattern": "/^[a-z]+$/i"}}})
    assert said(description, body={"name": "Plan"}) == []
    assert said(description, body={"name": "Plan 2"}) != []


def test_descriptions_of_one_host_serve_all_its_destinations(tmp_path):
    (tmp_path / "index.csv").write_text(
        "destination_id,file,server_url\n"
        "crm,crm.json,https://api.acme.io/v1\n"
        "lists,lists.json,https://api.acme.io\n"
        "other,other.json,https://api.other.io\n"
    )
    found = sources_in(tmp_path)
    assert [one.path.name for one in found["lists"]] == ["lists.json", "crm.json"]
    assert [one.path.name for one in found["other"]] == ["other.json"]
