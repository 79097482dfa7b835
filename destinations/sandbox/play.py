"""One destination, played from its spec: a request in, what the vendor would answer out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

import orjson

from destinations.language.replies import HEADER, Answer
from destinations.language.spec import Spec
from destinations.language.template import SETTINGS
from destinations.sandbox import checks
from destinations.sandbox.answers import (
    Verdict,
    asks_for_audience,
    failure,
    false_success,
    finds_nobody,
    nobody,
    success,
)
from destinations.sandbox.bodies import BodyError, parsed, unpacked
from destinations.sandbox.faults import Fault, Faults
from destinations.sandbox.inversion import Reading, Row
from destinations.sandbox.jobs import Jobs, encoded, job_answer
from destinations.sandbox.logins import Tokens
from destinations.sandbox.members import Book, absent, apply, refusal, whole
from destinations.sandbox.reading import read_route, rows_of
from destinations.sandbox.routes import (
    UPLOADS,
    Effect,
    Route,
    routes,
)
from destinations.sandbox.storage import Store, Transaction

FIRST_AUDIENCE = 5001
_WRITING = (Effect.JOIN, Effect.WRITE, Effect.TRACK)


@dataclass(frozen=True)
class Request:
    """As it came, without the destination's id in the path."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What to send back, and how badly."""

    status: int
    body: bytes | None = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    """Close the connection without a word."""
    delay: float = 0.0
    """Seconds before the answer; with ``drip`` spread over its bytes."""
    drip: bool = False


