"""One delivery on its way through the steps of its operation.

Each step is one request for the rows that it is made for; what its answer gives a row
(an id, a captured value) decides which later steps are made for it. Sending is left to
the caller: a run sends over HTTP, a check plays the answers of a worked example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl

from destinations.driver import KEY, REMOTE_ID, Alike, Status, results_for
from destinations.http.answers import Verdict, judge
from destinations.http.documents import document_of
from destinations.http.pages import turned
from destinations.http.polling import Pause, answered
from destinations.http.session import Response
from destinations.http.unanswered import UnansweredError
from destinations.language.compile import Compiled, Rendered
from destinations.language.conditions import OF_STEP
from destinations.language.requests import Request
from destinations.language.spec import Spec
from destinations.language.steps import Step

MOST_PAGES = 1_000
"""Pages of a list that are looked through for one row."""
NO_STEP = "None of the operation's requests is made for this row."


class Walk:
    """A delivery's rows and what was said of them.

    Args:
        start: its first request.
        ask: sends a request and gives the answer, or raises UnansweredError.
        heard: told of every verdict; says how many seconds the destination wants us to wait.
        pause: sleeps between two questions about a job.
    """

    def __init__(
        self,
        spec: Spec,
        compiled: Compiled,
        start: Rendered,
        ask: Callable[[Request, Step], Response],
        heard: Callable[[Verdict, Response], float | None] = lambda *_: None,
        pause: Pause = lambda _: True,
    ) -> None:
        self._spec = spec
        self._compiled = compiled
        self._start = start
        self._ask = ask
        self._heard = heard
        self._pause = pause
        self._is_done = False
        self._pending = start.rows
        self._asked = start.rows.select(KEY).clear()
        self._captures: dict[str, Any] = {}
        self._settled: list[pl.DataFrame] = []
        self._remote: list[pl.DataFrame] = []
        self._gone = start.rows.clear()
        self._ended = False
        self.retry_after: float | None = None
        self.whole = False
        self.stop: str | None = None

    def results(self) -> pl.DataFrame:
        """Go through the steps; one result for every row, as in ``Outcome.results``."""
        if len(self._compiled.steps) == 1 and not self._is_conditional(0):
            verdict = self._answered(0, self._start.rows, self._start.request)
            if verdict is not None and not verdict.gone:
                self.whole, self.stop = verdict.whole, verdict.stop
                return verdict.results
            self._take(0, self._start.rows, verdict)
        else:
            self._go(self._start.position, self._start.request)
        if not self._gone.is_empty() and not self._ended:
            self._again()
        return self._ordered()

    def _go(self, position: int, first: Request | None) -> None:
        while position < len(self._compiled.steps) and not self._pending.is_empty():
            rows = self._pending
            if self._is_conditional(position):
                rows = rows.filter(self._compiled.chosen(position, rows, self._captures))
            if not rows.is_empty():
                self._send(
                    position, rows, first if rows.height == self._start.rows.height else None
                )
            if self._ended:
                break
            first, position = None, position + 1
        asked = self._pending.join(self._asked, on=KEY, how="semi")
        self._settle(asked, Status.ACCEPTED)
        self._settle(self._pending, Status.REJECTED, NO_STEP)

    def _again(self) -> None:
        """Once more without the remembered ids that are no longer right."""
        forgotten = [name for name in self._gone.columns if name.startswith(OF_STEP)]
        self._pending = self._gone.drop(forgotten).with_columns(
            pl.lit(None, dtype=pl.String).alias(REMOTE_ID)
        )
        self._asked, self._captures, self._remote = self._asked.clear(), {}, []
        for start in self._compiled.requests(self._pending):
            self._go(start.position, None)

    def _is_conditional(self, position: int) -> bool:
        step = self._compiled.steps[position].step
        return bool(step.when or step.unless)

    def _send(self, position: int, rows: pl.DataFrame, request: Request | None) -> None:
        """One step for some rows: those that lack what it needs are refused before."""
        said = self._compiled.lacking(position, rows, self._captures)
        if said.null_count() < rows.height:
            for words in said.drop_nulls().unique(maintain_order=True):
                self._settle(rows.filter(said == words), Status.REJECTED, words)
            rows, request = rows.filter(said.is_null()), None
            if rows.is_empty():
                return
        if request is None:
            request = self._compiled.following(position, rows, self._captures)
        self._asked = pl.concat([self._asked, rows.select(KEY)]).unique()
        verdict = self._answered(position, rows, request)
        part = 1 < rows.height < self._start.rows.height
        if verdict is not None and verdict.whole and part and not self._carries(position):
            # What was refused is a job of an earlier request: the rows start again.
            again = verdict.results.with_columns(pl.lit(Status.RETRY.value).alias("status"))
            verdict = replace(verdict, alike=None, named=again, whole=False)
        if verdict is not None and verdict.whole and part:
            # A refusal of part of a delivery: the engine parts whole deliveries only.
            half = rows.height // 2
            for piece in (rows.head(half), rows.slice(half)):
                if not self._ended:
                    self._send(position, piece, None)
            return
        self._take(position, rows, verdict)

    def _carries(self, position: int) -> bool:
        return self._compiled.steps[position].carries or self._start.rows.height == 1

    def _answered(self, position: int, rows: pl.DataFrame, request: Request) -> Verdict | None:
        """What the destination says of the rows, page after page; None without an answer."""
        step = self._compiled.steps[position].step
        named = naming(step, rows)
        sent = self._compiled.prepared(rows.select(KEY, *named)) if named else rows
        match = self._compiled.match(position, rows, self._captures)
        idempotent = self._compiled.declaration.idempotent
        current = request
        for number in range(1, MOST_PAGES + 1):
            try:
                if step.until:
                    response = answered(self._spec, step, current, self._ask, self._pause)
                else:
                    response = self._ask(current, step)
            except UnansweredError as error:
                self._unanswered(rows, error)
                return None
            verdict = judge(self._spec, step, response, sent, idempotent, match)
            self.retry_after = self._heard(verdict, response)
            if step.pages is None or not verdict.unmatched:
                return self._certain(step, verdict)
            document = document_of(response.body, step.answer, response.status)
            following = turned(step.pages, request, current, document, number)
            if following is None:
                return verdict
            current = following
        words = f"The list has more than {MOST_PAGES} pages."
        return Verdict(rows, Alike(Status.IN_DOUBT, words))

    def _certain(self, step: Step, verdict: Verdict) -> Verdict:
        """The verdict; after a job is done nothing is sent again that must not be sent twice."""
        if self._is_done and not self._compiled.declaration.idempotent and verdict.retries:
            status = pl.col("status").replace(Status.RETRY.value, Status.IN_DOUBT.value)
            verdict = replace(verdict, alike=None, named=verdict.results.with_columns(status))
        self._is_done |= bool(step.until)
        return verdict

    def _unanswered(self, rows: pl.DataFrame, error: UnansweredError) -> None:
        self._ended = True
        self.retry_after = error.retry_after or self.retry_after
        self.stop = error.stop
        doubtful = self._is_done and not self._compiled.declaration.idempotent
        self._settle(rows, Status.IN_DOUBT if doubtful else error.status, error.message)
        self._settle(self._pending, Status.RETRY, f"Not finished: {error.message}")

    def _take(self, position: int, rows: pl.DataFrame, verdict: Verdict | None) -> None:
        """Rows that the step accepted go on; the others stay with its verdict."""
        if verdict is None:
            return
        if verdict.gone and self._gone.is_empty():
            self._gone = rows
            self._leave(rows)
            return
        name = self._compiled.steps[position].step.name
        self.whole = verdict.whole and rows.height == self._start.rows.height
        refused = verdict.results.filter(pl.col("status") != Status.ACCEPTED.value)
        self._settled.append(refused)
        self._leave(refused)
        known = verdict.results.filter(pl.col("remote_id").is_not_null())
        if not known.is_empty():
            self._remote.append(known.select(KEY, given="remote_id"))
            self._note(known.select(KEY, given="remote_id"), REMOTE_ID)
        self._keep(name, rows, verdict, known)
        if verdict.settled:
            self._settle(self._pending.join(rows.select(KEY), on=KEY, how="semi"), Status.ACCEPTED)
        if verdict.stop is not None:
            self._ended, self.stop = True, verdict.stop
            self._settle(self._pending, Status.RETRY, verdict.stop)

    def _keep(
        self, name: str | None, rows: pl.DataFrame, verdict: Verdict, known: pl.DataFrame
    ) -> None:
        """What the answer gave for later steps, for the rows that it was given for."""
        if name is None:
            return
        captures = verdict.captures
        if rows.height == self._start.rows.height:
            # For all rows alike: values keep their JSON type.
            self._captures |= {f"{name}.{local}": value for local, value in captures.items()}
        else:
            for local, value in captures.items():
                text = pl.lit(None if value is None else str(value), dtype=pl.String)
                self._note(rows.select(KEY, given=text), f"{OF_STEP}{name}.{local}")
        if self._start.rows.height > 1 and not known.is_empty():
            self._note(known.select(KEY, given="remote_id"), f"{OF_STEP}{name}.id")

    def _note(self, given: pl.DataFrame, column: str) -> None:
        """A value for some of the pending rows, in a column of theirs."""
        frame = self._pending.join(given, on=KEY, how="left", maintain_order="left")
        before = [column] if column in frame.columns else []
        self._pending = frame.with_columns(pl.coalesce("given", *before).alias(column)).drop(
            "given"
        )

    def _settle(self, rows: pl.DataFrame, status: Status, message: str | None = None) -> None:
        if not rows.is_empty():
            self._settled.append(results_for(rows, status, message))
            self._leave(rows)

    def _leave(self, rows: pl.DataFrame) -> None:
        self._pending = self._pending.join(
            rows.select(KEY), on=KEY, how="anti", maintain_order="left"
        )

    def _ordered(self) -> pl.DataFrame:
        nothing = pl.DataFrame(schema={KEY: pl.String, "given": pl.String})
        given = pl.concat([nothing, *self._remote]).unique(KEY, keep="last")
        return (
            self._start.rows.select(KEY)
            .join(pl.concat(self._settled), on=KEY, how="left", maintain_order="left")
            .join(given, on=KEY, how="left", maintain_order="left")
            .with_columns(remote_id=pl.coalesce("remote_id", "given"))
            .drop("given")
        )


def is_plain(spec: Spec, compiled: Compiled) -> bool:
    """Whether a delivery is one request and its one answer, whatever that says."""
    if len(compiled.steps) != 1:
        return False
    step = compiled.steps[0].step
    again = step.when or step.unless or step.until or step.pages or step.hosts
    return not again and all(rule.means != "gone" for rule in (*step.errors, *spec.errors))


def naming(step: Step, rows: pl.DataFrame) -> list[str]:
    """The columns, besides the key, by which an answer of this step may name rows."""
    lists = step.answer.lists
    return [
        name for name in rows.columns if lists and name in (REMOTE_ID, *(n.field for n in lists))
    ]
