"""What a step's body, address and repetition must hold to, beyond the shape of its keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

from destinations.language.broken import Broken, Path
from destinations.language.requests import StepTemplate
from destinations.language.steps import Step
from destinations.language.template import (
    Array,
    Constant,
    Each,
    File,
    Member,
    Node,
    Object,
)
from destinations.language.xml_text import ATTRIBUTE, NAME, TEXT

_HOST = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+")
_DELIMITERS = (",", ";", "\t", "|")


def body_rules(path: Path, template: StepTemplate) -> Iterator[Broken]:
    """Rules of one step; ``path`` leads to it."""
    step = template.step
    yield from _address(path, step)
    yield from _repetition(path, step)
    if step.graphql is not None and (step.encoding != "json" or step.csv.model_fields_set):
        yield Broken((*path, "graphql"), "GraphQL is JSON", "Leave `encoding` out.")
    if step.gzip and step.body is None:
        yield Broken((*path, "gzip"), "there is no body to compress", "Leave `gzip` out.")
    if step.csv.model_fields_set and step.encoding != "csv":
        yield Broken((*path, "csv"), "the body is not CSV", "Add `encoding: csv`.")
    if template.body is None:
        return
    here = (*path, "body")
    if step.encoding == "form" and not isinstance(template.body, Object):
        yield Broken(here, "a form is a mapping of names and values")
    elif step.encoding == "multipart" and isinstance(template.body, Object):
        for member in template.body.members:
            file = member.value if isinstance(member, Member) else None
            if isinstance(member, Member) and isinstance(file, File):
                at = (*here, str(member.key.value) if isinstance(member.key, Constant) else "")
                yield from _content((*at, "body"), file.content, file.encoding, file.header)
                if file.delimiter not in _DELIMITERS or not isinstance(file.header, bool):
                    yield Broken((*at, "csv"), "the delimiter is one of , ; tab |")
    else:
        yield from _content(here, template.body, step.encoding, step.csv.header)


def _content(path: Path, node: Node, encoding: str, header: bool) -> Iterator[Broken]:
    if encoding == "csv":
        item = node.item if isinstance(node, Each) else node
        if not isinstance(item, Object | Array):
            fix = 'Write `each: {Email: "{email}"}`.'
            yield Broken(path, "a line of CSV is a mapping of column names and values", fix)
        elif isinstance(item, Array) and header:
            fix = "Write a mapping, or `csv: {header: false}`."
            yield Broken(path, "an array names no columns", fix)
    elif encoding == "xml":
        if not isinstance(node, Object) or len(node.members) != 1:
            fix = "Write a mapping with one key, the root element."
            yield Broken(path, "an XML document has one root", fix)
        elif isinstance(node.members[0], Member) and isinstance(node.members[0].value, Each):
            yield Broken(path, "the root element stands once", "Put `each` below it.")
        else:
            yield from _names(path, node)


def _names(path: Path, node: Node) -> Iterator[Broken]:
    """Elements and attributes have names that XML allows, attributes and text one value."""
    if isinstance(node, Each):
        yield from _names((*path, "each"), node.item)
    elif isinstance(node, Array):
        for item in node.items:
            if isinstance(item, Array):
                yield Broken(path, "an array within an array has no element name")
            yield from _names(path, item)
    for member in node.members if isinstance(node, Object) else ():
        if not isinstance(member, Member) or not isinstance(member.key, Constant):
            continue
        key = str(member.key.value)
        here = (*path, key)
        if key != TEXT and not NAME.fullmatch(key.removeprefix(ATTRIBUTE)):
            yield Broken(here, f"'{key}' is no name of an XML element or attribute")
        single = not isinstance(member.value, Object | Array | Each | File)
        if (key == TEXT or key.startswith(ATTRIBUTE)) and not single:
            yield Broken(here, f"'{key}' holds one value")
        yield from _names(here, member.value)


def _address(path: Path, step: Step) -> Iterator[Broken]:
    bare = " " not in step.request
    if step.url is None:
        if bare:
            fix = "Write the method and a path, `POST /v1/contacts/{email}`."
            yield Broken((*path, "request"), f"'{step.request}' has no path", fix)
        if step.hosts:
            yield Broken((*path, "hosts"), "there is no `url`", "Leave `hosts` out.")
        return
    if not bare:
        fix = f"Write `request: {step.request.partition(' ')[0]}` beside `url`."
        yield Broken((*path, "request"), "the address is `url`, or a path, not both", fix)
    if not step.hosts:
        fix = 'Write `hosts: ["*.amazonaws.com"]`.'
        yield Broken((*path, "url"), "nothing says which hosts this may lead to", fix)
    for host in step.hosts:
        if not _HOST.fullmatch(host):
            fix = "Write `uploads.vendor.com` or `*.vendor.com`."
            yield Broken((*path, "hosts"), f"'{host}' is no host name", fix)


def _repetition(path: Path, step: Step) -> Iterator[Broken]:
    if step.until:
        return
    for name in ("failed", "every", "patience"):
        if name in step.model_fields_set:
            written = "for" if name == "patience" else name
            fix = "Write `until: {status: [done]}` beside it."
            yield Broken((*path, written), f"`{written}` says nothing without `until`", fix)
