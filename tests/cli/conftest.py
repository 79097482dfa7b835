"""A project of the session's own, and the command called inside this process or beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from dagster_project.cli.main import main
from dagster_project.demo import generate
from destinations.sandbox import Sandbox, serve

ROOT = Path(__file__).parents[2]
VARIABLES = ("HUBSPOT_ACCESS_TOKEN", "STOREROOM_CONNECTIONS", "STOREROOM_SOURCES", "DAGSTER_HOME")


@dataclass
class Shop:
    """A copy of what an analyst edits, with state of its own and a sandbox."""

    folder: Path
    sandbox: Sandbox
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.folder / ".storeroom"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "dagster_project.cli", *arguments],
            cwd=self.folder,
            env={n: v for n, v in os.environ.items() if n not in VARIABLES} | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> Said:
        """Run the command in a process of its own."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=200)
        return Said(process.returncode, out, err)


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said; a traceback is never part of it."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert "Traceback" not in self.out + self.err, self.out + self.err

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output as JSON: one object a line and nothing else."""
        found = [orjson.loads(line) for line in self.out.splitlines()]
        assert all(isinstance(row, dict) for row in found)
        return found


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One day of a small shop, not yet loaded."""
    folder = tmp_path_factory.mktemp("cli") / "shop"
    ignored = shutil.ignore_patterns("logs", "dbt_packages", ".parse-*", ".user.yml")
    shutil.copytree(ROOT / "dbt", folder / "dbt", ignore=ignored)
    (folder / "dagster_project").mkdir()
    for file in ("connections.yaml", "sources.yaml"):
        shutil.copy(ROOT / "dagster_project" / file, folder / "dagster_project" / file)
    shutil.copy(ROOT / "dagster.yaml", folder)
    with serve(0, folder / ".sandbox") as sandbox:
        found = Shop(folder, sandbox)
        found.environment = {
            "STOREROOM_PROJECT": str(folder),
            "STOREROOM_STATE": str(found.state),
            "STOREROOM_SANDBOX_URL": sandbox.url,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
        }
        generate(found.state / "landing", 1, users=150)
        yield found


@pytest.fixture(scope="session")
def first_run(shop: Shop) -> Said:
    """The hourly job, with a CRM that refuses half of the people."""
    shop.sandbox.fail("hubspot", "rows", rule={"fraction": 0.5}, message="Blocked domain")
    said = shop.run("run", "--job", "hourly", "--json")
    shop.sandbox.reset("hubspot")
    return said


@pytest.fixture
def built(shop: Shop, first_run: Said) -> Shop:
    """The shop after its first run; the daily syncs have not run."""
    assert first_run.code in (0, 3), first_run.err
    return shop


@pytest.fixture
def storeroom(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Said]]:
    """Calls the command inside this process, on the shop."""
    before = dict(os.environ)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in shop.environment.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str, **environment: str) -> Said:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["storeroom", *arguments])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
            said = capsys.readouterr()
            return Said(int(ended.value.code or 0), said.out, said.err)

    yield call
    os.environ.clear()
    os.environ.update(before)
