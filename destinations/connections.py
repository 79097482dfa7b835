"""Connections: which destination, with which settings, under which consent.

They stand in one YAML file (``dagster_project/connections.yaml``)::

    connections:
      newsletter:
        destination: active_campaign      # an id of the catalog
        consent: email                    # audience column consent_email decides; or not_required
        settings:
          account: acme
          api_token: {env: ACTIVE_CAMPAIGN_TOKEN}   # secrets by environment variable only
        sandbox: false                    # true: the local sandbox plays the destination

``{env: NAME}`` may stand for any setting; a setting that the destination calls
secret must be given that way (the registry checks it). ``{state: NAME}`` is a path
in the state folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from destinations.errors import ConfigurationError
from destinations.paths import state_dir

CONSENT_NOT_REQUIRED = "not_required"
SANDBOX_URL_VARIABLE = "STOREROOM_SANDBOX_URL"
DEFAULT_SANDBOX_URL = "http://127.0.0.1:8321"


class FromEnvironment(BaseModel):
    """A value that stands in an environment variable, never in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")


class InState(BaseModel):
    """A path below the state folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: str = Field(pattern=r"^[^/.][^?#]*$")


class Connection(BaseModel):
    """One entry of the connections file, as written: secrets are still names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    destination: str
    consent: str
    """The consent purpose that a person must have given, or ``not_required``."""
    settings: dict[str, FromEnvironment | InState | Any] = {}
    sandbox: bool = False
    paused: bool = False

    @field_validator("settings", mode="before")
    @classmethod
    def _references(cls, settings: Any) -> Any:
        """``{env: …}`` and ``{state: …}`` are meant as references, never as plain mappings."""
        if not isinstance(settings, dict):
            return settings
        kinds: dict[Any, type[BaseModel]] = {"env": FromEnvironment, "state": InState}
        return {
            name: kinds[next(iter(value))].model_validate(value)
            if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in kinds
            else value
            for name, value in settings.items()
        }

    def missing_variables(self) -> list[str]:
        """Environment variables this connection names that are not set."""
        if self.sandbox:
            return []
        return sorted(
            value.env
            for value in self.settings.values()
            if isinstance(value, FromEnvironment) and value.env not in os.environ
        )

    def resolved(self) -> dict[str, Any]:
        """Settings with their environment values.

        On the sandbox every variable reads as a placeholder: no real secret goes there.

        Raises:
            ConfigurationError: a variable is not set.
        """
        missing = self.missing_variables()
        if missing:
            raise ConfigurationError(
                f"Connection '{self.name}' needs {', '.join(missing)}, not set in the environment.",
                "Export them, or set `sandbox: true` to send to the local sandbox.",
            )
        return {name: self._resolved(name, value) for name, value in self.settings.items()}

    def _resolved(self, name: str, value: Any) -> Any:
        if isinstance(value, FromEnvironment):
            return f"sandbox-{name}" if self.sandbox else os.environ[value.env]
        if isinstance(value, InState):
            path = state_dir() / value.state
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.as_uri() if name == "url" else str(path)
        return value


def sandbox_url() -> str:
    """The base URL of the local sandbox, without a trailing slash."""
    return os.environ.get(SANDBOX_URL_VARIABLE, DEFAULT_SANDBOX_URL).rstrip("/")


def load_connections(path: Path) -> dict[str, Connection]:
    """Read the connections file, by name.

    Raises:
        ConfigurationError: the file is missing, is not YAML, or has an entry
            that does not fit; the message names file, connection and key.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} does not exist.", "Create it with `connections: {}`."
        ) from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from None
    entries = document.get("connections") if isinstance(document, dict) else None
    if not isinstance(entries, dict):
        raise ConfigurationError(f"{path}: the top-level key `connections:` is missing.")
    connections = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise ConfigurationError(f"{path}: connection '{name}' is not a mapping of keys.")
        if "consent" not in entry:
            raise ConfigurationError(
                f"{path}: connection '{name}' names no consent purpose.",
                f"Add `consent: <purpose>`, or `consent: {CONSENT_NOT_REQUIRED}` if nobody's consent is needed.",
            )
        try:
            connections[name] = Connection(name=name, **entry)
        except (ValidationError, TypeError) as error:
            detail = (
                "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
                if isinstance(error, ValidationError)
                else str(error)
            )
            raise ConfigurationError(f"{path}: connection '{name}': {detail}.") from None
    return connections
