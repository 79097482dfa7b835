"""Templates: strings with placeholders, and bodies made of them, as a small tree.

The compiler turns the tree into Polars expressions, the sandbox reads it
backwards to find the rows in a request; both see only what stands here::

    "{email}"                    Placeholder: keeps the value's JSON type
    "Bearer {settings.token}"    Text: always text
    {a: 1, "...": "{custom}"}    Object of Member and Spread
    {each: "{id}"}               Each: an array with one element per row
    [1, "{id}"]                  Array of exactly these elements

A placeholder is ``{name}`` or ``{name|function|function:argument}``. A brace
followed by a space or line end stands for itself (GraphQL reads naturally), and
``{{`` is one brace. Values in a path or a query are URL-escaped without being asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SPREAD = "..."
EACH = "each"

# Scopes that a dotted name may start with, apart from the names of steps.
SETTINGS = "settings"
META = "meta"

# Names that stand for more than one field, or for no field.
FIELDS = "fields"
CUSTOM = "custom"
REMOTE_ID = "remote_id"

META_NAMES = ("key", "id", "delivery", "audience", "now")
PER_BATCH = ("delivery", "audience", "now")
"""Names in ``meta`` whose value is the same for every row of a request."""

FUNCTIONS: dict[str, str] = {
    "trim": "without spaces around it",
    "lower": "in lower case",
    "upper": "in upper case",
    "md5": "MD5, hex",
    "sha1": "SHA-1, hex",
    "sha256": "SHA-256, hex",
    "base64": "base64 of its UTF-8 bytes",
    "url": "URL-escaped (paths and queries are escaped anyway)",
    "string": "as text, also a number or a truth value",
    "number": "as a number, also from text",
    "integer": "as a whole number, also from text",
    "epoch": "a time as seconds since 1970",
    "epoch_ms": "a time as milliseconds since 1970",
    "date": "a time as 2026-01-31",
    "format": "a time by a strftime pattern: `{born|format:%m/%d}`",
    "first": "its first characters: `{zip|first:5}`",
    "last_part": "what follows its last slash (the id in a resource's name or URI)",
    "or": "another text where it is null: `{plan|or:free}`",
    "yes_no": "`yes` or `no` for a truth value; other words: `{vip|yes_no:1,0}`",
    "json": "as JSON text within a string",
    "pairs": "an object as an array of pairs: `{custom|pairs:name,value}`",
    "keys": "an object with its keys written so: `{custom|keys:cf_*}`",
}
NEEDS_ARGUMENT = frozenset({"format", "first", "or", "pairs", "keys"})
TAKES_ARGUMENT = NEEDS_ARGUMENT | {"yes_no"}
OBJECT_FUNCTIONS = frozenset({"string", "keys", "pairs", "json", "base64"})
"""The functions that may follow ``{fields}`` and ``{custom}`` (``string``: every value as text;
``base64``, after ``json``: the JSON text in base64)."""

_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*(\.[A-Za-z_][A-Za-z0-9_]*)?")


class TemplateError(ValueError):
    """A template that does not parse.

    Args:
        message: what is wrong.
        path: keys and positions that lead to it within the body.
    """

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


@dataclass(frozen=True)
class Function:
    name: str
    argument: str | None = None

    def __str__(self) -> str:
        return self.name if self.argument is None else f"{self.name}:{self.argument}"


@dataclass(frozen=True)
class Placeholder:
    """``{name|function}``: the value of that name, through the functions from left to right."""

    name: str
    functions: tuple[Function, ...] = ()

    @property
    def scope(self) -> str | None:
        """``settings``, ``meta`` or a step's name; None for a field of the row."""
        scope, dot, _ = self.name.partition(".")
        return scope if dot else None

    @property
    def local(self) -> str:
        """The name within its scope."""
        return self.name.rpartition(".")[2]

    @property
    def is_object(self) -> bool:
        return self.name in (FIELDS, CUSTOM)

    def __str__(self) -> str:
        return "{" + "|".join([self.name, *map(str, self.functions)]) + "}"


@dataclass(frozen=True)
class Constant:
    value: str | int | float | bool | None


@dataclass(frozen=True)
class Text:
    """Text around placeholders; null where one of them is null."""

    parts: tuple[str | Placeholder, ...]


