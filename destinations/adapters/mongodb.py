"""MongoDB: one document per row, whose ``_id`` is the sync's key.

A delivery is one unordered bulk write (https://www.mongodb.com/docs/manual/reference/method/db.collection.bulkWrite/)
acknowledged by a majority of the replica set; the server names every document it refuses. An upsert
sets the mapped fields, takes those away that are null, and leaves other fields of the document as
they are. Date-times are dates of BSON (milliseconds, UTC), dates and decimals are text.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from destinations.adapters.extras import require
from destinations.adapters.outcomes import in_doubt, later, row_by_row, stopped, words
from destinations.adapters.previews import previewed, shown
from destinations.adapters.rendering import (
    json_ready,
    mapped_fields,
    operation_problems,
    within_limits,
)
from destinations.driver import (
    Capabilities,
    Delivery,
    Driver,
    Operation,
    Outcome,
    Shown,
    Status,
)
from destinations.errors import StoreroomError

WRITES = frozenset({Operation.UPSERT, Operation.ADD})
# https://www.mongodb.com/docs/manual/reference/error-codes/
CLOSED = {11, 13, 18, 8000}  # no such user, not authorised, authentication failed (also Atlas')


class Settings(BaseModel):
    """What a connection to MongoDB says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: SecretStr = Field(
        description="mongodb+srv://user:password@host/?tls=true, or mongodb://.",
        examples=["mongodb://storeroom:secret@127.0.0.1:27017"],
    )
    database: str = Field(
        description="Database of the collection.", pattern=r'^[^/\\. "$]{1,63}$', examples=["crm"]
    )
    collection: str = Field(
        description="Collection that holds the audience.",
        pattern=r"^[^$\x00]{1,200}$",
        examples=["loyal_customers"],
    )
    batch_rows: int = Field(default=1_000, ge=1, le=100_000, description="Most rows of one write.")
    timeout_seconds: float = Field(default=30, gt=0, description="Most seconds of one write.")


