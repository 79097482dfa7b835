"""The Dagster UI: lineage from landing files to each destination, and a sync started by a click.

Needs Chromium on the machine; nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from dagster_project.demo import generate

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on the PATH"),
]

CHAIN = (
    "landing/web",
    "raw/events",
    "staging/stg_events",
    "staging/stg_identifiers",
    "identity/identity_graph",
    "profiles/profiles",
    "traits/profile_traits",
    "segments/loyal_customers",
    "audiences/audience_loyal_customers",
    "syncs/crm/audience_loyal_customers",
)
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
CLICKED = "syncs/reporting_db/audience_loyal_customers"
STARTED_BY_HAND = "is superseded and its usage is discouraged"
"""What Dagster says of every `dagster dev`."""
FIRST_START = "No cursor for event type"
"""What Dagster's daemon says when an instance is new."""


@dataclass(frozen=True)
class Dev:
    """A running ``dagster dev``."""

    url: str
    log: Path

    def ask(self, query: str) -> dict[str, Any]:
        answer = requests.post(f"{self.url}/graphql", json={"query": query}, timeout=60)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()["data"]
        return found

    def complaints(self) -> list[str]:
        """Lines of the log that warn or fail, without what Dagster always says."""
        text = re.sub(r"\x1b\[\d+m", "", self.log.read_text(encoding="utf-8"))
        return [
            line
            for line in text.splitlines()
            if re.search(r"warning|error|critical|exception|traceback", line, re.IGNORECASE)
            and STARTED_BY_HAND not in line
            and FIRST_START not in line
        ]


@pytest.fixture
def dev(project: Any, tmp_path: Path) -> Iterator[Dev]:
    """``dagster dev`` on a project whose daily syncs never ran."""
    generate(project.state / "landing", 1, users=200)
    project.storeroom("run", "--job", "hourly")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "dev.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "--port", str(port)],
            cwd=project.folder,
            env=project.environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        found = Dev(f"http://127.0.0.1:{port}", log)
        wait_until(lambda: answers(found), 90, lambda: log.read_text(encoding="utf-8"))
        yield found
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the whole group: as Ctrl-C would, then for certain."""
    os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(dev: Dev) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"{dev.url}/server_info", timeout=2).ok
    return False


def wait_until(holds: Callable[[], bool], seconds: float, complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.3)


@pytest.fixture
def page(dev: Dev) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS])
        # Large enough for the whole graph: the page draws only what is in view.
        page = browser.new_page(viewport={"width": 2600, "height": 1700})
        page.set_default_timeout(45_000)
        yield page
        browser.close()


@pytest.mark.timeout(400)
def test_lineage_and_a_sync_from_the_ui(dev: Dev, page: Any, project: Any) -> None:
    loaded = dev.ask(
        "{workspaceOrError{... on Workspace{locationEntries{locationOrLoadError{"
        "__typename ... on PythonError{message}}}}}}"
    )
    (location,) = loaded["workspaceOrError"]["locationEntries"]
    assert location["locationOrLoadError"] == {"__typename": "RepositoryLocation"}
    check_edges(dev)
    check_drawing(dev, page)
    assert dev.complaints() == []

    # A daily sync, which the hourly run before left out: everything is still to be sent.
    page.goto(f"{dev.url}/assets/{CLICKED}")
    page.get_by_role("button", name=re.compile("Materialize$")).click()
    page.get_by_text("Launched run").wait_for()
    wait_until(lambda: state_of_last_run(dev) in ENDED, 90, lambda: state_of_last_run(dev))
    assert state_of_last_run(dev) == "SUCCESS", dev.log.read_text(encoding="utf-8")
    (status,) = project.rows("syncs", "status", "--connection", "reporting_db")
    assert status["status"] == "ok"
    assert status["delivered"] == status["rows"] > 0
    page.reload()
    page.get_by_text(status["accounting"], exact=True).first.wait_for()
    for count in ("rows", "delivered", "unchanged", "rejected"):
        shown = page.locator("tr", has=page.get_by_text(count, exact=True))
        assert shown.locator("td").last.inner_text().strip() == str(status[count])
    page.get_by_text("Latest check results").wait_for()
    assert dev.complaints() == []


def state_of_last_run(dev: Dev) -> str:
    (run,) = dev.ask("{runsOrError(limit: 1){... on Runs{results{status}}}}")["runsOrError"][
        "results"
    ]
    return str(run["status"])


def check_edges(dev: Dev) -> None:
    """Every link of the chain is an edge of the graph."""
    nodes = dev.ask("{assetNodes{assetKey{path} description dependencyKeys{path}}}")["assetNodes"]
    above = {
        "/".join(node["assetKey"]["path"]): {
            "/".join(key["path"]) for key in node["dependencyKeys"]
        }
        for node in nodes
    }
    assert set(CHAIN) <= set(above)
    for upstream, asset in pairwise(CHAIN):
        if asset != "identity/identity_graph":
            assert upstream in above[asset], f"{asset} <- {above[asset]}"
    # From identifiers to the graph there are two ways, by rows and by edges.
    assert above["identity/identity_graph"] == {
        "identity/identity_identifiers",
        "identity/identity_edges",
    }
    assert all(
        "staging/stg_identifiers" in above[asset] for asset in above["identity/identity_graph"]
    )
    assert [node["assetKey"]["path"] for node in nodes if not node["description"]] == []


def check_drawing(dev: Dev, page: Any) -> None:
    """The lineage page draws the chain from left to right."""
    selection = quote(f'+key:"{CHAIN[-1]}"', safe="")
    page.goto(f"{dev.url}/asset-groups~{selection}/")
    page.get_by_text("Materialize all").wait_for()
    page.locator("foreignObject").first.wait_for()
    page.keyboard.press("Alt+KeyE")  # opens every group
    page.locator("foreignObject").filter(has_text=re.compile("^identity_graph$")).wait_for()
    boxes: dict[str, list[float]] = {}
    for node in page.locator("foreignObject").all():
        box = node.bounding_box()
        boxes.setdefault((node.text_content() or "").strip(), []).append(box["x"] if box else 0)
    places = [places_of(key.rpartition("/")[2], boxes) for key in CHAIN]
    # The audience and its sync have one name and stand side by side.
    assert len(places[-1]) == 2
    lefts = [found[0] for found in places[:-1]] + [places[-1][1]]
    assert lefts == sorted(set(lefts)), boxes


def places_of(name: str, boxes: dict[str, list[float]]) -> list[float]:
    """Where an asset is drawn; long names are drawn without their middle."""
    for shown, lefts in boxes.items():
        start, cut, end = shown.partition("…")
        if shown == name or (cut and name.startswith(start) and name.endswith(end)):
            return sorted(lefts)
    raise AssertionError(f"{name} is not drawn: {sorted(boxes)}")
