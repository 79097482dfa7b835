"""Requests against a vendor's own OpenAPI description (2.0, 3.0 and 3.1).

A description is read for what it says of requests: path, method, parameters, media type and
body. What descriptions are commonly careless about is left alone: hosts, formats, patterns that
only JavaScript reads, and an alternative (``oneOf``) of which more than one branch fits. Values
that a preview makes up for secrets and captured ids are taken for anything.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from jsonschema.protocols import Validator
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable

from destinations.errors import ConfigurationError
from destinations.http.openapi_paths import literal_parts, path_pattern, place_of
from destinations.http.openapi_schemas import (
    PLACEHOLDER,
    ROOT,
    DescribedValidator,
    deepest,
    depth,
    made_up,
    with_epochs,
    with_root,
    words_of,
)

MOST = 3
"""Findings named for one request."""
_METHODS = ("get", "post", "put", "patch", "delete")
_LOGIN_HEADERS = {"authorization", "content-type", "accept", "user-agent"}

Request = Mapping[str, Any]
"""As ``preview`` shows it: method, url, headers, query, body."""


@dataclass(frozen=True)
class Operation:
    """One described operation, and where it stands in the description."""

    template: str
    method: str
    pointer: str
    node: Mapping[str, Any]
    shared: Mapping[str, Any]
    """The path's own node, whose parameters hold for each of its operations."""
    pattern: re.Pattern[str]