class MongodbDriver:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: Any = None

    @functools.cached_property
    def _errors(self) -> Any:
        return require("pymongo.errors", "mongodb")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            operations=WRITES | {Operation.REMOVE, Operation.DELETE},
            batch_rows=self._settings.batch_rows,
            batch_bytes=16 << 20,
            clears=True,
        )

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        lacking = operation_problems(self.capabilities, operation, rows)
        fields = mapped_fields(rows) if operation in WRITES else []
        rule = None
        if any("." in name or name.startswith("$") or not name for name in fields):
            rule = "a field's name has no dot and no $ at its start in MongoDB"
        odd = pl.repeat(rule, rows.height, dtype=pl.String, eager=True)
        # BSON has integers of 64 bits.
        wide = [name for name in fields if rows.schema[name] in (pl.UInt64, pl.Int128)]
        if wide:
            over = pl.any_horizontal(
                (pl.col(name).cast(pl.Int128) > 2**63 - 1).fill_null(False) for name in wide
            )
            text = pl.when(over).then(pl.lit("a whole number is over 64 bits"))
            odd = pl.select(pl.coalesce(odd, rows.select(text).to_series())).to_series()
        return pl.select(pl.coalesce(lacking, odd).alias("problem")).to_series()

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        fields = mapped_fields(rows) if operation in WRITES else []

        def render(part: pl.DataFrame) -> tuple[list[dict[str, Any]], int]:
            frame = _bson_ready(part.select(fields))
            return frame.to_dicts() or [{}] * part.height, int(frame.estimated_size())

        limits = self.capabilities
        return within_limits(operation, rows, render, limits.batch_rows, limits.batch_bytes)

    def send(self, delivery: Delivery) -> Outcome:
        errors = self._errors
        verdicts: dict[int, tuple[Status, str]] = {}
        try:
            collection = self._collection()
            if delivery.operation in WRITES:
                pymongo = require("pymongo", "mongodb")
                writes = [pymongo.UpdateOne(*one, upsert=True) for one in _updates(delivery)]
                collection.bulk_write(writes, ordered=False)
            else:
                collection.delete_many(_removal(delivery))
        except errors.BulkWriteError as error:
            found = error.details
            if found.get("writeConcernErrors"):  # taken, and not by enough servers
                return in_doubt(delivery, str(found["writeConcernErrors"][0].get("errmsg")))
            refused = found.get("writeErrors", [])
            verdicts = {one["index"]: (Status.REJECTED, str(one["errmsg"])) for one in refused}
        except (errors.ConfigurationError, errors.InvalidURI) as error:
            return stopped(delivery, error)
        except errors.ServerSelectionTimeoutError as error:
            return later(delivery, error)  # found nobody, so nothing was sent
        except errors.OperationFailure as error:
            return stopped(delivery, error) if error.code in CLOSED else later(delivery, error)
        except errors.PyMongoError as error:
            return in_doubt(delivery, error)
        sample = {"request": f"{delivery.operation} {delivery.rows.height} documents"}
        return row_by_row(delivery, verdicts, sample)

    def shown(self, delivery: Delivery) -> Iterator[Shown]:
        settings = self._settings
        url = f"mongodb://{_host(settings)}/{settings.database}/{settings.collection}"
        if delivery.operation in WRITES:
            body: Any = [
                {"updateOne": {"filter": which, "update": change, "upsert": True}}
                for which, change in _updates(delivery)
            ]
            yield shown("bulkWrite", url, json.loads(json.dumps(body, default=str)))
        else:
            yield shown("deleteMany", url, _removal(delivery))

    def check(self) -> str:
        settings = self._settings
        try:
            collection = self._collection()
            collection.find_one({"_id": ""}, {"_id": 1})
            version = collection.database.client.server_info()["version"]
        except self._errors.PyMongoError as error:
            raise StoreroomError(
                f"MongoDB refused: {words(error)}.",
                "Mend the connection's uri, or the user's role.",
            ) from None
        return f"MongoDB {version}, collection {settings.database}.{settings.collection}"

    def _collection(self) -> Any:
        settings = self._settings
        with self._lock:
            if self._client is None:
                milliseconds = int(settings.timeout_seconds * 1000)
                self._client = require("pymongo", "mongodb").MongoClient(
                    settings.uri.get_secret_value(),
                    serverSelectionTimeoutMS=min(milliseconds, 10_000),
                    connectTimeoutMS=min(milliseconds, 10_000),
                    socketTimeoutMS=milliseconds,
                    w="majority",
                    retryWrites=False,  # retries are the engine's, which counts them
                    appname="storeroom",
                )
            return self._client[settings.database][settings.collection]

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


def _updates(delivery: Delivery) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Per row which document, and what changes in it."""
    for key, fields in zip(delivery.keys, delivery.payload, strict=True):
        held = {name: value for name, value in fields.items() if value is not None}
        gone = {name: "" for name, value in fields.items() if value is None}
        change = {"$set": held} if held else {}
        if gone:
            change["$unset"] = gone
        yield {"_id": key}, change or {"$setOnInsert": {"_id": key}}


def _removal(delivery: Delivery) -> dict[str, Any]:
    return {"_id": {"$in": delivery.keys}}


def _bson_ready(rows: pl.DataFrame) -> pl.DataFrame:
    """Date-times as they are, in UTC; dates and decimals as text; the rest as JSON has it."""
    times = [name for name, dtype in rows.schema.items() if isinstance(dtype, pl.Datetime)]
    in_utc = pl.selectors.datetime(time_zone="*").dt.convert_time_zone("UTC")
    plain = json_ready(rows).with_columns(
        pl.selectors.date().dt.to_string("iso"), pl.selectors.decimal().cast(pl.String)
    )
    return plain.with_columns(rows.select(times).with_columns(in_utc).get_columns())


def _host(settings: Settings) -> str:
    """The hosts of the URI, without a login."""
    rest = settings.uri.get_secret_value().partition("://")[2]
    return rest.partition("/")[0].rpartition("@")[2]


def open(settings: Settings) -> Driver:  # noqa: A001 - the name every adapter module gives
    require("pymongo", "mongodb")
    return MongodbDriver(settings)


def preview(settings: Settings, operation: Operation, rows: pl.DataFrame) -> Iterator[Shown]:
    return previewed(MongodbDriver(settings), operation, rows)
