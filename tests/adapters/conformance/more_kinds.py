"""The harnesses of what was reached by a library of its own: MySQL, RabbitMQ, MQTT, FTP."""

import json
import uuid

import polars as pl

from destinations.adapters import ftp, mqtt, mysql, rabbitmq
from tests.adapters.conformance.kinds import Folded


class Mysql:
    module = mysql
    id = "mariadb"
    silent = staticmethod(lambda port: {"port": port, "timeout_seconds": 1})

    def __init__(self, request, tmp_path):
        self.server = request.getfixturevalue("mysql_server")
        down = request.getfixturevalue("free_port")()
        self.works = self.server.settings | {"table": f'people "{uuid.uuid4().hex[:8]}" 5%'}
        self.fails = {
            "password": self.works | {"password": "wrong"},
            "down": self.works | {"port": down},
            "database": self.works | {"database": "nowhere"},
        }

    def held(self):
        table = self.works["table"]
        rows = self.server.sql(f"select * from `{table}`")
        return {row.pop("profile_id"): row for row in rows}

    def clean(self):
        self.server.sql(f"drop table if exists `{self.works['table']}`")


class Rabbitmq(Folded):
    module = rabbitmq
    id = "rabbitmq"
    silent = staticmethod(
        lambda port: {"url": f"amqp://a:b@127.0.0.1:{port}/%2F", "timeout_seconds": 1}
    )

    def __init__(self, request, tmp_path):
        super().__init__()
        url, self.channel = request.getfixturevalue("rabbitmq_server")
        down = request.getfixturevalue("free_port")()
        self.queue = uuid.uuid4().hex
        self.channel.queue_declare(self.queue)
        self.works = {"url": url, "routing_key": self.queue}
        self.fails = {
            "password": self.works | {"url": url.replace("guest@", "wrong@")},
            "down": self.works | {"url": f"amqp://guest:guest@127.0.0.1:{down}/%2F"},
            "queue": self.works | {"routing_key": "nowhere"},
            "exchange": self.works | {"exchange": "nowhere"},
        }

    def arrivals(self):
        while True:
            method, properties, body = self.channel.basic_get(self.queue, auto_ack=True)
            if method is None:
                return
            row = json.loads(body)
            assert properties.message_id == row["_key"]
            assert properties.type == row["_operation"]
            assert properties.delivery_mode == 2
            yield row.pop("_operation"), row.pop("_key"), row

    def clean(self):
        self.channel.queue_delete(self.queue)


class Mqtt(Folded):
    module = mqtt
    id = "mqtt"
    silent = staticmethod(lambda port: {"port": port, "timeout_seconds": 1})

    def __init__(self, request, tmp_path):
        super().__init__()
        broker = request.getfixturevalue("mqtt_broker")
        down = request.getfixturevalue("free_port")()
        self.reader = broker.reader()
        topic = f"people/{uuid.uuid4().hex}"
        self.reader.subscribe(topic)
        self.works = {"host": "127.0.0.1", "port": broker.port, "tls": "off", "topic": topic}
        self.fails = {"down": self.works | {"port": down}}

    def arrivals(self):
        for body in self.reader.taken():
            row = json.loads(body)
            yield row.pop("_operation"), row.pop("_key"), row

    def clean(self):
        self.reader.close()


class Ftp(Folded):
    module = ftp
    id = "ftp"
    silent = staticmethod(lambda port: {"port": port, "timeout_seconds": 1})

    def __init__(self, request, tmp_path):
        super().__init__()
        server = request.getfixturevalue("ftp_server")
        down = request.getfixturevalue("free_port")()
        self.folder = server.root / uuid.uuid4().hex
        self.folder.mkdir()
        self.works = {
            "host": "127.0.0.1", "port": server.port, "username": "drop", "password": "right",
            "ca_file": server.ca_file, "folder": f"/{self.folder.name}",
        }  # fmt: skip
        self.fails = {
            "password": self.works | {"password": "wrong"},
            "down": self.works | {"port": down},
            "certificate": self.works | {"ca_file": None},
            "folder": self.works | {"folder": "/nowhere"},
        }

    def arrivals(self):
        for path in sorted(self.folder.glob("*"), key=lambda path: path.stat().st_mtime_ns):
            assert path.suffix == ".csv"
            yield from self.fold_frame(pl.read_csv(path))
            path.unlink()
