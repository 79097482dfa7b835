"""dbt's manifest: what the models are, how they hang together and what analysts declared."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dagster_project.warehouse.command import run_dbt
from destinations.paths import project_root

MANIFEST = "manifest.json"
# dbt reads this beside the manifest, and then parses only what changed since.
PARTIAL_PARSE = "partial_parse.msgpack"
STAMP = "manifest.sha256"
SUFFIXES = {".sql", ".yml", ".yaml", ".csv", ".md", ".py"}
NOT_SOURCES = {"target", "logs", "dbt_packages"}


def ensure() -> Path:
    """The manifest of the project as it stands, parsed again only if a file of dbt's changed.

    Safe for several processes at once: the files are replaced whole, and one process parses
    while the others wait for it.

    Raises:
        StoreroomError: the project does not parse; carries dbt's words.
    """
    project = project_root() / "dbt"
    target = project / "target"
    if not _is_current(target, _digest(project)):
        target.mkdir(exist_ok=True)
        with _locked(target / ".manifest.lock"):
            digest = _digest(project)
            if not _is_current(target, digest):
                _parse(target, digest)
    return target / MANIFEST


def read() -> dict[str, Any]:
    """The manifest's content, parsed first if need be."""
    content: dict[str, Any] = json.loads(ensure().read_text(encoding="utf-8"))
    return content


def _parse(target: Path, digest: str) -> None:
    with tempfile.TemporaryDirectory(prefix=".parse-", dir=target) as folder:
        made = Path(folder)
        if (target / PARTIAL_PARSE).is_file():
            shutil.copyfile(target / PARTIAL_PARSE, made / PARTIAL_PARSE)
        run_dbt(["parse", "--quiet"], target=made)
        (made / STAMP).write_text(digest, encoding="ascii")
        # The stamp goes last: until it stands, the manifest counts as old.
        for name in (PARTIAL_PARSE, MANIFEST, STAMP):
            (made / name).replace(target / name)


def _is_current(target: Path, digest: str) -> bool:
    try:
        stamp = (target / STAMP).read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return stamp == digest and (target / MANIFEST).is_file()


def _digest(project: Path) -> str:
    """Changes with any file that dbt parses, and with dbt itself."""
    digest = hashlib.sha256(f"{version('dbt-core')} {version('dbt-duckdb')}".encode())
    for path in sorted(_files(project)):
        digest.update(f"\0{path.relative_to(project)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            if path.name not in NOT_SOURCES and not path.name.startswith("."):
                yield from _files(path)
        elif path.suffix in SUFFIXES:
            yield path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
