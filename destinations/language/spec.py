"""The adapter language: what one destination's YAML file may say.

A spec reads like the vendor's own documentation: where the API is, how to log
in, which fields it takes, which request each operation is, and how an answer
names the rows it took or refused. Nothing in it runs: values are constants or
placeholders, compiled once to Polars expressions.

Placeholders, in any string of a request (``{name|function|function:argument}``; the functions
stand in :mod:`destinations.language.template`):

``{field}``             the row's mapped field of that name (normalised and hashed as declared)
``{settings.x}``        a setting of the connection
``{<step>.<capture>}``  a value captured from an earlier step's answer for the same request
``{remote_id}``         the id this destination returned for the row in an earlier run
``{custom}``            an object of all mapped fields that ``fields`` does not declare
``{fields}``            an object of all mapped fields
``{meta.key}``          the sync's key of the row; ``{meta.id}`` the id of this change of it, the same when
                        it is sent again; ``{meta.delivery}`` the delivery's idempotency key;
                        ``{meta.audience}`` the audience's name; ``{meta.now}`` the time of sending (ISO 8601, UTC)

A string that is one placeholder keeps the value's JSON type; anything else is text. In a path
and a query values are URL-escaped; a path of just ``/`` is the base URL itself.
In a body, ``each:`` stands for an array with one element per row, and the key
``"...": "{custom}"`` spreads an object into the one around it. A key whose value
is null or missing is left out of the body unless the operation's ``nulls`` says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from destinations.driver import Operation


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Setting(_Part):
    """One thing a connection must or may say."""

    description: str
    secret: bool = False
    """Secrets come from the environment and are redacted everywhere."""
    default: str | int | bool | None = None
    choices: tuple[str, ...] = ()
    example: str | int | bool | None = None
    """Used by preview and the sandbox; a secret's example is always a placeholder."""
    pattern: str | None = None
    """A regular expression that the whole value must match (tenant names in URLs)."""
    required: bool = True


class DestinationField(_Part):
    """A field of the destination that an audience column may be mapped to."""

    description: str = ""
    type: Literal["string", "number", "integer", "boolean", "datetime", "date"] = "string"
    normalise: Literal[
        "trim", "lower", "email", "email_gmail", "phone_e164", "phone_digits", "name",
        "city", "postal_code", "country_2", "country_2_lower", "state", "gender", "birth_date", "maid",
    ] | None = None  # fmt: skip
    hash: Literal["sha256", "md5"] | None = None
    """Hashed after normalising; a value that already is such a digest passes as it is."""
    identifier: bool = False
    """People are found by it: at least one identifier must be mapped and not null."""
    required: bool = False
    max_length: int | None = None
    pattern: str | None = None
    """What the vendor accepts; a row that breaks it is rejected before sending."""
    example: str | int | float | bool | None = None
    """For previews, where a made-up value would not do."""
    docs: str | None = None


# --- How to log in -------------------------------------------------------------------------


class Bearer(_Part):
    type: Literal["bearer"]
    token: str


class HeaderKey(_Part):
    type: Literal["header"]
    name: str
    value: str


class QueryKey(_Part):
    type: Literal["query"]
    name: str
    value: str


class Basic(_Part):
    type: Literal["basic"]
    username: str
    password: str


class Hmac(_Part):
    """Signs the request body (with a time, where the vendor wants one)."""

    type: Literal["hmac"]
    secret: str
    header: str
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    over: str = "{body}"
    """What is signed: ``{body}`` and ``{timestamp}`` (Unix seconds), in any text."""
    value: str = "{signature}"
    """The header's text, with ``{signature}`` and ``{timestamp}``."""
    timestamp_header: str | None = None


Auth = Annotated[Bearer | HeaderKey | QueryKey | Basic | Hmac, Field(discriminator="type")]


# --- What an answer means ------------------------------------------------------------------


class NamedRows(_Part):
    """A list in the answer that names rows, by position or by a value of theirs.

    Exactly one of ``index`` and ``key`` says how an element names its row.
    """

    at: str
    """Dotted path of the list in the answer."""
    index: str | None = None
    """Dotted path, in an element, of the row's position in the request; ``@`` the element
    itself; ``#`` the element's own position in the list (answers parallel to the request)."""
    key: str | None = None
    """Dotted path, in an element, of the value that names the row; ``@`` the element itself.
    A list found there names several rows."""
    field: str = "meta.key"
    """Which value of the row it is: a field, ``meta.key`` or ``remote_id``."""
    when: dict[str, Any] = {}
    """Only elements in which these dotted paths have these values (``{status: error}``)."""
    message: str | None = None
    """Dotted path, in an element, of the vendor's words."""
    id: str | None = None
    """Dotted path, in an element, of the destination's own id of the row."""


