"""Connections and answers byte by byte: TLS, proxies, and servers that answer oddly."""

from __future__ import annotations

import datetime as dt
import gzip
import ipaddress
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from destinations.http import wire
from destinations.http.session import NoAnswerError, NotSentError, Session
from destinations.http.wire import Connection, Peer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Listener:
    """Gives every request on every connection the same bytes; keeps what it read."""

    def __init__(self, answer: bytes, context: ssl.SSLContext | None = None) -> None:
        self.answer, self._context = answer, context
        self.read: list[bytes] = []
        self.connections = 0
        self.close_after = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(accepted,), daemon=True).start()

    def serve(self, accepted: socket.socket) -> None:
        try:
            if self._context is not None:
                accepted = self._context.wrap_socket(accepted, server_side=True)
            self.connections += 1
            with accepted:
                while part := accepted.recv(65536):
                    self.read.append(part)
                    accepted.sendall(self.answer)
                    if self.close_after:
                        return
        except OSError:
            return

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def listener() -> Iterator[Callable[..., Listener]]:
    made: list[Listener] = []

    def make(answer: bytes = OK, context: ssl.SSLContext | None = None) -> Listener:
        made.append(Listener(answer, context))
        return made[-1]

    yield make
    for one in made:
        one.close()


def session(port: int, **more: float) -> Session:
    return Session(f"http://127.0.0.1:{port}", timeout=more.get("timeout", 2.0), connections=2)


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" + OK, 200, b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200, b"{}"),
    ],
)  # fmt: skip
def test_answers_of_every_framing(listener, answer, status, body):
    served = listener(answer)
    ours = session(served.port)
    for _ in range(2):
        response = ours.send("GET", "/", {}, None)
        assert (response.status, response.body) == (status, body)
    assert served.connections == 1
    ours.close()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare"])
def test_compressed_answers(listener, coding):
    text = b'{"done": true}'
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = {
        "gzip": gzip.compress(text),
        "deflate": zlib.compress(text),
        "bare": packer.compress(text) + packer.flush(),
    }[coding]
    name = b"gzip" if coding == "gzip" else b"deflate"
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
    served = listener(head % (name, len(packed)) + packed)
    assert session(served.port).send("GET", "/", {}, None).body == text


def test_a_body_without_a_length_ends_with_the_connection(listener):
    served = listener(b"HTTP/1.1 200 OK\r\n\r\n{}")
    served.close_after = True
    ours = session(served.port)
    for _ in range(2):
        assert ours.send("GET", "/", {}, None).body == b"{}"
    assert served.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_what_is_no_whole_answer_is_none(listener, answer):
    served = listener(answer)
    served.close_after = True
    with pytest.raises(NoAnswerError):
        session(served.port).send("POST", "/", {}, b"{}")


def test_what_stands_behind_an_answer_is_not_taken_for_the_next_one(listener):
    served = listener(OK + b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
    ours = session(served.port)
    assert [ours.send("GET", "/", {}, None).status for _ in range(3)] == [200] * 3
    assert served.connections == 3


def test_a_kept_connection_that_the_server_closed_is_not_used(listener):
    served = listener()
    ours = session(served.port)
    served.close_after = True
    ours.send("GET", "/", {}, None)
    time.sleep(0.1)
    assert ours.send("GET", "/", {}, None).status == 200
    assert served.connections == 2


def test_a_flood_is_cut(listener, monkeypatch):
    monkeypatch.setattr(wire, "MOST_BYTES", 1000)
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
    packed = gzip.compress(b"x" * 5000)
    bomb = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    for answer in (long, bomb + packed):
        with pytest.raises(NoAnswerError, match="longer"):
            session(listener(answer).port).send("GET", "/", {}, None)


@pytest.mark.parametrize(
    "headers", [{"X": "a\r\nY: b"}, {"X\r\nY": "b"}, {"X": " a"}, {"": "a"}, {"X": "東京"}]
)
def test_a_header_that_cannot_be_one_is_not_sent(listener, headers):
    served = listener()
    with pytest.raises(NotSentError, match="cannot be written"):
        session(served.port).send("POST", "/", headers, b"{}")
    assert not served.read


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/a/b?c=d%20e", b"/a/b?c=d%20e"),
        ("/a b/ü", b"/a%20b/%C3%BC"),
        ("/a/../b", b"/b"),
        ("/a\r\nX: y", b"/a%0D%0AX:%20y"),
        ("/", b"/"),
    ],
)
def test_targets(listener, path, target):
    served = listener()
    session(served.port).send("POST", path, {"Accept": "a/b"}, None)
    lines = served.read[0].split(b"\r\n")
    assert lines[0] == b"POST " + target + b" HTTP/1.1"
    assert [line for line in lines if line.lower().startswith(b"accept:")] == [b"Accept: a/b"]
    assert b"Content-Length: 0" in lines


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def secure(listener, certificate) -> Listener:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    served: Listener = listener(context=context)
    return served


def test_tls_to_a_host_that_is_vouched_for(secure, certificate):
    peer = Peer(wire.parse_url(f"https://127.0.0.1:{secure.port}"), None, str(certificate))
    connection = Connection(peer.connect(2, 2))
    response = connection.exchange(REQUEST, time.monotonic() + 2)
    assert (response.status, connection.reusable) == (200, True)
    connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_tls_means_nothing_was_sent(secure, certificate, host):
    """Nobody vouches for the server, or it has a certificate for another name."""
    trusted = str(certificate) if host == "localhost" else None
    peer = Peer(wire.parse_url(f"https://{host}:{secure.port}"), None, trusted)
    with pytest.raises(NotSentError):
        peer.connect(2, 2)
    assert not secure.read


class Proxy(Listener):
    """Answers CONNECT and hands bytes on."""

    def serve(self, accepted: socket.socket) -> None:
        asked = accepted.recv(65536)
        self.read.append(asked)
        host, _, port = asked.split(b" ")[1].decode().partition(":")
        accepted.sendall(self.answer)
        if b" 200 " not in self.answer:
            accepted.close()
            return
        there = socket.create_connection((host, int(port)))
        threading.Thread(target=self._pump, args=(there, accepted), daemon=True).start()
        self._pump(accepted, there)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while part := source.recv(65536):
                sink.sendall(part)
        except OSError:
            return


def test_through_a_proxy_that_the_environment_names(secure, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    target = f"https://127.0.0.1:{secure.port}"
    for answer in (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"):
        proxy = Proxy(answer)
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:word@127.0.0.1:{proxy.port}")
        peer = Peer.of(target, trust_environment=True)
        if b" 200 " in answer:
            response = Connection(peer.connect(2, 2)).exchange(REQUEST, time.monotonic() + 2)
            assert response.status == 200
        else:
            with pytest.raises(NotSentError):
                peer.connect(2, 2)
        (asked,) = proxy.read
        assert asked.startswith(f"CONNECT 127.0.0.1:{secure.port} ".encode())
        assert b"proxy-authorization: Basic bWU6d29yZA==" in asked or (
            b"Proxy-Authorization: Basic bWU6d29yZA==" in asked
        )
        proxy.close()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert Peer.of(target, trust_environment=True).proxy is None
    monkeypatch.delenv("NO_PROXY")
    assert Peer.of(target, trust_environment=False).proxy is None
