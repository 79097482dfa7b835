"""How a request is made ours: one authorizer per kind of login."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import quote

from destinations.errors import ConfigurationError
from destinations.language.bodies import constant_text
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
from destinations.language.requests import Request
from destinations.language.spec import Spec


class Authorizer(Protocol):
    """Puts the login into a request. Called for every attempt, from several threads."""

    def __call__(self, request: Request) -> Request: ...


@dataclass(frozen=True)
class NoLogin:
    def __call__(self, request: Request) -> Request:
        return request


@dataclass(frozen=True)
class Headers:
    """A login that is the same header each time: bearer, key, basic."""

    headers: Mapping[str, str]

    def __call__(self, request: Request) -> Request:
        return replace(request, headers={**request.headers, **self.headers})


@dataclass(frozen=True)
class Query:
    name: str
    value: str

    def __call__(self, request: Request) -> Request:
        sign = "&" if "?" in request.path else "?"
        pair = f"{quote(self.name, safe='')}={quote(self.value, safe='')}"
        return replace(request, path=f"{request.path}{sign}{pair}")


@dataclass(frozen=True)
class Signature:
    """HMAC (RFC 2104) over the body, with the time of sending where the spec wants one."""

    declared: Hmac
    secret: bytes
    clock: Callable[[], float] = time.time

    def __call__(self, request: Request) -> Request:
        timestamp = str(int(self.clock()))
        before, body, after = self.declared.over.partition("{body}")
        signed = before.replace("{timestamp}", timestamp).encode()
        if body:
            signed += (request.body or b"") + after.replace("{timestamp}", timestamp).encode()
        digest = hmac.new(self.secret, signed, getattr(hashlib, self.declared.algorithm)).digest()
        text = (
            digest.hex() if self.declared.encoding == "hex" else base64.b64encode(digest).decode()
        )
        value = self.declared.value.replace("{timestamp}", timestamp).replace("{signature}", text)
        headers = {**request.headers, self.declared.header: value}
        if self.declared.timestamp_header:
            headers[self.declared.timestamp_header] = timestamp
        return replace(request, headers=headers)


def authorizer_of(spec: Spec, settings: Mapping[str, Any]) -> Authorizer:
    """The authorizer a spec declares, with a connection's settings.

    Raises:
        ConfigurationError: a part of the login is empty, or is no header text.
    """
    constants = {f"settings.{name}": value for name, value in settings.items()}

    def filled(text: str) -> str:
        found = constant_text(text, constants)
        if not found or not found.isascii() or not found.isprintable():
            raise ConfigurationError(
                f"The login of {spec.name} ({text}) is empty or holds what no header can carry.",
                "Check the environment variable that the connection names.",
            )
        return found

    match spec.auth:
        case None:
            return NoLogin()
        case Bearer(token=token):
            return Headers({"Authorization": f"Bearer {filled(token)}"})
        case HeaderKey(name=name, value=value):
            return Headers({name: filled(value)})
        case QueryKey(name=name, value=value):
            return Query(name, filled(value))
        case Basic(username=username, password=password):
            # Either half may be a constant or empty: vendors that take one key want `key:`.
            pair = f"{constant_text(username, constants) or ''}:{constant_text(password, constants) or ''}"
            return Headers({"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()})
        case Hmac(secret=secret):
            key = constant_text(secret, constants)
            if not key:
                raise ConfigurationError(f"The signing key of {spec.name} ({secret}) is empty.")
            return Signature(spec.auth, key.encode())
        case _:
            raise ConfigurationError(f"The login of {spec.name} is made for each connection.")


def header_text(value: str, settings: Mapping[str, Any]) -> str:
    """The header of a token login with settings filled in; ``{token}`` stays."""
    constants = {f"settings.{name}": found for name, found in settings.items()}
    return constant_text(value, {**constants, "token": "{token}"}) or "{token}"


def shown_login(spec: Spec, settings: Mapping[str, Any]) -> Authorizer:
    """The login as a preview writes it: what only a run can know stands in angle brackets."""
    match spec.auth:
        case OAuth2(token=path) | Login(token=path):
            name = path.rpartition(".")[2]
            value = header_text(spec.auth.value, settings)
            return Headers({spec.auth.header: value.replace("{token}", f"<{name}>")})
        case Jwt():
            value = header_text(spec.auth.value, settings)
            return Headers({spec.auth.header: value.replace("{token}", "<jwt>")})
        case OAuth1():
            return Headers({"Authorization": "OAuth <signature>"})
        case SigV4():
            return Headers({"Authorization": "AWS4-HMAC-SHA256 <signature>"})
        case _:
            return authorizer_of(spec, settings)
