"""Which of the paths that an OpenAPI description has a request goes to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

_NOBODY = ("localhost", "example", ".local", "127.0.0.1", "yourbaseurl")
_SEGMENT = "[^/]+"


def place_of(url: str) -> str:
    """Host and path of a request, as ``path_pattern`` reads them."""
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path or '/'}"


def path_pattern(template: str, servers: Iterable[Any], *, names: bool = False) -> re.Pattern[str]:
    """A described path below any of its servers.

    What stands before the path on one host says nothing of another: there it may be left out.

    Args:
        names: whether a parameter may be the name of a resource, with slashes in it
            (https://google.aip.dev/127).
    """
    plain = template.partition("?")[0].partition("#")[0]
    inside = template_pattern(plain, ".+" if names else _SEGMENT)
    places = "|".join(dict.fromkeys(_place(one, plain) for one in servers)) or ".*"
    return re.compile(f"(?:{places}){inside}/?")


def literal_parts(template: str) -> tuple[int, int]:
    """How exactly a template names its path: parts that are no parameters, then few of those."""
    parts = [part for part in template.partition("?")[0].split("/") if part]
    literal = sum("{" not in part for part in parts)
    return literal, literal - len(parts)


def template_pattern(template: str, parameter: str = _SEGMENT) -> str:
    pattern = re.sub(r"\\\{[^}]*?\\\}", lambda _: parameter, re.escape(template.rstrip("/")))
    return pattern.replace(r"\{", "").replace(r"\}", "")


def _place(server: Any, template: str) -> str:
    """The pattern of what stands before a described path; anything where the server is made up."""
    url = str((server or {}).get("url", "")) if isinstance(server, dict) else ""
    variables: Mapping[str, Any] = (
        server.get("variables") if isinstance(server, dict) else {}
    ) or {}
    for name, variable in variables.items():
        default = str((variable or {}).get("default", ""))
        if "/" in default:
            url = url.replace("{" + name + "}", default)
    _, found, rest = url.partition("//")
    host, _, path = rest.partition("/")
    if not found or any(word in host for word in _NOBODY):
        return ".*"
    path = path.strip("/")
    before = template_pattern("/" + path) if path else ""
    named = template_pattern(host)
    if path and template.startswith(f"/{path}"):
        before = f"(?:{before})?"  # some write it in both places
    return f"{named}{before}|(?!{named}/)[^/]*(?:{before})?"
