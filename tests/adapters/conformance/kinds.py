"""The harnesses of the conformance tests, one per code adapter.

A harness knows its destination: how to open a driver there (``works``), what is
held there now (files, messages and mails are folded by their operation), which
settings cannot work (``fails``) and which point at a server that never answers.
"""

import io
import json
import sqlite3
import uuid

import duckdb
import polars as pl

from destinations.adapters import (
    duckdb as duckdb_adapter,
)
from destinations.adapters import (
    email_csv,
    kafka,
    object_storage,
    postgres,
    sftp,
    sqlite,
)
from destinations.adapters import (
    redis as redis_adapter,
)


def as_text(row):
    return {name: str(value) for name, value in row.items() if value is not None}


class Folded:
    """Holds what a reader of files or messages holds: each applied once, then taken away."""

    def __init__(self):
        self.state = {}
        self.arrived = 0

    def held(self):
        for operation, key, fields in self.arrivals():
            self.arrived += 1
            if operation == "remove":
                self.state.pop(key, None)
            else:
                self.state[key] = fields
        return self.state

    def fold_frame(self, data):
        for row in data.to_dicts():
            yield row.pop("_operation"), row.pop("_key"), row


class Postgres:
    module = postgres
    id = "postgres"
    silent = staticmethod(
        lambda port: {"dsn": f"postgresql://a:b@127.0.0.1:{port}/c", "connect_timeout_seconds": 2}
    )

    def __init__(self, request, tmp_path):
        self.server = request.getfixturevalue("postgres_server")
        down = request.getfixturevalue("free_port")()
        self.works = {"dsn": self.server.dsn(), "table": f'people "{uuid.uuid4().hex[:8]}"'}
        self.fails = {
            "password": self.works | {"dsn": self.server.dsn("wrong")},
            "down": self.works | {"dsn": self.server.dsn(port=down)},
        }

    def held(self):
        import psycopg
        from psycopg.rows import dict_row

        table = self.works["table"].replace('"', '""')
        with psycopg.connect(self.server.dsn(), row_factory=dict_row) as connection:
            rows = connection.execute(f'select * from "{table}"').fetchall()
        return {row.pop("profile_id"): row for row in rows}


class Sqlite:
    module = sqlite
    id = "sqlite"

    def __init__(self, request, tmp_path):
        self.works = {"path": tmp_path / "a.sqlite", "table": 'people "x"'}
        self.fails = {"folder": self.works | {"path": tmp_path / "no" / "a.sqlite"}}

    def held(self):
        with sqlite3.connect(self.works["path"]) as connection:
            connection.row_factory = sqlite3.Row
            rows = [dict(row) for row in connection.execute('select * from "people ""x"""')]
        return {row.pop("profile_id"): row for row in rows}


class Duckdb:
    module = duckdb_adapter
    id = "duckdb"

    def __init__(self, request, tmp_path):
        self.works = {"path": tmp_path / "a.duckdb", "table": 'people "x"'}
        self.fails = {"folder": self.works | {"path": tmp_path / "no" / "a.duckdb"}}

    def held(self):
        with duckdb.connect(str(self.works["path"]), read_only=True) as connection:
            rows = connection.sql('select * from "people ""x"""').pl().to_dicts()
        return {row.pop("profile_id"): row for row in rows}


class LocalFiles(Folded):
    module = object_storage
    id = "local_files"

    def __init__(self, request, tmp_path):
        super().__init__()
        self.folder = tmp_path / "drop"
        (tmp_path / "file").write_text("in the way")
        self.works = {"url": f"file://{self.folder}", "format": "parquet"}
        self.fails = {"folder": self.works | {"url": f"file://{tmp_path}/file/drop"}}

    def arrivals(self):
        for path in sorted(self.folder.glob("*"), key=lambda path: path.stat().st_mtime_ns):
            yield from self.fold_frame(pl.read_parquet(path))
            path.unlink()


class S3(Folded):
    module = object_storage
    id = "amazon_s3"
    silent = staticmethod(
        lambda port: {"endpoint": f"http://127.0.0.1:{port}", "timeout_seconds": 1}
    )

    def __init__(self, request, tmp_path):
        super().__init__()
        endpoint, self.client = request.getfixturevalue("s3_server")
        down = request.getfixturevalue("free_port")()
        self.prefix = uuid.uuid4().hex
        self.works = {
            "url": f"s3://drops/{self.prefix}", "format": "jsonl", "gzip": True, "endpoint": endpoint,
            "region": "us-east-1", "access_key_id": "key", "secret_access_key": "secret",
        }  # fmt: skip
        self.fails = {
            "bucket": self.works | {"url": "s3://nobody"},
            "down": self.works | {"endpoint": f"http://127.0.0.1:{down}", "timeout_seconds": 2},
        }

    def arrivals(self):
        listed = self.client.list_objects_v2(Bucket="drops", Prefix=self.prefix).get("Contents", [])
        for item in sorted(listed, key=lambda item: item["LastModified"]):
            body = self.client.get_object(Bucket="drops", Key=item["Key"])["Body"].read()
            yield from self.fold_frame(pl.read_ndjson(io.BytesIO(body)))
            self.client.delete_object(Bucket="drops", Key=item["Key"])


