"""What a spec must hold to beyond the shape of its keys.

Each rule gives the places where it is broken, with what to write instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from destinations.driver import Operation
from destinations.language.logins import Basic, HeaderKey, Hmac, QueryKey
from destinations.language.replies import NamedRows
from destinations.language.requests import StepTemplate
from destinations.language.spec import Spec
from destinations.language.steps import OperationSpec, Step
from destinations.language.template import (
    CUSTOM,
    FIELDS,
    FUNCTIONS,
    META,
    META_NAMES,
    REMOTE_ID,
    SETTINGS,
    Placeholder,
    TemplateError,
    parse_text,
    placeholders,
)

Path = tuple[str | int, ...]
_SECRET_HEADER = re.compile(r"authorization|api-?key|token|secret|password", re.IGNORECASE)
_BREAKS_HOST = "/@#?:\\"


@dataclass(frozen=True)
class Broken:
    path: Path
    """Keys that lead to the place in the file."""
    message: str
    fix: str = ""


def broken_rules(spec: Spec) -> list[Broken]:
    """Every rule the spec breaks, in the order of the rules."""
    found = [*_links(spec), *_patterns(spec)]
    if spec.adapter is not None:
        return [*found, *_code(spec)]
    found += [*_base_url(spec), *_login(spec), *_removal(spec)]
    sent: set[str] = set()
    for operation, declared in spec.operations.items():
        found += _operation(spec, operation, declared, sent)
    if spec.check is not None:
        found += _step(spec, ("check",), spec.check, {}, batched=None, sent=set())
    return found + list(_other_fields(spec, sent))


# --- the spec as a whole -------------------------------------------------------------------


def _links(spec: Spec) -> Iterator[Broken]:
    """Every fact names the vendor's page."""
    pages: list[tuple[Path, str | None]] = [(("docs",), spec.docs)]
    pages += [(("limits", i, "docs"), limit.docs) for i, limit in enumerate(spec.limits)]
    pages += [(("fields", name, "docs"), f.docs) for name, f in spec.fields.items() if f.docs]
    for name, operation in spec.operations.items():
        if operation.batch:
            pages.append((("operations", name.value, "batch", "docs"), operation.batch.docs))
        pages.append((("operations", name.value, "docs"), operation.docs or spec.docs))
    for path, page in pages:
        if not page or not page.startswith("https://"):
            yield Broken(path, "no vendor page is named", "Write `docs: https://...`.")


def _patterns(spec: Spec) -> Iterator[Broken]:
    parts: list[tuple[Path, str | None]] = [
        *((("settings", name, "pattern"), s.pattern) for name, s in spec.settings.items()),
        *((("fields", name, "pattern"), f.pattern) for name, f in spec.fields.items()),
    ]
    for path, pattern in parts:
        try:
            re.compile(pattern or "")
        except re.error as error:
            yield Broken(path, f"not a regular expression: {error}")


def _code(spec: Spec) -> Iterator[Broken]:
    if not spec.code_operations:
        yield Broken(("adapter",), "code says no operations", "Add `code_operations: [upsert]`.")
    if spec.operations or spec.base_url or spec.auth:
        fix = "Keep `adapter:` or the requests, not both."
        yield Broken(("adapter",), "a code adapter has no requests", fix)


def _base_url(spec: Spec) -> Iterator[Broken]:
    path: Path = ("base_url",)
    text = spec.base_url
    try:
        named = list(placeholders(parse_text(text)))
    except TemplateError as error:
        yield Broken(path, error.message)
        return
    for found in named:
        yield from _name(spec, path, found, {}, rows=False)
    if re.fullmatch(r"\{settings\.\w+\}", text):
        return  # the connection's own https or loopback URL, checked when it is opened
    parts = urlsplit(text.replace("{", "").replace("}", ""))
    loopback = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")
    if not loopback and (parts.scheme != "https" or not parts.hostname):
        yield Broken(path, f"'{text}' is not https", "Write `base_url: https://...`.")
    for found in named:
        setting = spec.settings.get(found.local)
        if setting is None or setting.choices:
            continue
        if not setting.pattern:
            fix = f'Add `pattern: "[a-z0-9-]+"` to settings.{found.local}.'
            yield Broken(path, f"settings.{found.local} in a URL may be any text", fix)
        elif any(_fits(setting.pattern, f"a{character}b") for character in _BREAKS_HOST):
            fix = f"Allow none of {_BREAKS_HOST} in its pattern."
            yield Broken(path, f"settings.{found.local} could lead to another host", fix)


