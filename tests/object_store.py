"""An S3 server in a process of its own, and state that stands in it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

BUCKET = "storeroom-state"
KEY = "c3RvcmVyb29tIHN0YXRlIGtleSBmb3IgdGVzdHMgISE="
STORES = ("folder", "s3", "encrypted", "s3-encrypted")


@contextmanager
def s3_server() -> Iterator[str]:
    """The endpoint of an S3 server with an empty bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(port, process)
        endpoint = f"http://127.0.0.1:{port}"
        client_of(endpoint).create_bucket(Bucket=BUCKET)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, "the S3 server died"
            time.sleep(0.05)
    raise AssertionError("the S3 server did not start")


def client_of(endpoint: str):
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id="key", aws_secret_access_key="secret",
    )  # fmt: skip


def in_bucket(endpoint: str) -> dict[str, str]:
    """Variables of a process whose state stands in a fresh folder of the bucket."""
    return {
        "STOREROOM_STATE_URL": f"s3://{BUCKET}/{uuid.uuid4().hex}",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }


def variables(store: str, folder: Path, endpoint: str) -> dict[str, str]:
    """Variables that put state below ``folder`` (and, for ``s3``, into the bucket)."""
    found = {"STOREROOM_STATE": str(folder)}
    if store.startswith("s3"):
        found |= in_bucket(endpoint)
    if store.endswith("encrypted"):
        found["STOREROOM_STATE_KEY"] = KEY
    return found


def objects(endpoint: str, url: str) -> dict[str, bytes]:
    """Every object below a URL, by its path there."""
    client, prefix = client_of(endpoint), url.removeprefix(f"s3://{BUCKET}/") + "/"
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    return {
        key.removeprefix(prefix): client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        for key in keys
    }


def put_in(store: str, folder: Path, endpoint: str, patched: pytest.MonkeyPatch) -> None:
    for name, value in variables(store, folder, endpoint).items():
        patched.setenv(name, value)