class Description:
    """One OpenAPI file.

    Args:
        document: its JSON.
        official: whether the vendor itself wrote it.
    """

    def __init__(self, document: Mapping[str, Any], *, official: bool = True) -> None:
        self.official = official
        if "x-aws-signingName" in (document.get("info") or {}):
            document = with_epochs(document)
        self._document = document
        resource = Resource.opaque(document)
        self._registry: Registry[Any] = Registry().with_resource(ROOT, resource)
        self._operations = list(self._described())

    def disagreements(self, request: Request) -> list[str]:
        """Where a request is not one that is described: plain words, none when it agrees."""
        method, place = str(request["method"]), place_of(str(request["url"]))
        on_path = [one for one in self._operations if one.pattern.fullmatch(place)]
        if not on_path:
            return [f"there is no path like {place}"]
        fitting = [one for one in on_path if one.method == method.lower()]
        if not fitting:
            return [f"there is no {method} {on_path[0].template}"]
        # Some descriptions part one path into several by a fragment, one for each kind of body.
        plainest = max(literal_parts(one.template) for one in fitting)
        said = [
            [*self._parameters(one, request), *self._body(one, request)]
            for one in fitting
            if literal_parts(one.template) == plainest
        ]
        return min(said, key=len)

    def knows(self, request: Request) -> bool:
        """Whether it has the request's path at all."""
        place = place_of(str(request["url"]))
        return any(one.pattern.fullmatch(place) for one in self._operations)

    def _described(self) -> Iterator[Operation]:
        for template, path_node in (self._document.get("paths") or {}).items():
            shared = self._resolved(path_node)
            for method in _METHODS:
                node = shared.get(method)
                if not isinstance(node, dict):
                    continue
                servers = node.get("servers") or shared.get("servers") or self._servers()
                pattern = path_pattern(template, servers, names=self._is_of("googleapis.com"))
                pointer = f"/paths/{_escaped(template)}/{method}"
                yield Operation(template, method, pointer, node, shared, pattern)

    def _is_of(self, provider: str) -> bool:
        return (self._document.get("info") or {}).get("x-providerName") == provider

    def _servers(self) -> list[Any]:
        if "swagger" in self._document:  # https://swagger.io/specification/v2/
            host = self._document.get("host", "localhost")
            return [{"url": f"https://{host}{self._document.get('basePath', '')}"}]
        return list(self._document.get("servers") or [{"url": "/"}])

    def _declared(self, operation: Operation) -> dict[tuple[str, str], dict[str, Any]]:
        """Parameters by place and name; the operation's own come last and so prevail."""
        nodes = [*operation.shared.get("parameters", ()), *operation.node.get("parameters", ())]
        found = {}
        for node in map(self._resolved, nodes):
            if "name" in node and "in" in node:
                found[str(node["in"]), str(node["name"])] = dict(node)
        return found

    def _parameters(self, operation: Operation, request: Request) -> Iterator[str]:
        declared = self._declared(operation)
        login = self._login_names()
        queries = {name: node for (place, name), node in declared.items() if place == "query"}
        given = {str(name): value for name, value in request["query"].items()}
        for name, value in given.items():
            plain = name.removesuffix("[]")
            open_ended = any(n.get("style") == "deepObject" for n in queries.values())
            node = queries.get(name) or queries.get(plain) or queries.get(plain + "[]")
            secret = PLACEHOLDER.fullmatch(str(value)) or name.lower() in login
            if node is None and not open_ended and not secret:
                yield f"there is no query parameter {name}"
            elif node is not None:
                yield from self._value(f"query parameter {name}", node.get("schema", node), value)
        headers = {name.lower() for name in request["headers"]}
        for (place, name), node in declared.items():
            if not node.get("required") or name.lower() in login:
                continue
            if place == "query" and not {name, name + "[]"} & set(given):
                yield f"the query parameter {name} is missing"
            if place == "header" and name.lower() not in headers | _LOGIN_HEADERS:
                yield f"the header {name} is missing"

    def _login_names(self) -> set[str]:
        """Names of parameters that are keys of a login, which descriptions list elsewhere."""
        components = self._document.get("components") or {}
        schemes = components.get("securitySchemes") or self._document.get("securityDefinitions")
        resolved = map(self._resolved, (schemes or {}).values())
        return {str(scheme["name"]).lower() for scheme in resolved if scheme.get("name")}

    def _value(self, what: str, schema: Any, text: Any) -> Iterator[str]:
        schema = self._resolved(schema)
        value = _typed(schema, text, self._resolved)
        for words in self._schema_errors(schema, value):
            yield f"{what}{words}"

    def _body(self, operation: Operation, request: Request) -> Iterator[str]:
        body, content_type = request["body"], _media_type(request["headers"])
        contents = self._contents(operation)
        if body is None or body == "":
            required = self._resolved(operation.node.get("requestBody", {})).get("required")
            if required and contents:
                yield "the body is missing"
            return
        if not contents:
            yield "a body is not described"
            return
        chosen = next((kind for kind in contents if _fits(kind, content_type)), None)
        if chosen is None:
            yield f"the body is {content_type}; {' or '.join(sorted(contents))} is described"
            return
        schema = self._resolved(contents[chosen])
        if "form" in chosen and isinstance(body, str):
            body = _form(body, schema, self._resolved)
        elif isinstance(body, str) and "json" not in chosen:
            return  # text of another kind: no schema of JSON says anything of it
        for words in self._schema_errors(contents[chosen], body):
            yield f"body{words}"

    def _contents(self, operation: Operation) -> dict[str, Any]:
        """Media type -> schema of the body."""
        if "swagger" not in self._document:
            node = self._resolved(operation.node.get("requestBody", {}))
            return {k: (v or {}).get("schema", {}) for k, v in node.get("content", {}).items()}
        declared = self._declared(operation)
        consumed = operation.node.get("consumes") or self._document.get("consumes")
        for (place, _), node in declared.items():
            if place == "body":
                return dict.fromkeys(consumed or ["application/json"], node.get("schema", {}))
        fields = {name: node for (place, name), node in declared.items() if place == "formData"}
        if not fields:
            return {}
        schema = {
            "type": "object",
            "properties": {name: _without_required(node) for name, node in fields.items()},
            "required": [name for name, node in fields.items() if node.get("required")],
        }
        return dict.fromkeys(consumed or ["application/x-www-form-urlencoded"], schema)

    def _schema_errors(self, schema: Any, value: Any) -> Iterator[str]:
        # The schema may refer to the rest of the document, which is the resource at the root.
        rooted = with_root(schema)
        validator: Validator = DescribedValidator(rooted, registry=self._registry)
        try:
            errors = [e for e in validator.iter_errors(value) if not made_up(e)]
        except (Unresolvable, RecursionError, LookupError, TypeError, ValueError) as error:
            yield f": its schema cannot be read ({type(error).__name__})"
            return
        for found in sorted(errors, key=depth)[:MOST]:
            inner = deepest(found)
            where = ".".join(map(str, inner.absolute_path))
            yield f"{' ' + where if where else ''}: {words_of(inner)}"

    def _resolved(self, node: Any) -> dict[str, Any]:
        seen = 0
        while isinstance(node, dict) and isinstance(node.get("$ref"), str) and seen < 20:
            seen += 1
            found: Any = self._document
            for part in node["$ref"].removeprefix("#/").split("/"):
                name = part.replace("~1", "/").replace("~0", "~")
                name = name if isinstance(found, dict) and name in found else unquote(name)
                found = found.get(name) if isinstance(found, dict) else None
            node = found
        return node if isinstance(node, dict) else {}


