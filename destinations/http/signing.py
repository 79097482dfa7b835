"""Logins that sign every request, or a token of our own, with a key."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from destinations.errors import ConfigurationError
from destinations.http.session import joined
from destinations.language.requests import Request


def signed_token(
    algorithm: str,
    key: str,
    key_encoding: str,
    headers: Mapping[str, str],
    claims: Mapping[str, Any],
    lifetime: float,
    now: float,
) -> str:
    """A JSON Web Token (RFC 7519) with ``iat`` and ``exp``.

    Raises:
        ConfigurationError: the key is none of the algorithm's; says nothing of the key.
    """
    # Imported here: most destinations sign nothing.
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

    kinds: dict[str, Any] = {"HS": OctKey, "RS": RSAKey, "ES": ECKey, "Ed": OKPKey}
    # A PEM in an environment variable often has its line ends written out.
    text = key if key_encoding != "text" else key.replace("\\n", "\n")
    try:
        material: str | bytes = text
        if key_encoding == "hex":
            material = bytes.fromhex(text)
        elif key_encoding == "base64":
            material = base64.b64decode(text, validate=True)
        imported = kinds[algorithm[:2]].import_key(material)
        issued = {"iat": int(now), "exp": int(now + lifetime)}
        return jwt.encode(
            {"typ": "JWT", "alg": algorithm, **headers},
            {**issued, **claims},
            imported,
            algorithms=[algorithm],
        )
    except (JoseError, ValueError, TypeError, binascii.Error) as error:
        raise ConfigurationError(
            f"The signing key is no key for {algorithm} ({type(error).__name__}).",
            "Check the environment variable that the connection names.",
        ) from None


@cache
def made_up_key(algorithm: str) -> str | None:
    """A private key of nobody's, in PEM; None where any text is one."""
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    match algorithm[:2]:
        case "RS":
            return RSAKey.generate_key(2048).as_pem(private=True).decode()
        case "ES":
            return ECKey.generate_key("P-256").as_pem(private=True).decode()
        case "Ed":
            return OKPKey.generate_key("Ed25519").as_pem(private=True).decode()
        case _:
            return None


@dataclass(frozen=True)
class SignedToken:
    """A token of our own for each request."""

    header: str
    value: str
    sign: Callable[[float], str] = field(repr=False)
    clock: Callable[[], float] = time.time

    def __call__(self, request: Request) -> Request:
        text = self.value.replace("{token}", self.sign(self.clock()))
        return replace(request, headers={**request.headers, self.header: text})


@dataclass(frozen=True)
class OAuth1Signature:
    """Signs method, URL, query and form fields (RFC 5849, section 3.4)."""

    base_url: str
    consumer_key: str
    consumer_secret: str = field(repr=False)
    token: str
    token_secret: str = field(repr=False)
    method: str = "HMAC-SHA1"
    realm: str | None = None
    clock: Callable[[], float] = time.time
    nonce: Callable[[], str] = lambda: secrets.token_hex(16)

    def __call__(self, request: Request) -> Request:
        url = urlsplit(joined(self.base_url, request.path))
        ours = {
            "oauth_consumer_key": self.consumer_key,
            "oauth_nonce": self.nonce(),
            "oauth_signature_method": self.method,
            "oauth_timestamp": str(int(self.clock())),
            **({"oauth_token": self.token} if self.token else {}),
            "oauth_version": "1.0",
        }
        pairs = [*parse_qsl(url.query, keep_blank_values=True), *ours.items()]
        if request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
            form = (request.plain_body or b"").decode()
            pairs += parse_qsl(form, keep_blank_values=True)
        encoded = sorted((_escaped(name), _escaped(value)) for name, value in pairs)
        normalised = "&".join(f"{name}={value}" for name, value in encoded)
        place = f"{url.scheme.lower()}://{_host(url.netloc, url.scheme)}{url.path or '/'}"
        base = "&".join(map(_escaped, (request.method.upper(), place, normalised)))
        key = f"{_escaped(self.consumer_secret)}&{_escaped(self.token_secret)}"
        algorithm = "sha1" if self.method == "HMAC-SHA1" else "sha256"
        digest = hmac.new(key.encode(), base.encode(), algorithm).digest()
        ours["oauth_signature"] = base64.b64encode(digest).decode()
        realm = [f'realm="{self.realm}"'] if self.realm else []
        words = [*realm, *(f'{name}="{_escaped(value)}"' for name, value in sorted(ours.items()))]
        return replace(
            request, headers={**request.headers, "Authorization": "OAuth " + ", ".join(words)}
        )


@dataclass(frozen=True)
class SigV4Signature:
    """AWS Signature Version 4
    (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
    """

    base_url: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    region: str
    service: str
    clock: Callable[[], float] = time.time

    def __call__(self, request: Request) -> Request:
        url = urlsplit(joined(self.base_url, request.path))
        moment = dt.datetime.fromtimestamp(self.clock(), dt.UTC)
        time_, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
        content = hashlib.sha256(request.body or b"").hexdigest()
        headers = {**request.headers, "X-Amz-Date": time_}
        if self.session_token:
            headers["X-Amz-Security-Token"] = self.session_token
        if self.service == "s3":
            headers["X-Amz-Content-SHA256"] = content
        named = {name.lower(): " ".join(text.split()) for name, text in headers.items()}
        named["host"] = _host(url.netloc, url.scheme)
        names = ";".join(sorted(named))
        # Every service but S3 wants the path, escaped already, escaped once more.
        path = url.path or "/"
        path = path if self.service == "s3" else quote(path, safe="/-_.~")
        query = sorted(
            (quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~"))
            for name, _, value in (pair.partition("=") for pair in url.query.split("&") if pair)
        )
        canonical = "\n".join(
            [
                request.method,
                path,
                "&".join(f"{name}={value}" for name, value in query),
                *(f"{name}:{named[name]}" for name in sorted(named)),
                "",
                names,
                content,
            ]
        )
        scope = f"{day}/{self.region}/{self.service}/aws4_request"
        signed = "\n".join(
            ["AWS4-HMAC-SHA256", time_, scope, hashlib.sha256(canonical.encode()).hexdigest()]
        )
        key = f"AWS4{self.secret_access_key}".encode()
        for part in (day, self.region, self.service, "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, signed.encode(), hashlib.sha256).hexdigest()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key_id}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return replace(request, headers=headers)


def _escaped(text: str) -> str:
    return quote(text, safe="-._~")


def _host(netloc: str, scheme: str) -> str:
    """The host as it is signed: without the scheme's own port."""
    own = {"https": ":443", "http": ":80"}[scheme.lower()]
    return netloc.lower().removesuffix(own)
