"""What an answer means for each row of a request.

The rule above all others: a row counts as accepted only when the answer says so
in the way the spec promises. An answer that cannot be read, or that lacks what it
promises, leaves its rows in doubt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl

from destinations.driver import KEY, RESULT_SCHEMA, Alike, Status
from destinations.http.documents import MISSING, document_of, found, holds, listed, text_in, text_of
from destinations.http.naming import elements_of, identifier_of, shortened, words_of
from destinations.http.session import Response
from destinations.language.compile import Sought
from destinations.language.replies import HEADER, Answer, ErrorRule
from destinations.language.spec import Spec
from destinations.language.steps import Step


@dataclass(frozen=True)
class Verdict:
    """What one answer says of ``rows``: the same of all, or of each what ``named`` says."""

    rows: pl.DataFrame
    alike: Alike | None = None
    named: pl.DataFrame | None = None
    whole: bool = False
    stop: str | None = None
    captures: dict[str, Any] = field(default_factory=dict)
    settled: bool = False
    """Nothing remains to be done for the rows: later steps are left out."""
    gone: bool = False
    """Nothing is known by the rows' remembered id any more."""
    unmatched: int | None = None
    """How many elements of the list were looked at, where none of them was the row's."""

    @cached_property
    def results(self) -> pl.DataFrame:
        """As in :class:`destinations.driver.Outcome`."""
        if self.named is not None:
            return self.named
        return (self.alike or Alike(Status.IN_DOUBT)).results(self.rows)

    @property
    def retries(self) -> bool:
        if self.alike is not None:
            return self.alike.status is Status.RETRY
        return Status.RETRY.value in self.results["status"].to_list()


def judge(
    spec: Spec,
    step: Step,
    response: Response,
    rows: pl.DataFrame,
    idempotent: bool,
    match: Mapping[str, Sought] | None = None,
) -> Verdict:
    """The verdict of an answer on the rows of its request.

    Args:
        rows: in the order of the request, fields as they were sent.
        idempotent: whether the request may safely be sent again.
        match: what ``answer.match`` looks for, by dotted path.
    """
    answer = step.answer
    document = document_of(response.body, answer, response.status)
    words = _words(spec, step, response, document)
    rule = _rule((*step.errors, *spec.errors), response.status, document)
    if rule is not None:
        return _ruled(rule, document, response.headers, rows, words)
    if response.status not in answer.status:
        verdict = _by_status(response.status, rows, words, idempotent)
        return _unknown(verdict, rows, words) if step.until else verdict
    if _promises(step) and not isinstance(document, dict | list | str):
        what = "JSON" if answer.format == "json" else answer.format
        return _in_doubt(rows, f"The answer is not the {what} that was promised.")
    if step.graphql is not None and found("errors", document) not in (MISSING, None, []):
        return _refused(rows, words)
    as_text = answer.format not in ("json", "ndjson")
    if step.until and holds(step.failed, document, as_text) and step.failed:
        return _failed(answer, document, rows, words)
    if not holds(answer.body, document, as_text):
        return _refused(rows, words)
    if not holds(step.until, document, as_text):
        return _in_doubt(rows, f"The job is not done: {words}")
    return _accepted(answer, document, response.headers, rows, match or {})


def is_under_way(spec: Spec, step: Step, response: Response) -> bool:
    """Whether an answer to a repeated step says neither that it is done nor that it failed."""
    document = document_of(response.body, step.answer, response.status)
    rule = _rule((*step.errors, *spec.errors), response.status, document)
    if rule is not None:
        return rule.means == "retry"
    if response.status not in step.answer.status:
        return response.status in (408, 425, 429) or response.status >= 500
    as_text = step.answer.format not in ("json", "ndjson")
    ends = [ending for ending in (step.until, step.failed) if ending]
    return document is not MISSING and not any(holds(one, document, as_text) for one in ends)


def _failed(answer: Answer, document: Any, rows: pl.DataFrame, words: str) -> Verdict:
    """A job that came to nothing: nobody is delivered, and who is not named is refused with it."""
    if not any(p for one in answer.rejected for p, _ in elements_of(answer, one, document, rows)):
        return _refused(rows, words)
    results = _named(answer, document, rows, {}).results
    rejected = pl.col("status") == Status.REJECTED.value
    again = results.with_columns(
        pl.when(rejected).then("status").otherwise(pl.lit(Status.RETRY.value)).alias("status"),
        pl.when(rejected).then("message").otherwise(pl.lit(words)).alias("message"),
    )
    return Verdict(again)


def _unknown(verdict: Verdict, rows: pl.DataFrame, words: str) -> Verdict:
    """What became of a job cannot be asked: its rows may have been taken."""
    return Verdict(rows, Alike(Status.IN_DOUBT, words), stop=verdict.stop)