class Answer(_Part):
    """When an answer means that rows were taken; everything else is an error.

    The rows accepted are: those that ``accepted`` names; or, without it, all rows that
    ``rejected`` does not name, provided ``status`` and ``body`` hold and ``count`` agrees.
    A row that an ``accepted`` list should name and does not is in doubt, never delivered.
    """

    status: tuple[int, ...] = (200,)
    body: dict[str, Any] = {}
    """Dotted paths that must have these values, else the whole answer is an error
    (``{success: true}``; a list: any of its values; null: absent or null; ``[]``: an empty list)."""
    accepted: NamedRows | None = None
    rejected: NamedRows | None = None
    count: str | None = None
    """Dotted path of the number of rows taken; another number than sent is a refusal of the
    batch without row detail."""
    refused_count: str | None = None
    """Dotted path of the number of rows not taken; more than 0 likewise."""
    capture: dict[str, str] = {}
    """Name -> dotted path of a value that later steps use, for all rows of the request."""
    id: str | None = None
    """Dotted path of the destination's own id of the row (one row per request only)."""


class ErrorRule(_Part):
    """What an answer means, whatever its status. Rules are asked before ``answer``; the first
    that fits decides. Without one: 401 and 403 are ``auth``, 408, 425, 429 and 5xx ``retry``,
    other 4xx ``reject``, redirects ``abort``; another 2xx than promised leaves rows in doubt.
    """

    status: tuple[int, ...] = ()
    """Statuses it is for; empty for any."""
    body: dict[str, Any] = {}
    """Dotted paths that must have these values for the rule to fit (as in ``answer``)."""
    means: Literal["reject", "retry", "auth", "abort", "accept", "done"]
    """``reject`` the row (or, for a batch, find the guilty rows), ``retry`` later, ``auth``: the
    credentials are wrong, ``abort``: nothing can succeed on this connection, ``accept``: what was
    asked already is so (409 on a creation; later steps follow), ``done``: nothing remains to be
    done for the row (404 on a removal; later steps are left out)."""
    capture: dict[str, str] = {}
    """With ``accept``: what later steps need, found in this answer (the id in a conflict)."""


class RateLimit(_Part):
    """At most ``requests`` in any ``per`` seconds, for the whole account."""

    requests: int = Field(gt=0)
    per: float = Field(gt=0)
    docs: str


class RetryAfter(_Part):
    """Where the vendor says how long to wait, and in which form."""

    header: str = "Retry-After"
    """Asked first; ``Retry-After`` itself is always understood."""
    body: str | None = None
    """Dotted path in the answer, asked where no header says anything."""
    form: Literal["seconds", "milliseconds", "epoch", "date", "auto"] = "auto"


# --- Requests ------------------------------------------------------------------------------


class Step(_Part):
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


class Batch(_Part):
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


class ExampleRequest(_Part):
    """A request as it must come out; ``headers`` names those that matter."""

    request: str = Field(pattern=r"^(GET|POST|PUT|PATCH|DELETE) /\S*$")
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: Any = None


class ExampleAnswer(_Part):
    status: int = 200
    headers: dict[str, str] = {}
    body: Any = None


class WorkedExample(_Part):
    """Evidence: sample rows, the exact requests, sample answers and what they mean per row."""

    operation: Operation
    rows: tuple[dict[str, Any], ...]
    """Fields by name; ``_key`` and ``_remote_id`` may be given."""
    requests: tuple[ExampleRequest, ...] = ()
    answers: tuple[ExampleAnswer, ...] = ()
    """One per request."""
    outcomes: tuple[Literal["accepted", "rejected", "retry", "in_doubt"], ...] = ()
    """One per row."""


class Spec(_Part):
    """One destination. Specs with ``adapter`` name Python code instead of requests."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
    name: str
    category: str
    kind: Literal[
        "http_api", "webhook", "database", "warehouse", "object_storage", "file", "stream"
    ]
    docs: str
    """The vendor's page on this API."""
    notes: str = ""
    settings: dict[str, Setting] = {}

    # Code adapters
    adapter: str | None = None
    """Python module with ``Settings`` (pydantic) and ``open(settings) -> Driver``."""
    extra: str | None = None
    """The optional dependency group that brings its driver."""
    code_operations: tuple[Operation, ...] = ()
    batch_rows: int | None = None
    per_row_results: bool = True
    """Whether what it writes to names the rows it refuses."""
    idempotent: bool = True
    """Whether writing the same rows twice leaves what writing them once leaves."""

    # HTTP
    base_url: str = ""
    auth: Auth | None = None
    headers: dict[str, str] = {}
    fields: dict[str, DestinationField] = {}
    other_fields: bool = True
    """Whether fields that ``fields`` does not declare may be mapped (``{custom}``)."""
    operations: dict[Operation, OperationSpec] = {}
    remove_none: str | None = None
    """Why there is no remove, said aloud; required where operations has none."""
    errors: tuple[ErrorRule, ...] = ()
    message: str | None = None
    """Dotted path of the vendor's words in an error answer."""
    limits: tuple[RateLimit, ...] = ()
    concurrency: int = Field(default=4, gt=0)
    retry_after: RetryAfter = RetryAfter()
    check: Step | None = None
    """A harmless request that tells whether the credentials work."""
    timeout: float = 30.0
    examples: tuple[WorkedExample, ...] = ()
