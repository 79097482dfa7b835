"""Asking the vendor for a token: the grants of OAuth 2.0 (RFC 6749), and logins of its own."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from destinations.http.documents import MISSING, found, parsed
from destinations.http.kept import Kept
from destinations.http.naming import shortened
from destinations.http.retry_after import seconds_to_wait
from destinations.http.session import NoAnswerError, NotSentError, Response, Session
from destinations.http.signing import signed_token
from destinations.http.tokens import LoginRefusedError, LoginUnavailableError, Token, used_until
from destinations.language.logins import Assertion, Login, OAuth2
from destinations.language.replies import RetryAfter
from destinations.language.requests import Request

GRANTS = {
    "refresh_token": "refresh_token",
    "client_credentials": "client_credentials",
    "password": "password",
    "jwt_bearer": "urn:ietf:params:oauth:grant-type:jwt-bearer",
}
_SAID = ("error_description", "error.message", "message", "error", "detail")
"""Where vendors say why a login is refused (RFC 6749, section 5.2, and habit)."""
_LATER = (408, 425, 429)

Fill = Callable[[str], str | None]
"""Fills settings into a text of the spec."""


class TokenRequests:
    """Asks one token endpoint.

    Args:
        request: what to ask, made anew each time.
        hide: told every token, which is to be written nowhere.
        kept: where a refresh token that the vendor replaces is kept, for that grant.
    """

    def __init__(
        self,
        auth: OAuth2 | Login,
        session: Session,
        request: Callable[[str | None], Request],
        hide: Callable[[list[str]], None],
        kept: Kept | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._auth = auth
        self._session = session
        self._request = request
        self._hide = hide
        self._kept = kept
        self._clock = clock

    def __call__(self, stale: str | None) -> Token:
        """A token other than ``stale``.

        Raises:
            LoginRefusedError, LoginUnavailableError: there is none.
        """
        if self._kept is None:
            return self._token(self._asked(self._request(None)))[0]
        with self._kept.locked():
            # Another process may have renewed it while we waited.
            state = self._kept.read()
            known = state.get("token")
            if known and known != stale and self._clock() < float(state.get("until", 0)):
                self._hide([known])
                return Token(known, float(state["until"]), state.get("captured") or {})
            before = state.get("refresh_token")
            document = self._asked(self._request(before))
            token, replaced = self._token(document)
            # Kept before it is used: the one before may be worth nothing by now.
            self._kept.write(
                {
                    "refresh_token": replaced or before,
                    "token": token.text,
                    "until": token.until,
                    "captured": dict(token.captured),
                }
            )
            return token

    def _asked(self, request: Request) -> Any:
        try:
            response = self._session.send(
                request.method, request.path, request.headers, request.body
            )
        except (NotSentError, NoAnswerError) as error:
            raise LoginUnavailableError(f"the login did not answer: {error}") from None
        document = parsed(response.body)
        if response.status in _LATER or response.status >= 500:
            wait = seconds_to_wait(RetryAfter(), response.headers)
            raise LoginUnavailableError(f"the login answered {response.status}", wait)
        allowed = self._auth.status if isinstance(self._auth, Login) else (200, 201)
        if response.status not in allowed:
            raise LoginRefusedError(_refusal(response, document))
        if found(self._auth.token, document) in (MISSING, None, ""):
            raise LoginRefusedError(f"{_refusal(response, document)} (no '{self._auth.token}')")
        return document

    def _token(self, document: Any) -> tuple[Token, str | None]:
        """The token, and the refresh token that replaces the one before, if any."""
        text = str(found(self._auth.token, document))
        replaced = found("refresh_token", document)
        replaced = replaced if isinstance(replaced, str) and replaced else None
        self._hide([text, *([replaced] if replaced else [])])
        if not text.isascii() or not text.isprintable():
            raise LoginRefusedError("the login's token holds what no header can carry")
        said = found(self._auth.expires_in, document) if self._auth.expires_in else MISSING
        try:
            lifetime = float(said)
        except (TypeError, ValueError):
            lifetime = self._auth.lifetime
        captured = {name: found(path, document) for name, path in self._auth.capture.items()}
        for name, value in captured.items():
            if not isinstance(value, str | int):
                raise LoginRefusedError(f"the login's answer lacks '{self._auth.capture[name]}'")
        until = used_until(self._clock(), lifetime if lifetime > 0 else self._auth.lifetime)
        return Token(text, until, {n: str(v) for n, v in captured.items()}), replaced


def oauth2_request(auth: OAuth2, path: str, fill: Fill) -> Callable[[str | None], Request]:
    """Makes token requests; told the refresh token to use, where that is not the setting's."""

    def made(refresh_token: str | None) -> Request:
        members: dict[str, str | None] = {"grant_type": GRANTS[auth.grant]}
        headers = {"Accept": "application/json", **_filled(auth.headers, fill)}
        if auth.client_auth == "basic":
            # RFC 6749, section 2.3.1: both are form-encoded first.
            pair = f"{quote(_of(auth.client_id, fill) or '', safe='')}:{quote(_of(auth.client_secret, fill) or '', safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            members["client_id"] = _of(auth.client_id, fill)
            members["client_secret"] = _of(auth.client_secret, fill)
        match auth.grant:
            case "refresh_token":
                members["refresh_token"] = refresh_token or _of(auth.refresh_token, fill)
            case "password":
                members["username"] = _of(auth.username, fill)
                members["password"] = _of(auth.password, fill)
            case "jwt_bearer" if auth.assertion is not None:
                members["assertion"] = assertion(auth.assertion, fill, time.time())
        members["scope"] = _of(auth.scope, fill)
        members |= _filled(auth.params, fill)
        given = {name: text for name, text in members.items() if text not in (None, "")}
        if auth.encoding == "json":
            return _posted(path, headers, "application/json", orjson.dumps(given))
        kind = "application/x-www-form-urlencoded"
        return _posted(path, headers, kind, urlencode(given).encode())

    return made


def assertion(declared: Assertion, fill: Fill, now: float) -> str:
    """The token that we sign.

    Raises:
        ConfigurationError: the key is none of the algorithm's.
    """
    return signed_token(
        declared.algorithm,
        fill(declared.key) or "",
        declared.key_encoding,
        _filled(declared.headers, fill),
        filled(declared.claims, fill),
        declared.lifetime,
        now,
    )


def filled(value: Any, fill: Fill) -> Any:
    """A value of any depth with settings filled into its texts."""
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, dict):
        return {name: filled(inner, fill) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [filled(inner, fill) for inner in value]
    return value


def _refusal(response: Response, document: Any) -> str:
    """The vendor's words; never a body as it is, which might hold a token."""
    said = (found(path, document) for path in _SAID)
    words = next((text for text in said if isinstance(text, str) and text), "")
    return shortened(f"{response.status} {words}".strip())


def _posted(path: str, headers: dict[str, str], kind: str, body: bytes) -> Request:
    return Request("POST", path, {**headers, "Content-Type": kind}, body)


def _of(text: str | None, fill: Fill) -> str | None:
    return None if text is None else fill(text)


def _filled(texts: Mapping[str, str], fill: Fill) -> dict[str, str]:
    return {name: fill(text) or "" for name, text in texts.items()}
