"""Logins by token as a vendor plays them: what asks for one, what it gets, which it then takes."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from destinations.http.logins import SANDBOX_TOKENS
from destinations.http.token_requests import GRANTS
from destinations.language.logins import Login, OAuth2
from destinations.language.spec import Spec
from destinations.sandbox.answers import place
from destinations.sandbox.routes import path_of

LIFETIME = 3600


class Tokens:
    """The tokens one destination has given. Safe to use from several threads."""

    def __init__(self, spec: Spec) -> None:
        self._auth = spec.auth if isinstance(spec.auth, OAuth2 | Login) else None
        self._given: set[str] = set()
        self._lock = threading.Lock()
        self._method = "POST"
        self._path: re.Pattern[str] | None = None
        if isinstance(self._auth, Login):
            self._method, _, url = self._auth.request.partition(" ")
        elif self._auth is not None:
            url = self._auth.token_url
        if self._auth is not None:
            # A login on another host is sent here too.
            self._path = (
                path_of(spec, url) if url.startswith("/") else re.compile(SANDBOX_TOKENS + "/?")
            )

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Any] | None:
        """The answer to a request for a token; None where it is none."""
        if self._auth is None or self._path is None or not self._path.fullmatch(path):
            return None
        if method != self._method:
            return 405, {"message": f"{method} is not taken here, {self._method} is"}
        if isinstance(self._auth, OAuth2):
            problem = _grant_problem(self._auth, headers, body)
            if problem:
                return 400, {"error": "invalid_request", "error_description": problem}
        token = f"sandbox-{secrets.token_hex(16)}"
        with self._lock:
            self._given.add(token)
        document: Any = place({}, self._auth.token, token)
        if self._auth.expires_in:
            document = place(document, self._auth.expires_in, LIFETIME)
        for name, where in self._auth.capture.items():
            document = place(document, where, f"https://sandbox-{name}.example")
        if isinstance(self._auth, OAuth2) and self._auth.grant == "refresh_token":
            document["refresh_token"] = f"sandbox-{secrets.token_hex(16)}"
        return self._auth.status[0] if isinstance(self._auth, Login) else 200, document

    def problem(self, headers: Mapping[str, str]) -> str | None:
        """Whether a request carries a token that was given."""
        if self._auth is None:
            return None
        given = headers.get(self._auth.header.lower())
        if not given:
            return f"the header {self._auth.header} is missing"
        before, _, after = self._auth.value.partition("{token}")
        # Settings around the token may say anything.
        shape = (re.sub(r"\\\{.*?\\\}", ".*?", re.escape(text)) for text in (before, after))
        found = re.fullmatch("(.+)".join(shape), given)
        if found is None:
            return f"the header {self._auth.header} does not have the form '{self._auth.value}'"
        with self._lock:
            known = found[1] in self._given
        return None if known else "the token is not known, or has ended"


def _grant_problem(auth: OAuth2, headers: Mapping[str, str], body: bytes) -> str | None:
    grant = auth.params.get("grant_type", GRANTS[auth.grant])
    try:
        form = orjson.loads(body) if auth.encoding == "json" else dict(parse_qsl(body.decode()))
    except ValueError:
        return f"the body is no {auth.encoding}"
    if not isinstance(form, dict) or form.get("grant_type") != grant:
        return f"grant_type must be {grant}"
    needed = {
        "refresh_token": ("refresh_token",),
        "client_credentials": (),
        "password": ("username", "password"),
        "jwt_bearer": ("assertion",),
    }[auth.grant]
    for name in needed:
        if not form.get(name):
            return f"{name} is missing"
    if auth.client_auth == "basic" and not headers.get("authorization", "").startswith("Basic "):
        return "the client does not log in"
    if auth.client_auth == "body" and auth.client_secret and not form.get("client_secret"):
        return "client_secret is missing"
    return None
