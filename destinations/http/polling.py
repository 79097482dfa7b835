"""Asking again and again what became of a job: ``until``, ``failed``, ``every`` and ``for``."""

from __future__ import annotations

import time
from collections.abc import Callable

from destinations.driver import Status
from destinations.http.answers import is_under_way
from destinations.http.retry_after import seconds_to_wait
from destinations.http.session import Response
from destinations.http.unanswered import UnansweredError
from destinations.language.requests import Request
from destinations.language.spec import Spec
from destinations.language.steps import Step

GROWTH = 1.5
LONGEST_WAIT = 60.0
"""Seconds between two questions, unless the spec itself wants longer."""

Pause = Callable[[float], bool]
"""Sleeps for so many seconds; False where the run was cancelled meanwhile."""


def answered(
    spec: Spec,
    step: Step,
    request: Request,
    ask: Callable[[Request, Step], Response],
    pause: Pause,
    clock: Callable[[], float] = time.monotonic,
) -> Response:
    """The answer that says what became of the job.

    A question without an answer, or one that is told to wait, is asked again: nothing is lost by
    it, the rows are there already.

    Raises:
        UnansweredError: it took too long, or the run was cancelled: the rows are in doubt.
    """
    deadline = clock() + step.patience
    wait = step.every
    while True:
        asked: float | None = None
        try:
            response = ask(request, step)
        except UnansweredError as error:
            said, asked = error.message, error.retry_after
            if error.stop is not None:
                raise UnansweredError(Status.IN_DOUBT, said, stop=error.stop) from None
        else:
            if not is_under_way(spec, step, response):
                return response
            asked = seconds_to_wait(spec.retry_after, response.headers)
            said = f"the last answer was {response.status}"
        seconds = max(wait, asked or 0.0)
        if clock() + seconds > deadline:
            words = f"The job was not done within {step.patience:g} seconds: {said}."
            raise UnansweredError(Status.IN_DOUBT, words)
        if not pause(seconds):
            raise UnansweredError(Status.IN_DOUBT, "Cancelled while the job was under way.")
        wait = min(wait * GROWTH, max(LONGEST_WAIT, step.every))
