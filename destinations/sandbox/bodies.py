"""Request bodies as the values they stand for."""

from __future__ import annotations

import csv
import io
import zlib
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl
from xml.etree.ElementTree import Element

import orjson

from destinations.http.xml_reading import XmlError, xml_root
from destinations.language.steps import Step
from destinations.language.template import Array, Constant, Each, File, Member, Node, Object
from destinations.language.xml_text import TEXT

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


def parsed(body: bytes, step: Step, template: Node | None, content_type: str) -> Any:
    """The value in the body, in the template's shape; None where it is empty.

    Of NDJSON and CSV it is an array of the lines. What CSV and XML leave empty is left out.

    Raises:
        BodyError: it is not of the step's encoding.
    """
    if not body:
        return None
    if step.encoding == "multipart":
        return _parts(body, template, content_type)
    if step.encoding == "form":
        return _form(body)
    return _content(body, step.encoding, template, step.csv.delimiter, step.csv.header)


def _content(
    body: bytes, encoding: str, template: Node | None, delimiter: str, header: bool
) -> Any:
    try:
        if encoding == "json":
            return orjson.loads(body)
        if encoding == "ndjson":
            return [orjson.loads(line) for line in body.split(b"\n") if line.strip()]
    except orjson.JSONDecodeError as error:
        raise BodyError(f"the body is not JSON: {error}") from None
    if encoding == "csv":
        return _lines(body, template, delimiter, header)
    try:
        root = xml_root(body)
    except XmlError as error:
        raise BodyError(f"the body is {error}") from None
    member = template.members[0] if isinstance(template, Object) else None
    below = member.value if isinstance(member, Member) else None
    return {root.tag: _element(root, below)}


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise BodyError("the body is not a form") from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise BodyError("the form gives a name twice")
    return form


def _lines(body: bytes, template: Node | None, delimiter: str, header: bool) -> Any:
    try:
        text = io.StringIO(body.decode("utf-8-sig"), newline="")
        lines = [line for line in csv.reader(text, delimiter=delimiter, strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BodyError(f"the body is not CSV: {error}") from None
    item = template.item if isinstance(template, Each) else template
    names = lines.pop(0) if header and lines else _names(item)
    if len(set(names)) < len(names):
        raise BodyError("the CSV names a column twice")
    if any(len(line) != len(names or line) for line in lines):
        raise BodyError("a line of the CSV has another number of values than the first")
    if isinstance(item, Object):
        rows: list[Any] = [
            {name: cell for name, cell in zip(names, line, strict=True) if cell} for line in lines
        ]
    else:
        rows = [[cell or None for cell in line] for line in lines]
    return rows if isinstance(template, Each) else (rows[0] if len(rows) == 1 else rows)


def _names(item: Node | None) -> list[str]:
    """The columns of CSV without a header, which the template alone knows."""
    if not isinstance(item, Object):
        return []
    keys = [member.key for member in item.members if isinstance(member, Member)]
    return [str(key.value) for key in keys if isinstance(key, Constant)]


def _element(element: Element, template: Node | None) -> Any:
    """An element as the mapping that its template is, or as its text."""
    if not isinstance(template, Object) and not len(element):
        return element.text
    value: dict[str, Any] = {f"@{name}": text for name, text in element.attrib.items()}
    known = {
        str(member.key.value): member.value
        for member in (template.members if isinstance(template, Object) else ())
        if isinstance(member, Member) and isinstance(member.key, Constant)
    }
    if TEXT in known and element.text:
        value[TEXT] = element.text
    for name, below in known.items():
        if isinstance(below, Each | Array):
            value[name] = []
    for child in element:
        node = known.get(child.tag)
        if isinstance(node, Each):
            value[child.tag].append(_element(child, node.item))
        elif isinstance(node, Array):
            position = min(len(value[child.tag]), len(node.items) - 1)
            value[child.tag].append(_element(child, node.items[position] if node.items else None))
        elif child.tag in value:
            raise BodyError(f"the element {child.tag} stands twice")
        else:
            value[child.tag] = _element(child, node)
    return value


def _parts(body: bytes, template: Node | None, content_type: str) -> dict[str, Any]:
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    )
    if not message.is_multipart() or message.defects:
        raise BodyError("the body is not multipart/form-data")
    files = {
        str(member.key.value): member.value
        for member in (template.members if isinstance(template, Object) else ())
        if isinstance(member, Member) and isinstance(member.key, Constant)
    }
    found: dict[str, Any] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise BodyError("a part has no name")
        if name in found:
            raise BodyError(f"the part {name} stands twice")
        file = files.get(name)
        if isinstance(file, File):
            if part.get_filename() is None:
                raise BodyError(f"the part {name} must be a file")
            found[name] = _content(
                content, file.encoding, file.content, file.delimiter, file.header
            )
        else:
            found[name] = content.decode("utf-8", "replace")
    return found
