"""Evidence for one spec, gathered in seconds and without an account.

Every operation renders; the worked examples hold (rows to the exact requests,
answers to what they mean for each row); where the vendor's OpenAPI description is
at hand, the requests are ones that it knows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson
import polars as pl

from destinations.driver import KEY, Operation, Status
from destinations.http.openapi import Description
from destinations.http.preview import (
    AUDIENCE,
    example_rows,
    preview,
    rendered,
    sample_captures,
    sample_rows,
    shown,
)
from destinations.http.session import Response
from destinations.http.unanswered import UnansweredError
from destinations.http.walk import Walk
from destinations.language.compile import Compiled
from destinations.language.describe import deprecation
from destinations.language.requests import Request
from destinations.language.settings import checked, example_settings
from destinations.language.spec import ExampleAnswer, ExampleRequest, Spec, WorkedExample
from destinations.language.steps import Step

AGREES = "agrees with the OpenAPI description"


@dataclass(frozen=True)
class Finding:
    state: Literal["ok", "problem", "note"]
    text: str

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


def check(spec: Spec, descriptions: Sequence[Description] = ()) -> list[Finding]:
    """Findings in plain words; the spec has been loaded, so its shape holds.

    Args:
        descriptions: the vendor's OpenAPI files; a request has to be in one of them.
    """
    if spec.adapter is not None:
        return [Finding("ok", "Its declaration loads; its code is tested against a real server.")]
    checked(spec, example_settings(spec), "example")
    findings = list(_deprecated(spec))
    for operation in spec.operations:
        shown_requests = preview(spec, operation, 2)["requests"]
        findings.append(
            Finding("ok", f"{operation.value}: {len(shown_requests)} requests for 2 rows.")
        )
        findings += _within_limits(spec, operation)
        if descriptions:
            findings += _described(descriptions, operation, shown_requests)
    for number, example in enumerate(spec.examples, start=1):
        findings += _example(spec, number, example)
    without = sorted(set(spec.operations) - {example.operation for example in spec.examples})
    if without:
        findings.append(Finding("note", f"No worked example for {', '.join(without)}."))
    return findings


def _deprecated(spec: Spec) -> Iterator[Finding]:
    """A warning until the vendor's date, a problem from then on."""
    if spec.deprecated is not None:
        past = dt.datetime.now(dt.UTC).date().isoformat() >= spec.deprecated.date
        yield Finding("problem" if past else "note", f"{deprecation(spec)}.")


def _within_limits(spec: Spec, operation: Operation) -> Iterator[Finding]:
    """A batch of the most rows, and one row more, stay within what the vendor takes."""
    batch = spec.operations[operation].batch
    if batch is None:
        return
    steps = sum(1 for _ in rendered(spec, operation, _many(spec, 1)))
    for count, batches in ((batch.rows, 1), (batch.rows + 1, 2)):
        bodies = [r.body or b"" for r in rendered(spec, operation, _many(spec, count))]
        if batch.bytes is None and len(bodies) != batches * steps:
            yield Finding(
                "problem", f"{operation.value}: {count} rows make {len(bodies)} requests."
            )
        if batch.bytes is not None and max(map(len, bodies)) > batch.bytes:
            yield Finding("problem", f"{operation.value}: a body exceeds {batch.bytes} bytes.")


def _many(spec: Spec, count: int) -> pl.DataFrame:
    return (
        sample_rows(spec, 1)
        .select(pl.all().exclude(KEY).repeat_by(count).explode(), pl.lit("k").alias(KEY))
        .with_columns(pl.concat_str(pl.lit("profile-"), pl.int_range(pl.len())).alias(KEY))
    )