def read_description(path: Path, *, official: bool = True) -> Description:
    """An OpenAPI file in JSON, gzipped or not.

    Raises:
        ConfigurationError: it cannot be read.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} is no OpenAPI file in JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise ConfigurationError(f"{path} is no OpenAPI file: it has no `paths`.")
    return Description(document, official=official)


# --- media types -----------------------------------------------------------


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _media_type(headers: Mapping[str, str]) -> str:
    named = {name.lower(): value for name, value in headers.items()}
    return named.get("content-type", "").partition(";")[0].strip().lower()


def _fits(described: str, sent: str) -> bool:
    kind = described.partition(";")[0].strip().lower()
    if kind == "*/*" or kind == sent or ("json" in kind and "json" in sent):
        return True
    return kind.endswith("/*") and sent.startswith(kind[:-1])


# --- values that travel as text ------------------------------------------------------------


def _typed(schema: Mapping[str, Any], text: Any, resolved: Any) -> Any:
    """A text of a query or a form as the type that its schema wants, if it can be that."""
    if not isinstance(text, str):
        return text
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    for part in [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]:
        inner = resolved(part)
        kinds.append(inner.get("type"))
    if "string" in kinds:
        return text
    if "integer" in kinds and re.fullmatch(r"-?\d+", text):
        return int(text)
    if "number" in kinds and re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text)
    if "boolean" in kinds and text in ("true", "false"):
        return text == "true"
    if "array" in kinds:
        items = resolved(schema.get("items", {}))
        return [_typed(items, part, resolved) for part in text.split(",")]
    return text


def _form(text: str, schema: Mapping[str, Any], resolved: Any) -> dict[str, Any]:
    """A form as the object it stands for: ``a[b]=1`` is a member b of a, ``a[]=1`` an element."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        parts = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        _put(found, parts, value)
    return dict(_typed_members(found, schema, resolved))


def _put(target: dict[str, Any], parts: list[str], value: str) -> None:
    *outer, last = parts
    for part in outer:
        if not isinstance(target.get(part), dict):
            target[part] = {}
        target = target[part]
    target[last if last else str(len(target))] = value


def _typed_members(members: Mapping[str, Any], schema: Mapping[str, Any], resolved: Any) -> Any:
    properties = dict(schema.get("properties") or {})
    for part in schema.get("allOf", ()):
        properties |= resolved(part).get("properties") or {}
    extra = schema.get("additionalProperties")
    for name, value in members.items():
        inner = resolved(properties.get(name, extra if isinstance(extra, dict) else {}))
        choices = [inner, *map(resolved, [*inner.get("anyOf", ()), *inner.get("oneOf", ())])]
        if isinstance(value, dict):
            as_list = any(one.get("type") == "array" for one in choices)
            numbered = as_list and all(key.isdigit() for key in value)
            if numbered:
                items = next(
                    resolved(o.get("items", {})) for o in choices if o.get("type") == "array"
                )
                yield (
                    name,
                    [
                        dict(_typed_members(one, items, resolved))
                        if isinstance(one, dict)
                        else _typed(items, one, resolved)
                        for one in value.values()
                    ],
                )
            else:
                nested = next((one for one in choices if one.get("properties")), inner)
                yield name, dict(_typed_members(value, nested, resolved))
        else:
            yield name, _typed(inner, value, resolved)


def _without_required(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in ("required", "name", "in")}
