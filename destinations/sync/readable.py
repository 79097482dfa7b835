"""The syncs' ledgers as files that DuckDB can read, wherever and however they are kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from destinations.sync.durable import kept, names, opened, read
from destinations.sync.head import HEAD, Head, read_head
from destinations.sync.lines import read_lines
from destinations.sync.remote import remote_of
from destinations.sync.report import RUNS, kept_reports
from destinations.sync.sealing import keys

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of the machine's memory, where it has one


@contextmanager
def readable(state: Path) -> Iterator[Path]:
    """A folder with the head, the reports, the state and the history of every sync.

    The folder of all syncs itself, with copies of what stands in object storage; where state
    is encrypted a folder that only this user can read, in memory where the machine offers
    that, and only for as long as it is in use.

    Raises:
        LedgerError: something cannot be read.
    """
    if not keys():
        if remote_of(state) is not None:
            for folder in _folders(state):
                _fetch(folder)
        yield state
        return
    where = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="storeroom-", dir=where) as name:
        target = Path(name)
        for folder in _folders(state):
            _open(folder, target / folder.relative_to(state))
        yield target


def _folders(state: Path) -> list[Path]:
    return [(state / name).parent for name in names(state, f"*/*/{HEAD}")]


def _parts(head: Head) -> list[str]:
    parts = (head.base, *head.deltas, *head.history)
    return [part.file for part in parts if part is not None]


def _fetch(folder: Path) -> None:
    for name in _parts(read_head(folder)):
        kept(folder / name)
    read_lines(folder / RUNS)


def _open(folder: Path, target: Path) -> None:
    target.mkdir(parents=True)
    head = read_head(folder)
    for name in _parts(head):
        content = opened(kept(folder / name))
        if isinstance(content, Path):
            shutil.copyfile(content, target / name)
        else:
            with (target / name).open("wb") as file:
                shutil.copyfileobj(content, file)
    (target / HEAD).write_bytes(read(folder / HEAD))
    lines = (orjson.dumps(report) + b"\n" for report in kept_reports(folder))
    (target / RUNS).write_bytes(b"".join(lines))
