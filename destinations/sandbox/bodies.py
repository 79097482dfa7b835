"""Request bodies as the values they stand for."""

from __future__ import annotations

import re
import zlib
from typing import Any, Literal
from urllib.parse import parse_qsl

import orjson

MOST_BYTES = 64 * 1024 * 1024
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


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
    """The value in the body; None where it is empty.

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
    return _form(pairs)


def _form(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """``a[b]=1`` is an object in an object, ``a[]=1`` or a name given twice an array."""
    form: dict[str, Any] = {}
    for name, value in pairs:
        found = _KEY.fullmatch(name)
        if found is None:
            raise BodyError(f"the form's name '{name}' cannot be read")
        keys = [found[1], *re.findall(r"\[([^\[\]]*)\]", found[2])]
        into = form
        for position, key in enumerate(keys[:-1]):
            if keys[position + 1] == "":
                break
            into = into.setdefault(key, {})
            if not isinstance(into, dict):
                raise BodyError(f"the form gives '{key}' both as a value and as an object")
        else:
            position = len(keys) - 1
        last = keys[position]
        if keys[-1] == "" or last in into:
            present = into.get(last, [])
            into[last] = [*(present if isinstance(present, list) else [present]), value]
        else:
            into[last] = value
    return form
