"""Reading a request as one of a spec's: every part of it against its template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import unquote

from destinations.language.spec import Spec
from destinations.language.template import Array, Each, Node, Scalar, parse_text
from destinations.sandbox.inversion import Reading, Row
from destinations.sandbox.routes import Route
from destinations.sandbox.shapes import may_be_absent


def read_route(
    route: Route,
    spec: Spec,
    path: re.Match[str],
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: Any,
) -> Reading:
    """Read a request as this route's; ``problems`` says what does not fit.

    Header names come in lower case.
    """
    encoding = route.step.encoding
    reading = Reading(
        spec.settings,
        route.nulls,
        as_text=encoding in ("form", "csv", "xml", "multipart"),
        json_within=encoding in ("form", "csv", "multipart"),
        required=frozenset(name for name, one in spec.fields.items() if one.required),
    )
    row = reading.single
    for placeholder, piece in zip(route.path_names, path.groups(), strict=True):
        if piece is not None:  # the base URL's own path may be left out
            reading.bind(placeholder, unquote(piece), "the path", row)
    own_key = spec.auth.name if spec.auth is not None and spec.auth.type == "query" else None
    for name, node in route.query.items():
        if "{" in name:
            _read_named(reading, name, node, query.keys() - route.query.keys(), query)
            continue
        if name in query:
            reading.read_parameter(node, query[name], f"the query parameter {name}", row)
        elif not may_be_absent(node, spec.settings):
            reading.problem(f"the query parameter {name}", "is missing")
    if route.operation is not None:
        made = [name for name in route.query if "{" in name]  # named by a setting, as it is now
        for name in query.keys() - route.query.keys() - {own_key}:
            if any(_template(one).fullmatch(name) for one in made):
                continue
            reading.problem(f"the query parameter {name}", "is not the vendor's")
    for name, node in route.headers.items():
        value = headers.get(name.lower())
        if value is not None:
            reading.read(node, value, f"the header {name}", row)
        elif not may_be_absent(node, spec.settings):
            reading.problem(f"the header {name}", "is missing")
    if route.body is not None:
        lines = route.step.encoding == "ndjson" and isinstance(body, list)
        reading.read(route.body, _from_lines(route.body, body) if lines else body, "", row)
    elif body is not None and route.operation is not None:
        reading.problem("", "must be empty")
    return reading


def _read_named(
    reading: Reading, name: str, node: Scalar, left: AbstractSet[str], query: Mapping[str, str]
) -> None:
    """A parameter whose name holds a setting: of those that the template does not name, the one
    whose value fits.
    """
    key = parse_text(name)
    members = sorted(one for one in left if _template(name).fullmatch(one))
    for one in members:
        if not reading.attempt(node, query[one]).problems:
            reading.read(key, one, f"the query parameter {one}", reading.single)
            reading.read(node, query[one], f"the query parameter {one}", reading.single)
            return
    if members or not may_be_absent(node, reading.settings):
        reading.problem(f"the query parameter {name}", "is missing, or has another value")


def _from_lines(node: Node, lines: list[Any]) -> Any:
    """NDJSON's lines as the value of the template: an array is one line for each element."""
    if isinstance(node, Each) and isinstance(node.item, Array):
        size = len(node.item.items)
        return [lines[start : start + size] for start in range(0, len(lines), size)]
    if isinstance(node, Each | Array) or len(lines) != 1:
        return lines
    return lines[0]


def rows_of(reading: Reading) -> list[Row]:
    """The rows of a request; what stands outside ``each`` holds for all of them."""
    base = reading.single
    if reading.rows is None:
        return [base]
    if base.fields or base.digests or base.key or base.remote_id:
        for row in reading.rows:
            row.fields = {**base.fields, **row.fields}
            row.digests = {**base.digests, **row.digests}
            row.key = row.key if row.key is not None else base.key
            row.remote_id = row.remote_id if row.remote_id is not None else base.remote_id
    return reading.rows


def _template(name: str) -> re.Pattern[str]:
    """A name with placeholders as a pattern: any text stands for each."""
    return re.compile(".+".join(map(re.escape, re.split(r"\{[^}]*\}", name))))
