"""A destination of the catalog over HTTP, as the sync engine sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from destinations.driver import (
    KEY,
    REMOTE_ID,
    Capabilities,
    Delivery,
    Operation,
    Outcome,
    Status,
    results_for,
)
from destinations.errors import StoreroomError
from destinations.http.answers import MISSING, Verdict, found, judge, parsed
from destinations.http.auth import Authorizer
from destinations.http.limits import Limiter
from destinations.http.redaction import Redactor
from destinations.http.retry_after import seconds_to_wait
from destinations.http.session import NoAnswerError, NotSentError, Response, Session
from destinations.language.capabilities import capabilities, problems
from destinations.language.compile import Compiled, request_without_rows
from destinations.language.requests import Request
from destinations.language.spec import Spec
from destinations.language.steps import Step

PATIENCE = 60.0
"""Longest a sending thread sleeps for the rate limit; beyond it the engine is told to come back."""
TOO_MANY_REQUESTS = 429
UNSAID = 1.0
LONGEST_UNSAID = 60.0
"""Seconds to wait after 429 (RFC 6585, section 4) where the vendor names none: doubled up to the longest."""
SAMPLE_CHARACTERS = 2_000
"""Of a body, in the run's record."""


class HttpDriver:
    """Sends one spec's requests for one connection and audience.

    Args:
        settings: resolved, with defaults.
        secrets: texts that must never be written down.
    """

    def __init__(
        self,
        spec: Spec,
        settings: Mapping[str, Any],
        audience: str,
        *,
        session: Session,
        login: Authorizer,
        limiter: Limiter,
        secrets: list[str],
    ) -> None:
        self.spec = spec
        self._session = session
        self._login = login
        self._limiter = limiter
        self._redacted = Redactor(secrets)
        self._settings = settings
        self._turn = threading.Lock()
        self._unsaid = 0.0
        self._unsaid_until = 0.0
        self._compiled = {
            operation: Compiled(spec, operation, settings, audience)
            for operation in spec.operations
        }

    @property
    def capabilities(self) -> Capabilities:
        return capabilities(self.spec)

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        return problems(self.spec, self._compiled[operation].steps, rows)

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        for rendered in self._compiled[operation].requests(rows):
            request = rendered.request
            yield Delivery(operation, rendered.rows, request, len(request.body or b""))

    def shown(self, delivery: Delivery) -> dict[str, Any]:
        """The first request of a delivery: ``method``, ``url``, ``headers``, ``body`` (cut), without
        the login and with secrets blacked out.
        """
        return self._request_sample(delivery.payload)

    def send(self, delivery: Delivery) -> Outcome:
        compiled = self._compiled[delivery.operation]
        run = _Run(delivery, self._redacted)
        for position, template in enumerate(compiled.steps):
            if position == 0:
                request: Request = delivery.payload
            else:
                request = compiled.following(position, run.pending, run.captures)
            wait = self._limiter.acquire(PATIENCE)
            if wait > 0:
                run.settle(results_for(run.pending, Status.RETRY, "The account's rate limit."))
                run.retry_after = wait
                break
            response = self._attempt(request, run)
            if response is None:
                break
            named = _naming(template.step, run.pending)
            rows = run.pending
            if named:
                rows = compiled.prepared(rows.select(KEY, *named))
            idempotent = compiled.declaration.idempotent
            verdict = judge(self.spec, template.step, response, rows, idempotent)
            run.retry_after = self._asked_to_wait(verdict, response)
            if len(compiled.steps) == 1:
                return run.answered(verdict)
            run.take(verdict, template.step.name)
            if run.pending.is_empty():
                break
        run.settle(results_for(run.pending, Status.ACCEPTED))
        return run.outcome()

    def check(self) -> str:
        step = self.spec.check
        if step is None:
            return f"{self.spec.name} has no harmless request to ask with; nothing was sent."
        try:
            response = self._send(request_without_rows(self.spec, step, self._settings))
        except (NotSentError, NoAnswerError) as error:
            raise StoreroomError(
                f"{self.spec.name} did not answer: {self._redacted(str(error))}."
            ) from None
        row = pl.DataFrame({KEY: [""]})
        verdict = judge(self.spec, step, response, row, idempotent=True)
        if verdict.results["status"][0] != Status.ACCEPTED.value:
            raise StoreroomError(
                f"{self.spec.name} refused: {self._redacted(str(verdict.results['message'][0]))}",
                "Check the connection's settings and its environment variables.",
            )
        who = found(step.answer.id, parsed(response.body)) if step.answer.id else None
        return f"{self.spec.name} accepts the credentials" + (
            "." if who in (MISSING, None, "") else f" of {who}."
        )

    def close(self) -> None:
        self._session.close()

    def _send(self, request: Request) -> Response:
        ours = self._login(request)
        return self._session.send(ours.method, ours.path, ours.headers, ours.body)

    def _attempt(self, request: Request, run: _Run) -> Response | None:
        """Send; without an answer settle the pending rows and return None."""
        run.requests += 1
        run.sample = {"request": self._request_sample(request)}
        try:
            response = self._send(request)
        except NotSentError as error:
            run.settle(results_for(run.pending, Status.RETRY, f"Not sent: {error}"))
            return None
        except NoAnswerError as error:
            run.settle(results_for(run.pending, Status.IN_DOUBT, f"No answer: {error}"))
            return None
        run.sample["response"] = {
            "status": response.status,
            "body": self._excerpt(response.body),
        }
        return response

    def _asked_to_wait(self, verdict: Verdict, response: Response) -> float | None:
        """Close the account for as long as an answer of "not now" says."""
        if not verdict.retries or verdict.stop is not None:
            self._unsaid = 0.0
            return None
        declared = self.spec.retry_after
        said = found(declared.body, parsed(response.body)) if declared.body else None
        seconds = seconds_to_wait(declared, response.headers, said)
        if seconds is None and response.status == TOO_MANY_REQUESTS:
            seconds = self._unsaid_wait()
        if seconds:
            self._limiter.close_for(seconds)
        return seconds

    def _unsaid_wait(self) -> float:
        """Seconds to wait after "too many requests" that names no time: longer each time."""
        with self._turn:
            now = time.monotonic()
            # Requests that were on their way together are told so together: that is one time.
            if now >= self._unsaid_until:
                self._unsaid = min(max(2 * self._unsaid, UNSAID), LONGEST_UNSAID)
                self._unsaid_until = now + self._unsaid
            return self._unsaid_until - now

    def _request_sample(self, request: Request) -> dict[str, Any]:
        # The login is added after this, so it cannot be in here.
        return {
            "method": request.method,
            "url": self._redacted(self._session.url(request.path)),
            "headers": {name: self._redacted(text) for name, text in request.headers.items()},
            "body": self._excerpt(request.body or b""),
        }

    def _excerpt(self, body: bytes) -> str:
        # Redacted before it is cut: half a secret is a secret too.
        return self._redacted(body.decode("utf-8", "replace"))[:SAMPLE_CHARACTERS]


