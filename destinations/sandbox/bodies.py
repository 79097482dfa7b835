"""Request bodies as the values they stand for."""

from __future__ import annotations

import zlib
from typing import Any, Literal
from urllib.parse import parse_qsl

import orjson

MOST_BYTES = 64 * 1024 * 1024


class BodyError(ValueError):
    """A body that cannot be read, in words for its sender."""


def unpacked(body: bytes, encoding: str | None) -> bytes:
    """The body without its content encoding.

    Raises:
        BodyError: neither plain nor gzip, damaged, or over 64 MiB unpacked.
    """
    if not encoding or encoding.lower() == "identity":
        return body
    if encoding.lower() != "gzip":
        raise BodyError(f"Content-Encoding '{encoding}' is not taken, gzip is")
    reader = zlib.decompressobj(wbits=31)
    try:
        plain = reader.decompress(body, MOST_BYTES)
    except zlib.error:
        raise BodyError("the body is not gzip") from None
    if not reader.eof:
        raise BodyError("the gzip body is cut off, or larger than 64 MiB unpacked")
    return plain


def parsed(body: bytes, encoding: Literal["json", "form", "ndjson"]) -> Any:
    """The value in the body, of NDJSON an array of its lines; None where it is empty.

    Raises:
        BodyError: it is not of this encoding.
    """
    if not body:
        return None
    try:
        if encoding == "json":
            return orjson.loads(body)
        if encoding == "ndjson":
            return [orjson.loads(line) for line in body.split(b"\n") if line.strip()]
    except orjson.JSONDecodeError as error:
        raise BodyError(f"the body is not JSON: {error}") from None
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise BodyError("the body is not a form") from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise BodyError("the form gives a name twice")
    return form
