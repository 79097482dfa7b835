"""An answer's body as the value that dotted paths lead into.

========  ==================================================================================
format    value
========  ==================================================================================
json      as it is
ndjson    an array of the lines
csv       an array of the lines, each an object by the names in the first; all text
xml       an object of elements: ``@name`` an attribute, ``#text`` text beside others, an
          element that stands several times an array; an element of text alone is text
text      the text (``@``)
========  ==================================================================================
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

import orjson

from destinations.http.xml_reading import XmlError, xml_root
from destinations.language.replies import Answer
from destinations.language.xml_text import ATTRIBUTE, TEXT

MISSING: Any = object()
"""What a path that leads nowhere finds, and what a body that cannot be read is."""


def document_of(body: bytes, answer: Answer, status: int) -> Any:
    """The document in a body: of an error the JSON that it may be, whatever the format.

    Returns:
        MISSING where it cannot be read.
    """
    if status not in answer.status:
        found = parsed(body)
        if found is not MISSING or answer.format == "json":
            return found
    return parsed(body, answer.format)


def parsed(body: bytes, form: str = "json") -> Any:
    """The body read as ``form``, or MISSING."""
    try:
        match form:
            case "ndjson":
                return [orjson.loads(line) for line in body.split(b"\n") if line.strip()]
            case "csv":
                return _csv(body.decode("utf-8-sig"))
            case "xml":
                root = xml_root(body)
                return {root.tag: _element(root)}
            case "text":
                return body.decode("utf-8-sig")
            case _:
                return orjson.loads(body)
    except (orjson.JSONDecodeError, UnicodeDecodeError, csv.Error, XmlError):
        return MISSING


def found(path: str, document: Any) -> Any:
    """What stands at a dotted path (``errors.0.message``; ``@`` is the document), or MISSING.

    A name that is itself written with dots (a column of CSV) is found as a whole.
    """
    if path == "@":
        return document
    if isinstance(document, dict) and path in document:
        return document[path]
    for name in path.split("."):
        if isinstance(document, dict) and name in document:
            document = document[name]
        elif isinstance(document, list) and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return MISSING
    return document


def listed(path: str, document: Any, form: str) -> Any:
    """The list at a path, or MISSING; XML does not tell one element from a list of one."""
    elements = found(path, document)
    if form == "xml" and elements is not MISSING and not isinstance(elements, list):
        # Neither does it tell an empty list from an element without text.
        return [] if elements in (None, "") else [elements]
    return elements


def holds(conditions: Mapping[str, Any], document: Any, as_text: bool = False) -> bool:
    return all(
        _equal(found(path, document), wanted, as_text) for path, wanted in conditions.items()
    )


def _equal(value: Any, wanted: Any, as_text: bool = False) -> bool:
    """Null wants nothing there; a list wants any of its values, none of them an empty list;
    true is not 1. Where everything is text (CSV, XML) true is the text ``true``.
    """
    if isinstance(wanted, list | tuple) and not wanted:
        return isinstance(value, list) and not value
    if wanted is None:
        return value is MISSING or value is None or (as_text and value == "")
    if isinstance(wanted, list | tuple):
        return any(_equal(value, one, as_text) for one in wanted)
    if as_text and isinstance(value, str) and not isinstance(wanted, str):
        return value.strip().lower() == str(wanted).lower()
    return type(value) is type(wanted) and bool(value == wanted)


def text_of(name: Any) -> str:
    return name if isinstance(name, str) else "" if name is MISSING else str(name)


def text_in(said: Any) -> str:
    return said if isinstance(said, str) else orjson.dumps(said).decode()


def _csv(text: str) -> list[dict[str, str]]:
    """Lines by the names in the first; a line of another length makes the whole unreadable."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = next(lines, [])
    if any(count > 1 for count in Counter(names).values()):
        raise csv.Error("a column stands twice")
    return [dict(zip(names, line, strict=True)) for line in _of_length(lines, len(names))]


def _of_length(lines: Any, length: int) -> Any:
    for line in lines:
        if line:
            if len(line) != length:
                raise csv.Error("a line has another number of values than the first")
            yield line


def _element(element: Element) -> Any:
    text = (element.text or "").strip() if len(element) else element.text or ""
    if not len(element) and not element.attrib:
        return text
    value: dict[str, Any] = {f"{ATTRIBUTE}{name}": said for name, said in element.attrib.items()}
    if text:
        value[TEXT] = text
    times = Counter(child.tag for child in element)
    for child in element:
        if times[child.tag] > 1:
            value.setdefault(child.tag, []).append(_element(child))
        else:
            value[child.tag] = _element(child)
    return value
