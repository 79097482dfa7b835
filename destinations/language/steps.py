"""Requests: the steps of an operation, its batches."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from destinations.language.part import Part
from destinations.language.replies import Answer, ErrorRule


class Pages(Part):
    """How a GET goes on to the next page of its list (``answer.at``): until ``answer.match`` has
    found its element, or the list is empty. Exactly one of ``next``, ``page`` and ``offset``.
    """

    next: str | None = None
    """Dotted path in the answer of what names the next page; the last page has none."""
    query: str | None = None
    """The query parameter that takes it."""
    url: bool = False
    """It is a whole URL, of the same host."""
    page: str | None = None
    """The query parameter that takes the page's number."""
    first: int = 1
    """The first page's number."""
    offset: str | None = None
    """The query parameter that takes the number of elements before the page."""
    size: int = Field(default=0, ge=0)
    """Elements of a page, with ``offset``."""


class Csv(Part):
    """How CSV is written (RFC 4180, with CRLF after every line)."""

    delimiter: Literal[",", ";", "\t", "|"] = ","
    header: bool = True
    """Whether the first line names the columns."""


class Step(Part):
    """One request. ``request`` is the method and the path: ``POST /v1/contacts/{email}``."""

    when: str | None = None
    """Made only for rows where this is known: a field, ``remote_id``, or ``<step>.<capture>``."""
    unless: str | None = None
    """Made only for rows where this is not known."""
    pages: Pages | None = None
    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$")
    request: str = Field(pattern=r"^(GET|POST|PUT|PATCH|DELETE)( /\S*)?$")
    url: str | None = None
    """A whole URL in the path's place, such as the upload URL that an earlier step captured:
    ``{job.upload_url}``. No login is sent there; ``request`` is then the method alone."""
    hosts: tuple[str, ...] = ()
    """Hosts that ``url`` may lead to: ``uploads.vendor.com``, ``*.amazonaws.com``."""
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    encoding: Literal["json", "form", "ndjson", "csv", "multipart", "xml"] = "json"
    csv: Csv = Csv()
    gzip: bool = False
    """Send the body compressed, with ``Content-Encoding: gzip``."""
    graphql: str | None = None
    """A GraphQL document, sent as it is; ``body`` holds its variables."""
    body: Any = None
    until: dict[str, Any] = {}
    """The request is repeated until these dotted paths of the answer have these values (as in
    ``answer.body``): what became of a job."""
    failed: dict[str, Any] = {}
    """Likewise: the job came to nothing, and the rows that the answer does not name are refused."""
    every: float = Field(default=5.0, gt=0)
    """Seconds before the request is repeated; longer each time, up to a minute."""
    patience: float = Field(default=3600.0, gt=0, alias="for")
    """Seconds after which its rows are in doubt."""
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
    order, but for those whose ``when`` or ``unless`` leaves the row out; a row counts as accepted
    when the last one accepted it.
    """

    request: str = Field(default="", pattern=r"^$|^(GET|POST|PUT|PATCH|DELETE)( /\S*)?$")
    steps: tuple[Step, ...] = ()
    batch: Batch | None = None
    nulls: Literal["drop", "send", "empty"] = "drop"
    """What becomes of a null in the body: its key or array element dropped, null, or an empty text."""
    effect: str = ""
    """In plain words what it does at the vendor, where the name alone might mislead."""
    idempotent: bool = True
    """Whether sending it twice leaves the vendor as sending it once."""


class AudienceSpec(Part):
    """An audience at the vendor that is found by name, and created where there is none.

    ``setting`` then need not be given: the id found is kept in the state folder.
    """

    setting: str
    """The setting that holds the audience's id, where a connection gives it."""
    find: Step | None = None
    create: Step | None = None


def gives_id(step: Step) -> bool:
    """Whether the step's answer gives rows the destination's own id."""
    return bool(step.answer.id or (step.answer.accepted and step.answer.accepted.id))


def captured_by(step: Step) -> set[str]:
    """What later steps may know from the step's answers: ``find.id``, and then ``remote_id``."""
    conflicts = [name for rule in step.errors for name in rule.capture]
    names = {f"{step.name}.{name}" for name in (*step.answer.capture, *conflicts)}
    return names | ({f"{step.name}.id", "remote_id"} if gives_id(step) else set())
