"""State in object storage: whole objects, replaced only by whoever knows what stands there.

An object is written whole or not at all, and a condition decides between writers: "only if
there is none" (``If-None-Match: *``) or "only if it is still the one I read" (``If-Match``).
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import obstore
import obstore.exceptions
import obstore.store

from destinations.errors import ConfigurationError, LedgerError
from destinations.paths import state_url

SCHEMES = ("s3://", "gs://", "az://")
SECONDS = 60
NEW: dict[str, Any] = {}
"""As ``expected``: there must be no such object yet."""
LOOPBACK = ("http://127.0.0.1", "http://localhost", "http://[::1]")

Version = dict[str, Any]
"""Names one content of an object, for a later condition."""


class ChangedError(Exception):
    """Somebody else wrote the object in between."""


@dataclass(frozen=True)
class Stored:
    """An object as it was read; ``modified`` is the server's clock."""

    body: bytes
    version: Version
    modified: datetime


class Bucket:
    """A folder of object storage; keys are paths below it."""

    def __init__(self, url: str) -> None:
        self.url = url
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
        with self._told("opened"):
            self._store: Any = obstore.store.from_url(
                url,
                client_options={
                    "timeout": f"{SECONDS}s",
                    "connect_timeout": "10s",
                    "allow_http": endpoint.startswith(LOOPBACK),
                },
                retry_config={
                    "max_retries": 5,
                    "retry_timeout": timedelta(seconds=SECONDS),
                    "backoff": {
                        "init_backoff": timedelta(milliseconds=100),
                        "max_backoff": timedelta(seconds=5),
                        "base": 2,
                    },
                },
            )

    def get(self, key: str) -> Stored | None:
        with self._told("read", key), suppress(FileNotFoundError):
            found = obstore.get(self._store, key)
            meta = found.meta
            return Stored(bytes(found.bytes()), _version(meta), meta["last_modified"])
        return None

    def download(self, key: str, path: Path) -> Version | None:
        """Copy an object to a file; None where there is none."""
        with self._told("read", key), suppress(FileNotFoundError):
            found = obstore.get(self._store, key)
            with path.open("wb") as file:
                for chunk in found.stream(min_chunk_size=8 << 20):
                    file.write(chunk)
            return _version(found.meta)
        return None

    def put(self, key: str, body: bytes | Path, expected: Version | None = None) -> Version:
        """Write an object.

        Args:
            expected: what must stand there (``NEW``: nothing); None for anything.

        Raises:
            ChangedError: something else stands there, and it is not ``body`` either.
        """
        mode: Any = "overwrite" if expected is None else expected or "create"
        # A condition is checked by one request, so what has one is sent by one request.
        multipart = isinstance(body, Path) and expected is None
        content = body.read_bytes() if isinstance(body, Path) and not multipart else body
        with self._told("written", key):
            try:
                return _version(
                    obstore.put(self._store, key, content, mode=mode, use_multipart=multipart)
                )
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
                # The answer to a first attempt may have been lost, and the second was refused.
                there = obstore.get(self._store, key)
                if bytes(there.bytes()) == content:
                    return _version(there.meta)
                raise ChangedError(key) from None

    def modified(self, key: str) -> datetime:
        """When an object was written, by the server's clock."""
        with self._told("read", key):
            moment: datetime = obstore.head(self._store, key)["last_modified"]
            return moment

    def has(self, key: str) -> bool:
        with self._told("read", key), suppress(FileNotFoundError):
            obstore.head(self._store, key)
            return True
        return False

    def keys(self, prefix: str) -> list[str]:
        """Keys below a folder, sorted."""
        with self._told("listed", prefix):
            return sorted(
                str(o["path"]) for page in obstore.list(self._store, prefix) for o in page
            )

    def copy(self, source: str, key: str) -> None:
        with self._told("written", key):
            obstore.copy(self._store, source, key)

    def delete(self, keys: list[str]) -> None:
        """Delete objects; those that are gone already do not matter."""
        if keys:
            with self._told("deleted", keys[0]), suppress(FileNotFoundError):
                obstore.delete(self._store, keys)

    @contextmanager
    def _told(self, what: str, key: str = "") -> Iterator[None]:
        """What the store says, as an error that says what to do."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            said = str(error).partition("Debug source:")[0].strip()
            raise LedgerError(
                f"{self.url}/{key} cannot be {what}: {said}".rstrip("/."),
                "Look at STOREROOM_STATE_URL, the credentials and their rights, then run again: "
                "nothing is lost, and what was under way is settled then.",
            ) from error


def _version(meta: Any) -> Version:
    return {name: meta[name] for name in ("e_tag", "version") if meta[name] is not None}


def bucket() -> Bucket | None:
    """Where shared state is kept; None where that is the state folder.

    Raises:
        ConfigurationError: ``STOREROOM_STATE_URL`` names no object storage.
        LedgerError: it cannot be opened.
    """
    url = state_url()
    if url is None:
        return None
    if not url.startswith(SCHEMES):
        raise ConfigurationError(
            f"STOREROOM_STATE_URL is '{url}'.",
            "Write s3://bucket/folder, gs://bucket/folder or az://container/folder; for a folder "
            "of this machine set STOREROOM_STATE.",
        )
    # Connections do not survive a fork.
    return _bucket(url, os.getpid())


@lru_cache(maxsize=8)
def _bucket(url: str, _process: int) -> Bucket:
    return Bucket(url)
