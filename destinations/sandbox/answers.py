"""Answers as the spec promises them, built by setting the paths that the spec reads."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from destinations.language.replies import HEADER, Answer, NamedRows
from destinations.language.spec import Spec
from destinations.language.template import META, SETTINGS, Placeholder, parse_text
from destinations.sandbox.routes import Effect, Route, names_refusals

ITSELF = "@"
POSITION = "#"


@dataclass(frozen=True)
class Verdict:
    """What becomes of one row of a request."""

    key: str | None
    fields: dict[str, Any]
    remote_id: str | None = None
    refusal: str | None = None
    """The vendor's words where the row is refused."""
    audiences: tuple[Mapping[str, Any], ...] = ()
    """Of one who was asked for: the settings that name each of the audiences they are in."""

    def value(self, name: str) -> Any:
        """The value that names the row in an answer."""
        if name == "meta.key":
            return self.key
        return self.remote_id if name == "remote_id" else self.fields.get(name)


def success(route: Route, verdicts: list[Verdict]) -> tuple[int, Any]:
    """The answer to a request whose rows were taken, apart from those refused by row."""
    answer = route.answer
    refused = sum(verdict.refusal is not None for verdict in verdicts)
    body = fulfilled({}, {**answer.body, **route.step.until})
    if len(verdicts) > 1:
        for name, path in answer.capture.items():
            body = place(body, path.removesuffix("?"), f"sandbox-{name}")
    lists: dict[str, list[Any]] = {}
    for named in answer.lists:
        # Of several lists of refusals the sandbox fills the first.
        wanted = named in answer.rejected
        if named in answer.retry:
            continue
        told = [] if wanted and named is not answer.rejected[0] else verdicts
        _name_rows(lists.setdefault(named.at, []), named, told, refused=wanted)
    for path, elements in lists.items():
        body = elements if path == ITSELF else place(body, path, elements)
    if answer.count:
        # Beside a count of refusals vendors count what they received.
        body = place(body, answer.count, len(verdicts) - (0 if answer.refused_count else refused))
    if answer.refused_count:
        body = place(body, answer.refused_count, refused)
    if len(verdicts) == 1 and not refused:
        remote_id = verdicts[0].remote_id
        found = {} if answer.at else body
        for name, path in answer.capture.items():
            found = place(found, path.removesuffix("?"), remote_id or f"sandbox-{name}")
        if route.effect in (Effect.TRACK, Effect.NONE):
            remote_id = (
                remote_id or "1001"
            )  # an event is nobody's profile and has an id all the same
        if answer.id and remote_id is not None:
            found = place(found, answer.id.removesuffix("?"), remote_id)
        if answer.at:
            elements = []
            for audience in verdicts[0].audiences or ({},):
                element = copy.deepcopy(found)
                for path, text in answer.match.items():
                    element = place(element, path, _matched(text, verdicts[0], audience))
                elements.append(element)
            found = place(body, answer.at, elements)
        body = found
    elif answer.at and not verdicts:
        body = place(body, answer.at, [])
    status = 207 if refused and 207 in answer.status else answer.status[0]
    return status, body if status != 204 or any(path.startswith(HEADER) for path in body) else None


def nobody(route: Route) -> tuple[int, Any]:
    """The answer to a search that finds nobody, where the vendor has one that is no error."""
    answer = route.answer
    body = fulfilled({}, answer.body)
    for path in (answer.id, *answer.capture.values()) if answer.at is None else (answer.at,):
        head, number, _ = (path or "").partition(".0.")
        if path and (number or answer.at):
            body = place(body, head, [])
        elif path and path.startswith("0."):
            body = []
    return answer.status[0], body


def finds_nobody(answer: Answer) -> bool:
    """Whether the answer can say that there is nobody."""
    paths = [answer.id, *answer.capture.values()]
    return answer.at is not None or any(path and path.endswith("?") for path in paths)


