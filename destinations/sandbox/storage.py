"""What the sandbox's destinations hold: one SQLite file, committed before each answer.

========================  ===================================================================
``requests``              seq, ts (Unix seconds), destination, method, path, status, rows
``members`` (view)        destination, target, identity, key, fields (JSON text), updated_at
``profiles``              id (the remote id), destination, identity, key, fields, updated_at
``memberships``           destination, target, profile
``events``                destination, identity, delivery, position, fields, ts
``counts``                destination, name (requests, accepted, rejected), value; rows are
                          counted in every request, so a row of two steps counts twice
========================  ===================================================================

No header, no query and no body of a request is kept, so no secret is.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

FILE = "sandbox.sqlite"

_SCHEMA = """
create table if not exists requests (
    seq integer primary key, ts real not null, destination text not null, method text not null,
    path text not null, status integer not null, rows integer not null);
create table if not exists profiles (
    id integer primary key autoincrement, destination text not null, identity_field text not null,
    identity text not null, key text, fields text not null default '{}', updated_at real not null,
    unique (destination, identity_field, identity));
create index if not exists profiles_by_key on profiles (destination, key);
create table if not exists aliases (
    destination text not null, alias text not null,
    profile integer not null references profiles (id) on delete cascade,
    primary key (destination, alias)) without rowid;
create index if not exists aliases_of_profile on aliases (profile);
create table if not exists memberships (
    destination text not null, target text not null,
    profile integer not null references profiles (id) on delete cascade, since real not null,
    primary key (destination, target, profile)) without rowid;
create index if not exists memberships_of_profile on memberships (profile);
create table if not exists events (
    seq integer primary key, destination text not null, identity text not null, delivery text,
    position integer not null, fields text not null, ts real not null);
create unique index if not exists events_once on events (destination, delivery, position)
    where delivery is not null;
create table if not exists counts (
    destination text not null, name text not null, value integer not null,
    primary key (destination, name)) without rowid;
create view if not exists members as
    select m.destination, m.target, p.identity, p.key, p.fields,
           max(p.updated_at, m.since) as updated_at
    from memberships m join profiles p on p.id = m.profile;
