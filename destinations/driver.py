"""The contract between the sync engine and a destination.

The engine knows nothing of any vendor: it hands a driver rows and an operation,
gets back deliveries (one request each, or one write), sends them when it sees
fit, and records what the destination said of every row. A driver knows nothing
of snapshots, ledgers, retries or schedules.

Frames passed across this line share these columns:

=============  ========  =====================================================
column         dtype     meaning
=============  ========  =====================================================
``_key``       String    the sync's key, unique within a frame, never null
``_hash``      String    content hash of the mapped fields
``_remote_id`` String    the destination's own id for the row, null if unknown
``_id``        String    id of this change of this row: the same when it is sent again after
                         a failure or a kill, another one for any later change
mapped fields  any       one column per field of the sync's mapping
=============  ========  =====================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol, TypedDict, runtime_checkable

import polars as pl

KEY = "_key"
HASH = "_hash"
REMOTE_ID = "_remote_id"
ID = "_id"
META_COLUMNS = (KEY, HASH, REMOTE_ID, ID)


class Operation(StrEnum):
    """What can be asked of a destination for a row.

    ``add`` puts a person in the audience (creating them where the destination
    allows it), ``upsert`` writes a person's fields, ``remove`` takes a person
    out of the audience and leaves the person there, ``delete`` erases the
    person, ``track`` sends an event.
    """

    UPSERT = "upsert"
    ADD = "add"
    REMOVE = "remove"
    DELETE = "delete"
    TRACK = "track"


class Status(StrEnum):
    """What the destination said of one row."""

    ACCEPTED = "accepted"  # the destination took this row
    REJECTED = "rejected"  # it will never take this row as it stands
    RETRY = "retry"  # not now: rate limit, outage
    IN_DOUBT = "in_doubt"  # sent, and no answer that could be read


@dataclass(frozen=True)
class Capabilities:
    """What a destination can do; the engine plans and validates by it."""

    operations: frozenset[Operation]
    batch_rows: int = 1
    """Most rows of one delivery."""
    batch_bytes: int | None = None
    """Most bytes of one rendered delivery; None where the vendor names no limit."""
    concurrency: int = 4
    """Most deliveries in flight at once."""
    per_row_results: bool = True
    """Whether an answer names the rows it refuses. If not, the engine bisects."""
    idempotent: bool = True
    """Whether sending the same delivery twice leaves the destination as sending it once."""
    sent_once: frozenset[Operation] = frozenset()
    """Where most operations are idempotent: those that are not."""
    required: tuple[tuple[str, ...], ...] = ()
    """Field groups: of each group at least one field must be mapped."""
    fields: frozenset[str] | None = None
    """Fields that may be mapped; None where any field is allowed."""
    identifiers: frozenset[str] = frozenset()
    """Fields by whose values the destination knows who is meant; empty where it does not say."""
    writes_by_remote_id: bool = False
    """Whether a row whose remote id is known is written by that id: its identifier may change."""
    clears: bool = False
    """Whether a null empties the field there (a table's row); if not, a null is left out."""

    def repeats(self, *operations: Operation) -> bool:
        """Whether deliveries of all these operations may be sent twice without harm."""
        return self.idempotent and self.sent_once.isdisjoint(operations)


@dataclass(frozen=True)
class Delivery:
    """One request (or one write) for some rows, rendered and ready to send."""

    operation: Operation
    rows: pl.DataFrame
    payload: Any
    size: int = 0
    """Bytes of the rendered payload."""

    @cached_property
    def keys(self) -> list[str]:
        """The keys of its rows, in order."""
        return self.rows[KEY].to_list()

    @cached_property
    def hashes(self) -> list[str | None]:
        """The content hashes of its rows, in order."""
        return self.rows[HASH].to_list()

    @property
    def id(self) -> str:
        """The same for the same changes of the same rows: a vendor's idempotency key."""
        return delivery_id(self.operation, self.rows)


def delivery_id(operation: Operation, rows: pl.DataFrame) -> str:
    """32 hex digits that depend on the operation and the rows' ids alone.

    Rows without ``_id`` (a preview's) are named by key and content.
    """
    digest = hashlib.sha256(operation.value.encode())
    for column in (ID,) if ID in rows.columns else (KEY, HASH):
        if column in rows.columns:
            digest.update("\x1f".join(rows[column].fill_null("").to_list()).encode())
            digest.update(b"\x1e")
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class Outcome:
    """What the destination said of one delivery.

    ``results`` has one row per row of the delivery: ``_key`` String, ``status``
    String (a :class:`Status`), ``message`` String (the destination's own words,
    null where it accepted), ``remote_id`` String (null where none was returned).
    """

    results: pl.DataFrame
    retry_after: float | None = None
    """Seconds the destination asked us to wait before anything else is sent."""
    whole: bool = False
    """The verdict is on the batch, not on a row: a refused batch may be bisected."""
    stop: str | None = None
    """Set when nothing more can succeed on this connection (bad credentials)."""
    requests: int = 1
    sample: dict[str, Any] = field(default_factory=dict)
    """Request and response for the run's record, secrets already redacted."""


@dataclass(frozen=True)
class Alike:
    """What the destination said of every row of a delivery, where it said the same of all."""

    status: Status
    message: str | None = None
    remote_id: str | None = None
    """Its own id for the row; of several rows none has one."""

    def results(self, rows: pl.DataFrame) -> pl.DataFrame:
        """In the shape of ``Outcome.results``."""
        known = None if self.remote_id is None else pl.Series([self.remote_id], dtype=pl.String)
        return results_for(rows, self.status, self.message, known)


class AlikeOutcome(Outcome):
    """An outcome that says the same of every row. With one row per delivery, frames and samples
    would cost more than the request: they are made where somebody asks for them.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        alike: Alike,
        retry_after: float | None = None,
        whole: bool = False,
        stop: str | None = None,
        requests: int = 1,
        sample: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        # Set as a frozen dataclass does it; `results` and `sample` are worked out below.
        self.__dict__.update(
            rows=rows,
            alike=alike,
            retry_after=retry_after,
            whole=whole,
            stop=stop,
            requests=requests,
            _sample=sample,
        )

    rows: pl.DataFrame
    alike: Alike
    _sample: Callable[[], dict[str, Any]]

    @property
    def results(self) -> pl.DataFrame:
        return self.alike.results(self.rows)

    @property
    def sample(self) -> dict[str, Any]:
        return self._sample()


RESULT_SCHEMA: dict[str, Any] = {
    KEY: pl.String,
    "status": pl.String,
    "message": pl.String,
    "remote_id": pl.String,
}


def results_for(
    rows: pl.DataFrame,
    status: Status,
    message: str | None = None,
    remote_id: pl.Series | None = None,
) -> pl.DataFrame:
    """The same verdict for every row of ``rows``, in the shape of ``Outcome.results``."""
    return rows.select(
        pl.col(KEY),
        pl.lit(status.value).alias("status"),
        pl.lit(message, dtype=pl.String).alias("message"),
        pl.lit(None, dtype=pl.String).alias("remote_id")
        if remote_id is None
        else remote_id.cast(pl.String).alias("remote_id"),
    )


class Shown(TypedDict):
    """One request as a preview shows it.

    Of HTTP as it would be sent. Of another protocol ``method`` is its verb (``SQL``, ``PUT``,
    ``PRODUCE``), ``url`` the place without a login, ``body`` what is said there.
    """

    method: str
    url: str
    headers: dict[str, str]
    query: dict[str, str]
    body: Any


@runtime_checkable
class Interruptible(Protocol):
    """A driver that waits for what it sent to be done, and can be told to wait no longer."""

    def interrupt(self) -> None:
        """The run is cancelled: answer what is in flight as in doubt, soon."""
        ...


class InFlight(Protocol):
    """Deliveries on their way, many at once, for one thread: what waits for an answer keeps
    nobody from going on with the others.
    """

    def start(self, delivery: Delivery) -> None:
        """Send it on its way."""
        ...

    def landed(self, seconds: float) -> list[tuple[Delivery, Outcome | Exception]]:
        """Those that came to an end, waiting up to ``seconds`` for the first."""
        ...

    def close(self) -> None: ...


class Driver(Protocol):
    """An opened destination, for one connection and one target (list, table, folder).

    ``deliveries`` renders and never sends; ``send`` sends one delivery, may be
    called from several threads at once (up to ``capabilities.concurrency``),
    and raises nothing for what a destination can answer: every answer, timeout
    or broken connection becomes an :class:`Outcome`. A driver may have a method
    ``flights()`` that gives an :class:`InFlight` or None; then one thread sends.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        """Per row the rule of the vendor it breaks (String), null where none: asked before sending."""
        ...

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        """Split ``rows`` into deliveries within the vendor's limits, in order, losing none."""
        ...

    def send(self, delivery: Delivery) -> Outcome: ...

    def check(self) -> str:
        """Ask the destination whether it would take us; says who we are there.

        Raises:
            StoreroomError: it would not, in the vendor's words.
        """
        ...

    def close(self) -> None: ...
