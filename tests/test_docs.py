"""The documentation holds to the code: commands, links, variables, keys and examples."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cyclopts
import pytest
import yaml

from dagster_project.cli.commands import app
from destinations.connections import FromEnvironment, load_connections
from destinations.http.check import check
from destinations.language.loader import load_spec_text
from destinations.language.settings import checked
from destinations.language.template import FUNCTIONS
from destinations.registry import capabilities_of, list_destinations, load_spec
from destinations.sandbox.faults import Fault
from destinations.sync.config import Guards, Mode, SyncConfig, syncs_of
from destinations.sync.validation import problems_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OWN = [DOCS / f"{name}.md" for name in ("audiences", "connections", "operations", "destinations")]
OWN.append(DOCS / "sandbox.md")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
MOST_LINES = 250
CODE = ("dagster_project", "destinations", "dbt/models", "dbt/macros")
VARIABLE = re.compile(r"\bSTOREROOM_[A-Z_]+\b")
NEED_ARGUMENTS = ("show", "pause", "resume", "move", "forget", "resend")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for name, text in found if name == language]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[str]:
    """Every `storeroom ...` in a page: whole lines of shell blocks, and code spans."""
    spans = re.findall(r"`(storeroom [^`]+)`", re.sub(r"\s+", " ", prose(page)))
    lines = [line for text in blocks(page, "bash") for line in text.splitlines()]
    for line in lines:
        spans += re.findall(r"(?:^|&& |\.venv/bin/|& )(storeroom [^#&|]+)", line)
    for span in spans:
        if not re.search(r"[…<\[]|\.\.\.", span.replace("<id>", "id").replace("<name>", "name")):
            yield span.replace("<id>", "id").replace("<name>", "name")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    for command in commands(page):
        arguments = shlex.split(command)[1:]
        try:
            app.parse_args(arguments, exit_on_error=False, print_error=False)
        except cyclopts.MissingArgumentError:
            # A command that needs an argument may be named by itself.
            assert arguments[-1] in NEED_ARGUMENTS, f"{page.name}: `{command}`"
        except cyclopts.CycloptsError as error:
            pytest.fail(f"{page.name}: `{command}`: {error}")


def test_commands_are_found_and_refused() -> None:
    found = {command for page in PAGES for command in commands(page)}
    assert "storeroom syncs plan --connection crm" in found
    assert len(found) > 20
    with pytest.raises(cyclopts.CycloptsError):
        app.parse_args(
            ["syncs", "run", "--conection", "crm"], exit_on_error=False, print_error=False
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", OWN, ids=lambda page: page.name)
def test_pages_stay_short(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_every_variable_is_documented() -> None:
    files = [
        path
        for folder in CODE
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yml", ".yaml", ".sql")
    ]
    files.append(ROOT / "dbt" / "profiles.yml")
    in_code = {
        name for path in files for name in VARIABLE.findall(path.read_text(encoding="utf-8"))
    }
    table = (DOCS / "operations.md").read_text(encoding="utf-8")
    section = table.partition("## Environment variables")[2].partition("\n## ")[0]
    assert set(VARIABLE.findall(section)) == in_code
    of_tests = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in VARIABLE.findall(path.read_text(encoding="utf-8"))
    }
    for page in PAGES:
        named = set(VARIABLE.findall(page.read_text(encoding="utf-8")))
        assert named <= in_code | of_tests, page.name


def test_troubleshooting_names_real_messages() -> None:
    files = [path for folder in CODE[:2] for path in (ROOT / folder).rglob("*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    code = re.sub(r'"\s*f?"', "", code)  # a message that goes on in the next line
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \| [^|]+ \|$", page.partition("## Troubleshooting")[2], re.M)
    assert len(rows) >= 10
    for message in rows:
        for part in re.split(r"…|\d+", message):
            assert part.strip(" ',.()") in code, message


def test_every_key_and_mode_is_documented() -> None:
    page = (DOCS / "audiences.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([\w.]+)`", page, re.MULTILINE))
    keys = set(SyncConfig.model_fields) - {"audience", "key"}  # these stand in meta.audience
    assert keys | {"audience.key"} <= rows
    assert {mode.value for mode in Mode} <= rows
    assert set(Guards.model_fields) <= rows


def test_every_function_and_fault_is_documented() -> None:
    language = (DOCS / "destination_language.md").read_text(encoding="utf-8")
    assert set(FUNCTIONS) <= set(re.findall(r"`(\w+)`", language))
    sandbox = set(re.findall(r"`(\w+)`", (DOCS / "sandbox.md").read_text(encoding="utf-8")))
    assert set(Fault.model_fields) - {"kind", "status"} <= sandbox
    assert set(Fault.model_fields["kind"].annotation.__args__) <= sandbox  # type: ignore[union-attr]


def test_faults_of_the_examples_are_taken() -> None:
    calls = "\n".join(blocks(DOCS / "sandbox.md", "bash"))
    faults = re.findall(r"/faults .* -d '(\{.*\})'$", calls, re.MULTILINE)
    assert len(faults) == 5
    for fault in faults:
        Fault.model_validate_json(fault)


def test_the_sandbox_starts_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (text,) = blocks(DOCS / "sandbox.md", "python")
    exec(compile(text, "sandbox.md", "exec"), {})
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_parses(page: Path) -> None:
    for text in blocks(page, "yaml"):
        yaml.safe_load(text)


def documents(page: Path, key: str) -> list[Mapping[str, Any]]:
    """The YAML blocks of a page that start with ``key``."""
    parsed = [yaml.safe_load(text) for text in blocks(page, "yaml")]
    return [document for document in parsed if isinstance(document, dict) and key in document]


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "audiences.md"], ids=lambda p: p.name)
def test_declared_syncs_could_run(page: Path) -> None:
    connections = load_connections(ROOT / "dagster_project" / "connections.yaml")
    models = [model for found in documents(page, "models") for model in found["models"]]
    assert models
    for model in models:
        for sync in syncs_of(model["name"], model["config"]["meta"], page.name):
            connection = connections[sync.connection]
            columns = dict.fromkeys([sync.key, *sync.columns.values(), "consent_email"], "")
            assert not problems_of(sync, columns, capabilities_of(connection), connection.consent)


def test_mappings_are_read() -> None:
    mappings = documents(DOCS / "audiences.md", "mapping")
    assert len(mappings) == 2
    for found in mappings:
        entry = {"connection": "crm", **found}
        meta = {"audience": {"key": "profile_id"}, "syncs": [entry]}
        (sync,) = syncs_of("audience_a", meta, "audiences.md")
        assert set(sync.mapping) == set(found["mapping"])


def test_connections_have_settings_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example names settings its destination takes, and every kind of code has one."""
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path))
    shown: set[str] = set()
    pages = [DOCS / "connections.md", DOCS / "stores.md"]
    examples = [one for page in pages for one in documents(page, "connections")]
    for number, document in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        for connection in load_connections(path).values():
            capabilities_of(connection)
            for value in connection.settings.values():
                if isinstance(value, FromEnvironment):
                    monkeypatch.setenv(value.env, "postgresql://u:p@127.0.0.1/d")
            spec = load_spec(connection.destination)
            if spec.adapter is None:
                checked(spec, connection.resolved(), connection.name)
            else:
                importlib.import_module(spec.adapter).Settings(**connection.resolved())
                shown.add(spec.adapter)
    assert {load_spec(row.id).adapter for row in list_destinations()} <= {*shown, None}


def test_the_example_spec_passes_its_check() -> None:
    (text,) = (t for t in blocks(DOCS / "destinations.md", "yaml") if t.startswith("id: postbird"))
    findings = [finding.as_row() for finding in check(load_spec_text(text, "postbird.yaml"))]
    assert {finding["state"] for finding in findings} == {"ok"}
    shown = (DOCS / "destinations.md").read_text(encoding="utf-8")
    for finding in findings:
        assert f"postbird     ok     {finding['text']}\n" in shown
    wrong = text.replace("{at: errors, key:", "{at: errors, kee:")
    with pytest.raises(Exception, match="there is no key 'kee'") as error:
        load_spec_text(wrong, "postbird.yaml")
    assert f"postbird     problem  {error.value}\n" in shown
