"""A spec's requests as routes: which of them an incoming request is, and what it does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from destinations.driver import Operation
from destinations.language.replies import Answer, ErrorRule
from destinations.language.requests import StepTemplate
from destinations.language.spec import Spec
from destinations.language.steps import Batch, OperationSpec, Step
from destinations.language.template import (
    META,
    REMOTE_ID,
    SETTINGS,
    Constant,
    Node,
    Placeholder,
    Scalar,
    Text,
    parse_text,
    placeholders,
)
from destinations.sandbox.functions import is_digest
from destinations.sandbox.shapes import constants

UPLOADS = "/_upload/"
"""Where the upload URLs lead that answers give."""


class Effect(StrEnum):
    """What a request does to the rows in it."""

    JOIN = "join"  # writes the row's fields and makes it a member of the target
    LEAVE = "leave"  # the row is no member of the target any more
    ERASE = "erase"
    TRACK = "track"
    WRITE = "write"  # writes the row's fields
    LOOK = "look"  # asks for the row
    JOB = "job"  # creates, closes or asks after a job that other requests fill with rows
    NONE = "none"  # the check request


_EFFECTS = {
    Operation.ADD: Effect.JOIN,
    Operation.REMOVE: Effect.LEAVE,
    Operation.DELETE: Effect.ERASE,
    Operation.TRACK: Effect.TRACK,
    Operation.UPSERT: Effect.WRITE,
}
_OF_PEOPLE = (Effect.JOIN, Effect.LEAVE, Effect.ERASE, Effect.WRITE)
# Of routes that a request fits equally (add and upsert are often one request) the first wins.
_ORDER = list(Effect)


@dataclass(frozen=True)
class Route:
    """One step of one operation, or the check request (``operation`` is None)."""

    operation: Operation | None
    effect: Effect
    step: Step
    method: str
    path: re.Pattern[str]
    path_names: tuple[Placeholder, ...]
    query: Mapping[str, Scalar]
    headers: Mapping[str, Scalar]
    body: Node | None
    batch: Batch | None
    nulls: Any
    errors: tuple[ErrorRule, ...]
    answer: Answer
    targets: tuple[str, ...]
    """Names (``settings.list_id``, ``meta.audience``) whose values say which audience."""
    of_job: bool = False
    """It is one of several requests about one batch of rows."""
    names_refusals: bool = False
    """Whether a later request of the job names the rows that were refused."""
    can_fail: bool = False
    """Whether a later request of the job says that the whole job failed."""
    uploads: Mapping[str, str] = field(default_factory=dict)
    """Captures that are upload URLs: the path that they lead to, without the job's id."""

    @cached_property
    def fields(self) -> frozenset[str]:
        """What its templates name of a row: fields, ``fields`` and ``custom`` among them."""
        return frozenset(
            one.name for one in _everything(self) if one.scope is None and not is_digest(one)
        )

    @cached_property
    def within_audience(self) -> bool:
        """Whether it looks for somebody among the members of the audience."""
        if self.effect is not Effect.LOOK or not (self.answer.id or self.answer.capture):
            return False
        named = {one.name for one in _everything(self)}
        return bool(self.targets) and named.issuperset(self.targets)

    def target(self, shared: Mapping[str, Any]) -> str:
        """What tells the audience of a request from others, from the values it has."""
        return ",".join(str(shared[name]) for name in self.targets if name in shared)

    @cached_property
    def constants(self) -> int:
        """How many values of its query and body are always the same."""
        nodes = (*self.query.values(), *(() if self.body is None else (self.body,)))
        return sum(map(constants, nodes))

    @cached_property
    def by_id(self) -> bool:
        """Whether it names rows by an id that the destination gave them."""
        return any(
            one.name == REMOTE_ID or one.scope not in (None, SETTINGS, META, "auth")
            for one in _everything(self)
        )

    @property
    def label(self) -> str:
        return f"{self.operation or 'check'} ({self.step.request})"


