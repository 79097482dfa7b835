"""The questions, each a function of the bench; its docstring says what has to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import polars as pl

from destinations.conformance.bench import Bench, DoesNotApply, Failed, expect
from destinations.conformance.people import ODD, crowd
from destinations.driver import KEY, REMOTE_ID, Operation, Status
from destinations.errors import StoreroomError
from destinations.http.preview import rendered
from destinations.language.normalise import prepare

ACCEPTED, REJECTED = Status.ACCEPTED.value, Status.REJECTED.value
LATER = {Status.RETRY.value, Status.IN_DOUBT.value}
MOST_SENT = 100
"""Rows of a full batch that is really sent; of larger ones only the parting is looked at."""


def operations(at: Bench) -> None:
    """Every operation it declares takes rows, and says so of each."""
    if at.sandbox is None:
        for operation in at.operations:
            made = list(at.driver.deliveries(operation, at.rows()))
            expect(bool(made), f"{operation.value}: 3 rows make no delivery")
        return
    rows = at.rows()
    for operation in at.operations:
        rows = at.deliver(operation, rows)


def membership(at: Bench) -> None:
    """People come, change, go, are gone when they go again, and come back; nobody is there twice."""
    at.played  # noqa: B018 - it says whether the question makes sense
    rows = at.deliver(at.joining, at.rows())
    joined = at.members()
    changed = at.rows(text="changed").with_columns(rows[REMOTE_ID])
    rows = at.deliver(at.joining, changed)
    expect(at.members() == joined, f"after an update {at.members()} are members, not {joined}")
    if Operation.REMOVE not in at.operations:
        return
    at.deliver(Operation.REMOVE, rows.head(1))
    left = at.members()
    expect(left == joined - 1, f"after one of {joined} is removed {left} are members")
    gone = at.statuses(Operation.REMOVE, rows.head(1))
    expect(gone in ([ACCEPTED], [REJECTED]), f"removing somebody who is gone is {gone[0]}")
    expect(at.members() == left, "removing somebody who is gone changed the members")
    at.deliver(at.joining, rows)
    expect(at.members() == joined, f"after adding again {at.members()} are members, not {joined}")


def empty_batch(at: Bench) -> None:
    """No rows make no request."""
    for operation in at.operations:
        made = list(at.driver.deliveries(operation, at.rows().clear()))
        expect(not made, f"{operation.value}: no rows make {len(made)} deliveries")


def largest_batch(at: Bench) -> None:
    """A full batch goes as the vendor takes it, one row more makes another; none is lost."""
    for operation in at.operations:
        most = _rows_of_a_batch(at, operation)
        for count in {most, most + 1}:
            rows = crowd(at.spec, count)
            made = list(at.driver.deliveries(operation, rows))
            sizes = [one.rows.height for one in made]
            expect(max(sizes) <= most, f"{operation.value}: a batch of {max(sizes)}, not {most}")
            kept = pl.concat([one.rows[KEY] for one in made])
            expect(kept.equals(rows[KEY]), f"{operation.value}: {count} rows come out otherwise")
        if at.sandbox is not None and most <= MOST_SENT and operation is at.first:
            at.deliver(operation, at.rows(most + 1))


def unicode(at: Bench) -> None:
    """Any letters, quotes and signs arrive; what a body says is still readable."""
    rows = at.rows(text=ODD)
    if at.sandbox is None:
        for operation in at.operations:
            expect(bool(list(at.driver.deliveries(operation, rows))), operation.value)
        return
    at.deliver(at.first, rows)


def nulls(at: Bench) -> None:
    """A row may lack every field that it is not found by; one that may not be sent is named before."""
    named = {name for name, one in at.spec.fields.items() if one.identifier or one.required}
    rows = at.rows().with_columns(
        pl.lit(None, dtype=at.rows().schema[name]).alias(name)
        for name in (*at.spec.fields, "favourite")
        if name in at.rows().columns and name not in named
    )
    problems = at.driver.problems(at.first, rows)
    expect(problems.len() == rows.height, "problems names another number of rows")
    whole = rows.filter(problems.is_null())
    if at.sandbox is None or whole.is_empty():
        return
    at.deliver(at.first, whole)


def too_many_requests(at: Bench) -> None:
    """429 puts rows off, for as long as the vendor says, and refuses none."""
    form = {"epoch": "epoch", "milliseconds": "milliseconds", "date": "date"}
    said_as = form.get(at.spec.retry_after.form, "seconds")
    at.fail("status", status=429, retry_after=7, retry_after_form=said_as)
    rows = at.rows()
    said = at.statuses(at.first, rows)
    expect(set(said) <= LATER, f"429 makes rows {_unlike(said, LATER)}")
    wait = max((one.retry_after or 0.0 for one in at.outcomes), default=0.0)
    stopped = any(one.stop for one in at.outcomes)
    expect(wait > 0 and not stopped, f"429 with a wait of 7 s is heard as {wait:g} s")


def outage(at: Bench) -> None:
    """A vendor that is down takes nothing and refuses nothing."""
    for status in (500, 503):
        at.played.reset(at.spec.id)
        at.fail("status", status=status)
        said = at.statuses(at.first, at.rows())
        expect(set(said) <= LATER, f"{status} makes rows {_unlike(said, LATER)}")


def wrong_credentials(at: Bench) -> None:
    """A login that is refused stops the connection and says nothing of any row."""
    at.fail("status", status=401)
    said = at.statuses(at.first, at.rows())
    expect(set(said) <= LATER, f"401 makes rows {_unlike(said, LATER)}")
    expect(all(one.stop for one in at.outcomes), "401 does not stop the connection")


def refused_row(at: Bench) -> None:
    """Of three rows one is refused: never that one is accepted, nor the others given up."""
    rows = at.rows()
    name, value = _marked(at, rows)
    at.fail("rows", rule={"contains": {name: value}}, message="This one is refused")
    results = at.send(at.first, rows)
    said = results["status"].to_list()
    expect(said[0] != ACCEPTED, "the refused row is taken for accepted")
    if any(one.whole for one in at.outcomes) and ACCEPTED not in said:
        return  # the whole batch was refused; the engine parts it
    others = set(said[1:])
    expect(others <= {ACCEPTED, *LATER}, f"the other rows are {_unlike(said[1:], {ACCEPTED})}")
    if at.driver.capabilities.per_row_results:
        expect(said == [REJECTED, ACCEPTED, ACCEPTED], f"the rows are {', '.join(said)}")


def refused_batch(at: Bench) -> None:
    """400 refuses what was sent, and nothing of it is accepted."""
    at.fail("status", status=400)
    said = at.statuses(at.first, at.rows())
    expect(ACCEPTED not in said, "400 makes rows accepted")


def no_answer(at: Bench) -> None:
    """Taken, and the answer lost: in doubt, and sent again it is there once."""
    at.fail("drop", times=1)
    rows = at.rows(1)
    said = at.statuses(at.first, rows)
    expect(said == [Status.IN_DOUBT.value], f"a lost answer makes the row {said[0]}")
    at.deliver(at.first, rows)
    if at.first is at.joining and at.driver.capabilities.repeats(at.first):
        expect(at.members() <= 1, f"sent again, it is there {at.members()} times")


def unreadable_answer(at: Bench) -> None:
    """A page where an answer was promised is no success."""
    declared = at.spec.operations.get(at.first)
    if at.sandbox is None or declared is None:
        raise DoesNotApply("its own tests ask a real server")
    steps = declared.steps or (declared,)
    answers = [step.answer for step in steps]
    if not any(_promises(answer) for answer in answers):
        raise DoesNotApply("the vendor promises nothing but a status")
    at.fail("garbage")
    said = at.statuses(at.first, at.rows())
    expect(ACCEPTED not in said, "a page that is no answer makes rows accepted")


def redirect(at: Bench) -> None:
    """A redirect is not followed: no row and no credential goes to another host."""
    at.fail("redirect", location="https://elsewhere.example/")
    said = at.statuses(at.first, at.rows())
    expect(ACCEPTED not in said, "a redirect makes rows accepted")
    expect(REJECTED not in said, "a redirect makes rows rejected")


def hashed_fields(at: Bench) -> None:
    """What is hashed stands nowhere in clear, in no request of any operation."""
    hashed = [name for name, one in at.spec.fields.items() if one.hash]
    if not hashed:
        raise DoesNotApply("it hashes nothing")
    rows = at.rows(2)
    clear = prepare(rows, at.spec.fields, hashed=False).select(hashed)
    plain = [name for name in at.spec.fields if name not in hashed]
    shared = {str(one) for name in plain for one in rows[name]} if plain else set()
    values = {str(one) for name in hashed for one in clear[name].drop_nulls()}
    # Short words (a country, an initial) may stand in a request for another reason.
    telling = {one for one in values if len(one) > 5} - shared
    for operation in at.operations:
        for request in rendered(at.spec, operation, rows):
            text = request.path + (request.body or b"").decode("utf-8", "replace")
            found = sorted(one for one in telling if one in text)
            expect(not found, f"{operation.value} sends {found[:1]} in clear")


def secrets(at: Bench) -> None:
    """Secrets stand in no address or body that is kept of a request (the login may carry them)."""
    if at.sandbox is None:
        settings = at.driver.__dict__.get("_settings")
        known = [name for name, one in at.spec.settings.items() if one.secret]
        expect("SecretStr('<" not in repr(settings), f"{known} can be printed")
        return
    at.deliver(at.first, at.rows(1))  # what is kept and logged is searched after every case


def check_request(at: Bench) -> None:
    """The harmless request that asks whether the credentials work is answered."""
    at.played  # noqa: B018 - it says whether the question makes sense
    if at.spec.check is None:
        raise DoesNotApply("it has no harmless request")
    try:
        said = at.driver.check()
    except StoreroomError as error:
        raise Failed(str(error)) from None
    expect(at.spec.name in said, f"the check says {said!r}")


CASES: dict[str, Callable[[Bench], None]] = {
    case.__name__: case
    for case in (
        operations, membership, empty_batch, largest_batch, unicode, nulls, too_many_requests,
        outage, wrong_credentials, refused_row, refused_batch, no_answer, unreadable_answer,
        redirect, hashed_fields, secrets, check_request,
    )
}  # fmt: skip
"""Name -> the question."""


def _rows_of_a_batch(at: Bench, operation: Operation) -> int:
    declared = at.spec.operations.get(operation)
    if declared is None:
        return at.driver.capabilities.batch_rows
    return declared.batch.rows if declared.batch else 1


def _marked(at: Bench, rows: pl.DataFrame) -> tuple[str, str]:
    """A field, as it is sent, that tells the first row from the others."""
    at.played  # noqa: B018 - it says whether the question makes sense
    sent = prepare(rows, at.spec.fields)
    names = [*_identifiers(at), *at.spec.fields]
    for name in names:
        values = sent[name].cast(pl.String).to_list()
        if values[0] and not any(values[0] in str(other) for other in values[1:]):
            return name, values[0]
    raise DoesNotApply("no field tells one row from another")


def _identifiers(at: Bench) -> Iterator[str]:
    return (name for name, one in at.spec.fields.items() if one.identifier)


def _promises(answer: Any) -> bool:
    return bool(
        answer.body or answer.accepted or answer.rejected or answer.count or answer.refused_count
    )


def _unlike(said: list[str], wanted: set[str]) -> str:
    return orjson.dumps(sorted(set(said) - wanted)).decode()
