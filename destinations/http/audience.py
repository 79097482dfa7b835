"""An audience at the vendor that is found by name, or created, when the first request needs its id.

Requests are written before anything is sent, so a mark stands for the id until then. It has
the digits of a number, which pass where the vendor wants a number as well as a text.
"""

from __future__ import annotations

import gzip
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from destinations.driver import KEY, Status
from destinations.http.answers import judge
from destinations.http.documents import parsed
from destinations.http.kept import Kept
from destinations.http.pages import turned
from destinations.http.session import Response
from destinations.http.unanswered import UnansweredError
from destinations.http.walk import MOST_PAGES
from destinations.language.bodies import constant_text
from destinations.language.compile import Sought, request_without_rows
from destinations.language.requests import Request
from destinations.language.spec import Spec
from destinations.language.steps import Step

_NOBODY = pl.DataFrame({KEY: [""]})


def new_mark() -> str:
    """15 digits that stand nowhere else; a number of so many is exact as a float too."""
    return "9" + "".join(secrets.choice("0123456789") for _ in range(14))


class VendorAudience:
    """The audience's id for one connection, asked for once.

    Args:
        settings: the connection's, with the mark as the audience's id.
        kept: where the id stands from run to run.
    """

    def __init__(self, spec: Spec, settings: Mapping[str, Any], audience: str, kept: Kept) -> None:
        assert spec.audience is not None  # noqa: S101 - opened for specs that have one
        self._spec = spec
        self._declared = spec.audience
        self._mark = str(settings[spec.audience.setting])
        self._settings = {n: v for n, v in settings.items() if n != spec.audience.setting}
        self._audience = audience
        self._kept = kept
        self._lock = threading.Lock()
        self._id: str | None = None

    def filled(self, request: Request, ask: Callable[[Request, Step], Response]) -> Request:
        """The request with the id in the place of its mark.

        Raises:
            UnansweredError: it was neither found nor created.
        """
        mark, body = self._mark, request.plain_body
        parts = [request.path, *request.headers.values()]
        if not any(mark in part for part in parts) and mark.encode() not in (body or b""):
            return request
        found = self._known(ask)
        written = None if body is None else body.replace(mark.encode(), found.encode())
        if written is not None and body is not request.body:
            written = gzip.compress(written, mtime=0)
        headers = {name: text.replace(mark, found) for name, text in request.headers.items()}
        path = request.path.replace(mark, found)
        return replace(request, path=path, headers=headers, body=written)

    def _known(self, ask: Callable[[Request, Step], Response]) -> str:
        with self._lock:
            if self._id is None:
                with self._kept.locked():
                    kept = self._kept.read().get("id")
                    self._id = kept or self._found(ask)
                    if not kept:
                        self._kept.write({"id": self._id, "audience": self._audience})
            return self._id

    def _found(self, ask: Callable[[Request, Step], Response]) -> str:
        for step in (self._declared.find, self._declared.create):
            found = None if step is None else self._asked(step, ask)
            if found is not None:
                return found
        words = f"{self._spec.name} has no audience '{self._audience}', and none is created."
        raise UnansweredError(Status.RETRY, words, stop=words)

    def _asked(self, step: Step, ask: Callable[[Request, Step], Response]) -> str | None:
        settings = {**self._settings, self._declared.setting: None}
        constants = {f"settings.{name}": value for name, value in settings.items()}
        constants["meta.audience"] = self._audience
        match = {p: Sought(constant_text(t, constants)) for p, t in step.answer.match.items()}
        first = current = request_without_rows(self._spec, step, settings, self._audience)
        for number in range(1, MOST_PAGES + 1):
            response = ask(current, step)
            verdict = judge(self._spec, step, response, _NOBODY, step.request[:3] == "GET", match)
            status, words = verdict.results.select("status", "message").row(0)
            if verdict.unmatched and step.pages:
                following = turned(step.pages, first, current, parsed(response.body), number)
                if following is not None:
                    current = following
                    continue
            if status == Status.ACCEPTED.value:
                found = verdict.captures.get("id")
                return None if found is None else str(found)
            words = f"The audience '{self._audience}' at {self._spec.name}: {words}"
            later = status == Status.RETRY.value and verdict.stop is None
            raise UnansweredError(Status.RETRY, words, stop=None if later else words)
        return None
