"""One harness per code adapter, and the fixtures over them."""

import polars as pl
import pytest

from tests.adapters.conformance.kinds import (
    S3,
    Duckdb,
    Email,
    Kafka,
    LocalFiles,
    Postgres,
    Redis,
    Sftp,
    Sqlite,
    as_text,
)
from tests.adapters.conformance.more_kinds import Ftp, Mqtt, Mysql, Rabbitmq

HARNESSES = (
    Postgres, Sqlite, Duckdb, LocalFiles, S3, Sftp, Kafka, Redis, Email,
    Mysql, Rabbitmq, Mqtt, Ftp,
)  # fmt: skip


@pytest.fixture(params=HARNESSES, ids=lambda kind: kind.__name__.lower())
def harness(request, tmp_path):
    made = request.param(request, tmp_path)
    yield made
    if hasattr(made, "clean"):
        made.clean()


@pytest.fixture
def driver(harness):
    opened = harness.module.open(harness.module.Settings(**harness.works))
    yield opened
    opened.close()


@pytest.fixture
def held(harness):
    """A function: key -> fields that are not null, as text, the form all destinations share."""
    return lambda: {key: as_text(fields) for key, fields in harness.held().items()}


@pytest.fixture
def expected():
    """A function: the same of rows as they were sent."""

    def shown(rows):
        fields = rows.drop("_hash", "_remote_id").to_dicts()
        return {row.pop("_key"): as_text(row) for row in fields}

    return shown


@pytest.fixture
def people(frame):
    return frame(
        ["k1", 'k2 "q"', "k3 ключ"],
        name=["Ada", 'O\'Hara "Q"; drop table x; --', "Zoë 😀 日本\n\tline, \\N"],
        plan=["gold", "", None],
        orders=pl.Series([3, 0, None], dtype=pl.Int64),
        spent=pl.Series([12.5, -1.0, None], dtype=pl.Float64),
    )
