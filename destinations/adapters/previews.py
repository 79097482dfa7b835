"""How a code adapter's delivery is shown before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import polars as pl

from destinations.adapters.rendering import FileFormat
from destinations.driver import Delivery, Driver, Operation, Shown


class Showing(Driver, Protocol):
    """A driver that can show a delivery of its own as requests."""

    def shown(self, delivery: Delivery) -> Iterator[Shown]: ...


def shown(
    method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> Shown:
    return {"method": method, "url": url, "headers": dict(headers or {}), "query": {}, "body": body}


def sql_shown(url: str, sql: str, parameters: Any = None) -> Shown:
    """One SQL statement; ``parameters`` are what the driver binds or copies with it."""
    body = {"statement": sql, "parameters": json.loads(json.dumps(parameters, default=str))}
    return shown("SQL", url, body)


def previewed(driver: Showing, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    """What the driver would send; it is closed without having been connected."""
    try:
        for delivery in driver.deliveries(operation, rows):
            yield from driver.shown(delivery)
    finally:
        driver.close()


def without_login(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def file_body(content: bytes, file_format: FileFormat, compressed: bool) -> Any:
    """A rendered file as a person reads it: text, or the rows read back out of Parquet."""
    if file_format == "parquet":
        return {"format": "parquet", "rows": pl.read_parquet(content).to_dicts()}
    if compressed:
        import gzip

        content = gzip.decompress(content)
    return content.decode()
