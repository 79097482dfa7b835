"""Generated files are those that would be generated now, and hold what they are for."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from destinations import generated
from destinations.language.loader import load_spec_text
from destinations.pages import destination_page, language_page, schema_text
from destinations.registry import CATALOG, list_destinations
from destinations.skeleton import AUTH, skeleton

FILES = sorted(generated.FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_generated_file_is_not_old(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated.FILES[path](), "run `make generated`"


def test_an_old_file_is_said_and_made_anew(tmp_path, monkeypatch, capsys):
    path = tmp_path / "page.md"
    monkeypatch.setattr(generated, "FILES", {path: lambda: "new\n"})
    monkeypatch.setattr(generated, "ROOT", tmp_path)
    assert generated.main(["--check"]) == 1
    assert "page.md is old" in capsys.readouterr().out
    assert generated.main([]) == 0
    assert path.read_text() == "new\n"
    assert generated.main(["--check"]) == 0


def test_the_reference_can_be_read_in_one_sitting():
    assert len(language_page().splitlines()) <= 400


def test_the_schema_takes_every_spec_of_the_catalog_and_no_unknown_key():
    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    texts = [path.read_text(encoding="utf-8") for path in sorted(CATALOG.glob("[!_]*/*.yaml"))]
    whole = [text for text in texts if "\nextends:" not in text]
    assert len(whole) > 50
    for text in whole[:60]:
        document = json.loads(json.dumps(yaml.safe_load(text), default=str))
        assert [error.message for error in validator.iter_errors(document)] == []
        assert list(validator.iter_errors({**document, "nmae": "x"}))


def test_hover_texts_are_the_models_own_words():
    schema = json.loads(schema_text())
    assert "vendor's page" in schema["properties"]["docs"]["description"]


@pytest.mark.parametrize("destination", [row.id for row in list_destinations()][::9])
def test_a_destinations_page_says_what_an_operator_asks(destination):
    page = destination_page(destination)
    for heading in ("## Operations", "## Limits and answers", "Evidence: ", "Brought by: "):
        assert heading in page


@pytest.mark.parametrize("auth", AUTH)
def test_the_skeleton_loads_and_its_example_holds(auth):
    from destinations.http.check import check

    text = skeleton("acme", "Acme: the CRM", "https://docs.acme.io", "https://api.acme.io/v1", auth)
    spec = load_spec_text(text, "acme.yaml")
    assert spec.name == "Acme: the CRM"
    assert [one.text for one in check(spec) if one.state == "problem"] == []
