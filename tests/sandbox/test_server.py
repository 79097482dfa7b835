"""The server itself: loopback only, durable, stoppable, and safe to look at."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import requests

from destinations.errors import ConfigurationError, StoreroomError
from destinations.sandbox import serve

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost", "192.0.2.1", ""])
def test_it_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1"):
        serve(0, tmp_path, host=host)


def test_a_taken_port_is_said_plainly(tmp_path: Path) -> None:
    with serve(0, tmp_path / "a") as first:
        with pytest.raises(StoreroomError, match=f"Port {first.port}.*taken"):
            serve(first.port, tmp_path / "b")
        process = subprocess.run(
            [sys.executable, "-m", "destinations.sandbox", "--port", str(first.port), "--state", tmp_path],
            cwd=ROOT, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    assert process.returncode == 2
    assert "taken" in process.stderr
    assert "Traceback" not in process.stderr


def test_it_stops_on_a_signal_and_a_restart_remembers(tmp_path: Path) -> None:
    for expected, number in (("1", signal.SIGTERM), ("2", signal.SIGINT)):
        with _process(tmp_path) as (process, url):
            email = f"u{expected}@example.org"
            answer = _contact(url, email)
            assert answer.json()["contact"]["id"] == expected
            process.send_signal(number)
            assert process.wait(10) == 0


def test_a_killed_server_has_kept_all_it_answered_for(tmp_path: Path) -> None:
    with _process(tmp_path) as (process, url):
        for number in range(50):
            _contact(url, f"u{number}@example.org")
        process.kill()
        process.wait(10)
    with sqlite3.connect(tmp_path / "sandbox.sqlite") as state:
        assert state.execute("select count(*) from profiles").fetchone() == (50,)
        assert state.execute("select count(*), sum(rows) from requests").fetchone() == (50, 50)


def test_the_tables_others_read(sandbox: Any, client: Any, contact: Any) -> None:
    client.crm(contact("p1", "ada@example.org"))
    with sqlite3.connect(sandbox.state_file) as state:
        member = state.execute("select destination, target, identity, fields from members")
        assert member.fetchall() == [
            ("crm", "in_loyal", "ada@example.org", '{"email":"ada@example.org","in_loyal":"true"}')
        ]
        request = state.execute("select destination, method, status, rows from requests")
        assert request.fetchall() == [("crm", "POST", 200, 1)]
        counts = dict(state.execute("select name, value from counts").fetchall())
    assert counts == {"requests": 1, "accepted": 1}


def test_no_secret_reaches_the_state(sandbox: Any, client: Any, contact: Any) -> None:
    client.crm(contact("p1", "ada@example.org"), Authorization="Bearer planted-secret")
    client.people("PUT", "customers/1?token=planted-secret", {"email": "a@example.org"})
    client.send("POST", "/crm/x", headers={"Authorization": "planted-secret"})
    client.admin("POST", "settings/crm", json={"access_token": "planted-secret"})
    client.session.close()
    sandbox.stop()
    for file in sandbox.state_file.parent.iterdir():
        assert b"planted-secret" not in file.read_bytes()


def test_reset_forgets_one_destination_or_all(client: Any, contact: Any) -> None:
    client.crm(contact("p1", "ada@example.org"))
    client.mail("POST", "contact/sync", {"contact": {"email": "ada@example.org"}})
    client.admin("POST", "faults", json={"destination": "crm", "kind": "redirect"})
    client.admin("POST", "reset", json={"destination": "crm"})
    assert client.admin("GET", "faults") == {"faults": []}
    assert client.state("crm")["profiles"] == []
    assert len(client.state("mail")["profiles"]) == 1
    client.admin("POST", "reset", json={})
    assert client.state("mail")["profiles"] == []
    assert client.admin("GET", "requests") == {"requests": []}
    assert client.send("POST", "/_sandbox/reset", json={"destination": "x"}).status_code == 400


def test_the_pages_escape_what_they_show(client: Any, contact: Any) -> None:
    client.crm(contact("p1", "ada@example.org", name="<script>alert(1)</script>"))
    client.send("POST", "/crm/<script>", headers={"Authorization": "Bearer x"})
    for path in ("/", "/crm", "/%3Cscript%3E"):
        answer = client.send("GET", path)
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "<script" not in answer.text
    overview = client.send("GET", "/").text
    assert "in_loyal" in client.send("GET", "/crm").text
    assert "mail" in overview


def test_a_web_page_elsewhere_can_do_nothing_here(client: Any) -> None:
    rebound = client.send("GET", "/_sandbox/state/crm", headers={"Host": "evil.example:8321"})
    assert rebound.status_code == 403
    form = client.send("POST", "/_sandbox/reset", data="{}", headers={"Content-Type": "text/plain"})
    assert form.status_code == 415


def test_gzip_bodies_and_bodies_without_a_length(client: Any, contact: Any) -> None:
    headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}
    path = "/crm/contacts/batch"
    body = b'{"inputs": []}'
    packed = {**headers, "Content-Encoding": "gzip"}
    answer = client.send("POST", path, data=gzip.compress(body), headers=packed)
    assert "empty" in answer.json()["message"]
    assert "not gzip" in client.send("POST", path, data=body, headers=packed).json()["message"]
    assert client.send("POST", path, data=iter([body]), headers=headers).status_code == 411


def test_many_clients_at_once_lose_nothing(sandbox: Any, client: Any) -> None:
    def work(worker: int) -> None:
        with requests.Session() as session:
            for number in range(50):
                _contact(sandbox.url, f"w{worker}-{number}@example.org", session, "mail")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    state = client.state("mail")
    assert len(state["profiles"]) == 400
    assert state["counts"] == {"accepted": 400, "requests": 400}


def test_stopping_closes_idle_connections_and_frees_the_port(tmp_path: Path) -> None:
    sandbox = serve(0, tmp_path)
    port = sandbox.port
    with socket.create_connection(("127.0.0.1", port)) as idle:
        idle.settimeout(5)
        idle.sendall(b"GET /_sandbox/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert idle.recv(4096).endswith(b'{"status":"up"}')
        sandbox.stop()
        sandbox.stop()
        assert idle.recv(1) == b""
    with serve(port, tmp_path) as again:
        assert again.url == f"http://127.0.0.1:{port}"


class _process:  # noqa: N801 - reads like the function it stands for
    """``python -m destinations.sandbox`` on a free port, with its URL."""

    def __init__(self, state: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "destinations.sandbox", "--port", "0", "--state", state],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ},
        )  # fmt: skip

    def __enter__(self) -> tuple[subprocess.Popen[str], str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return self._process, line.split()[2].rstrip(",")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _contact(
    url: str, email: str, session: Any = requests, destination: str = "active_campaign"
) -> requests.Response:
    answer = session.post(
        f"{url}/{destination}/api/3/contact/sync",
        json={"contact": {"email": email}},
        headers={"Api-Token": "sandbox-token"},
        timeout=10,
    )
    assert answer.ok, answer.text
    return answer


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 on this machine")
def test_the_other_loopback(tmp_path: Path) -> None:
    try:
        sandbox = serve(0, tmp_path, host="::1")
    except OSError as error:
        pytest.skip(f"no IPv6 loopback: {error}")
    with sandbox:
        assert sandbox.url.startswith("http://[::1]:")
        assert requests.get(f"{sandbox.url}/_sandbox/health", timeout=5).json() == {"status": "up"}