def _matched(text: str, verdict: Verdict, audience: Mapping[str, Any]) -> Any:
    """The value of a row, or of the audience it is in, that an element is found by."""
    node = parse_text(text)
    if not isinstance(node, Placeholder):
        return text
    value = audience.get(node.name, verdict.value(node.name))
    number = any(one.name == "integer" for one in node.functions) and str(value).isdigit()
    return int(value) if number else value


def asks_for_audience(answer: Answer) -> bool:
    """Whether the answer lists the audiences of a person, one of which is looked for."""
    nodes = map(parse_text, answer.match.values())
    return any(
        isinstance(one, Placeholder) and (one.scope == SETTINGS or one.name == f"{META}.audience")
        for one in nodes
    )


def failure(
    spec: Spec,
    route: Route | None,
    text: str,
    status: int,
    means: Literal["reject", "auth", "retry", "accept", "gone"] | None = None,
    *,
    exactly: bool = False,
) -> tuple[int, Any]:
    """An error in the vendor's shape.

    Where a rule of the spec says what ``means`` looks like, it looks like that: the rule's
    status instead of ``status``, unless the status is to be ``exactly`` the one given.
    """
    rules = route.errors if route else spec.errors
    rule = next(
        (
            one
            for one in rules
            if one.means == means and (not exactly or not one.status or status in one.status)
        ),
        None,
    )
    body: Any = {}
    if rule is not None:
        status = rule.status[0] if rule.status and not exactly else status
        body = fulfilled(body, rule.body)
    return status, place(body, spec.message or "message", text)


def false_success(route: Route, text: str, verdicts: list[Verdict]) -> tuple[int, Any]:
    """A success status whose body says that nothing was taken."""
    answer = route.answer
    refused = [replace(verdict, remote_id=None, refusal=text) for verdict in verdicts]
    _, body = success(route, refused)
    body = body if isinstance(body, dict) else {}
    for path, expected in answer.body.items():
        body = place(body, path, not expected if isinstance(expected, bool) else text)
    if not names_refusals(answer) and not answer.body:
        body["errors"] = [{"message": text}]
    return answer.status[0], body


def place(document: Any, path: str, value: Any) -> Any:
    """``document`` with ``value`` at a dotted path; numbers in it are positions of an array."""
    if path in ("", ITSELF):
        return value
    head, _, rest = path.partition(".")
    if head.isdigit():
        array = document if isinstance(document, list) else []
        position = int(head)
        array += [{} for _ in range(position + 1 - len(array))]
        array[position] = place(array[position], rest, value)
        return array
    members = document if isinstance(document, dict) else {}
    members[head] = place(members.get(head), rest, value)
    return members


def fulfilled(document: Any, conditions: Mapping[str, Any]) -> Any:
    """``document`` with what the conditions want: of several values the first, for null nothing."""
    for path, wanted in conditions.items():
        value = wanted[0] if isinstance(wanted, list | tuple) and wanted else wanted
        if value is not None:
            document = place(document, path, value)
    return document


def _name_rows(
    elements: list[Any], named: NamedRows, verdicts: list[Verdict], *, refused: bool
) -> None:
    if named.index == POSITION:
        elements += [{} for _ in range(len(verdicts) - len(elements))]
    for position, verdict in enumerate(verdicts):
        if (verdict.refusal is not None) != refused:
            continue
        if named.index == POSITION:
            elements[position] = _element(named, position, verdict, elements[position])
        else:
            elements.append(_element(named, position, verdict, {}))


def _element(named: NamedRows, position: int, verdict: Verdict, element: Any) -> Any:
    element = fulfilled(element, named.when)
    if named.id and verdict.remote_id is not None:
        element = place(element, named.id, verdict.remote_id)
    if named.message and verdict.refusal is not None:
        element = place(element, named.message, verdict.refusal)
    if named.key is not None:
        element = place(element, named.key, verdict.value(named.field))
    elif named.index is not None and named.index != POSITION:
        element = place(element, named.index, position)
    return element
