"""What a vendor checks before it looks at rows: the login, the form, the limits, the fields.

Each function says in plain words what is wrong, or None. No text holds a secret. The names in
``headers`` are in lower case.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from destinations.language.logins import (
    Basic,
    Bearer,
    HeaderKey,
    Hmac,
    Jwt,
    Login,
    OAuth1,
    OAuth2,
    QueryKey,
    SigV4,
)
from destinations.language.spec import DestinationField, Spec
from destinations.language.template import FIELDS, SETTINGS, Placeholder, Text, parse_text
from destinations.sandbox.inversion import Row
from destinations.sandbox.routes import Route
from destinations.sandbox.shapes import text_pattern

CLOCK_SKEW = 300.0
"""Seconds by which a signature's time may differ from ours."""

CONTENT_TYPES = {
    "json": ("application/json", "+json"),
    "form": ("application/x-www-form-urlencoded",),
    "ndjson": ("application/x-ndjson", "application/ndjson", "application/jsonl", "text/plain"),
    "csv": ("text/csv", "application/csv", "text/plain", "application/octet-stream"),
    "xml": ("application/xml", "text/xml", "+xml"),
    "multipart": ("multipart/form-data",),
}

_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_DIGEST = {
    ("sha256", "hex"): re.compile(r"[0-9a-f]{64}"),
    ("sha1", "hex"): re.compile(r"[0-9a-f]{40}"),
    ("md5", "hex"): re.compile(r"[0-9a-f]{32}"),
    ("sha256", "base64"): re.compile(r"[A-Za-z0-9+/]{43}="),
    ("sha1", "base64"): re.compile(r"[A-Za-z0-9+/]{27}="),
    ("md5", "base64"): re.compile(r"[A-Za-z0-9+/]{22}=="),
}

_parsed = lru_cache(maxsize=1024)(parse_text)

Known = Mapping[str, frozenset[str]]
"""Setting -> the values this destination takes for it; a setting not there may be anything."""


