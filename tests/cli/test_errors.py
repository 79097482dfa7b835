"""What a user can get wrong: one paragraph that says what to do, an exit code, no traceback."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("cli")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], ["frobnicate", "syncs"]),
        (["run", "--job", "weekly"], ["weekly", "hourly"]),
        (["syncs", "list", "--colour"], ["--colour"]),
        (["syncs", "list", "--connection", "nope"], ["nope", "crm/audience_loyal_customers"]),
        (["syncs", "plan", "--audience", "nope"], ["nope", "Declared are"]),
        (["syncs", "status", "--connection", "nope"], ["nope", "Declared are"]),
        (["syncs", "run", "--connection", "nope"], ["nope", "Declared are"]),
        (["syncs", "pause", "crm", "nope"], ["nope", "Declared are"]),
        (["destinations", "show"], ["--destination"]),
        (["destinations", "show", "hubspt"], ["hubspt", "hubspot"]),
        (["destinations", "check", "hubspt"], ["hubspt", "hubspot"]),
        (["destinations", "check", "--connection", "nope"], ["nope", "newsletter"]),
        (["destinations", "preview"], ["--all"]),
        (["destinations", "preview", "webhook", "--all"], ["--all"]),
        (["destinations", "preview", "--all", "--operation", "add"], ["--operation"]),
        (["destinations", "preview", "webhook", "--operation", "fly"], ["fly", "upsert"]),
        (["ingest", "--reason", "bad_json"], ["--replay"]),
        (["demo", "--users", "0"], ["--users"]),
        (["demo"], ["holds state that no demo made", "STOREROOM_STATE"]),
    ],
    ids=" ".join,
)
def test_wrong_usage(storeroom: Any, arguments: list[str], words: list[str]) -> None:
    said = storeroom(*arguments)
    assert said.code == 2, said
    assert said.out == ""
    assert [word for word in words if word not in said.err] == [], said.err


@pytest.mark.parametrize(
    ("variable", "text", "arguments", "words"),
    [
        ("STOREROOM_CONNECTIONS", None, ["syncs", "list"], ["connections.yaml"]),
        ("STOREROOM_CONNECTIONS", "connections: [", ["syncs", "list"], ["YAML"]),
        ("STOREROOM_CONNECTIONS", "connections: {}", ["syncs", "list"], ["does not have"]),
        (
            "STOREROOM_CONNECTIONS",
            "connections: {crm: {destinaton: hubspot, consent: none}}",
            ["destinations", "check", "--connection", "crm"],
            ["crm", "destinaton"],
        ),
        ("STOREROOM_SOURCES", None, ["ingest"], ["sources.yaml"]),
        ("STOREROOM_SOURCES", "sources: [", ["ingest"], ["sources.yaml"]),
        ("STOREROOM_SOURCES", "sources: [{nme: web}]", ["ingest"], ["nme"]),
    ],
)
def test_a_file_that_does_not_fit(
    storeroom: Any,
    tmp_path: Path,
    variable: str,
    text: str | None,
    arguments: list[str],
    words: list[str],
) -> None:
    path = tmp_path / f"{variable.partition('_')[2].lower()}.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    said = storeroom(*arguments, **{variable: str(path)})
    assert said.code == 2, said
    assert [word for word in words if word not in said.err] == [], said.err


def test_outside_a_project(storeroom: Any, tmp_path: Path) -> None:
    said = storeroom("syncs", "list", STOREROOM_PROJECT=str(tmp_path))
    assert said.code == 2
    assert "No Storeroom project" in said.err
    assert "STOREROOM_PROJECT" in said.err


def test_a_port_that_is_taken(storeroom: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = storeroom("sandbox", "--port", str(taken.getsockname()[1]))
    assert said.code == 1
    assert "is taken" in said.err


def test_help_and_version(storeroom: Any) -> None:
    said = storeroom("--help")
    assert said.code == 0
    for command in ("demo", "ingest", "run", "syncs", "destinations", "sandbox", "doctor"):
        assert command in said.out
    assert storeroom("--version").out.strip() == "0.1.0"