def _fits(pattern: str, text: str) -> bool:
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:
        return False


def _login(spec: Spec) -> Iterator[Broken]:
    """A login is made of secret settings, and secrets stand nowhere in the file."""
    for name, setting in spec.settings.items():
        if setting.secret and (setting.default is not None or setting.example is not None):
            fix = "Leave `default` and `example` out; previews show a placeholder."
            yield Broken(("settings", name), f"the secret '{name}' has a value", fix)
        elif (
            setting.required
            and not setting.secret
            and (setting.default, setting.example) == (None, None)
        ):
            fix = "Add `example: ...`, which previews use."
            yield Broken(("settings", name), f"the setting '{name}' has no example", fix)
    yield from _literal_header(("headers",), spec.headers)
    auth = spec.auth
    if auth is None:
        return
    texts = {
        name: getattr(auth, name)
        for name in ("token", "value", "username", "password", "secret")
        if hasattr(auth, name) and not (isinstance(auth, Hmac) and name == "value")
    }
    secret = False
    for name, text in texts.items():
        path: Path = ("auth", name)
        try:
            for found in placeholders(parse_text(text)):
                yield from _name(spec, path, found, {}, rows=False)
                secret |= found.local in spec.settings and spec.settings[found.local].secret
        except TemplateError as error:
            yield Broken(path, error.message)
    if not secret:
        fix = 'Declare a setting with `secret: true` and write "{settings.name}".'
        kind = {HeaderKey: "value", QueryKey: "value", Basic: "password", Hmac: "secret"}
        last = kind.get(type(auth), "token")
        yield Broken(("auth", last), "the login holds no secret setting", fix)


def _literal_header(path: Path, headers: dict[str, str]) -> Iterator[Broken]:
    for name, text in headers.items():
        if _SECRET_HEADER.search(name) and "{" not in text:
            fix = 'Declare a setting with `secret: true` and write "{settings.name}".'
            yield Broken((*path, name), f"the header {name} holds a secret in clear", fix)


def _removal(spec: Spec) -> Iterator[Broken]:
    removes = Operation.REMOVE in spec.operations
    if not spec.operations:
        yield Broken(("operations",), "there are no operations", "Add `operations:`.")
    elif not removes and not spec.remove_none:
        fix = "Add `operations.remove`, or `remove_none: why there is none`."
        yield Broken(("operations",), "nothing says how a person is removed", fix)
    elif removes and spec.remove_none:
        yield Broken(("remove_none",), "there is a remove", "Leave `remove_none` out.")


def _other_fields(spec: Spec, sent: set[str]) -> Iterator[Broken]:
    taken = bool(sent & {CUSTOM, FIELDS})
    if spec.other_fields and not taken:
        fix = 'Add `other_fields: false`, or `"...": "{custom}"` to a body.'
        yield Broken(("other_fields",), "other fields may be mapped and no request sends them", fix)
    if not spec.other_fields and CUSTOM in sent:
        yield Broken(("other_fields",), "{custom} is always empty", "Leave `other_fields` out.")
    for name in spec.fields:
        if name not in sent and FIELDS not in sent:
            yield Broken(
                ("fields", name), f"no request sends the field '{name}'", f'Write "{{{name}}}".'
            )


# --- operations and steps ------------------------------------------------------------------


def _operation(
    spec: Spec, operation: Operation, declared: OperationSpec, sent: set[str]
) -> Iterator[Broken]:
    path: Path = ("operations", operation.value)
    if bool(declared.request) == bool(declared.steps):
        fix = "Write `request: POST /path`, or `steps:` with one request each."
        yield Broken(path, "an operation is one request or several steps", fix)
        return
    captures: dict[str, list[str]] = {}
    for position, step in enumerate(declared.steps or (declared,)):
        here = (*path, "steps", position) if declared.steps else path
        yield from _step(
            spec,
            here,
            step,
            captures,
            batched=declared.batch is not None,
            sent=sent,
            group_by=declared.batch.group_by if declared.batch else (),
        )
        if declared.steps and step.answer.capture and not step.name:
            yield Broken(here, "a step that captures has a name", "Add `name: contact`.")
        conflicts = [name for rule in step.errors for name in rule.capture]
        captures[step.name or ""] = [*step.answer.capture, *conflicts]
    if declared.batch:
        for name in declared.batch.group_by:
            if name not in spec.fields:
                yield Broken((*path, "batch", "group_by"), f"there is no field '{name}'")


