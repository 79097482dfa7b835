"""A destination of the catalog over HTTP, as the sync engine sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from destinations.driver import (
    KEY,
    Alike,
    AlikeOutcome,
    Capabilities,
    Delivery,
    InFlight,
    Operation,
    Outcome,
    Status,
)
from destinations.errors import StoreroomError
from destinations.http.account import Account
from destinations.http.answers import Verdict, judge
from destinations.http.audience import VendorAudience
from destinations.http.documents import MISSING, document_of, found, parsed
from destinations.http.flights import Course, Flights
from destinations.http.limits import Limiter
from destinations.http.redaction import Redactor
from destinations.http.retry_after import seconds_to_wait
from destinations.http.session import NoAnswerError, NotSentError, Response
from destinations.http.tokens import LoginRefusedError, LoginUnavailableError
from destinations.http.unanswered import UnansweredError
from destinations.http.walk import Walk, is_plain, naming
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
        redacted: keeps secrets out of what is written down.
        found: the audience at the vendor, where its id is not a setting.
    """

    def __init__(
        self,
        spec: Spec,
        settings: Mapping[str, Any],
        audience: str,
        *,
        account: Account,
        limiter: Limiter,
        redacted: Redactor,
        found: VendorAudience | None = None,
    ) -> None:
        self.spec = spec
        self._interrupted = threading.Event()
        self._account = account
        self._found = found
        self._limiter = limiter
        self._redacted = redacted
        self._settings = settings
        self._turn = threading.Lock()
        self._unsaid = 0.0
        self._unsaid_until = 0.0
        self._compiled = {
            operation: Compiled(spec, operation, settings, audience)
            for operation in spec.operations
        }
        self._plain = {name for name, made in self._compiled.items() if is_plain(spec, made)}

    @property
    def capabilities(self) -> Capabilities:
        return capabilities(self.spec)

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        return problems(self.spec, self._compiled[operation].steps, rows)

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        for rendered in self._compiled[operation].requests(rows):
            size = len(rendered.request.body or b"")
            yield Delivery(operation, rendered.rows, rendered, size)

    def shown(self, delivery: Delivery) -> dict[str, Any]:
        """The first request of a delivery: ``method``, ``url``, ``headers``, ``body`` (cut), without
        the login and with secrets blacked out.
        """
        return self._request_sample(delivery.payload.request)

    def send(self, delivery: Delivery) -> Outcome:
        sent = _Sent()

        def ask_plainly(request: Request, step: Step) -> Response:
            self._leave()
            return self._attempt(request, step, sent)

        def ask(request: Request, step: Step) -> Response:
            if self._found is not None:
                request = self._found.filled(request, ask_plainly)
            return ask_plainly(request, step)

        compiled = self._compiled[delivery.operation]
        walk = Walk(self.spec, compiled, delivery.payload, ask, self._asked_to_wait, self._paused)
        results = self._without_secrets(walk.results())
        stop = None if walk.stop is None else self._redacted(walk.stop)
        return Outcome(results, walk.retry_after, walk.whole, stop, sent.requests, sent.sample)

    def flights(self) -> InFlight | None:
        session = self._account.plain_session()
        if session is None or not session.may_be_shared:
            return None
        return Flights(self.course, self.send, session, self.capabilities.concurrency)

    def course(self, delivery: Delivery) -> Course | None:
        """What :meth:`send` does of a delivery that is one request; None for others.

        Gives the request to be sent, or seconds to come back after; takes the answer, or what
        went wrong instead; ends with the outcome.
        """
        return self._course(delivery) if delivery.operation in self._plain else None

    def _course(self, delivery: Delivery) -> Course:
        compiled = self._compiled[delivery.operation]
        step, rows = compiled.steps[0].step, delivery.rows
        request: Request = delivery.payload.request
        wait = yield from self._limiter.leave(PATIENCE)
        if wait > 0:
            full = Alike(Status.RETRY, "The account's rate limit.")
            return AlikeOutcome(rows, full, retry_after=wait, requests=0)
        try:
            ours = self._account.signed(request)
        except StoreroomError as error:
            words = self._redacted(f"The login was refused: {error}")
            return AlikeOutcome(rows, Alike(Status.RETRY, words), stop=words, requests=0)
        answer = yield ours
        if not isinstance(answer, Response):
            sent = isinstance(answer, NoAnswerError)
            words = self._redacted(f"{'No answer' if sent else 'Not sent'}: {answer}")
            lost = Alike(Status.IN_DOUBT if sent else Status.RETRY, words)
            return AlikeOutcome(rows, lost, sample=lambda: self._sample(request, None))
        response = answer
        named = naming(step, rows)
        as_sent = compiled.prepared(rows.select(KEY, *named)) if named else rows
        match = compiled.match(0, rows, {})
        idempotent = compiled.declaration.idempotent
        verdict = judge(self.spec, step, response, as_sent, idempotent, match)
        wait_for = self._asked_to_wait(verdict, response)
        stop = None if verdict.stop is None else self._redacted(verdict.stop)
        if verdict.alike is None:
            results = self._without_secrets(verdict.results)
            sample = self._sample(request, response)
            return Outcome(results, wait_for, verdict.whole, stop, 1, sample)
        alike = verdict.alike
        if alike.message is not None:
            alike = replace(alike, message=self._redacted(alike.message))
        return AlikeOutcome(
            rows, alike, wait_for, verdict.whole, stop, 1, lambda: self._sample(request, response)
        )

    def check(self) -> str:
        step = self.spec.check
        if step is None:
            return f"{self.spec.name} has no harmless request to ask with; nothing was sent."
        try:
            request = request_without_rows(self.spec, step, self._settings)
            response = self._account.send(request, step)
        except LoginRefusedError as error:
            raise StoreroomError(
                f"{self.spec.name} refused the login: {self._redacted(str(error))}.",
                "Check the connection's settings and its environment variables.",
            ) from None
        except (NotSentError, NoAnswerError) as error:
            raise StoreroomError(
                f"{self.spec.name} did not answer: {self._redacted(str(error))}."
            ) from None
        row = pl.DataFrame({KEY: [""]})
        # Who we are is good to know, and no part of the answer.
        asked = step.model_copy(update={"answer": step.answer.model_copy(update={"id": None})})
        verdict = judge(self.spec, asked, response, row, idempotent=True)
        if verdict.results["status"][0] != Status.ACCEPTED.value:
            raise StoreroomError(
                f"{self.spec.name} refused: {self._redacted(str(verdict.results['message'][0]))}",
                "Check the connection's settings and its environment variables.",
            )
        document = document_of(response.body, step.answer, response.status)
        who = found(step.answer.id, document) if step.answer.id else None
        return f"{self.spec.name} accepts the credentials" + (
            "." if who in (MISSING, None, "") else f" of {who}."
        )

    def interrupt(self) -> None:
        """Wait for no job any longer: the run is cancelled."""
        self._interrupted.set()

    def close(self) -> None:
        self._account.close()

    def _paused(self, seconds: float) -> bool:
        return not self._interrupted.wait(seconds)

    def _attempt(self, request: Request, step: Step, sent: _Sent) -> Response:
        """Raises: UnansweredError: it never left, or left and nothing came back."""
        sent.requests += 1
        sent.sample = self._sample(request, None)

        def leave() -> None:
            self._leave()
            sent.requests += 1

        try:
            response = self._account.send(request, step, leave)
        except LoginUnavailableError as error:
            raise UnansweredError(Status.RETRY, f"Not sent: {error}", error.retry_after) from None
        except NotSentError as error:
            raise UnansweredError(Status.RETRY, f"Not sent: {error}") from None
        except NoAnswerError as error:
            raise UnansweredError(Status.IN_DOUBT, f"No answer: {error}") from None
        except (LoginRefusedError, StoreroomError) as error:
            words = f"The login was refused: {error}"
            raise UnansweredError(Status.RETRY, words, stop=words) from None
        sent.sample = self._sample(request, response)
        return response

    def _leave(self) -> None:
        """Wait for the rate limit. Raises: UnansweredError: for too long."""
        wait = self._limiter.acquire(PATIENCE)
        if wait > 0:
            raise UnansweredError(Status.RETRY, "The account's rate limit.", wait)

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

    def _without_secrets(self, results: pl.DataFrame) -> pl.DataFrame:
        if results["message"].null_count() == results.height:
            return results
        # Vendors quote requests in their errors; each different message is searched once.
        said = results["message"].drop_nulls().unique()
        messages = {text: self._redacted(text) for text in said}
        return results.with_columns(pl.col("message").replace(messages))

    def _sample(self, request: Request, response: Response | None) -> dict[str, Any]:
        sample: dict[str, Any] = {"request": self._request_sample(request)}
        if response is not None:
            body = self._excerpt(response.body)
            sample["response"] = {"status": response.status, "body": body}
        return sample

    def _request_sample(self, request: Request) -> dict[str, Any]:
        # The login is added after this, so it cannot be in here.
        return {
            "method": request.method,
            "url": self._redacted(self._account.url(request)),
            "headers": {name: self._redacted(text) for name, text in request.headers.items()},
            "body": self._excerpt(request.plain_body or b""),
        }

    def _excerpt(self, body: bytes) -> str:
        # Redacted before it is cut: half a secret is a secret too.
        return self._redacted(body.decode("utf-8", "replace"))[:SAMPLE_CHARACTERS]


@dataclass
class _Sent:
    """What one delivery took, for the run's record."""

    requests: int = 0
    sample: dict[str, Any] = field(default_factory=dict)