"""


class Store:
    """The state of all destinations. Threads take turns; a reader needs no turn."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._lock = threading.Lock()
        self._writer = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        self._writer.execute("pragma busy_timeout = 10000")
        self._writer.execute("pragma journal_mode = wal")
        # With WAL a killed process loses nothing committed; only a power cut could.
        self._writer.execute("pragma synchronous = normal")
        self._writer.execute("pragma foreign_keys = on")
        self._writer.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._writer.close()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One request's changes: all of them or, where the block raises, none."""
        with self._lock:
            self._writer.execute("begin immediate")
            try:
                yield Transaction(self._writer)
            except BaseException:
                self._writer.execute("rollback")
                raise
            self._writer.execute("commit")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for a page or a listing; rows by column name."""
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        try:
            yield connection
        finally:
            connection.close()

    def reset(self, destination: str | None = None) -> None:
        """Forget one destination, or all of them."""
        with self.transaction() as change:
            for table in ("memberships", "aliases", "profiles", "events", "requests", "counts"):
                change.forget(table, destination)


class Transaction:
    """The changes one request makes; see :meth:`Store.transaction`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._now = time.time()

    def record(self, destination: str, method: str, path: str, status: int, rows: int) -> None:
        self._run(
            "insert into requests (ts, destination, method, path, status, rows)"
            " values (?, ?, ?, ?, ?, ?)",
            (self._now, destination, method, path, status, rows),
        )

    def count(self, destination: str, **names: int) -> None:
        for name, more in names.items():
            if more:
                self._run(
                    "insert into counts values (?, ?, ?)"
                    " on conflict do update set value = value + excluded.value",
                    (destination, name, more),
                )

    def find(self, destination: str, identity_field: str, identity: str) -> int | None:
        """The profile known by this identity, or None."""
        return self._one(
            "select id from profiles where destination = ? and identity_field = ? and identity = ?",
            (destination, identity_field, identity),
        )

    def find_remote(self, destination: str, remote_id: str) -> int | None:
        if not remote_id.isascii() or not remote_id.isdigit() or len(remote_id) > 18:
            return None
        return self._one(
            "select id from profiles where id = ? and destination = ?",
            (int(remote_id), destination),
        )

    def find_alias(self, destination: str, alias: str) -> int | None:
        return self._one(
            "select profile from aliases where destination = ? and alias = ?", (destination, alias)
        )

    def find_key(self, destination: str, key: str) -> int | None:
        """The profile that the sync last called by this key."""
        return self._one(
            "select id from profiles where destination = ? and key = ? order by id desc limit 1",
            (destination, key),
        )

    def upsert(
        self, destination: str, identity_field: str, identity: str, fields: dict[str, Any]
    ) -> int:
        """Write the profile of this identity, creating it where there is none."""
        profile = self._one(
            "insert into profiles (destination, identity_field, identity, fields, updated_at)"
            " values (?1, ?2, ?3, json_patch('{}', ?4), ?5)"
            " on conflict (destination, identity_field, identity) do update"
            " set fields = json_patch(fields, ?4), updated_at = ?5 returning id",
            (destination, identity_field, identity, orjson.dumps(fields).decode(), self._now),
        )
        assert profile is not None  # noqa: S101 - an insert returns the id or raises
        return profile

    def rename(self, profile: int, identity_field: str, identity: str) -> None:
        """A person addressed by remote id got another identity."""
        self._run(
            "update profiles set identity_field = ?, identity = ? where id = ?",
            (identity_field, identity, profile),
        )

    def identity(self, profile: int) -> str:
        return str(
            self._run("select identity from profiles where id = ?", (profile,)).fetchone()[0]
        )

    def write(self, profile: int, fields: dict[str, Any]) -> None:
        """Set fields; a null clears its field, a field not named stays."""
        self._run(
            "update profiles set fields = json_patch(fields, ?), updated_at = ? where id = ?",
            (orjson.dumps(fields).decode(), self._now, profile),
        )

    def name(self, destination: str, profile: int, key: str | None, aliases: list[str]) -> None:
        """Remember the sync's key and the derived names (digests in paths) of a profile."""
        if key is not None:
            self._run(
                "update profiles set key = ? where id = ? and key is not ?", (key, profile, key)
            )
        for alias in aliases:
            self._run(
                "insert or replace into aliases values (?, ?, ?)", (destination, alias, profile)
            )

    def join(self, destination: str, target: str, profile: int) -> None:
        self._run(
            "insert or ignore into memberships values (?, ?, ?, ?)",
            (destination, target, profile, self._now),
        )

    def leave(self, destination: str, target: str, profile: int) -> None:
        self._run(
            "delete from memberships where destination = ? and target = ? and profile = ?",
            (destination, target, profile),
        )

    def targets(self, destination: str, profile: int) -> list[str]:
        """The audiences that the profile is in."""
        rows = self._run(
            "select target from memberships where destination = ? and profile = ? order by target",
            (destination, profile),
        )
        return [str(row[0]) for row in rows]

    def erase(self, profile: int) -> None:
        self._run("delete from profiles where id = ?", (profile,))

    def event(
        self, destination: str, identity: str, delivery: str | None, position: int, fields: Any
    ) -> None:
        """Keep one event; one that came under the same delivery before counts once."""
        self._run(
            "insert or ignore into events (destination, identity, delivery, position, fields, ts)"
            " values (?, ?, ?, ?, ?, ?)",
            (destination, identity, delivery, position, orjson.dumps(fields).decode(), self._now),
        )

    def forget(self, table: str, destination: str | None) -> None:
        if destination is None:
            self._run(f"delete from {table}")  # noqa: S608 - the table is one of ours
        else:
            self._run(f"delete from {table} where destination = ?", (destination,))  # noqa: S608

    def _one(self, statement: str, values: tuple[Any, ...]) -> int | None:
        row = self._run(statement, values).fetchone()
        return None if row is None else int(row[0])
