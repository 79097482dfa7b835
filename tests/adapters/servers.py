"""Servers on the loopback: from wheels where there are some, else those that this machine runs."""

import contextlib
import os
import queue
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.adapters.certificates import self_signed
from tests.adapters.waiting import answers, wait_until


@dataclass
class MysqlServer:
    settings: dict

    def sql(self, text):
        import pymysql

        given = self.settings
        with pymysql.connect(
            host=given["host"], port=given["port"], user=given["username"],
            password=given.get("password", ""), database=given["database"], autocommit=True,
            cursorclass=pymysql.cursors.DictCursor,
        ) as connection, connection.cursor() as cursor:  # fmt: skip
            cursor.execute(text)
            return cursor.fetchall()


@pytest.fixture(scope="session")
def mysql_server():
    """MySQL or MariaDB of this machine: MYSQL_PORT (3306), MYSQL_USER (root), MYSQL_PASSWORD (none)
    and MYSQL_DATABASE (test) say which.
    """
    settings = {
        "host": "127.0.0.1", "port": int(os.environ.get("MYSQL_PORT", "3306")),
        "username": os.environ.get("MYSQL_USER", "root"), "tls": "off",
        "password": os.environ.get("MYSQL_PASSWORD", ""),
        "database": os.environ.get("MYSQL_DATABASE", "test"),
    }  # fmt: skip
    server = MysqlServer(settings)
    try:
        server.sql("select 1")
    except Exception as error:
        pytest.skip(f"no MySQL or MariaDB server at 127.0.0.1:{settings['port']}: {error}")
    return server


@pytest.fixture(scope="session")
def rabbitmq_server():
    """RabbitMQ of this machine, user guest, at RABBITMQ_PORT (5672): its URL and a channel."""
    import pika

    port = os.environ.get("RABBITMQ_PORT", "5672")
    url = f"amqp://guest:guest@127.0.0.1:{port}/%2F"
    try:
        connection = pika.BlockingConnection(pika.URLParameters(url + "?heartbeat=0"))
    except Exception as error:
        pytest.skip(f"no RabbitMQ server at 127.0.0.1:{port}: {error!r}")
    yield url, connection.channel()
    connection.close()


class MqttReader:
    """Takes every message of a topic."""

    def __init__(self, port):
        import paho.mqtt.client as paho

        self.messages = queue.Queue()
        self.subscribed = threading.Event()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = lambda _c, _u, message: self.messages.put(message.payload)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def subscribe(self, topic):
        self.subscribed.clear()
        self.client.subscribe(topic, qos=1)
        assert self.subscribed.wait(10)

    def taken(self, seconds=0.3):
        while True:
            try:
                yield self.messages.get(timeout=seconds)
            except queue.Empty:
                return

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


BROKER = """
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "v5-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""


@dataclass
class MqttBroker:
    port: int

    def reader(self):
        return MqttReader(self.port)


@pytest.fixture(scope="session")
def mqtt_broker(free_port, tmp_path_factory):
    """A broker in a process of its own, from a wheel; it speaks MQTT 5."""
    from iotcore import Broker

    port, file = free_port(), tmp_path_factory.mktemp("mqtt") / "broker.toml"
    file.write_text(BROKER.format(port=port))
    with Broker(config_path=str(file)):
        wait_until(lambda: answers(port))
        yield MqttBroker(port)


@dataclass
class FtpServer:
    port: int
    root: Path
    ca_file: Path


@pytest.fixture(scope="session")
def ftp_server(tmp_path_factory):
    """An FTP server that asks for TLS; user ``drop`` with password ``right``."""
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import TLS_FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

    root = tmp_path_factory.mktemp("ftp")
    certificate = self_signed(tmp_path_factory.mktemp("ftp-certificate"))
    authorizer = DummyAuthorizer()
    authorizer.add_user("drop", "right", str(root), perm="elradfmwMT")

    class Handler(TLS_FTPHandler):
        certfile = str(certificate)
        tls_control_required = True
        tls_data_required = True
        auth_failed_timeout = 0

    Handler.authorizer = authorizer
    server = ThreadedFTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"timeout": 0.1}, daemon=True)
    thread.start()
    yield FtpServer(server.address[1], root, certificate)
    with contextlib.suppress(OSError):
        server.close_all()
    thread.join(10)
