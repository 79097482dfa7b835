"""The login that a spec declares, ready for one connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from destinations.errors import ConfigurationError
from destinations.http.auth import Authorizer, authorizer_of, header_text
from destinations.http.kept import Kept, kept_dir
from destinations.http.redaction import Redactor
from destinations.http.session import Sessions, joined, split_url
from destinations.http.signing import OAuth1Signature, SignedToken, SigV4Signature, made_up_key
from destinations.http.token_requests import Fill, TokenRequests, assertion, oauth2_request
from destinations.http.tokens import TokenLogin
from destinations.language.bodies import constant_text
from destinations.language.compile import request_without_rows
from destinations.language.logins import Assertion, Jwt, Login, OAuth1, OAuth2, SigV4
from destinations.language.spec import Spec
from destinations.language.steps import Step
from destinations.language.template import SETTINGS, Placeholder, parse_text

SANDBOX_TOKENS = "/_token"
"""Where the sandbox plays a login that stands on another host than the vendor's API."""


def login_of(
    spec: Spec,
    settings: Mapping[str, Any],
    base_url: str | None,
    sessions: Sessions,
    redacted: Redactor,
    *,
    sandbox: bool,
) -> Authorizer:
    """The authorizer of a connection; tokens are fetched at the first request.

    Args:
        base_url: None where the login itself gives it.
        redacted: told every token.

    Raises:
        ConfigurationError: a part of the login is empty or unusable.
    """
    constants = {f"settings.{name}": value for name, value in settings.items()}
    if sandbox:
        constants |= _made_up_keys(spec)

    def fill(text: str) -> str | None:
        return constant_text(text, constants)

    def needed(text: str) -> str:
        found = fill(text)
        if not found:
            raise ConfigurationError(
                f"The login of {spec.name} ({text}) is empty.",
                "Check the environment variable that the connection names.",
            )
        return found

    auth = spec.auth
    match auth:
        case OAuth2() | Login():
            return _token_login(spec, auth, settings, fill, base_url, sessions, redacted, sandbox)
        case Jwt():
            needed(auth.key)
            value = header_text(auth.value, settings)
            return SignedToken(auth.header, value, lambda now: assertion(auth, fill, now))
        case OAuth1():
            return OAuth1Signature(
                base_url or "",
                needed(auth.consumer_key),
                needed(auth.consumer_secret),
                fill(auth.token) or "",
                fill(auth.token_secret) or "",
                auth.method,
                fill(auth.realm) if auth.realm else None,
            )
        case SigV4():
            return SigV4Signature(
                base_url or "",
                needed(auth.access_key_id),
                needed(auth.secret_access_key),
                fill(auth.session_token) if auth.session_token else None,
                needed(auth.region),
                needed(auth.service),
            )
        case _:
            return authorizer_of(spec, settings)


def _made_up_keys(spec: Spec) -> dict[str, str]:
    """Private keys for the sandbox, to which no real one goes: a text would sign nothing."""
    signs = spec.auth.assertion if isinstance(spec.auth, OAuth2) else spec.auth
    if not isinstance(signs, Assertion):
        return {}
    node = parse_text(signs.key)
    if not isinstance(node, Placeholder) or node.scope != SETTINGS:
        return {}
    made = made_up_key(signs.algorithm)
    return {} if made is None else {node.name: made}


def _token_login(
    spec: Spec,
    auth: OAuth2 | Login,
    settings: Mapping[str, Any],
    fill: Fill,
    base_url: str | None,
    sessions: Sessions,
    redacted: Redactor,
    sandbox: bool,
) -> TokenLogin:
    method, _, asked = (
        auth.request.partition(" ") if isinstance(auth, Login) else ("", "", auth.token_url)
    )
    url = fill(asked) or ""
    if sandbox and not url.startswith("/"):
        url = SANDBOX_TOKENS
    place, path = split_url(joined(base_url or "", url) if url.startswith("/") else url)
    kept: Kept | None = None
    if isinstance(auth, OAuth2):
        request = oauth2_request(auth, path, fill)
        if auth.grant == "refresh_token":
            # Named by what the connection was given: a new refresh token starts afresh.
            names = {"url": url, "client": auth.client_id and fill(auth.client_id), "at": place}
            names["given"] = fill(auth.refresh_token or "")
            kept = Kept(kept_dir(), spec.id, names)
    else:
        step = Step(
            request=f"{method} {path}",
            query=auth.query,
            headers=auth.headers,
            encoding=auth.encoding,
            body=auth.body,
        )
        bare = spec.model_copy(update={"headers": {}})

        def request(_: str | None) -> Any:
            return request_without_rows(bare, step, settings)

    requests = TokenRequests(auth, sessions.to(place), request, redacted.add, kept)
    return TokenLogin(auth.header, header_text(auth.value, settings), requests)
