"""Jobs: what a destination remembers between the requests that create one, fill it and ask after it."""

from __future__ import annotations

import csv
import io
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import orjson

from destinations.language.replies import Answer
from destinations.language.xml_text import ATTRIBUTE, TEXT
from destinations.sandbox.answers import Verdict, fulfilled, place, success
from destinations.sandbox.routes import Route

MOST_JOBS = 1_000
"""Older ones are forgotten, as vendors do after some days."""


@dataclass
class Job:
    verdicts: list[Verdict] = field(default_factory=list)
    failed: str | None = None
    """Why the whole job came to nothing."""


class Jobs:
    """One destination's jobs, by id. Safe to call from several threads."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._turn = threading.Lock()
        self._last = 0

    def opened(self, name: str | None) -> tuple[str, Job] | None:
        """The job of that id, or a new one where a request names none; None where there is none."""
        with self._turn:
            if name is None:
                self._last += 1
                name = str(self._last)
                self._jobs[name] = Job()
                if len(self._jobs) > MOST_JOBS:
                    self._jobs.popitem(last=False)
            job = self._jobs.get(name)
            return None if job is None else (name, job)


def job_answer(route: Route, name: str, job: Job, origin: str) -> tuple[int, Any]:
    """What the destination answers to one of a job's requests.

    Args:
        origin: the URL of this destination, for upload URLs.
    """
    status, body = success(route, [] if job.failed else job.verdicts)
    body = {} if body is None else body
    step = route.step
    if step.until:
        ending = step.failed if job.failed is not None and step.failed else step.until
        body = fulfilled(body, ending)
    for local, path in route.answer.capture.items():
        upload = route.uploads.get(local)
        value = name if upload is None else f"{origin}{upload}{name}"
        body = place(body, path.removesuffix("?"), value)
    return status, None if status == 204 else body


def encoded(body: Any, answer: Answer) -> bytes | None:
    """A body as the answer's format writes it."""
    if body is None:
        return None
    match answer.format:
        case "csv" if isinstance(body, list):
            paths = [
                path for one in answer.lists for path in (one.key, one.index, one.id, one.message)
            ]
            known = [path for path in paths if path is not None and path not in ("@", "#")]
            names = list(dict.fromkeys([*known, *(name for one in body for name in one)]))
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, names)
            writer.writeheader()
            writer.writerows(body)
            return text.getvalue().encode()
        case "ndjson" if isinstance(body, list):
            return b"".join(orjson.dumps(one) + b"\n" for one in body)
        case "xml" if isinstance(body, dict):
            return "".join(_xml(name, value) for name, value in body.items()).encode()
        case "text":
            return body.encode() if isinstance(body, str) else b""
        case _:
            return orjson.dumps(body)


def _xml(name: str, value: Any) -> str:
    if isinstance(value, list):
        return "".join(_xml(name, one) for one in value)
    if not isinstance(value, Mapping):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return f"<{name}>{escape(text)}</{name}>"
    attributes = "".join(
        f" {key.removeprefix(ATTRIBUTE)}={quoteattr(str(said))}"
        for key, said in value.items()
        if key.startswith(ATTRIBUTE)
    )
    inner = "".join(
        escape(str(said)) if key == TEXT else _xml(key, said)
        for key, said in value.items()
        if not key.startswith(ATTRIBUTE)
    )
    return f"<{name}{attributes}>{inner}</{name}>"