def _words(spec: Spec, step: Step, response: Response, document: Any) -> str:
    """The vendor's own words, or what came instead of them, with the status before."""
    said = found(spec.message, document) if spec.message else MISSING
    if said in (MISSING, None, "") and step.graphql is not None:
        said = found("errors.0.message", document)
    if said in (MISSING, None, ""):
        said = response.body.decode("utf-8", "replace").strip()
    return shortened(f"{response.status} {text_in(said)}".strip())


def _rule(rules: Sequence[ErrorRule], status: int, document: Any) -> ErrorRule | None:
    for rule in rules:
        if (not rule.status or status in rule.status) and holds(rule.body, document):
            return rule
    return None


def _ruled(
    rule: ErrorRule, document: Any, headers: Mapping[str, str], rows: pl.DataFrame, words: str
) -> Verdict:
    match rule.means:
        case "accept":
            captures, lacking = _captured(rule.capture, document, headers)
            if lacking:
                return _in_doubt(rows, f"The answer lacks '{lacking}': {words}")
            return Verdict(rows, Alike(Status.ACCEPTED), captures=captures)
        case "done":
            return Verdict(rows, Alike(Status.ACCEPTED), settled=True)
        case "reject":
            return _refused(rows, words)
        case "retry":
            return Verdict(rows, Alike(Status.RETRY, words))
        case "gone":
            return Verdict(rows, Alike(Status.REJECTED, words), gone=True)
        case "auth":
            return _stopped(rows, f"The credentials were refused: {words}")
        case "abort":
            return _stopped(rows, words)


def _by_status(status: int, rows: pl.DataFrame, words: str, idempotent: bool) -> Verdict:
    """What a status means where the spec has no rule for it (RFC 9110, section 15)."""
    if status in (401, 407):
        return _stopped(rows, f"The credentials were refused: {words}")
    if status == 403:
        return _stopped(rows, f"The credentials do not allow it: {words}")
    if status in (408, 425, 429):
        return Verdict(rows, Alike(Status.RETRY, words))
    if status in (502, 504) and not idempotent:
        # A gateway gave up waiting: the request may have been carried out behind it.
        return Verdict(rows, Alike(Status.IN_DOUBT, words))
    if status >= 500:
        return Verdict(rows, Alike(Status.RETRY, words))
    if 300 <= status < 400:
        return _stopped(
            rows, f"The destination redirects elsewhere, which is not followed: {words}"
        )
    if status >= 400:
        return _refused(rows, words)
    return Verdict(rows, Alike(Status.IN_DOUBT, f"Not the answer that was promised: {words}"))


def _refused(rows: pl.DataFrame, words: str) -> Verdict:
    return Verdict(rows, Alike(Status.REJECTED, words), whole=rows.height > 1)


def _stopped(rows: pl.DataFrame, words: str) -> Verdict:
    return Verdict(rows, Alike(Status.RETRY, words), stop=words)


def _in_doubt(rows: pl.DataFrame, why: str) -> Verdict:
    return Verdict(rows, Alike(Status.IN_DOUBT, why))


def _promises(step: Step) -> bool:
    """Whether a success is told from the body, not from the status alone."""
    answer = step.answer
    lists = answer.lists or step.until or step.graphql or answer.at
    counts = answer.count or answer.refused_count
    in_body = answer.id and not answer.id.startswith(HEADER)
    return bool(lists or answer.body or counts or in_body)


def refuses_login(spec: Spec, step: Step, response: Response) -> bool:
    """Whether an answer says that the credentials are wrong, by a rule of the spec or by 401."""
    document = document_of(response.body, step.answer, response.status)
    rule = _rule((*step.errors, *spec.errors), response.status, document)
    return response.status == 401 if rule is None else rule.means == "auth"


