"""How to log in: the kinds of `auth:` in a spec."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from destinations.language.part import Part


class Bearer(Part):
    type: Literal["bearer"]
    token: str


class HeaderKey(Part):
    type: Literal["header"]
    name: str
    value: str


class QueryKey(Part):
    type: Literal["query"]
    name: str
    value: str


class Basic(Part):
    type: Literal["basic"]
    username: str
    password: str


class Hmac(Part):
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


class _Token(Part):
    """What a login by token has in common: the header it goes in, and how long it lasts."""

    token: str
    """Dotted path of the token in the answer."""
    expires_in: str | None = None
    """Dotted path of its lifetime in the answer, in seconds."""
    lifetime: float = Field(default=3600, gt=0)
    """Seconds it is used for where the answer says none."""
    capture: dict[str, str] = {}
    """Name -> dotted path in the answer: ``{auth.name}`` in ``base_url``."""
    hosts: tuple[str, ...] = ()
    """Hosts that a ``base_url`` with a captured value may lead to: ``*.vendor.com``."""
    header: str = "Authorization"
    value: str = "Bearer {token}"
    """The header's text, with ``{token}``."""


class Assertion(Part):
    """A JSON Web Token (RFC 7519) that we sign; ``iat`` and ``exp`` are added to its claims."""

    algorithm: Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "EdDSA"]  # fmt: skip
    key: str
    """A shared secret, or a private key as PEM."""
    key_encoding: Literal["text", "hex", "base64"] = "text"
    headers: dict[str, str] = {}
    claims: dict[str, Any] = {}
    lifetime: float = Field(default=3600, gt=0)
    """Seconds until it expires."""


class OAuth2(_Token):
    """A token from a token endpoint (RFC 6749, section 4); renewed before it expires.

    A ``refresh_token`` that the vendor replaces is kept in the state folder.
    """

    type: Literal["oauth2"]
    grant: Literal["refresh_token", "client_credentials", "password", "jwt_bearer"]
    token_url: str
    """An absolute https URL, or a path below ``base_url``."""
    client_id: str | None = None
    client_secret: str | None = None
    client_auth: Literal["body", "basic"] = "body"
    refresh_token: str | None = None
    username: str | None = None
    password: str | None = None
    scope: str | None = None
    params: dict[str, str] = {}
    """Further members of the token request."""
    headers: dict[str, str] = {}
    encoding: Literal["form", "json"] = "form"
    assertion: Assertion | None = None
    """With ``jwt_bearer`` (RFC 7523): what is exchanged for a token."""
    token: str = "access_token"  # noqa: S105 - a path
    expires_in: str | None = "expires_in"


class Login(_Token):
    """A token from a request of the vendor's own: user name and password, a key, a session."""

    type: Literal["login"]
    request: str = Field(pattern=r"^(GET|POST|PUT) (/|https://)\S*$")
    """Method and path below ``base_url``, or an absolute https URL."""
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    encoding: Literal["form", "json"] = "json"
    body: Any = None
    status: tuple[int, ...] = (200, 201)


class Jwt(Assertion):
    """A token that we sign ourselves for each request."""

    type: Literal["jwt"]
    lifetime: float = Field(default=300, gt=0)
    header: str = "Authorization"
    value: str = "Bearer {token}"


class OAuth1(Part):
    """Signs each request (RFC 5849, section 3.4)."""

    type: Literal["oauth1"]
    consumer_key: str
    consumer_secret: str
    token: str = ""
    token_secret: str = ""
    method: Literal["HMAC-SHA1", "HMAC-SHA256"] = "HMAC-SHA1"
    realm: str | None = None


class SigV4(Part):
    """Signs each request as AWS wants it
    (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
    """

    type: Literal["sigv4"]
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    region: str
    service: str


Auth = Annotated[
    Bearer | HeaderKey | QueryKey | Basic | Hmac | OAuth2 | Login | Jwt | OAuth1 | SigV4,
    Field(discriminator="type"),
]
