"""Connections: what the file may say, and where secrets come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from destinations.connections import Connection, load_connections
from destinations.errors import ConfigurationError

SECRET = {"token": {"env": "A_TOKEN_OF_OURS"}}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "connections.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(name="crm", destination="hubspot", consent="email", settings=SECRET)
    assert connection.missing_variables() == ["A_TOKEN_OF_OURS"]
    with pytest.raises(ConfigurationError, match="A_TOKEN_OF_OURS"):
        connection.resolved()
    monkeypatch.setenv("A_TOKEN_OF_OURS", "really secret")
    assert connection.missing_variables() == []
    assert connection.resolved() == {"token": "really secret"}


def test_the_sandbox_never_sees_a_real_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN_OF_OURS", "really secret")
    connection = Connection(
        name="crm", destination="hubspot", consent="email", settings=SECRET, sandbox=True
    )
    assert connection.resolved() == {"token": "sandbox-token"}


def test_a_path_may_stand_in_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOREROOM_STATE", str(tmp_path))
    settings = {"path": {"state": "a/b.sqlite"}, "url": {"state": "lake"}}
    connection = Connection(name="x", destination="sqlite", consent="email", settings=settings)
    assert connection.resolved() == {
        "path": str(tmp_path / "a" / "b.sqlite"),
        "url": (tmp_path / "lake").as_uri(),
    }
    assert (tmp_path / "a").is_dir()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("connections: {crm: {destination: hubspot}}", "names no consent purpose"),
        ("connections: {crm: {destination: hubspot, consent: email, sandbx: 1}}", "sandbx"),
        ("connections: {Crm: {destination: hubspot, consent: email}}", "name"),
        ("connections: {crm: hubspot}", "not a mapping"),
        ("conections: {}", "top-level key"),
        ("connections: [", "not YAML"),
        (
            "connections: {crm: {destination: h, consent: e, settings: {t: {state: ../x}}}}",
            "settings",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_connections(written(tmp_path, text))


def test_a_missing_file_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"connections: \{\}"):
        load_connections(tmp_path / "none.yaml")


def test_the_project_s_own_file_loads() -> None:
    root = Path(__file__).parents[1]
    connections = load_connections(root / "dagster_project" / "connections.yaml")
    assert {"crm", "messaging", "newsletter", "ads", "webhook"} <= set(connections)
