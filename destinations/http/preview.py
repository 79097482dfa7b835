"""The requests a spec would send for sample rows, without a connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import polars as pl

from destinations.driver import HASH, ID, KEY, META_COLUMNS, REMOTE_ID, Operation
from destinations.errors import ConfigurationError
from destinations.http.account import base_url_of
from destinations.http.auth import shown_login
from destinations.http.session import joined
from destinations.language.compile import Compiled
from destinations.language.requests import Request
from destinations.language.settings import example_settings
from destinations.language.spec import DestinationField, Spec
from destinations.language.steps import gives_id
from destinations.language.template import Placeholder, Text

AUDIENCE = "loyal_customers"
BOUNDARY = "boundary"
"""In the place of a multipart body's own, which is a digest of the body."""
_TEXTS_OF = ("text/csv", "application/xml", "text/xml", "multipart/form-data")
_PEOPLE = (
    ("Ann", "Lee", "ann@example.com", "+442079460958"),
    ("Bob", "Ray", "bob@example.com", "+442079460959"),
)
_TEXTS = {
    "country_2": "GB",
    "country_2_lower": "GB",
    "city": "London",
    "state": "CA",
    "postal_code": "SW1A 1AA",
    "gender": "f",
    "birth_date": "1990-01-31",
    "maid": "aece52e7-0000-4000-8000-00000000000",
}


def preview(spec: Spec, operation: Operation, count: int) -> dict[str, Any]:
    """``{"destination", "operation", "requests": [...]}`` for that many sample rows.

    Raises:
        ConfigurationError: the destination does not have the operation.
    """
    if spec.adapter is not None:
        raise ConfigurationError(
            f"{spec.name} is reached through its own protocol, not by requests."
        )
    if operation not in spec.operations:
        offered = ", ".join(sorted(spec.operations))
        raise ConfigurationError(f"{spec.name} has no {operation.value}.", f"It has: {offered}.")
    rows = sample_rows(spec, count)
    requests = [shown(spec, request) for request in rendered(spec, operation, rows)]
    return {"destination": spec.id, "operation": operation.value, "requests": requests}


def rendered(spec: Spec, operation: Operation, rows: pl.DataFrame) -> Iterator[Request]:
    """Every request of every step, before the login."""
    compiled = Compiled(spec, operation, example_settings(spec), AUDIENCE)
    captures = sample_captures(compiled)
    for first in compiled.requests(rows, conditions=False):
        yield first.request
        for position in range(1, len(compiled.steps)):
            yield compiled.following(position, first.rows, captures)


def sample_captures(compiled: Compiled) -> dict[str, Any]:
    """Made-up ids in the place of what answers give: digits, which pass as text and as a number."""
    names = [
        f"{template.step.name}.{name}"
        for template in compiled.steps
        for captured in (
            template.step.answer.capture,
            *(rule.capture for rule in template.step.errors),
        )
        for name in captured
    ]
    names += [f"{t.step.name}.id" for t in compiled.steps if gives_id(t.step)]
    return {**dict.fromkeys(names, "1001"), **_sample_urls(compiled)}


def _sample_urls(compiled: Compiled) -> dict[str, str]:
    """Made-up URLs for what stands at the start of a step's ``url``."""
    urls = {}
    for template in compiled.steps:
        part = template.path.parts[0] if isinstance(template.path, Text) else template.path
        if template.step.url is not None and isinstance(part, Placeholder):
            urls[part.name] = f"https://{template.step.hosts[0].replace('*', 'example')}/1001"
    return urls


def sample_login(spec: Spec) -> dict[str, str]:
    """Made-up values in the place of what the login's answer gives for ``base_url``."""
    whole = spec.base_url.startswith("{auth.")
    hosts = getattr(spec.auth, "hosts", ())
    host = hosts[0].replace("*", "example") if hosts else "example.com"
    sample = f"https://{host}" if whole else "example"
    return dict.fromkeys(getattr(spec.auth, "capture", {}), sample)


def shown(spec: Spec, request: Request) -> dict[str, Any]:
    """A request with its login as one would write it down; secrets are placeholders."""
    settings = example_settings(spec)
    ours = request if request.elsewhere else shown_login(spec, settings)(request)
    headers, body = dict(ours.headers), ours.plain_body
    kind, _, boundary = headers.get("Content-Type", "").partition("; boundary=")
    if boundary and body is not None:
        headers["Content-Type"] = f"{kind}; boundary={BOUNDARY}"
        body = body.replace(boundary.encode(), BOUNDARY.encode())
    url = joined(base_url_of(spec, settings, sample_login(spec)), ours.path)
    query = urlsplit(url).query
    return {
        "method": ours.method,
        "url": url.partition("?")[0],
        "headers": headers,
        "query": dict(parse_qsl(query, keep_blank_values=True)),
        "body": body_of(body, kind),
    }


def body_of(body: bytes | None, kind: str = "") -> Any:
    """Parsed where it is JSON, else text, its line ends as in YAML."""
    if body is None:
        return None
    text = body.decode("utf-8", "replace")
    try:
        return text.replace("\r\n", "\n") if kind in _TEXTS_OF else orjson.loads(body)
    except orjson.JSONDecodeError:
        return text


def sample_rows(spec: Spec, count: int) -> pl.DataFrame:
    """Rows with every declared field, and one more where other fields may be mapped."""
    columns: dict[str, Sequence[Any]] = {
        KEY: [f"profile-{number}" for number in range(1, count + 1)],
        HASH: [f"content-{number}" for number in range(1, count + 1)],
        REMOTE_ID: [str(1000 + number) for number in range(1, count + 1)],
        ID: [f"change-{number}" for number in range(1, count + 1)],
    }
    for name, field in spec.fields.items():
        columns[name] = [_sample(name, field, number) for number in range(count)]
    if spec.other_fields:
        columns["plan"] = ["gold" if number % 2 == 0 else "silver" for number in range(count)]
    return pl.DataFrame(columns)


def example_rows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """The rows of a worked example; ``_key`` is ``profile-1`` and so on where none is given."""
    numbered = [
        {
            KEY: f"profile-{number}",
            HASH: f"content-{number}",
            REMOTE_ID: None,
            ID: f"change-{number}",
            **row,
        }
        for number, row in enumerate(rows, start=1)
    ]
    frame = pl.DataFrame(numbered, infer_schema_length=None)
    return frame.with_columns(pl.col(*META_COLUMNS).cast(pl.String))


def _sample(name: str, field: DestinationField, number: int) -> Any:
    if field.example is not None:
        return field.example
    match field.type:
        case "number":
            return 10.5 + number
        case "integer":
            return 1 + number
        case "boolean":
            return number % 2 == 0
        case "datetime":
            return "2026-01-31T08:30:00Z"
        case "date":
            return "2026-01-31"
    first, last, email, phone = _PEOPLE[number % len(_PEOPLE)]
    again = number // len(_PEOPLE) or ""
    if field.normalise in ("email", "email_gmail") or "email" in name:
        return email.replace("@", f"{again}@")
    if field.normalise in ("phone_e164", "phone_digits") or "phone" in name:
        return phone
    if field.normalise in _TEXTS:
        text = _TEXTS[field.normalise]
        return text + str(number % 10) if field.normalise == "maid" else text
    if field.normalise == "name" or "name" in name:
        return last if "last" in name else first
    return f"{name}-{number + 1}"
