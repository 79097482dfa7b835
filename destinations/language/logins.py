"""How to log in: the kinds of `auth:` in a spec."""

from __future__ import annotations

from typing import Annotated, Literal

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


Auth = Annotated[Bearer | HeaderKey | QueryKey | Basic | Hmac, Field(discriminator="type")]
