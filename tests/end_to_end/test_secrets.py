"""After a full run no secret stands anywhere, and nobody's address but where it must.

Secrets are planted in the environment, vendors quote them and people back at us, and every
file that the run left is searched: logs, plans, errors, Dagster's events, ledgers, dbt's logs.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import yaml

from dagster_project.demo import generate
from destinations.sync.journal import read_journal

pytestmark = pytest.mark.end_to_end

SECRETS = {
    "HUBSPOT_ACCESS_TOKEN": "pat-planted-hubspot-4711",
    "CUSTOMERIO_API_KEY": "planted/customerio+key=4712",
    "ACTIVE_CAMPAIGN_API_TOKEN": "planted-active-campaign-4713",
    "META_ACCESS_TOKEN": "planted-meta-token-4714",
    "WEBHOOK_SECRET": 'planted "webhook" secret 4715',
}
PATH_SECRET = "planted-path-4716"
QUOTED = ("quoted.by.vendor@example.net", "+49 151 23456789")
MAY_HOLD_PEOPLE = (
    "landing/",
    "raw/",
    "warehouse/",
    "audiences/",
    "lake/",
    "reporting.sqlite",
    "syncs/*/*/seen-*",
    "syncs/*/*/leavers-*",
)
"""What docs/operations.md names."""


class Quoting(ThreadingHTTPServer):
    """Refuses everything, and quotes all it was told: path, headers and body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = 0


class _Handler(BaseHTTPRequestHandler):
    server: Quoting

    def do_POST(self) -> None:
        self.server.asked += 1
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        words = f"{self.path} {dict(self.headers)} {body[:400]} {SECRETS['WEBHOOK_SECRET']}"
        text = json.dumps({"message": words}).encode()
        self.send_response(422)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def quoting() -> Iterator[Quoting]:
    server = Quoting()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.timeout(600)
def test_no_secret_anywhere_and_nobody_s_address_but_where_it_must_be(
    project: Any, quoting: Quoting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv(
        "WEBHOOK_URL", f"http://127.0.0.1:{quoting.server_port}/{PATH_SECRET}?k={PATH_SECRET}"
    )
    file = project.folder / "dagster_project" / "connections.yaml"
    document = yaml.safe_load(file.read_text())
    webhook = document["connections"]["webhook"]
    del webhook["sandbox"]
    webhook["settings"]["url"] = {"env": "WEBHOOK_URL"}
    file.write_text(yaml.safe_dump(document))

    generate(project.state / "landing", 1, users=150)
    project.sandbox.fail(
        "hubspot", "rows", rule={"fraction": 0.2}, status=207, message=f"{QUOTED[0]} exists"
    )
    project.sandbox.fail("customerio", "status", status=401, message=f"No {QUOTED[1]}", times=1)
    said: dict[str, str] = {}

    def ask(*arguments: str, exits: tuple[int, ...]) -> str:
        process = project.start(*arguments)
        out, err = process.communicate(timeout=280)
        assert process.returncode in exits, f"{arguments}: {process.returncode}\n{out}\n{err}"
        said[" ".join(arguments)] = out + err
        return str(out)

    # The messaging connection refuses us: the run fails; the others are sent all the same.
    ask("run", exits=(1,))
    assert "The credentials were refused" in said["run"]
    project.sandbox.faults.clear("customerio")
    # A 207 with refused rows is no success.
    ask("syncs", "run", "--connection", "crm", exits=(3,))
    ask("syncs", "plan", exits=(0, 3))
    ask("syncs", "plan", "--json", exits=(0, 3))
    status = ask("syncs", "status", "--json", exits=(0,))
    ask("syncs", "status", exits=(0,))
    ask("doctor", exits=(0, 1, 2, 3))
    ask("destinations", "check", "--connection", "webhook", exits=(0, 1, 2))

    rows = [json.loads(line) for line in status.splitlines()]
    (crm,) = [row for row in rows if row["connection"] == "crm"]
    assert crm["status"] == "rejected"
    (reason,) = [reason for reason in crm["reasons"] if reason["fate"] == "rejected"]
    assert (reason["message"], reason["rows"]) == ("q•••@example.net exists", crm["rejected"])
    assert quoting.asked > 0
    ask("syncs", "explain", reason["keys"][0], exits=(0,))

    everybody = people(project.state)
    assert len(everybody) > 150
    texts = dict(said)
    for path in sorted(project.folder.rglob("*")):
        if path.is_file() and not path.is_relative_to(project.folder / ".sandbox"):
            texts[str(path.relative_to(project.folder))] = text_of(path)
    secrets = re.compile(
        "|".join(re.escape(form) for form in forms([*SECRETS.values(), PATH_SECRET]))
    )
    assert [
        (name, found[0]) for name, text in texts.items() if (found := secrets.search(text))
    ] == []
    assert secrets.search(text_of(project.folder / ".sandbox" / "sandbox.sqlite")) is None

    kept_for_work = [name for name in texts if may_hold_people(project, name)]
    assert len(kept_for_work) > 10
    addresses = re.compile(r"[A-Za-z0-9_.+-]+(?:@|%40)[A-Za-z0-9.-]+|\+?\d[\d ()-]{8,}\d")

    def told_in(text: str) -> set[str]:
        return {found.lower() for found in addresses.findall(text)} & everybody

    # Where people may stand they are found: the search can see.
    assert len(told_in("".join(texts[name] for name in kept_for_work if "/seen-" in name))) > 50
    for name, text in texts.items():
        if name in kept_for_work:
            continue
        told = told_in(text)
        assert not told, (name, sorted(told)[:3])
        assert not [words for words in QUOTED if words in text], name


def people(state: Path) -> set[str]:
    """Addresses and phone numbers of everybody the warehouse knows, in every form it has them."""
    with duckdb.connect(str(state / "warehouse" / "storeroom.duckdb"), read_only=True) as found:
        columns = found.execute(
            "select table_name, column_name from information_schema.columns "
            "where column_name in ('email', 'phone')"
        ).fetchall()
        values = set()
        for table, column in columns:
            values |= {
                str(value).lower()
                for (value,) in found.execute(
                    f'select distinct "{column}" from "{table}" where "{column}" is not null'
                ).fetchall()
            }
    return values


def forms(secrets: list[str]) -> set[str]:
    return {form for secret in secrets for form in (secret, json.dumps(secret)[1:-1])}


def may_hold_people(project: Any, name: str) -> bool:
    path = (project.folder / name).resolve()
    if not path.is_relative_to(project.state):
        return False
    inside = path.relative_to(project.state)
    return any(
        str(inside).startswith(rule) if rule.endswith("/") else inside.match(rule)
        for rule in MAY_HOLD_PEOPLE
    )


def text_of(path: Path) -> str:
    """What a file holds, as text: tables and compressed parts opened."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        return pl.read_parquet(path, glob=False).write_ndjson()
    if data.startswith(b"SRJ1"):
        return read_journal(path).write_ndjson()
    if data.startswith(b"SQLite format 3"):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as found:
            tables = [
                n for (n,) in found.execute("select name from sqlite_master where type='table'")
            ]
            cells = (
                cell
                for table in tables
                for row in found.execute(f'select * from "{table}"')
                for cell in row
            )
            return "\n".join(_cell(cell) for cell in cells)
    return data.decode("utf-8", "replace")


def _cell(cell: Any) -> str:
    if isinstance(cell, bytes):
        try:
            return zlib.decompress(cell).decode("utf-8", "replace")
        except zlib.error:
            return cell.decode("utf-8", "replace")
    return str(cell)
