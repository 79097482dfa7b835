"""Whose turn it is: DuckDB lets one process write, or several read.

Both functions wait for a while, because the other process is nearly always a build that is
about to end: the orphan of a run that was killed, or a neighbour's export.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from destinations.errors import LockedError, StoreroomError

PATIENCE = 120.0
PAUSE = 0.2


def wait_for_writer(path: Path, timeout: float = PATIENCE) -> None:
    """Return once a process could write to the warehouse; at once where there is no file yet.

    Args:
        path: the warehouse's file.
        timeout: seconds to wait; 0 asks once.

    Raises:
        LockedError: another process still holds it; names the process and what to do.
    """
    if path.exists():
        _open(path, read_only=False, timeout=timeout).close()


@contextmanager
def reading(path: Path, timeout: float = PATIENCE) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse, read-only. Nobody can write meanwhile: be brief.

    Raises:
        LockedError: a process that writes did not end in time.
        StoreroomError: there is no warehouse yet.
    """
    if not path.exists():
        raise StoreroomError(f"{path} does not exist yet.", "Run `storeroom run` to build it.")
    connection = _open(path, read_only=True, timeout=timeout)
    try:
        yield connection
    finally:
        connection.close()


def _open(path: Path, read_only: bool, timeout: float) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + timeout
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only)
        except duckdb.IOException as error:
            if "lock" not in str(error):
                raise StoreroomError(
                    f"{path} cannot be opened: {error}",
                    "If the file is damaged, remove it: the next run builds it again from the raw zone.",
                ) from None
            if time.monotonic() >= deadline:
                raise _locked(path, str(error)) from None
        time.sleep(PAUSE)


def _locked(path: Path, words: str) -> LockedError:
    found = re.search(r"PID (\d+)", words)
    holder = f"process {found[1]}" if found else "another process"
    look = f" (`ps -fp {found[1]}` shows what it is)" if found else ""
    return LockedError(
        f"{path} is in use by {holder}{look}.",
        "Wait for it to end, or close it if it is a notebook or a shell that you left open.",
    )