def routes(spec: Spec) -> list[Route]:
    """Every request of the spec, those that do most first."""
    targets = _targets(spec)
    found = []
    for operation, declared in spec.operations.items():
        steps = _steps(declared)
        of_job = any(step.until for step in steps) or (
            declared.batch is not None and any(not _carries(step, declared) for step in steps)
        )
        for position, step in enumerate(steps):
            if of_job:
                found.append(_job_route(spec, operation, position, declared, targets))
                continue
            # A step is the last too for rows that no later one is made for.
            later = steps[position + 1 :]
            last = not any(_follows(one, step) for one in later)
            effect = _effect(spec, operation, step, last=last, only=len(steps) == 1)
            found.append(_route(spec, operation, effect, step, declared, targets))
    audience = (spec.audience.find, spec.audience.create) if spec.audience else ()
    found += [
        _route(spec, None, Effect.NONE, without_rows, None, ())
        for without_rows in (spec.check, *audience)
        if without_rows is not None
    ]
    if not names_people(spec):
        found = [
            replace(one, effect=Effect.TRACK) if one.effect in _OF_PEOPLE else one for one in found
        ]
    return sorted(found, key=lambda route: _rank(route, found))


def names_people(spec: Spec) -> bool:
    """Whether its requests say who is meant; others append records."""
    steps = [step for one in spec.operations.values() for step in _steps(one)]
    return any(one.identifier for one in spec.fields.values()) or any(
        is_digest(one) or one.name == f"{META}.key" for step in steps for one in _named(step)
    )


def _named(step: Step) -> Iterator[Placeholder]:
    return (one for _, one in StepTemplate.of(step, {}).placeholders())


def _rank(route: Route, others: list[Route]) -> tuple[int, int]:
    """Small numbers are tried first: by effect, then what an answer has to give most of.

    A removal that is an addition with another value comes before the addition, which could have
    any value there.
    """
    rank = _ORDER.index(route.effect)
    if route.effect in (Effect.LEAVE, Effect.ERASE):
        joining = [
            one.constants
            for one in others
            if one.effect is Effect.JOIN and (one.method, one.path) == (route.method, route.path)
        ]
        if joining and route.constants > max(joining):
            rank = -1
    return rank, -len(route.answer.capture)


def _follows(later: Step, step: Step) -> bool:
    """Whether a later step is made for rows that this step was made for."""
    if (later.unless or "").startswith(f"{step.name}."):
        return False
    if step.when is not None and later.unless == step.when:
        return False
    learned = step.unless == "remote_id" and step.answer.id is not None
    return step.unless is None or later.when != step.unless or learned


def _carries(step: Step, declared: OperationSpec) -> bool:
    """Whether the rows stand in this step's request."""
    if declared.batch is not None:
        return StepTemplate.of(step, {}).carries
    return any(one.scope is None and one.name != REMOTE_ID for one in _named(step))


def _job_route(
    spec: Spec,
    operation: Operation,
    position: int,
    declared: OperationSpec,
    targets: tuple[str, ...],
) -> Route:
    steps = _steps(declared)
    step = steps[position]
    effect = Effect.JOB
    if _carries(step, declared):
        effect = _effect(spec, operation, step, last=True, only=False)
    uploads = {}
    for number, other in enumerate(steps):
        for one in placeholders(parse_text(other.url or "")):
            if one.scope == step.name:
                uploads[one.local] = _upload_path(operation, number)
    route = _route(spec, operation, effect, step, declared, targets)
    if step.url is not None:
        named = next(placeholders(parse_text(step.url)))
        pattern = re.compile(re.escape(_upload_path(operation, position)) + "([^/]+)")
        route = replace(route, path=pattern, path_names=(Placeholder(named.name),))
    return replace(
        route,
        of_job=True,
        names_refusals=any(names_refusals(one.answer) for one in steps),
        can_fail=any(one.failed for one in steps),
        uploads=uploads,
    )


def _upload_path(operation: Operation, position: int) -> str:
    return f"{UPLOADS}{operation.value}-{position}/"


def names_refusals(answer: Answer) -> bool:
    """Whether an answer can say that some of a request's rows were refused."""
    return bool(answer.rejected or answer.count or answer.refused_count)


def path_of(spec: Spec, path: str) -> re.Pattern[str]:
    """A path of the spec, with or without the base URL's own."""
    return _path_pattern(_base_path(spec), path)[0]


def digest_placeholders(found: list[Route]) -> list[Placeholder]:
    """The placeholders of all routes that name a row by a digest, each once."""
    return list(
        {
            str(one): one
            for route in found
            for one in _everything(route)
            if is_digest(one) and one.scope is None
        }.values()
    )


def _everything(route: Route) -> Iterator[Placeholder]:
    yield from route.path_names
    for node in (*route.query.values(), *route.headers.values()):
        yield from placeholders(node)
    if route.body is not None:
        yield from placeholders(route.body)


def _steps(operation: OperationSpec) -> tuple[Step, ...]:
    return operation.steps or (operation,)


