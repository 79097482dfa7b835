"""Requests: the steps of an operation, its batches."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from destinations.language.part import Part
from destinations.language.replies import Answer, ErrorRule


class Step(Part):
    """One request. ``request`` is the method and the path: ``POST /v1/contacts/{email}``."""

    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$")
    request: str = Field(pattern=r"^(GET|POST|PUT|PATCH|DELETE) /\S*$")
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    encoding: Literal["json", "form", "ndjson"] = "json"
    body: Any = None
    answer: Answer = Answer()
    errors: tuple[ErrorRule, ...] = ()
    """Rules of this request, asked before the spec's own."""
    docs: str | None = None


class Batch(Part):
    """The vendor's limits for one request; without a batch a request carries one row."""

    rows: int = Field(gt=0)
    bytes: int | None = Field(default=None, gt=0)
    group_by: tuple[str, ...] = ()
    """Fields whose values rows of one request share; they may stand outside ``each``."""
    docs: str


class OperationSpec(Step):
    """What the destination does for one operation: one request, or ``steps``.

    ``request`` and ``steps`` exclude each other. With steps every row runs through them in
    order; a row counts as accepted when the last one accepted it.
    """

    request: str = Field(default="", pattern=r"^$|^(GET|POST|PUT|PATCH|DELETE) /\S*$")
    steps: tuple[Step, ...] = ()
    batch: Batch | None = None
    nulls: Literal["drop", "send", "empty"] = "drop"
    """What becomes of a null in the body: its key or array element dropped, null, or an empty text."""
    effect: str = ""
    """In plain words what it does at the vendor, where the name alone might mislead."""
    idempotent: bool = True
    """Whether sending it twice leaves the vendor as sending it once."""