def _step(
    spec: Spec,
    path: Path,
    step: Step,
    captures: dict[str, list[str]],
    *,
    batched: bool | None,
    sent: set[str],
    group_by: tuple[str, ...] = (),
) -> Iterator[Broken]:
    """``batched`` is None for a request that has no rows at all."""
    try:
        template = StepTemplate.of(step, spec.headers)
    except TemplateError as error:
        yield Broken((*path, *error.path), error.message, _function_fix(error.message))
        return
    yield from _literal_header((*path, "headers"), step.headers)
    inside = {id(p) for each in template.eaches for p in placeholders(each)}
    for part, found in template.placeholders():
        place = (*path, part)
        yield from _name(
            spec, place, found, captures, rows=batched is not None and part != "headers"
        )
        if found.scope is None:
            sent.add(found.name)
        if part == "request" and any(function.name == "url" for function in found.functions):
            yield Broken(place, "a path is escaped anyway", f'Write "{{{found.name}}}".')
        if found.name == "meta.delivery" and (found.functions or (batched and id(found) in inside)):
            yield Broken(place, "{meta.delivery} names a whole request, as it stands")
        outside = batched and id(found) not in inside and found.name not in group_by
        if outside and found.scope is None:
            fix = "Put it below `each:`, or name it in `batch.group_by`."
            yield Broken(place, f"{found} differs from row to row in a batch", fix)
    if batched and not template.eaches:
        fix = "Write `{each: ...}` where the vendor's array of rows stands, or leave `batch` out."
        yield Broken(path, "a batch has nowhere to put its rows", fix)
    if step.encoding == "form" and step.body is not None and not isinstance(step.body, dict):
        yield Broken((*path, "body"), "a form is a mapping of names and values")
    yield from _answer(spec, (*path, "answer"), step, one_row=not batched)


def _answer(spec: Spec, path: Path, step: Step, *, one_row: bool) -> Iterator[Broken]:
    answer = step.answer
    for name in ("accepted", "rejected"):
        named: NamedRows | None = getattr(answer, name)
        if named is None:
            continue
        if (named.index is None) == (named.key is None):
            fix = "Write `index:` (a position) or `key:` (a value of the row)."
            yield Broken((*path, name), "exactly one of index and key names a row", fix)
        if named.field not in ("meta.key", REMOTE_ID, *spec.fields):
            near = _near(named.field, [*spec.fields, "meta.key", REMOTE_ID])
            yield Broken((*path, name, "field"), f"there is no field '{named.field}'", near)
    if answer.id and not one_row:
        fix = "Name it in `accepted: {id: ...}`, where each row has its own."
        yield Broken((*path, "id"), "one id cannot be that of many rows", fix)


def _name(
    spec: Spec, path: Path, found: Placeholder, captures: dict[str, list[str]], *, rows: bool
) -> Iterator[Broken]:
    """The placeholder names something that there is."""
    known: Iterable[str]
    match found.scope:
        case "settings":
            known = [f"{SETTINGS}.{name}" for name in spec.settings]
        case "meta":
            known = [f"{META}.{name}" for name in META_NAMES]
        case None:
            known = [*spec.fields, CUSTOM, FIELDS, REMOTE_ID] if rows else []
        case _:
            known = [f"{step}.{name}" for step, names in captures.items() for name in names]
    if found.name in known:
        return
    everything = [*spec.fields, *(f"{SETTINGS}.{name}" for name in spec.settings), *known]
    if found.scope is None and found.name in spec.fields:
        yield Broken(path, f"{found}: no value of a row can stand here", "Use settings or meta.")
    else:
        yield Broken(
            path,
            f"{found} names no field, setting or captured value",
            _near(found.name, everything),
        )


def _near(wrong: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, sorted(set(known)), n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else "Declare it under `fields:` or `settings:`."


def _function_fix(message: str) -> str:
    wrong = re.search(r"no function '([^']*)'", message)
    if wrong is None:
        return ""
    near = difflib.get_close_matches(wrong[1], FUNCTIONS, n=1)
    return f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(FUNCTIONS)}."