def _effect(spec: Spec, operation: Operation, step: Step, *, last: bool, only: bool) -> Effect:
    if step.request.startswith("GET ") and not only:
        return Effect.LOOK
    if not last:
        writes = operation in (Operation.ADD, Operation.UPSERT, Operation.TRACK)
        return Effect.WRITE if writes else Effect.LOOK
    if operation is Operation.UPSERT and Operation.ADD not in spec.operations:
        return Effect.JOIN  # the destination itself is the audience
    return _EFFECTS[operation]


def _route(
    spec: Spec,
    operation: Operation | None,
    effect: Effect,
    step: Step,
    declared: OperationSpec | None,
    targets: tuple[str, ...],
) -> Route:
    method, path, query = _request(step)
    pattern, names = _path_pattern(_base_path(spec), path)
    return Route(
        operation=operation,
        effect=effect,
        step=step,
        method=method,
        path=pattern,
        path_names=names,
        query={
            name: _as_received(node) if isinstance(node, Placeholder) else node
            for name, node in {**query, **_parsed(step.query)}.items()
        },
        headers={name: parse_text(text) for name, text in {**spec.headers, **step.headers}.items()},
        body=StepTemplate.of(step, {}).body,
        batch=None if declared is None else declared.batch,
        nulls="drop" if declared is None else declared.nulls,
        errors=(*step.errors, *spec.errors),
        answer=step.answer,
        targets=targets,
    )


def _as_received(placeholder: Placeholder) -> Placeholder:
    """A placeholder of a path or query as a vendor reads it: unescaped once, whatever it says.

    A ``url`` of its own comes on top, so a spec that asks for it there sends another value.
    """
    kept = tuple(function for function in placeholder.functions if function.name != "url")
    return replace(placeholder, functions=kept)


def _parsed(texts: Mapping[str, str]) -> dict[str, Scalar]:
    return {name: parse_text(text) for name, text in texts.items()}


def _request(step: Step) -> tuple[str, str, dict[str, Scalar]]:
    method, _, rest = step.request.partition(" ")
    path, _, query = rest.partition("?")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return method, path, {unquote(name): parse_text(unquote(text)) for name, _, text in pairs}


def _base_path(spec: Spec) -> str:
    """The path that stands in the base URL, if any."""
    _, scheme, rest = spec.base_url.partition("://")
    return ("/" + rest.partition("/")[2]).rstrip("/") if scheme else ""


def _path_pattern(base: str, path: str) -> tuple[re.Pattern[str], tuple[Placeholder, ...]]:
    """The path, with or without the base URL's own; a trailing slash makes no difference."""
    names: list[Placeholder] = []

    def pattern(text: str) -> str:
        node = parse_text(text)
        pieces = ""
        for part in node.parts if isinstance(node, Text) else (node,):
            if isinstance(part, Placeholder):
                names.append(_as_received(part))
                pieces += "([^/]+)"
            else:
                pieces += re.escape(str(part.value) if isinstance(part, Constant) else part)
        return pieces

    prefix = pattern(base)
    whole = f"(?:{prefix})?" if prefix else ""
    whole += pattern(path.rstrip("/"))
    return re.compile(whole + "/?"), tuple(names)


def _targets(spec: Spec) -> tuple[str, ...]:
    """What in a request says which audience is meant: what add and remove both name.

    What a look-up before the removal names counts too.
    """
    naming: list[list[str]] = []
    for operation in (Operation.ADD, Operation.REMOVE):
        declared = spec.operations.get(operation)
        if declared is None and operation is Operation.ADD:
            declared = spec.operations.get(Operation.UPSERT)
        if declared is not None:
            steps = _steps(declared)[-1:] if not naming else _steps(declared)
            naming.append([name for step in steps for name in _names_in(step, spec)])
    if not naming:
        return ()
    return tuple(
        dict.fromkeys(name for name in naming[0] if all(name in others for others in naming))
    )


def _names_in(step: Step, spec: Spec) -> Iterator[str]:
    _, path, query = _request(step)
    nodes: list[Node] = [parse_text(path), *query.values()]
    nodes += [parse_text(text) for text in step.query.values()]
    body = StepTemplate.of(step, {}).body
    if body is not None:
        nodes.append(body)
    for node in nodes:
        for one in placeholders(node):
            if one.scope == META and one.local == "audience":
                yield one.name
            elif one.scope == SETTINGS:
                setting = spec.settings.get(one.local)
                # Versions, regions and the like have defaults; an audience never has one.
                if (
                    setting
                    and not setting.secret
                    and setting.default is None
                    and not setting.choices
                ):
                    yield one.name