class Sftp(Folded):
    module = sftp
    id = "sftp"
    silent = staticmethod(lambda port: {"port": port, "timeout_seconds": 1})

    def __init__(self, request, tmp_path):
        super().__init__()
        server = request.getfixturevalue("sftp_server")
        down = request.getfixturevalue("free_port")()
        self.folder = server.root / uuid.uuid4().hex
        self.folder.mkdir()
        self.works = {
            "host": "127.0.0.1", "port": server.port, "username": "drop", "password": "right",
            "host_fingerprint": server.fingerprint, "folder": f"/{self.folder.name}",
        }  # fmt: skip
        self.fails = {
            "password": self.works | {"password": "wrong"},
            "down": self.works | {"port": down},
            "host key": self.works | {"host_fingerprint": "SHA256:" + "A" * 43},
            "folder": self.works | {"folder": "/nowhere"},
        }

    def arrivals(self):
        for path in sorted(self.folder.glob("*"), key=lambda path: path.stat().st_mtime_ns):
            assert path.suffix == ".csv"
            yield from self.fold_frame(pl.read_csv(path))
            path.unlink()


class Kafka(Folded):
    module = kafka
    id = "kafka"
    silent = staticmethod(
        lambda port: {"bootstrap_servers": f"127.0.0.1:{port}", "timeout_seconds": 1}
    )

    def __init__(self, request, tmp_path):
        from confluent_kafka import Consumer

        super().__init__()
        servers = request.getfixturevalue("kafka_servers")
        down = request.getfixturevalue("free_port")()
        self.works = {"bootstrap_servers": servers, "topic": uuid.uuid4().hex}
        dead = {"bootstrap_servers": f"127.0.0.1:{down}", "timeout_seconds": 1}
        self.fails = {"down": self.works | dead}
        configuration = {
            "bootstrap.servers": servers,
            "group.id": "g",
            "auto.offset.reset": "earliest",
        }
        self.consumer = Consumer(
            configuration | {"enable.auto.commit": False, "fetch.wait.max.ms": 5}
        )
        self.offsets = {}

    def arrivals(self):
        from confluent_kafka import TopicPartition

        topic = self.works["topic"]
        for number in self.consumer.list_topics(topic, timeout=5).topics[topic].partitions:
            low, high = self.consumer.get_watermark_offsets(
                TopicPartition(topic, number), timeout=5
            )
            start = self.offsets.get(number, low)
            self.consumer.assign([TopicPartition(topic, number, start)])
            for _ in range(start, high):
                message = self.consumer.poll(5)
                body = json.loads(message.value())
                assert message.key().decode() == body["_key"]
                assert dict(message.headers())["operation"].decode() == body["_operation"]
                yield body.pop("_operation"), body.pop("_key"), body
            self.offsets[number] = high


class Redis:
    module = redis_adapter
    id = "redis"
    silent = staticmethod(lambda port: {"url": f"redis://127.0.0.1:{port}/0", "timeout_seconds": 1})

    def __init__(self, request, tmp_path):
        server = request.getfixturevalue("valkey_server")
        down = request.getfixturevalue("free_port")()
        self.prefix = uuid.uuid4().hex + ":"
        self.client = redis_client(f"redis://:right@127.0.0.1:{server.port}/0")
        url = f"redis://:right@127.0.0.1:{server.port}/0"
        self.works = {"url": url, "prefix": self.prefix, "members_set": self.prefix + "all"}
        self.fails = {
            "password": self.works | {"url": url.replace("right", "wrong")},
            "down": self.works | {"url": f"redis://127.0.0.1:{down}/0"},
        }

    def held(self):
        members = self.client.smembers(self.prefix + "all")
        hashes = [name for name in self.client.keys(self.prefix + "*") if not name.endswith(":all")]
        assert {name.removeprefix(self.prefix) for name in hashes} == members
        return {name.removeprefix(self.prefix): self.client.hgetall(name) for name in hashes}


def redis_client(url):
    import redis

    return redis.Redis.from_url(url, decode_responses=True)


class Email(Folded):
    module = email_csv
    id = "email_csv"
    silent = staticmethod(lambda port: {"port": port, "timeout_seconds": 1})

    def __init__(self, request, tmp_path):
        super().__init__()
        self.server = request.getfixturevalue("smtp_server")
        self.server.mails.clear()
        down = request.getfixturevalue("free_port")()
        self.works = {
            "host": "127.0.0.1", "port": self.server.port, "ca_file": self.server.ca_file,
            "username": "digest", "password": "right", "sender": "storeroom@example.com",
            "recipients": "team@example.com, lead@example.com",
        }  # fmt: skip
        self.fails = {
            "password": self.works | {"password": "wrong"},
            "down": self.works | {"port": down},
            "certificate": self.works | {"ca_file": None},
            "recipient": self.works | {"recipients": "team@example.com,refused@example.com"},
        }

    def arrivals(self):
        for mail in self.server.mails:
            (attachment,) = mail.iter_attachments()
            content = attachment.get_content()
            data = content.encode() if isinstance(content, str) else content
            yield from self.fold_frame(pl.read_csv(data))
        self.server.mails.clear()