@dataclass(frozen=True)
class Array:
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Each:
    """An array with one element per row of the request."""

    item: Node


@dataclass(frozen=True)
class Member:
    key: Constant | Placeholder | Text
    value: Node


@dataclass(frozen=True)
class Spread:
    """The members of an object, put into the object around it."""

    value: Placeholder


@dataclass(frozen=True)
class Object:
    members: tuple[Member | Spread, ...]


@dataclass(frozen=True)
class File:
    """A part of a multipart body that is a file: ``{file: people.csv, encoding: csv, body: ...}``."""

    name: Constant | Placeholder | Text
    encoding: str
    content: Node
    delimiter: str = ","
    header: bool = True


Node = Constant | Placeholder | Text | Array | Each | Object | File
Scalar = Constant | Placeholder | Text

FILE_ENCODINGS = ("csv", "json", "ndjson", "xml")
_FILE_KEYS = frozenset({"file", "encoding", "body", "csv"})


def parse_text(text: str) -> Scalar:
    """A string of a request.

    Raises:
        TemplateError: an open brace, an empty or malformed name, an unknown
            function, or an argument that is missing or not taken.
    """
    parts: list[str | Placeholder] = []
    literal = ""
    position = 0
    while position < len(text):
        character = text[position]
        following = text[position + 1 : position + 2]
        if character != "{" or not following or following.isspace():
            literal += character
            position += 1
        elif following == "{":
            literal += "{"
            position += 2
        else:
            end = text.find("}", position)
            if end < 0:
                raise TemplateError(f"'{text}' opens a placeholder and does not close it")
            if literal:
                parts.append(literal)
                literal = ""
            parts.append(_placeholder(text[position + 1 : end]))
            position = end + 1
    if literal:
        parts.append(literal)
    if all(isinstance(part, str) for part in parts):
        return Constant("".join(str(part) for part in parts))
    if len(parts) == 1 and isinstance(parts[0], Placeholder):
        return parts[0]
    return Text(tuple(parts))


