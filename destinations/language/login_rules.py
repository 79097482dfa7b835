"""What base URLs and logins must hold to: no way to another host, no secret in clear."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from destinations.language.broken import Broken, Path, unknown_name
from destinations.language.logins import (
    Auth,
    Basic,
    HeaderKey,
    Hmac,
    Jwt,
    Login,
    OAuth1,
    OAuth2,
    QueryKey,
    SigV4,
)
from destinations.language.part import Part
from destinations.language.spec import Spec
from destinations.language.template import TemplateError, parse_text, placeholders

_SECRET_HEADER = re.compile(r"authorization|api-?key|token|secret|password", re.IGNORECASE)
_HOST = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+")
_NO_TEMPLATE = {
    "type", "grant", "client_auth", "encoding", "algorithm", "key_encoding", "token_url", "request",
    "expires_in", "capture", "hosts", "name", "header", "timestamp_header", "over", "method",
}  # fmt: skip
"""Keys of a login that are no texts with settings in them, or are looked at by themselves."""
_NEEDS = {
    "refresh_token": ("refresh_token",),
    "client_credentials": ("client_id", "client_secret"),
    "password": ("username", "password"),
    "jwt_bearer": ("assertion",),
}
_BREAKS_HOST = "/@#?:\\"


def base_url_rules(spec: Spec) -> Iterator[Broken]:
    """``base_url`` leads to the vendor's hosts alone, whatever the settings and the login say."""
    path: Path = ("base_url",)
    captured = getattr(spec.auth, "capture", {})
    names = {f"auth.{name}" for name in captured}
    yield from _url(spec, path, spec.base_url, names)
    if "{auth." in spec.base_url:
        fix = 'Add `hosts: ["*.vendor.com"]` to auth.'
        hosts = getattr(spec.auth, "hosts", ())
        if not hosts:
            yield Broken(path, "a captured value in a URL may lead anywhere", fix)
        for position, host in enumerate(hosts):
            if not _HOST.fullmatch(host):
                yield Broken(("auth", "hosts", position), f"'{host}' is no host", fix)


def _url(spec: Spec, path: Path, text: str, captured: set[str]) -> Iterator[Broken]:
    try:
        named = list(placeholders(parse_text(text)))
    except TemplateError as error:
        yield Broken(path, error.message)
        return
    for found in named:
        if found.name not in captured:
            yield from unknown_name(spec, path, found, {}, rows=False)
    if re.fullmatch(r"\{settings\.\w+\}(/.*)?", text):
        named = [found for found in named if not text.startswith(str(found))]
        # The connection's own https or loopback URL, checked when it is opened.
    elif not text.startswith("{auth."):
        parts = urlsplit(text.replace("{", "").replace("}", ""))
        loopback = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")
        if not loopback and (parts.scheme != "https" or not parts.hostname):
            yield Broken(path, f"'{text}' is not https", f"Write `{path[-1]}: https://...`.")
    for found in named:
        setting = spec.settings.get(found.local)
        if setting is None or setting.choices or found.scope != "settings":
            continue
        if not setting.pattern:
            fix = f'Add `pattern: "[a-z0-9-]+"` to settings.{found.local}.'
            yield Broken(path, f"settings.{found.local} in a URL may be any text", fix)
        elif any(_fits(setting.pattern, f"a{character}b") for character in _BREAKS_HOST):
            fix = f"Allow none of {_BREAKS_HOST} in its pattern."
            yield Broken(path, f"settings.{found.local} could lead to another host", fix)


def _fits(pattern: str, text: str) -> bool:
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:
        return False


def login_rules(spec: Spec) -> Iterator[Broken]:
    """A login is made of secret settings, and secrets stand nowhere in the file."""
    for name, setting in spec.settings.items():
        if setting.secret and (setting.default is not None or setting.example is not None):
            fix = "Leave `default` and `example` out; previews show a placeholder."
            yield Broken(("settings", name), f"the secret '{name}' has a value", fix)
        elif (
            setting.required
            and not setting.secret
            and (setting.default, setting.example) == (None, None)
        ):
            fix = "Add `example: ...`, which previews use."
            yield Broken(("settings", name), f"the setting '{name}' has no example", fix)
    yield from literal_header(("headers",), spec.headers)
    auth = spec.auth
    if auth is None:
        return
    secret = False
    for path, text in _texts(auth):
        try:
            for found in placeholders(parse_text(text)):
                if found.name == "token" and path == ("auth", "value"):
                    continue
                yield from unknown_name(spec, path, found, {}, rows=False)
                secret |= found.local in spec.settings and spec.settings[found.local].secret
        except TemplateError as error:
            yield Broken(path, error.message)
    if not secret:
        fix = 'Declare a setting with `secret: true` and write "{settings.name}".'
        yield Broken(("auth", _secret_key(auth)), "the login holds no secret setting", fix)
    if isinstance(auth, OAuth2 | Login):
        yield from _token_rules(spec, auth)


def _token_rules(spec: Spec, auth: OAuth2 | Login) -> Iterator[Broken]:
    if "{token}" not in auth.value:
        yield Broken(
            ("auth", "value"), "the token is not in it", 'Write `value: "Bearer {token}"`.'
        )
    if isinstance(auth, Login):
        url = auth.request.partition(" ")[2]
        path: Path = ("auth", "request")
    else:
        url, path = auth.token_url, ("auth", "token_url")
        for name in _NEEDS[auth.grant]:
            if getattr(auth, name) is None:
                fix = f"Add `{name}:` to auth."
                yield Broken(("auth", "grant"), f"the grant {auth.grant} needs {name}", fix)
        if auth.client_auth == "basic" and auth.client_id is None:
            yield Broken(("auth", "client_auth"), "basic needs client_id", "Add it to auth.")
    if not url.startswith("/"):
        yield from _url(spec, path, url, set())
    elif "{auth." in spec.base_url:
        fix = "Write the whole URL."
        yield Broken(path, "base_url is not known before the login", fix)


def _secret_key(auth: Auth) -> str:
    """Where a login of this kind has its secret."""
    match auth:
        case HeaderKey() | QueryKey():
            return "value"
        case Basic():
            return "password"
        case Hmac():
            return "secret"
        case OAuth1():
            return "consumer_secret"
        case SigV4():
            return "secret_access_key"
        case Jwt():
            return "key"
        case OAuth2() | Login():
            return "type"
    return "token"


def _texts(auth: Auth) -> Iterator[tuple[Path, str]]:
    """Every text of a login that may name settings, with its place."""
    left_out = _NO_TEMPLATE | ({"value"} if isinstance(auth, Hmac) else set())
    left_out = left_out | ({"token"} if isinstance(auth, OAuth2 | Login) else set())
    for name in type(auth).model_fields:
        if name not in left_out:
            yield from _strings(("auth", name), getattr(auth, name))


def _strings(path: Path, value: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings((*path, name), inner)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _strings((*path, position), inner)
    elif isinstance(value, Part):
        for name in type(value).model_fields:
            if name not in _NO_TEMPLATE:
                yield from _strings((*path, name), getattr(value, name))


def literal_header(path: Path, headers: dict[str, str]) -> Iterator[Broken]:
    for name, text in headers.items():
        if _SECRET_HEADER.search(name) and "{" not in text:
            fix = 'Declare a setting with `secret: true` and write "{settings.name}".'
            yield Broken((*path, name), f"the header {name} holds a secret in clear", fix)