def login_problem(
    spec: Spec, headers: Mapping[str, str], query: Mapping[str, str], body: bytes, known: Known
) -> str | None:
    """Whether the request carries the credentials that ``spec.auth`` asks for."""
    auth = spec.auth
    if auth is None:
        return None
    if isinstance(auth, Hmac):
        return _signature_problem(auth, headers, body, known)
    if isinstance(auth, QueryKey):
        return _credential_problem(
            f"the query parameter {auth.name}", query.get(auth.name), auth.value, known
        )
    if isinstance(auth, HeaderKey):
        return _credential_problem(
            f"the header {auth.name}", headers.get(auth.name.lower()), auth.value, known
        )
    if not isinstance(auth, Bearer | Basic):
        return _presence_problem(auth, headers)
    scheme = "Bearer" if isinstance(auth, Bearer) else "Basic"
    given = headers.get("authorization")
    if given is None or not given.startswith(f"{scheme} ") or not given[len(scheme) + 1 :].strip():
        return f"the header Authorization must be '{scheme} ...'"
    credential = given[len(scheme) + 1 :]
    if isinstance(auth, Basic):
        try:
            credential = base64.b64decode(credential, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return "the header Authorization is not base64 of 'username:password'"
        return _credential_problem(
            "the header Authorization", credential, f"{auth.username}:{auth.password}", known
        )
    return _credential_problem("the header Authorization", credential, auth.token, known)


def form_problem(route: Route, headers: Mapping[str, str]) -> str | None:
    """Whether the content type is the one of the step's encoding, unless the spec names another."""
    if route.body is None or "content-type" in map(str.lower, route.headers):
        return None
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    wanted = CONTENT_TYPES[route.step.encoding]
    if any(given == one or (one[0] == "+" and given.endswith(one)) for one in wanted):
        return None
    return f"Content-Type must be {wanted[0]}, not '{given}'"


def batch_problem(route: Route, rows: int, size: int) -> str | None:
    """Whether the request is within the vendor's limits; size in bytes."""
    if rows == 0:
        return "the batch is empty"
    most = route.batch.rows if route.batch else 1
    if rows > most:
        return f"{rows} rows in one request; at most {most} are allowed"
    if route.batch and route.batch.bytes is not None and size > route.batch.bytes:
        return f"{size} bytes in one request; at most {route.batch.bytes} are allowed"
    return None


def clear_text_problem(spec: Spec, row: Row) -> str | None:
    """Whether a hashed field holds anything but a digest: a fault of the sender, not of the row."""
    for name, declared in spec.fields.items():
        value = row.fields.get(name) if declared.hash else None
        if value in (None, ""):
            continue
        digest = _DIGEST[declared.hash or "", declared.hash_encoding]
        if not isinstance(value, str) or not digest.fullmatch(value):
            what = (
                "an e-mail address in clear" if "@" in str(value) else f"no {declared.hash} digest"
            )
            return f"the hashed field {name} holds {what}"
    return None


def row_problem(spec: Spec, route: Route, row: Row) -> str | None:
    """Whether the vendor would refuse this row, in words like a vendor's."""
    asked = route.fields
    for name, declared in spec.fields.items():
        value = row.fields.get(name)
        if value is None or value == "":
            if declared.required and (name in asked or FIELDS in asked) and not row.remote_id:
                return f"{name} is required"
            continue
        problem = _value_problem(name, declared, value)
        if problem:
            return problem
    email = row.fields.get("email")
    declared_email = spec.fields.get("email")
    hashed = declared_email is not None and declared_email.hash
    if isinstance(email, str) and email and not hashed and not _EMAIL.fullmatch(email):
        return f"Email address {email} is invalid"
    return None


def _value_problem(name: str, declared: DestinationField, value: Any) -> str | None:
    if declared.hash:
        return None
    if declared.normalise in ("email", "email_gmail") and not _EMAIL.fullmatch(str(value)):
        return f"Email address {value} is invalid"
    if declared.max_length is not None and len(str(value)) > declared.max_length:
        return f"{name} is longer than {declared.max_length} characters"
    if declared.pattern and not re.fullmatch(declared.pattern, str(value)):
        return f"{name} is invalid"
    return None


def _credential_problem(where: str, given: str | None, template: str, known: Known) -> str | None:
    """Whether a credential has the template's shape, and the values the sandbox was told."""
    if not given:
        return f"{where} is missing"
    node = _parsed(template)
    if isinstance(node, Placeholder):
        node = Text((node,))
    if not isinstance(node, Text):
        return None if given == template else f"{where} is wrong"
    found = text_pattern(node).fullmatch(given)
    if found is None or given != given.strip() or "{" in given:
        return f"{where} does not have the form '{template}'"
    parts = [part for part in node.parts if isinstance(part, Placeholder)]
    for part, value in zip(parts, found.groups(), strict=True):
        allowed = known.get(part.local) if part.scope == SETTINGS else None
        if allowed is not None and value not in allowed:
            return f"{where}: the credentials are wrong"
    return None


def _presence_problem(
    auth: OAuth2 | Login | Jwt | OAuth1 | SigV4, headers: Mapping[str, str]
) -> str | None:
    name = "Authorization" if isinstance(auth, OAuth1 | SigV4) else auth.header
    return None if headers.get(name.lower()) else f"the header {name} is missing"


def _signature_problem(
    auth: Hmac, headers: Mapping[str, str], body: bytes, known: Known
) -> str | None:
    given = headers.get(auth.header.lower())
    if not given:
        return f"the header {auth.header} is missing"
    shape = _parsed(auth.value)
    found = text_pattern(shape if isinstance(shape, Text) else Text((shape,))).fullmatch(given)  # type: ignore[arg-type]
    if found is None:
        return f"the header {auth.header} does not have the form '{auth.value}'"
    parts = shape.parts if isinstance(shape, Text) else (shape,)
    names = [part.name for part in parts if isinstance(part, Placeholder)]
    values = dict(zip(names, found.groups(), strict=True))
    timestamp = headers.get((auth.timestamp_header or "").lower()) or values.get("timestamp", "")
    if "{timestamp}" in auth.over:
        if not timestamp.isdigit():
            return "the signature's time is missing or no number of seconds"
        if abs(time.time() - int(timestamp)) > CLOCK_SKEW:
            return f"the signature's time is more than {CLOCK_SKEW:.0f} seconds off"
    before, _, after = auth.over.replace("{timestamp}", timestamp).partition("{body}")
    signed = before.encode() + body + after.encode()
    name = _parsed(auth.secret)
    local = name.local if isinstance(name, Placeholder) else ""
    for secret in known.get(local, frozenset({f"sandbox-{local}"})):
        digest = hmac.new(secret.encode(), signed, getattr(hashlib, auth.algorithm)).digest()
        text = digest.hex() if auth.encoding == "hex" else base64.b64encode(digest).decode()
        if hmac.compare_digest(text, values.get("signature", "")):
            return None
    return (
        f"the signature in {auth.header} does not match; the sandbox signs with "
        f"'sandbox-{local}' unless it was told another secret"
    )