def _accepted(
    answer: Answer,
    document: Any,
    headers: Mapping[str, str],
    rows: pl.DataFrame,
    match: Mapping[str, Sought],
) -> Verdict:
    """The verdict of an answer with a status of success."""
    for path, wanted in ((answer.count, rows.height), (answer.refused_count, 0)):
        if path is None:
            continue
        number = found(path, document)
        if not isinstance(number, int | float | str) or not str(number).isdigit():
            return _in_doubt(rows, f"The answer lacks the number '{path}'.")
        refusals = int(number)
        if path == answer.refused_count and answer.rejected:
            named = _named(answer, document, rows, {}).results
            refusals -= int((named["status"] == Status.REJECTED.value).sum())
        if refusals != wanted:
            return _refused(
                rows, f"The destination answered {path}: {number} for {rows.height} rows."
            )
    if answer.at is not None:
        elements = listed(answer.at.removesuffix("?"), document, answer.format)
        if elements is None or (elements is MISSING and answer.at.endswith("?")):
            elements = []
        if not isinstance(elements, list):
            return _in_doubt(rows, f"The answer lacks the list '{answer.at}'.")
        element = next((one for one in elements if _is_sought(one, match)), MISSING)
        if element is MISSING:
            return _unmatched(answer, rows, len(elements))
        document = element
    captures, lacking = _captured(answer.capture, document, headers)
    if lacking:
        return _in_doubt(rows, f"The answer lacks '{lacking}'.")
    if answer.lists:
        return _named(answer, document, rows, captures)
    ids, lacking = _captured({"id": answer.id} if answer.id else {}, document, headers)
    if lacking:
        return _in_doubt(rows, f"The answer lacks '{lacking}'.")
    captures = {**ids, **captures}
    identifier = ids.get("id")
    remote = None if identifier is None or rows.height != 1 else str(identifier)
    return Verdict(rows, Alike(Status.ACCEPTED, remote_id=remote), captures=captures)


def _is_sought(element: Any, match: Mapping[str, Sought]) -> bool:
    """Whether an element has the values that a row is found by; numbers count as their text."""
    for path, sought in match.items():
        value = found(path, element)
        if value in (MISSING, None) or sought.text is None:
            return False
        words, wanted = text_of(value), sought.text
        if words != wanted and not (sought.any_case and words.casefold() == wanted.casefold()):
            return False
    return True


def _unmatched(answer: Answer, rows: pl.DataFrame, looked_at: int) -> Verdict:
    """No element is the row's: fine where the spec says that it may be missing."""
    paths = [*answer.capture.values(), *([answer.id] if answer.id else [])]
    if all(path.endswith("?") for path in paths):
        captures: dict[str, Any] = dict.fromkeys([*answer.capture, *(["id"] if answer.id else [])])
        return Verdict(rows, Alike(Status.ACCEPTED), captures=captures, unmatched=looked_at)
    refused = Alike(Status.REJECTED, "The destination's list does not have this row.")
    return Verdict(rows, refused, unmatched=looked_at)


def _captured(
    paths: Mapping[str, str], document: Any, headers: Mapping[str, str]
) -> tuple[dict[str, Any], str | None]:
    """What the paths find, and the first path that finds nothing."""
    plain = {name: path.removesuffix("?") for name, path in paths.items()}
    captures = {
        name: headers.get(path.removeprefix(HEADER).lower(), MISSING)
        if path.startswith(HEADER)
        else found(path, document)
        for name, path in plain.items()
    }
    captures = {name: None if value is MISSING else value for name, value in captures.items()}
    lacking = [
        paths[name]
        for name, value in captures.items()
        if value is None and not paths[name].endswith("?")
    ]
    return captures, lacking[0] if lacking else None


def _named(answer: Answer, document: Any, rows: pl.DataFrame, captures: dict[str, Any]) -> Verdict:
    """Row by row, as the answer's lists name them."""
    default = Status.IN_DOUBT if answer.accepted else Status.ACCEPTED
    status = [default.value] * rows.height
    message: list[str | None] = [None] * rows.height
    remote: list[str | None] = [None] * rows.height
    if answer.accepted:
        message = ["The answer does not name this row."] * rows.height
        if not isinstance(listed(answer.accepted.at, document, answer.format), list):
            return _in_doubt(rows, f"The answer lacks the list '{answer.accepted.at}'.")
        for positions, element in elements_of(answer, answer.accepted, document, rows):
            for position in positions:
                status[position], message[position] = Status.ACCEPTED.value, None
                remote[position] = identifier_of(answer.accepted, element)
    nameless = 0
    refused = [(named, Status.REJECTED) for named in answer.rejected]
    for named, fate in refused + [(named, Status.RETRY) for named in answer.retry]:
        for positions, element in elements_of(answer, named, document, rows):
            words = words_of(named, element)
            nameless += not positions
            for position in positions:
                status[position], message[position] = fate.value, words
    if nameless and not answer.accepted:
        # Somebody was refused and we cannot tell who: nobody counts as delivered.
        why = f"The answer refuses {nameless} rows that it does not name."
        for position, said in enumerate(status):
            if said == Status.ACCEPTED.value:
                status[position], message[position] = Status.IN_DOUBT.value, why
    if rows.height == 1:
        return Verdict(rows, Alike(Status(status[0]), message[0], remote[0]), captures=captures)
    results = pl.DataFrame(
        {KEY: rows[KEY], "status": status, "message": message, "remote_id": remote},
        schema=RESULT_SCHEMA,
    )
    return Verdict(rows, named=results, captures=captures)