def compare(
    requests: Sequence[Mapping[str, Any]], descriptions: Sequence[Description]
) -> Iterator[Finding]:
    """What OpenAPI descriptions of the vendor say of requests; nothing where they agree.

    A description that has no such path is silent, and one that others wrote may err: that is a
    note. What the vendor's own says otherwise is a problem.
    """
    for request in requests:
        knowing = [one for one in descriptions if one.knows(request)]
        if not knowing:
            path = urlsplit(str(request["url"])).path
            yield Finding("note", f"no OpenAPI description has the path {path}.")
            continue
        said = {id(one): one.disagreements(request) for one in knowing}
        nearest = min(knowing, key=lambda one: len(said[id(one)]))
        for words in said[id(nearest)]:
            if nearest.official:
                yield Finding("problem", f"the vendor's OpenAPI description: {words}.")
            else:
                yield Finding("note", f"an OpenAPI description by others: {words}.")


def _described(
    descriptions: Sequence[Description], operation: Operation, requests: list[dict[str, Any]]
) -> Iterator[Finding]:
    found = list(dict.fromkeys(compare(requests, descriptions)))
    yield from (replace(one, text=f"{operation.value}: {one.text}") for one in found)
    if not found:
        yield Finding("ok", f"{operation.value}: {AGREES}.")


def _example(spec: Spec, number: int, example: WorkedExample) -> Iterator[Finding]:
    name = f"Example {number} ({example.operation.value})"
    if example.operation not in spec.operations:
        yield Finding("problem", f"{name}: there is no such operation.")
        return
    rows = example_rows(example.rows)
    made, outcomes = _played(spec, example, rows)
    if example.requests:
        differences = list(_differences(made, example.requests))
        yield from (Finding("problem", f"{name}: {words}.") for words in differences)
        if not differences:
            yield Finding("ok", f"{name}: {rows.height} rows make exactly these requests.")
    if example.answers:
        state: Literal["ok", "problem"] = "ok" if outcomes == list(example.outcomes) else "problem"
        yield Finding(state, f"{name}: the answers mean {', '.join(outcomes)}.")


def _differences(made: list[dict[str, Any]], expected: tuple[ExampleRequest, ...]) -> Iterator[str]:
    if len(made) != len(expected):
        yield f"{len(made)} requests are made, {len(expected)} expected"
        return
    for position, (ours, theirs) in enumerate(zip(made, expected, strict=True), start=1):
        line = f"{ours['method']} {urlsplit(ours['url']).path or '/'}"
        if line != theirs.request:
            yield f"request {position} is {line}"
        for part, wanted in (("query", theirs.query), ("body", theirs.body)):
            if ours[part] != wanted:
                yield f"request {position} has the {part} {orjson.dumps(ours[part]).decode()}"
        for header, value in theirs.headers.items():
            if ours["headers"].get(header) != value:
                yield f"request {position} has {header}: {ours['headers'].get(header)}"


def _played(
    spec: Spec, example: WorkedExample, rows: pl.DataFrame
) -> tuple[list[dict[str, Any]], list[str]]:
    """The requests made when the example's answers come back, and what these mean for its rows."""
    compiled = Compiled(spec, example.operation, example_settings(spec), AUDIENCE)
    answers = iter(example.answers)
    made: list[dict[str, Any]] = []
    outcomes: dict[str, str] = {}

    def ask(request: Request, _: Step) -> Response:
        made.append(shown(spec, request))
        given = next(answers, None)
        if given is None:
            raise UnansweredError(Status.IN_DOUBT, "no answer")
        return _response(given)

    for first in compiled.requests(rows):
        if example.answers:
            results = Walk(spec, compiled, first, ask).results()
            outcomes |= dict(zip(results[KEY], results["status"], strict=True))
            continue
        made.append(shown(spec, first.request))
        for position in range(first.position + 1, len(compiled.steps)):
            later = compiled.following(position, first.rows, sample_captures(compiled))
            made.append(shown(spec, later))
    return made, [outcomes.get(key, "no answer") for key in rows[KEY]]


def _response(given: ExampleAnswer) -> Response:
    body = given.body
    content = (
        b"" if body is None else body.encode() if isinstance(body, str) else orjson.dumps(body)
    )
    headers = {name.lower(): value for name, value in given.headers.items()}
    return Response(given.status, headers, content)
