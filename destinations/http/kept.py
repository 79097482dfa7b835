"""What a connection keeps from run to run: replaced refresh tokens, ids of audiences at vendors.

Small files in the state folder that only their owner may read, locked while they are used:
two processes that log in with the same refresh token take turns.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from destinations.errors import ConfigurationError
from destinations.paths import connections_dir


class Kept:
    """One such file.

    Args:
        names: what it belongs to: the same names, the same file.
    """

    def __init__(self, folder: Path, destination: str, names: Mapping[str, Any]) -> None:
        document = json.dumps(names, sort_keys=True, default=str).encode()
        self._path = folder / f"{destination}-{hashlib.sha256(document).hexdigest()[:16]}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold it against other threads and processes; the kernel frees it when one dies."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def read(self) -> dict[str, Any]:
        try:
            content = orjson.loads(self._path.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, document: Mapping[str, Any]) -> None:
        """Durable when it returns; a kill leaves the old document or the new one."""
        handle, name = tempfile.mkstemp(dir=self._path.parent)  # readable by its owner alone
        with os.fdopen(handle, "wb") as file:
            file.write(orjson.dumps(document))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def kept_dir() -> Path:
    try:
        return connections_dir()
    except ConfigurationError:  # outside a project (a plugin's own tests)
        return Path(tempfile.gettempdir()) / f"storeroom-connections-{os.getuid()}"
