"""What operations, their steps and answers must hold to."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

from destinations.driver import Operation
from destinations.language.body_rules import body_rules
from destinations.language.broken import Broken, Path, nearest, unknown_name
from destinations.language.login_rules import literal_header
from destinations.language.requests import StepTemplate
from destinations.language.spec import Spec
from destinations.language.steps import OperationSpec, Step, gives_id
from destinations.language.template import (
    FUNCTIONS,
    REMOTE_ID,
    TemplateError,
    parse_text,
    placeholders,
)


def operation_rules(
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
        yield from step_rules(
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
        given = ["id"] if gives_id(step) else []
        captures[step.name or ""] = [*step.answer.capture, *conflicts, *given]
    carrying = ["each" in _keys(step.body) for step in declared.steps or (declared,)]
    if declared.batch and not any(carrying):
        fix = "Write `{each: ...}` where the vendor's array of rows stands, or leave `batch` out."
        yield Broken(path, "a batch has nowhere to put its rows", fix)
    if declared.batch:
        for name in declared.batch.group_by:
            if name not in spec.fields:
                yield Broken((*path, "batch", "group_by"), f"there is no field '{name}'")


def step_rules(
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
    yield from literal_header((*path, "headers"), step.headers)
    inside = {id(p) for each in template.eaches for p in placeholders(each)}
    for part, found in template.placeholders():
        place = (*path, part)
        yield from unknown_name(
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
    yield from body_rules(path, template)
    yield from _conditions(spec, path, step, captures)
    yield from _answer(spec, (*path, "answer"), step, captures, batched=batched)
    yield from _pages(path, step)
    if any(rule.means == "gone" for rule in (*step.errors, *spec.errors)) and batched:
        fix = "Leave `batch` out, or name the rows in `rejected`."
        yield Broken((*path, "errors"), "`gone` tells of one row, not of a batch", fix)


def audience_rules(spec: Spec) -> Iterator[Broken]:
    """An audience at the vendor is found or created, and gives the id that a setting holds."""
    audience = spec.audience
    if audience is None:
        return
    if audience.setting not in spec.settings:
        path: Path = ("audience", "setting")
        yield Broken(
            path,
            f"there is no setting '{audience.setting}'",
            nearest(audience.setting, spec.settings),
        )
    if audience.find is None and audience.create is None:
        yield Broken(("audience",), "nothing says how it is found", "Add `find:` or `create:`.")
    for name, step in (("find", audience.find), ("create", audience.create)):
        if step is None:
            continue
        yield from step_rules(spec, ("audience", name), step, {}, batched=None, sent=set())
        if not step.answer.id:
            fix = "Add `id: path.of.the.id`."
            yield Broken(("audience", name, "answer"), "the audience's id is not read", fix)
        if step.when or step.unless:
            yield Broken(("audience", name), "an audience is no row", "Leave the condition out.")
        setting = f"settings.{audience.setting}"
        named = [found.name for _, found in StepTemplate.of(step, {}).placeholders()]
        if setting in named:
            yield Broken(("audience", name), f"{{{setting}}} is what is looked for here")


def _conditions(
    spec: Spec, path: Path, step: Step, captures: dict[str, list[str]]
) -> Iterator[Broken]:
    known = [*spec.fields, REMOTE_ID]
    known += [f"{name}.{local}" for name, locals_ in captures.items() for local in locals_]
    for key in ("when", "unless"):
        name = getattr(step, key)
        if name is not None and name not in known:
            fix = nearest(name, known)
            yield Broken((*path, key), f"'{name}' is no field, remote_id or captured value", fix)


def _pages(path: Path, step: Step) -> Iterator[Broken]:
    pages = step.pages
    if pages is None:
        return
    here = (*path, "pages")
    if not step.request.startswith("GET") or step.answer.at is None:
        fix = "Write `request: GET ...` and `answer: {at: path.of.the.list, ...}`."
        yield Broken(here, "pages are those of a list that is read", fix)
    if sum(one is not None for one in (pages.next, pages.page, pages.offset)) != 1:
        yield Broken(here, "exactly one of next, page and offset turns the page")
    if pages.next is not None and (pages.query is None) == (not pages.url):
        yield Broken(
            here,
            "next goes into a query parameter or is a URL",
            "Add `query: after` or `url: true`.",
        )
    if pages.offset is not None and not pages.size:
        yield Broken(here, "an offset grows by the size of a page", "Add `size: 100`.")


def _keys(body: Any) -> set[str]:
    """Every key of a body, however deep."""
    if isinstance(body, dict):
        below = (_keys(item) for item in body.values())
        return set(map(str, body)).union(*below)
    if isinstance(body, list | tuple):
        return set().union(*map(_keys, body))
    return set()


def _answer(
    spec: Spec,
    path: Path,
    step: Step,
    captures: dict[str, list[str]],
    *,
    batched: bool | None,
) -> Iterator[Broken]:
    answer = step.answer
    if answer.match and answer.at is None:
        fix = "Add `at: path.of.the.list`."
        yield Broken((*path, "match"), "nothing says in which list", fix)
    if answer.at is not None and batched:
        yield Broken((*path, "at"), "it finds the element of one row, not of a batch")
    for key, text in answer.match.items():
        try:
            for found in placeholders(parse_text(text)):
                yield from unknown_name(
                    spec, (*path, "match", key), found, captures, rows=batched is not None
                )
        except TemplateError as error:
            yield Broken((*path, "match", key), error.message)
    for named in answer.lists:
        name = "accepted" if named is answer.accepted else "rejected"
        name = "retry" if named in answer.retry else name
        if (named.index is None) == (named.key is None):
            fix = "Write `index:` (a position) or `key:` (a value of the row)."
            yield Broken((*path, name), "exactly one of index and key names a row", fix)
        if named.field not in ("meta.key", REMOTE_ID, *spec.fields):
            near = nearest(named.field, [*spec.fields, "meta.key", REMOTE_ID])
            yield Broken((*path, name, "field"), f"there is no field '{named.field}'", near)
    if answer.id and batched:
        fix = "Name it in `accepted: {id: ...}`, where each row has its own."
        yield Broken((*path, "id"), "one id cannot be that of many rows", fix)


def _function_fix(message: str) -> str:
    wrong = re.search(r"no function '([^']*)'", message)
    if wrong is None:
        return ""
    near = difflib.get_close_matches(wrong[1], FUNCTIONS, n=1)
    return f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(FUNCTIONS)}."
