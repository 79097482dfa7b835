"""Faults: how a destination of the sandbox misbehaves when told to.

Faults stand in memory only: a restarted sandbox behaves. Of several faults set for a
destination the first that fires decides; one that rejects rows leaves the others their turn.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha256
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from destinations.driver import Operation

ANY = "*"


class RowRule(BaseModel):
    """Which rows of a request are refused; a row that fits every part given is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contains: dict[str, str] = {}
    """Field -> text that its value must hold."""
    fraction: float | None = Field(default=None, gt=0, le=1)
    """Share of identities, chosen by their digest: the same rows every time."""

    @model_validator(mode="after")
    def _names_something(self) -> RowRule:
        if not self.contains and self.fraction is None:
            raise ValueError("say which rows: `contains`, `fraction` or both")
        return self

    def fits(self, identity: str, fields: dict[str, Any]) -> bool:
        if self.fraction is not None:
            digest = int.from_bytes(sha256(identity.encode()).digest()[:8])
            if digest >= self.fraction * 2**64:
                return False
        return all(text in str(fields.get(name, "")) for name, text in self.contains.items())


class Fault(BaseModel):
    """One way to fail, for one destination (``*``: all), and when.

    ``status``    answer this status with the vendor's error shape, keep nothing
    ``rows``      refuse the rows of ``rule``, by row where the vendor's answer can
    ``errors``    a success status whose body says that it failed, keep nothing
    ``drop``      cut the connection; the rows are kept unless ``keep`` is false
    ``slow``      answer rightly after ``delay`` seconds, byte by byte with ``drip``
    ``garbage``   a success status whose body is not what it should be
    ``redirect``  send the client to ``location``
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    destination: str = ANY
    kind: Literal["status", "rows", "errors", "drop", "slow", "garbage", "redirect"]
    operation: Operation | None = None
    """Only requests of this operation."""

    # When: every condition given must hold
    times: int | None = Field(default=None, gt=0)
    """Only the next so many requests."""
    every: int | None = Field(default=None, gt=0)
    """Only each k-th request."""
    fraction: float | None = Field(default=None, gt=0, le=1)
    """Only this share of the requests, at random from a fixed seed."""
    seconds: float | None = Field(default=None, gt=0)
    """Only for so long from now."""

    # How
    status: int | None = Field(default=None, ge=200, le=599)
    message: str | None = None
    headers: dict[str, str] = {}
    retry_after: float | None = Field(default=None, ge=0)
    """Seconds the client is told to wait, in ``retry_after_form``."""
    retry_after_form: Literal["seconds", "milliseconds", "date", "epoch"] = "seconds"
    retry_after_header: str | None = None
    """The vendor's own header unless given."""
    rule: RowRule | None = None
    keep: bool | None = None
    delay: float = Field(default=0.0, ge=0, le=600)
    drip: bool = False
    location: str = "https://elsewhere.example/"
    body: str = "<html>not what you asked for"

    @model_validator(mode="after")
    def _is_complete(self) -> Fault:
        if self.kind == "status" and self.status is None:
            raise ValueError("a `status` fault needs `status`")
        if self.kind == "rows" and self.rule is None:
            raise ValueError("a `rows` fault needs `rule`")
        if self.kind == "slow" and not self.delay:
            raise ValueError("a `slow` fault needs `delay`, in seconds")
        return self

    @property
    def keeps(self) -> bool:
        """Whether the rows are kept although the client does not hear so."""
        return self.kind in ("drop", "slow") if self.keep is None else self.keep

    def retry_header(self, vendor_header: str) -> dict[str, str]:
        """The header that tells the client how long to wait, if any."""
        if self.retry_after is None:
            return {}
        at = time.time() + self.retry_after
        text = {
            "seconds": f"{self.retry_after:g}",
            "milliseconds": f"{self.retry_after * 1000:.0f}",
            "date": formatdate(at, usegmt=True),
            "epoch": f"{at:.0f}",
        }[self.retry_after_form]
        return {self.retry_after_header or vendor_header: text}


@dataclass
class _Set:
    """A fault that was set, with what it has counted so far."""

    id: int
    fault: Fault
    since: float
    seen: int = 0
    fired: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def fires(self) -> bool:
        fault = self.fault
        if fault.seconds is not None and time.monotonic() - self.since > fault.seconds:
            return False
        if fault.times is not None and self.fired >= fault.times:
            return False
        self.seen += 1
        if fault.every is not None and self.seen % fault.every:
            return False
        if fault.fraction is not None and self.chance.random() >= fault.fraction:
            return False
        self.fired += 1
        return True


class Faults:
    """The faults that are set. Safe to ask from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set: list[_Set] = []
        self._next_id = 1

    def add(self, fault: Fault) -> int:
        with self._lock:
            placed = _Set(self._next_id, fault, time.monotonic())
            self._next_id += 1
            self._set = [*self._set, placed]
            return placed.id

    def clear(self, destination: str | None = None) -> None:
        """Behave again: everywhere, or at one destination."""
        self._drop(lambda one: destination is None or one.fault.destination == destination)

    def remove(self, fault_id: int) -> bool:
        return self._drop(lambda one: one.id == fault_id)

    def listing(self) -> list[dict[str, Any]]:
        with self._lock:
            return [
                {
                    "id": one.id,
                    "fired": one.fired,
                    **one.fault.model_dump(mode="json", exclude_defaults=True),
                }
                for one in self._set
            ]

    def firing(self, destination: str, operation: Operation | None) -> list[Fault]:
        """The faults this request meets: any that reject rows, then at most one other."""
        if not self._set:
            return []
        met = []
        with self._lock:
            for one in self._set:
                fault = one.fault
                if fault.destination not in (ANY, destination):
                    continue
                if fault.operation is not None and fault.operation != operation:
                    continue
                if one.fires():
                    met.append(fault)
                    if fault.kind != "rows":
                        break
        return met

    def _drop(self, fits: Callable[[_Set], bool]) -> bool:
        with self._lock:
            kept = [one for one in self._set if not fits(one)]
            dropped = len(kept) < len(self._set)
            self._set = kept
        return dropped
