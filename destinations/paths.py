"""Where Storeroom keeps things. The only module that reads those environment variables.

Everything a run writes stands under one folder, ``.storeroom`` beside the
project unless ``STOREROOM_STATE`` names another::

    landing/    files as collectors drop them
    raw/        loaded events, one immutable folder per load
    warehouse/  storeroom.duckdb
    audiences/  published Parquet snapshots
    syncs/      ledgers, one folder per connection and audience
    alerts/     how syncs and jobs stood when somebody was last told
    dagster/    Dagster's own storage (DAGSTER_HOME)
    dbt/        logs and compiled SQL of the last builds
    connections/  what connections keep: refresh tokens, ids of audiences at vendors
    limits/     rate limits of accounts, shared by all processes
    logs/       what commands' runs print
    sandbox/    what the sandbox's destinations hold
"""

from __future__ import annotations

import os
from pathlib import Path

from destinations.errors import ConfigurationError


def project_root() -> Path:
    """The folder that holds ``dbt/dbt_project.yml``: ``STOREROOM_PROJECT`` or the nearest one up.

    Raises:
        ConfigurationError: there is none.
    """
    named = os.environ.get("STOREROOM_PROJECT")
    start = Path(named) if named else Path.cwd()
    for folder in (start, *(() if named else start.parents)):
        if (folder / "dbt" / "dbt_project.yml").is_file():
            return folder.resolve()
    raise ConfigurationError(
        f"No Storeroom project at {start}: dbt/dbt_project.yml was not found.",
        "Run the command inside a clone of the repository, or set STOREROOM_PROJECT to it.",
    )


def state_dir() -> Path:
    """The folder of everything that a run writes (see the module's own text)."""
    named = os.environ.get("STOREROOM_STATE")
    return Path(named).resolve() if named else project_root() / ".storeroom"


def state_url() -> str | None:
    """Where ``audiences/``, ``syncs/`` and ``alerts/`` are kept instead, such as ``s3://bucket/folder``.

    The state folder then holds copies of them that may be lost. None: it holds them itself.
    """
    return os.environ.get("STOREROOM_STATE_URL", "").strip().rstrip("/") or None


def state_keys() -> list[str]:
    """The keys that state is encrypted with, as written; the first encrypts, all decrypt."""
    return os.environ.get("STOREROOM_STATE_KEY", "").replace(",", " ").split()


def lease_seconds() -> float:
    """How long a process that died keeps others from its sync where state is in object storage.

    Raises:
        ConfigurationError: it is no number of seconds of at least one.
    """
    text = os.environ.get("STOREROOM_LEASE_SECONDS", "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds >= 1:
        raise ConfigurationError(
            f"STOREROOM_LEASE_SECONDS is '{text}'.", "Write a number of seconds, 1 or more."
        )
    return seconds


def history_days() -> int:
    """Days for which versions of held rows are kept after they ended; 0 keeps none.

    Raises:
        ConfigurationError: it is no number of days.
    """
    text = os.environ.get("STOREROOM_HISTORY_DAYS", "400")
    if not text.isdecimal():
        raise ConfigurationError(
            f"STOREROOM_HISTORY_DAYS is '{text}'.", "Write a number of days, such as 400; 0: none."
        )
    return int(text)


def landing_dir() -> Path:
    named = os.environ.get("STOREROOM_LANDING")
    return Path(named).resolve() if named else state_dir() / "landing"


def raw_dir() -> Path:
    return state_dir() / "raw"


def warehouse_path() -> Path:
    return state_dir() / "warehouse" / "storeroom.duckdb"


def audiences_dir() -> Path:
    return state_dir() / "audiences"


def syncs_dir() -> Path:
    return state_dir() / "syncs"


def connections_dir() -> Path:
    return state_dir() / "connections"


def sandbox_dir() -> Path:
    return state_dir() / "sandbox"


def dagster_home() -> Path:
    named = os.environ.get("DAGSTER_HOME")
    return Path(named).resolve() if named else state_dir() / "dagster"


def connections_file() -> Path:
    named = os.environ.get("STOREROOM_CONNECTIONS")
    return Path(named) if named else project_root() / "dagster_project" / "connections.yaml"


def sources_file() -> Path:
    named = os.environ.get("STOREROOM_SOURCES")
    return Path(named) if named else project_root() / "dagster_project" / "sources.yaml"
