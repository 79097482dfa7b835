"""``storeroom doctor``: finds what would keep a run from working, and says what to do."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import requests
from cyclopts import App, Parameter

from dagster_project.cli.output import Exit, out, print_json, progress_bar
from dagster_project.progress import announce
from destinations.connections import load_connections, sandbox_url
from destinations.errors import StoreroomError
from destinations.paths import (
    connections_file,
    landing_dir,
    project_root,
    sources_file,
    state_dir,
    warehouse_path,
)

app = App(name="doctor", help_format="plaintext")

LOW_DISK_BYTES = 1_000_000_000
PACKAGES = ("storeroom", "dagster", "dbt-core", "dbt-duckdb", "duckdb", "polars", "pyarrow")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    state: Literal["ok", "note", "problem"]
    text: str
    fix: str = ""


@app.default
def run(*, json: Annotated[bool, Parameter(negative=())] = False) -> Exit:
    """Look at versions, settings, declarations, locks and the sandbox.

    Parameters
    ----------
    json
        Print one JSON object per finding.
    """
    findings: list[Finding] = []
    with progress_bar(quiet=json):
        for number, look in enumerate(CHECKS, start=1):
            announce("doctor", look.__name__.strip("_").replace("_", " "), number, len(CHECKS))
            try:
                findings += look()
            except StoreroomError as error:
                findings.append(
                    Finding(look.__name__.strip("_"), "problem", error.message, error.fix)
                )
    if json:
        print_json(asdict(finding) for finding in findings)
    else:
        marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "problem": "[bold red]problem[/]"}
        for finding in findings:
            text = finding.text.replace("[", r"\[")
            out.print(f"{marks[finding.state]:<8} {finding.topic}: {text}", soft_wrap=True)
            if finding.fix:
                out.print(f"         -> {finding.fix}".replace("[", r"\["), soft_wrap=True)
    return Exit.FAILED if any(f.state == "problem" for f in findings) else Exit.DONE


def _versions() -> Iterator[Finding]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("versions", "problem", f"{package} is not installed.", "Run `make demo`.")
    python = ".".join(map(str, sys.version_info[:3]))
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    yield Finding("versions", "ok", f"Python {python}, {listed}")


def _project() -> Iterator[Finding]:
    yield Finding("project", "ok", f"{project_root()}, state in {state_dir()}")
    landing = landing_dir()
    if not landing.is_dir():
        yield Finding(
            "landing",
            "note",
            f"{landing} does not exist yet.",
            "Put files there as sources.yaml describes, or run `storeroom demo`.",
        )
    existing = next(p for p in (state_dir(), *state_dir().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < LOW_DISK_BYTES:
        yield Finding("disk", "problem", f"{free / 1e9:.1f} GB left.", "Free some space.")
    if not os.access(existing, os.W_OK):
        yield Finding("state", "problem", f"{existing} cannot be written.", "Set STOREROOM_STATE.")


def _sources() -> Iterator[Finding]:
    from dagster_project.ingestion import load_sources

    sources = load_sources(sources_file())
    yield Finding("sources", "ok", ", ".join(source.name for source in sources.sources) or "none")


def _connections() -> Iterator[Finding]:
    connections = load_connections(connections_file())
    yield Finding("connections", "ok", ", ".join(connections) or "none")
    for name, connection in connections.items():
        missing = connection.missing_variables()
        if missing:
            yield Finding(
                f"connection {name}",
                "problem",
                f"{', '.join(missing)} not set.",
                "Export it, or set `sandbox: true` to send to the local sandbox.",
            )
        if connection.paused:
            yield Finding(f"connection {name}", "note", "paused: its syncs do not run.")


def _syncs() -> Iterator[Finding]:
    from dagster_project.declarations import load
    from dagster_project.warehouse import manifest

    syncs = load(manifest.ensure())
    yield Finding("syncs", "ok", f"{len(syncs)} declared, each can run")


def _warehouse() -> Iterator[Finding]:
    from dagster_project.warehouse.writer import wait_for_writer

    if not warehouse_path().exists():
        yield Finding("warehouse", "note", "not built yet.", "Run `storeroom run`.")
        return
    wait_for_writer(warehouse_path(), timeout=0)
    yield Finding("warehouse", "ok", f"{warehouse_path().stat().st_size / 1e6:.0f} MB, not locked")


def _sandbox() -> Iterator[Finding]:
    used = [c.name for c in load_connections(connections_file()).values() if c.sandbox]
    if not used:
        return
    try:
        requests.get(sandbox_url(), timeout=2)
        yield Finding("sandbox", "ok", sandbox_url())
    except requests.RequestException:
        yield Finding(
            "sandbox",
            "note",
            f"not running at {sandbox_url()}; {', '.join(used)} send there.",
            "Run `storeroom sandbox` in another terminal before `storeroom run`.",
        )


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _versions,
    _project,
    _sources,
    _connections,
    _syncs,
    _warehouse,
    _sandbox,
)
