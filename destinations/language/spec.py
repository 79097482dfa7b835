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
``{<step>.id}``         the id that an earlier step's answer gave the row
``{remote_id}``         the id this destination returned for the row, in an earlier step or run
``{auth.<capture>}``    a value of the login's answer; in ``base_url`` alone
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

from typing import Any, Literal

from pydantic import Field

from destinations.driver import Operation
from destinations.language.logins import Auth
from destinations.language.part import Part
from destinations.language.replies import ErrorRule, RetryAfter
from destinations.language.steps import AudienceSpec, OperationSpec, Step


class Setting(Part):
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


class DestinationField(Part):
    """A field of the destination that an audience column may be mapped to."""

    description: str = ""
    type: Literal["string", "number", "integer", "boolean", "datetime", "date"] = "string"
    normalise: Literal[
        "trim", "lower", "email", "email_gmail", "phone_e164", "phone_digits", "name",
        "city", "postal_code", "country_2", "country_2_lower", "state", "gender", "birth_date", "maid",
        "uid2",
    ] | None = None  # fmt: skip
    country_field: str = "country"
    """For telephone numbers without a country code: the field that names the row's country."""
    hash: Literal["sha256", "md5", "sha1"] | None = None
    """Hashed after normalising; a value that already is such a digest passes as it is."""
    hash_encoding: Literal["hex", "base64"] = "hex"
    identifier: bool = False
    """People are found by it: at least one identifier must be mapped and not null."""
    required: bool = False
    max_length: int | None = None
    pattern: str | None = None
    """What the vendor accepts; a row that breaks it is rejected before sending."""
    example: str | int | float | bool | None = None
    """For previews, where a made-up value would not do."""
    docs: str | None = None


class RateLimit(Part):
    """At most ``requests`` in any ``per`` seconds, for the whole account."""

    requests: int = Field(gt=0)
    per: float = Field(gt=0)
    docs: str


class ExampleRequest(Part):
    """A request as it must come out; ``headers`` names those that matter."""

    request: str = Field(pattern=r"^(GET|POST|PUT|PATCH|DELETE) /\S*$")
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: Any = None


class ExampleAnswer(Part):
    status: int = 200
    headers: dict[str, str] = {}
    body: Any = None


class WorkedExample(Part):
    """Evidence: sample rows, the exact requests, sample answers and what they mean per row."""

    operation: Operation
    rows: tuple[dict[str, Any], ...]
    """Fields by name; ``_key`` and ``_remote_id`` may be given."""
    requests: tuple[ExampleRequest, ...] = ()
    answers: tuple[ExampleAnswer, ...] = ()
    """One per request."""
    outcomes: tuple[Literal["accepted", "rejected", "retry", "in_doubt"], ...] = ()
    """One per row."""


class Deprecation(Part):
    """The vendor takes this API away."""

    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    """The last day, or the first without it: from then on ``check`` finds a problem."""
    docs: str
    successor: str | None = None
    """Id of the destination to use instead."""


class Spec(Part):
    """One destination. Specs with ``adapter`` name Python code instead of requests."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
    name: str
    category: str = ""
    """Left out, it is the name of the folder that the spec stands in."""
    kind: Literal[
        "http_api", "webhook", "database", "warehouse", "object_storage", "file", "stream"
    ] = "http_api"
    docs: str
    """The vendor's page on this API."""
    language: Literal[1] = 1
    """Version of the language that the spec is written in; one that is not known is refused."""
    notes: str = ""
    deprecated: Deprecation | None = None
    extends: str | None = None
    """A family, ``_families/<name>.yaml`` in the same catalog, whose keys this spec takes over:
    ``settings``, ``fields``, ``operations`` and ``headers`` name by name (null leaves one out),
    every other key as a whole."""
    settings: dict[str, Setting] = {}

    # Code adapters
    adapter: str | None = None
    """Python module with ``Settings`` (pydantic) and ``open(settings) -> Driver``. Several specs may
    name one module: ``settings`` gives other examples and defaults to those that it names."""
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
    audience: AudienceSpec | None = None
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