def parse_body(value: Any, path: tuple[str | int, ...] = ()) -> Node:
    """A body as YAML gives it.

    Raises:
        TemplateError: as :func:`parse_text`; also a spread of something else than one
            placeholder, ``each`` beside other keys, one ``each`` within another.
    """
    if isinstance(value, dict):
        if EACH in value:
            return _each(value, path)
        return Object(tuple(_member(key, item, path) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return Array(tuple(parse_body(item, (*path, i)) for i, item in enumerate(value)))
    if isinstance(value, str):
        return _located(value, path)
    if value is None or isinstance(value, bool | int | float):
        return Constant(value)
    raise TemplateError(f"a {type(value).__name__} cannot stand in a body; quote it", path)


def parse_parts(value: Any, path: tuple[str | int, ...] = ()) -> Object:
    """The body of a multipart request: a mapping whose values may be files.

    Raises:
        TemplateError: as :func:`parse_body`; also no mapping, or a file that lacks its body.
    """
    if not isinstance(value, dict) or EACH in value:
        raise TemplateError("a multipart body is a mapping of names and parts", path)
    return Object(tuple(_part(key, part, path) for key, part in value.items()))


def placeholders(node: Node | Member | Spread) -> Iterator[Placeholder]:
    """Every placeholder below ``node``, in order."""
    if isinstance(node, Placeholder):
        yield node
    elif isinstance(node, Text):
        yield from (part for part in node.parts if isinstance(part, Placeholder))
    elif isinstance(node, Array):
        for item in node.items:
            yield from placeholders(item)
    elif isinstance(node, Each):
        yield from placeholders(node.item)
    elif isinstance(node, File):
        yield from placeholders(node.name)
        yield from placeholders(node.content)
    elif isinstance(node, Member):
        yield from placeholders(node.key)
        yield from placeholders(node.value)
    elif isinstance(node, Spread):
        yield node.value
    elif isinstance(node, Object):
        for member in node.members:
            yield from placeholders(member)


def each_nodes(node: Node) -> list[Each]:
    """Every ``each`` below ``node``, in order."""
    if isinstance(node, Each):
        return [node]
    if isinstance(node, Array):
        return [found for item in node.items for found in each_nodes(item)]
    if isinstance(node, File):
        return each_nodes(node.content)
    if isinstance(node, Object):
        members = [member.value for member in node.members if isinstance(member, Member)]
        return [found for value in members for found in each_nodes(value)]
    return []


def _placeholder(inner: str) -> Placeholder:
    name, *functions = inner.split("|")
    if not _NAME.fullmatch(name):
        raise TemplateError(
            f"'{{{inner}}}' is no placeholder: a name of letters, digits and _ must follow the brace "
            "(write '{{' for a brace that stands for itself)"
        )
    parsed = tuple(_function(function, inner) for function in functions)
    if name in (FIELDS, CUSTOM):
        for function in parsed:
            if function.name == "base64" and not functions.count("json"):
                raise TemplateError(f"'{{{inner}}}': base64 is made of text: write `|json|base64`")
            if function.name not in OBJECT_FUNCTIONS:
                raise TemplateError(
                    f"'{{{inner}}}': '{function.name}' takes one value, not an object"
                )
    return Placeholder(name, parsed)


def _function(text: str, inner: str) -> Function:
    name, colon, argument = text.partition(":")
    if name not in FUNCTIONS:
        raise TemplateError(f"'{{{inner}}}': there is no function '{name}'")
    if name in NEEDS_ARGUMENT and not argument:
        raise TemplateError(f"'{{{inner}}}': '{name}' needs an argument, {FUNCTIONS[name]}")
    if colon and name not in TAKES_ARGUMENT:
        raise TemplateError(f"'{{{inner}}}': '{name}' takes no argument")
    if name == "first" and not argument.isdigit():
        raise TemplateError(f"'{{{inner}}}': 'first' needs a number of characters")
    if name == "keys" and argument.count("*") != 1:
        raise TemplateError(f"'{{{inner}}}': 'keys' needs one `*`, which stands for the key")
    if name in ("pairs", "yes_no") and argument and argument.count(",") != 1:
        raise TemplateError(f"'{{{inner}}}': '{name}' needs two words with a comma between")
    return Function(name, argument if colon else None)


def _located(text: str, path: tuple[str | int, ...]) -> Scalar:
    try:
        return parse_text(text)
    except TemplateError as error:
        raise TemplateError(error.message, path) from None


def _each(value: dict[Any, Any], path: tuple[str | int, ...]) -> Each:
    if len(value) > 1:
        others = ", ".join(str(key) for key in value if key != EACH)
        raise TemplateError(f"`each` stands alone in its mapping, beside it stands {others}", path)
    item = parse_body(value[EACH], (*path, EACH))
    if each_nodes(item):
        raise TemplateError("one `each` cannot stand within another", path)
    return Each(item)


def _part(key: Any, value: Any, path: tuple[str | int, ...]) -> Member | Spread:
    here = (*path, key)
    if not isinstance(value, dict) or "file" not in value:
        return _member(key, value, path)
    for name in value.keys() - _FILE_KEYS:
        raise TemplateError(f"a file has no key '{name}'; it has file, encoding, body, csv", here)
    encoding, csv = value.get("encoding", "csv"), value.get("csv", {})
    if encoding not in FILE_ENCODINGS:
        raise TemplateError(f"a file's encoding is one of {', '.join(FILE_ENCODINGS)}", here)
    if "body" not in value or not isinstance(csv, dict) or csv.keys() - {"delimiter", "header"}:
        raise TemplateError("a file has a `body`, and `csv: {delimiter, header}` at most", here)
    name = _located(str(value["file"]), (*here, "file"))
    content = parse_body(value["body"], (*here, "body"))
    file = File(name, encoding, content, csv.get("delimiter", ","), csv.get("header", True))
    return Member(_located(str(key), here), file)


def _member(key: Any, value: Any, path: tuple[str | int, ...]) -> Member | Spread:
    here = (*path, key)
    if key != SPREAD:
        return Member(_located(str(key), here), parse_body(value, here))
    node = parse_body(value, here)
    if not isinstance(node, Placeholder) or not node.is_object:
        raise TemplateError('`"..."` spreads an object: write "{custom}" or "{fields}"', here)
    if any(function.name in ("pairs", "json") for function in node.functions):
        raise TemplateError(
            '`"..."` spreads an object; `pairs` and `json` make it something else', here
        )
    return Spread(node)
