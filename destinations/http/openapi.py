"""Requests against a vendor's own OpenAPI 3 description.

Needs the package ``jsonschema``; without it nothing is said.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import re
from typing import Any

MOST = 3
"""Findings named for one request."""


def available() -> bool:
    return importlib.util.find_spec("jsonschema") is not None


def disagreements(description: dict[str, Any], request: dict[str, Any]) -> list[str]:
    """Where a request (as ``preview`` shows it) is not one that the description knows.

    Returns:
        Plain sentences, none when it agrees.
    """
    validator = importlib.import_module("jsonschema").Draft202012Validator
    method, path = request["method"], _path(request["url"])
    template = _template(description, path)
    if template is None:
        return [f"the vendor's description has no path like {path}"]
    operation = description["paths"][template].get(method.lower())
    if operation is None:
        return [f"the vendor's description has no {method} {template}"]
    found = _unknown_parameters(description, template, operation, request)
    schema = _body_schema(description, operation)
    if schema is not None and request["body"] is not None:
        whole = {**_nullable(description), **_nullable(schema)}
        errors = sorted(validator(whole).iter_errors(request["body"]), key=str)
        found += [
            f"body {'.'.join(map(str, error.absolute_path)) or 'as a whole'}: {error.message[:200]}"
            for error in errors[:MOST]
        ]
    return found


def _path(url: str) -> str:
    return "/" + url.split("://", 1)[-1].partition("/")[2]


def _template(description: dict[str, Any], path: str) -> str | None:
    """The described path that fits, the one with the fewest parameters; servers may have a prefix."""
    fitting = []
    for template in description.get("paths", {}):
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template))
        if re.search(f"{pattern}/?$", path):
            fitting.append(template)
    return min(fitting, key=lambda template: (template.count("{"), -len(template)), default=None)


def _unknown_parameters(
    description: dict[str, Any], template: str, operation: dict[str, Any], request: dict[str, Any]
) -> list[str]:
    declared = [
        _resolved(description, parameter)
        for parameter in [
            *description["paths"][template].get("parameters", []),
            *operation.get("parameters", []),
        ]
    ]
    queries = {parameter["name"]: parameter for parameter in declared if parameter["in"] == "query"}
    unknown = [
        f"there is no query parameter {name}" for name in request["query"] if name not in queries
    ]
    missing = [
        f"the query parameter {name} is missing"
        for name, parameter in queries.items()
        if parameter.get("required") and name not in request["query"]
    ]
    return unknown + missing


def _body_schema(description: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any] | None:
    content = _resolved(description, operation.get("requestBody", {})).get("content", {})
    for kind, declared in content.items():
        if "json" in kind:
            schema: dict[str, Any] | None = declared.get("schema")
            return schema
    return None


def _resolved(description: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return node
    found: Any = description
    for name in reference[2:].split("/"):
        found = found[name.replace("~1", "/").replace("~0", "~")]
    return _resolved(description, found)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0's ``nullable`` as JSON Schema says it."""
    copied = copy.deepcopy(schema)
    waiting: list[Any] = [copied]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if node.pop("nullable", None) is True and isinstance(node.get("type"), str):
                node["type"] = [node["type"], "null"]
                if isinstance(node.get("enum"), list):
                    node["enum"] = [*node["enum"], None]
            waiting += list(node.values())
        elif isinstance(node, list):
            waiting += node
    return copied