def _naming(step: Step, rows: pl.DataFrame) -> list[str]:
    """The columns, besides the key, by which an answer of this step may name rows."""
    lists = [named for named in (step.answer.accepted, step.answer.rejected) if named]
    return [
        name for name in rows.columns if lists and name in (REMOTE_ID, *(n.field for n in lists))
    ]


class _Run:
    """One delivery on its way through the steps."""

    def __init__(self, delivery: Delivery, redacted: Redactor) -> None:
        self._redacted = redacted
        self.rows = delivery.rows
        self.pending = delivery.rows
        self.captures: dict[str, Any] = {}
        self.requests = 0
        self.retry_after: float | None = None
        self.sample: dict[str, Any] = {}
        self._settled: list[pl.DataFrame] = []
        self._remote: list[pl.DataFrame] = []
        self._whole = False
        self._stop: str | None = None

    def take(self, verdict: Verdict, step: str | None) -> None:
        """Rows that the step accepted go on; the others stay with its verdict."""
        accepted = pl.col("status") == Status.ACCEPTED.value
        self._whole, self._stop = verdict.whole, verdict.stop
        self._settled.append(verdict.results.filter(~accepted))
        going_on = verdict.results.filter(accepted)
        known = going_on.filter(pl.col("remote_id").is_not_null())
        self._remote.append(known.select(KEY, known="remote_id"))
        if step is not None:
            self.captures |= {f"{step}.{name}": value for name, value in verdict.captures.items()}
        self.pending = self.pending.join(going_on.select(KEY), on=KEY, how="semi")
        if verdict.settled:
            self.settle(results_for(self.pending, Status.ACCEPTED))

    def settle(self, results: pl.DataFrame) -> None:
        self._settled.append(results)
        self.pending = self.pending.clear()

    def outcome(self) -> Outcome:
        results = pl.concat(self._settled)
        nothing = pl.DataFrame(schema={KEY: pl.String, "known": pl.String})
        known = pl.concat([nothing, *self._remote]).unique(KEY, keep="last")
        ordered = (
            self.rows.select(KEY)
            .join(results, on=KEY, how="left", maintain_order="left")
            .join(known, on=KEY, how="left", maintain_order="left")
            .with_columns(remote_id=pl.coalesce("remote_id", "known"))
            .drop("known")
        )
        return self._told(ordered)

    def answered(self, verdict: Verdict) -> Outcome:
        """The outcome where one request is all: the verdict as it stands."""
        self._whole, self._stop = verdict.whole, verdict.stop
        return self._told(verdict.results)

    def _told(self, results: pl.DataFrame) -> Outcome:
        if results["message"].null_count() < results.height:
            # Vendors quote requests in their errors; each different message is searched once.
            said = results["message"].drop_nulls().unique()
            messages = {text: self._redacted(text) for text in said}
            results = results.with_columns(pl.col("message").replace(messages))
        return Outcome(
            results,
            self.retry_after,
            self._whole,
            None if self._stop is None else self._redacted(self._stop),
            self.requests,
            self.sample,
        )
