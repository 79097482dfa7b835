"""Published audiences: immutable Parquet snapshots and an atomic pointer to the current one.

::

    audiences/<audience>/20260102T030405000000Z.parquet   rows sorted by the key's text
    audiences/<audience>/current.json                     which version counts

Whoever reads takes the pointer once and then a file that nobody changes; whoever
publishes never touches a file that stands. Killed at any point, a publication has
either happened or not. Null and duplicate keys are no error here: each sync rejects
those rows with a reason, and the rest still travels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import polars as pl

from destinations.errors import ConfigurationError, StoreroomError
from destinations.sync.content import frame_digest
from destinations.sync.durable import (
    TEMPORARY,
    Target,
    discard,
    locked,
    names,
    place,
    place_json,
    present,
    read,
    scan,
    share,
    sweep,
)

POINTER = "current.json"
KEEP_VERSIONS = 5
KEEP_FOR = timedelta(days=2)
ROWS_PER_GROUP = 100_000
VERSION_FORMAT = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True)
class Snapshot:
    """One published version of an audience."""

    audience: str
    version: str
    path: Path
    rows: int
    digest: str
    """Depends on the rows, their columns and types alone: equal for a rebuild that changed nothing."""
    key: str
    columns: dict[str, str]
    published_at: datetime
    since: str
    """The version in which these very rows were first published, without a change in between."""

    def scan(self) -> pl.LazyFrame:
        return scan(self.path)


def next_version(after: str | None, now: datetime) -> str:
    """A version for ``now`` that sorts behind ``after``, even if the clock went back."""
    version = now.astimezone(UTC).strftime(VERSION_FORMAT)
    if after is not None and version <= after:
        later = datetime.strptime(after, VERSION_FORMAT).replace(tzinfo=UTC)
        version = (later + timedelta(microseconds=1)).strftime(VERSION_FORMAT)
    return version


def current(folder: Path, audience: str) -> Snapshot | None:
    """The snapshot that counts now; None where the audience was never published.

    Args:
        folder: the folder of all audiences.

    Raises:
        StoreroomError: the pointer cannot be read or names a file that is gone.
    """
    pointer = folder / audience / POINTER
    # A publisher may expire the file between the two reads only after it moved the pointer.
    for _ in range(3):
        try:
            found = orjson.loads(read(pointer))
            snapshot = Snapshot(
                audience=audience,
                version=found["version"],
                path=pointer.parent / found["file"],
                rows=found["rows"],
                digest=found["digest"],
                key=found["key"],
                columns=found["columns"],
                published_at=datetime.fromisoformat(found["published_at"]),
                since=found["since"],
            )
        except FileNotFoundError:
            return None
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise StoreroomError(
                f"{pointer} cannot be read: {error!r}.", "Publish the audience again."
            ) from None
        if snapshot.path.is_file() or present(snapshot.path):
            return snapshot
    raise StoreroomError(
        f"{pointer} names {snapshot.path.name}, which is gone.", "Publish the audience again."
    )


def publish(
    folder: Path,
    audience: str,
    key: str,
    write: Callable[[Path], object],
    now: datetime | None = None,
    keep_versions: int = KEEP_VERSIONS,
    keep_for: timedelta = KEEP_FOR,
) -> Snapshot:
    """Publish a new version of an audience and expire old ones.

    ``write`` is given a path and must leave one Parquet file there, rows in any order
    (``COPY audience TO '<path>' (FORMAT parquet)``). Two publishers take turns. A version
    goes when it is neither among the last ``keep_versions`` nor younger than ``keep_for``,
    which must be longer than the longest run that reads it.

    Raises:
        ConfigurationError: the rows have no column ``key``.
    """
    home = folder / audience
    home.mkdir(parents=True, exist_ok=True)
    with locked(home, f"Publishing audience '{audience}'", wait=True):
        sweep(home)
        before = _pointed_at(folder, audience)
        raw = home / f"{TEMPORARY}{os.getpid()}-raw.parquet"
        try:
            write(raw)
            rows = pl.scan_parquet(raw, glob=False)
            schema = rows.collect_schema()
            if key not in schema:
                raise ConfigurationError(
                    f"Audience '{audience}' has no column '{key}', its declared key.",
                    f"Name one of its columns as the key: {', '.join(schema.names())}.",
                )
            digest = frame_digest(rows)
            stamp = now or datetime.now(UTC)
            newest = max((Path(name).stem for name in names(home, "2*.parquet")), default=None)
            version = next_version(newest, stamp)
            path = home / f"{version}.parquet"
            since = version
            if before is not None and (before.digest, before.key) == (digest, key):
                since = before.since
                share(before.path, path)
            else:
                place(path, lambda temporary: _sort(rows, key, temporary))
            count = rows.select(pl.len()).collect().item()
        finally:
            with suppress(FileNotFoundError):
                raw.unlink()
        snapshot = Snapshot(
            audience=audience,
            version=version,
            path=path,
            rows=count,
            digest=digest,
            key=key,
            columns={name: str(dtype) for name, dtype in schema.items()},
            published_at=stamp.astimezone(UTC),
            since=since,
        )
        document = asdict(snapshot) | {"file": path.name}
        del document["path"], document["audience"]
        place_json(home / POINTER, document)
        _expire(home, snapshot, stamp - keep_for, keep_versions)
        return snapshot


def _pointed_at(folder: Path, audience: str) -> Snapshot | None:
    """Like :func:`current`, but a damaged pointer is simply replaced by the publication under way."""
    try:
        return current(folder, audience)
    except StoreroomError:
        return None


def _sort(rows: pl.LazyFrame, key: str, path: Target) -> None:
    # By the key's text: ledgers are sorted by it too, and the two are merged.
    order = pl.col(key).cast(pl.String)
    rows.sort(order, nulls_last=False).sink_parquet(
        path, compression="zstd", row_group_size=ROWS_PER_GROUP, engine="streaming"
    )


def _expire(home: Path, kept: Snapshot, before: datetime, keep_versions: int) -> None:
    oldest = before.astimezone(UTC).strftime(VERSION_FORMAT)
    versions = [Path(name).stem for name in names(home, "2*.parquet")]
    for version in versions[: -max(keep_versions, 1)]:
        if version < oldest and version != kept.version:
            discard(home / f"{version}.parquet")