class _Refused(Exception):  # noqa: N818 - it carries an answer, it is no error of ours
    """The request as a whole is answered with an error."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class Player:
    """Plays one destination. Safe to call from several threads."""

    def __init__(self, spec: Spec, store: Store, faults: Faults) -> None:
        self.spec = spec
        self.known: dict[str, frozenset[str]] = {}
        """Settings whose values were told: others are refused."""
        self._store = store
        self._faults = faults
        self._routes = routes(spec)
        self._secrets_in_path = [
            (route.path, groups)
            for route in self._routes
            if (groups := _secret_groups(spec, route))
        ]
        self._jobs = Jobs()
        self._tokens = Tokens(spec)
        self._audiences: dict[str, str] = {}
        self._shown = {
            f"{SETTINGS}.{name}": one.example
            for name, one in spec.settings.items()
            if one.example is not None
        }
        """Settings, with the values that requests had last."""
        self._naming_audiences = {name for route in self._routes for name in route.targets}
        self._book = Book.of(spec, self._routes)

    def play(self, request: Request) -> Reply:
        """Answer one request and keep what it did."""
        try:
            route, reading, rows = self._understand(request)
        except _Refused as refused:
            with self._store.transaction() as change:
                self._record(change, request, refused.status, 0)
            return Reply(refused.status, _encoded(refused.body))
        faults = self._faults.firing(self.spec.id, route.operation)
        deciding = next((fault for fault in faults if fault.kind != "rows"), None)
        by_row = [fault for fault in faults if fault.kind == "rows"]
        if deciding is not None and not deciding.keeps:
            with self._store.transaction() as change:
                reply = self._failing(deciding, route, rows)
                self._record(change, request, 0 if reply.cut else reply.status, len(rows))
            return reply
        reply = self._take(request, route, reading, rows, by_row, deciding)
        if deciding is not None and deciding.kind == "slow":
            return Reply(reply.status, reply.body, delay=deciding.delay, drip=deciding.drip)
        return reply if deciding is None else self._failing(deciding, route, rows)

    def _understand(self, request: Request) -> tuple[Route, Reading, list[Row]]:
        """Which of the spec's requests this is, and the rows in it.

        Raises:
            _Refused: it is none of them, or one that the vendor would not take as a whole.
        """
        spec = self.spec
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        asked = self._tokens.answer(request.method, request.path, request.headers, request.body)
        if asked is not None:
            raise _Refused(*asked)
        if request.path.startswith(UPLOADS):
            carried = "authorization" in request.headers
            problem = "no login belongs into a request to an upload URL" if carried else None
        else:
            problem = checks.login_problem(spec, request.headers, query, request.body, self.known)
            problem = problem or self._tokens.problem(request.headers)
        if problem:
            raise _Refused(*failure(spec, None, problem, 401, "auth"))
        at_path = [
            (one, found) for one in self._routes if (found := one.path.fullmatch(request.path))
        ]
        fitting = [(one, found) for one, found in at_path if one.method == request.method]
        if not fitting:
            methods = sorted({one.method for one, _ in at_path})
            status, text = (
                (405, f"{request.method} is not taken here, {', '.join(methods)} is")
                if methods
                else (404, f"{spec.name} has no such path")
            )
            raise _Refused(*failure(spec, None, text, status))
        readings = []
        for route, found in fitting:
            try:
                plain = unpacked(request.body, request.headers.get("content-encoding"))
                content_type = request.headers.get("content-type", "")
                body = parsed(plain, route.step, route.body, content_type)
            except BodyError as error:
                raise _Refused(*failure(spec, route, str(error), 400)) from None
            reading = read_route(route, spec, found, query, request.headers, body)
            readings.append((route, reading))
            if not any(_unlikeliness(route, reading)):
                break
        route, reading = min(readings, key=lambda pair: _unlikeliness(*pair))
        form = checks.form_problem(route, request.headers)
        problems = [form, *reading.problems] if form else reading.problems
        if problems:
            text = f"This is no valid {route.label}: {'; '.join(problems)}"
            raise _Refused(*failure(spec, route, text, 415 if form else 400))
        self._shown |= {
            name: value for name, value in reading.shared.items() if name in self._naming_audiences
        }
        if route.of_job:
            # What a later step of a job names by an earlier answer is the job.
            reading.job, reading.single.remote_id = reading.single.remote_id, None
        if route.effect in (Effect.NONE, Effect.JOB):
            return route, reading, []
        rows = rows_of(reading)
        over = checks.batch_problem(route, len(rows), len(request.body))
        if over:
            raise _Refused(*failure(spec, route, over, 413 if rows else 400))
        for row in rows:
            clear = checks.clear_text_problem(spec, row)
            if clear:
                raise _Refused(*failure(spec, route, clear, 400))
        return route, reading, rows

    def _take(
        self,
        request: Request,
        route: Route,
        reading: Reading,
        rows: list[Row],
        faults: list[Fault],
        deciding: Fault | None,
    ) -> Reply:
        """Do what a well-formed request asks, all in one transaction."""
        with self._store.transaction() as change:
            try:
                origin = f"http://{request.headers.get('host', 'localhost')}/{self.spec.id}"
                status, body, verdicts = self._answer(change, route, reading, rows, faults, origin)
            except _Refused as refused:
                status, body, verdicts = refused.status, refused.body, []
            taken = sum(one.refusal is None for one in verdicts)
            change.count(self.spec.id, accepted=taken, rejected=len(rows) - taken)
            logged = 0 if deciding is not None and deciding.kind == "drop" else status
            self._record(change, request, logged, len(rows))
        form = route.answer if status in route.answer.status else Answer()
        headers = {}
        for path in [path for path in body or () if str(path).startswith(HEADER)]:
            headers[path.removeprefix(HEADER)] = str(body.pop(path))
        return Reply(status, None if status == 204 else encoded(body, form), headers)

    def _answer(
        self,
        change: Transaction,
        route: Route,
        reading: Reading,
        rows: list[Row],
        faults: list[Fault],
        origin: str,
    ) -> tuple[int, Any, list[Verdict]]:
        if route.effect is Effect.NONE:
            return *success(route, self._audience_asked(route, reading)), []
        opened = self._jobs.opened(reading.job) if route.of_job else None
        if route.of_job and opened is None:
            raise _Refused(*failure(self.spec, route, "No such job", 404))
        if opened is not None and route.effect is Effect.JOB:
            return *job_answer(route, *opened, origin), []
        if absent(self._book, change, route, rows):
            accepting = any(rule.means == "accept" for rule in route.errors)
            if route.effect is Effect.LOOK and finds_nobody(route.answer):
                return *nobody(route), []
            if accepting or route.effect is Effect.LOOK:
                raise _Refused(*failure(self.spec, route, "Not found", 404, "accept"))
        shared = {**self._shown, **reading.shared}
        audiences: list[Mapping[str, Any]] = []
        if route.within_audience or (
            route.effect is Effect.LOOK and asks_for_audience(route.answer)
        ):
            audiences = self._book.audiences(change, route, rows[0], shared)
            if not audiences and finds_nobody(route.answer):
                return *nobody(route), []
            if not audiences:
                raise _Refused(*failure(self.spec, route, "Not found", 404, "accept"))
        refusals = [self._refusal(change, route, row, faults) for row in rows]
        words = whole(route, refusals)
        if words is not None and opened is not None and route.can_fail:
            opened[1].failed = words
            return *job_answer(route, *opened, origin), []
        if words is not None:
            missing = words.startswith("No contact with") and len(rows) == 1
            if missing:
                stale = any(rule.means == "gone" for rule in route.errors)
                means = "gone" if stale and rows[0].remote_id is not None else None
                raise _Refused(*failure(self.spec, route, words, 404, means))  # type: ignore[arg-type]
            raise _Refused(*failure(self.spec, route, words, 400, "reject"))
        verdicts = apply(self._book, change, route, rows, refusals, shared)
        if audiences:
            verdicts = [replace(one, audiences=tuple(audiences)) for one in verdicts]
        if opened is not None:
            opened[1].verdicts += verdicts
            return *job_answer(route, *opened, origin), verdicts
        status, body = success(route, verdicts)
        forced = next((one.status for one in faults if one.status), None)
        if forced and any(verdict.refusal is not None for verdict in verdicts):
            status = forced
        return status, body, verdicts

    def _audience_asked(self, route: Route, reading: Reading) -> list[Verdict]:
        """An audience by its name: one that was created here, or is now; none for other requests."""
        declared = self.spec.audience
        if declared is None or route.step not in (declared.find, declared.create):
            return []
        name = str(reading.shared.get("meta.audience", ""))
        if route.step is declared.create:
            self._audiences.setdefault(name, str(FIRST_AUDIENCE + len(self._audiences)))
        # Where the request does not name it the one created last is meant.
        names = [name] if name else list(self._audiences)[-1:]
        return [
            Verdict(None, {"meta.audience": one}, self._audiences[one])
            for one in names
            if one in self._audiences
        ]

    def _refusal(
        self, change: Transaction, route: Route, row: Row, faults: list[Fault]
    ) -> str | None:
        if route.effect in _WRITING:
            words = checks.row_problem(self.spec, route, row)
            if words:
                return words
        for fault in faults:
            identity = self._book.identity(row)
            name = identity[1] if identity else row.remote_id or row.key or ""
            if fault.rule is not None and fault.rule.fits(name, row.fields):
                return fault.message or "This contact cannot be taken"
        return refusal(self._book, change, route, row)

    def _failing(self, fault: Fault, route: Route, rows: list[Row]) -> Reply:
        """The answer of a fault that decides for the whole request."""
        spec = self.spec
        headers = {**fault.headers, **fault.retry_header(spec.retry_after.header)}
        if fault.kind == "drop":
            return Reply(0, cut=True)
        if fault.kind == "redirect":
            return Reply(fault.status or 302, b"", {**headers, "Location": fault.location})
        if fault.kind == "garbage":
            return Reply(fault.status or route.answer.status[0], fault.body.encode(), headers)
        if fault.kind == "errors":
            verdicts = [Verdict(row.key, row.fields, row.remote_id) for row in rows]
            status, body = false_success(route, fault.message or "Could not be taken", verdicts)
            return Reply(fault.status or status, _encoded(body), headers)
        asked = fault.status or 500
        text = fault.message or _WORDS.get(asked, "The service is not available")
        means = "auth" if asked in (401, 403) else "reject" if asked in (400, 422) else "retry"
        status, body = failure(spec, route, text, asked, means, exactly=True)  # type: ignore[arg-type]
        return Reply(status, _encoded(body), headers)

    def _record(self, change: Transaction, request: Request, status: int, rows: int) -> None:
        change.record(self.spec.id, request.method, self._loggable(request.path), status, rows)
        change.count(self.spec.id, requests=1)

    def _loggable(self, path: str) -> str:
        """The path without the values of secret settings, which some vendors want in it."""
        if not self._secrets_in_path:
            return path
        for pattern, groups in self._secrets_in_path:
            found = pattern.fullmatch(path)
            if found is not None:
                return _masked(path, [found.span(group) for group in groups if found[group]])
        plain = any(route.path.fullmatch(path) for route in self._routes)
        return path if plain else "(a path that may hold a secret)"


def _unlikeliness(route: Route, reading: Reading) -> tuple[int, bool, int]:
    """How little a request looks like this route's; of one without a word of anybody the
    harmless one is meant.
    """
    row = reading.single
    named = reading.rows or row.fields or row.digests or row.key or row.remote_id
    nobody = route.effect not in (Effect.NONE, Effect.JOB) and not named
    return len(reading.problems), nobody, reading.doubts


def _secret_groups(spec: Spec, route: Route) -> list[int]:
    """The groups of a route's path that hold secret settings."""
    return [
        group
        for group, name in enumerate(route.path_names, start=1)
        if name.scope == SETTINGS
        and name.local in spec.settings
        and spec.settings[name.local].secret
    ]


def _masked(path: str, spans: list[tuple[int, int]]) -> str:
    for start, end in sorted(spans, reverse=True):
        path = f"{path[:start]}***{path[end:]}"
    return path


def _encoded(body: Any) -> bytes | None:
    return None if body is None else orjson.dumps(body)


_WORDS = {
    400: "The request is not valid",
    401: "The credentials are wrong",
    403: "Not allowed",
    429: "Too many requests",
    500: "Internal error",
    502: "Bad gateway",
    503: "The service is not available",
}
