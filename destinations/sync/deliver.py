"""Sends the deliveries of a driver and records, row by row, what the destination said.

Workers, as many as the destination takes at once, each do the same: take a delivery, make
its claim durable together with the answers to the last one, send, judge. Rows told to come
later are sent again within the run, a refused batch is taken apart until the guilty rows
stand alone, and everything that is not finished when the run stops is deferred, by name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain

import polars as pl

from destinations.driver import (
    KEY,
    AlikeOutcome,
    Delivery,
    Driver,
    InFlight,
    Interruptible,
    Operation,
    Outcome,
    Status,
)
from destinations.masking import masked_series, masked_text
from destinations.sync import journal as events
from destinations.sync.journal import Entry, Journal
from destinations.sync.outcomes import checked, failed, to_bisect
from destinations.sync.pace import MAX_SLEEP, Pace
from destinations.sync.tally import DEFERRED, DELIVERED, REJECTED, Tally

NO_DELIVERY = "the driver made no delivery for this row"


@dataclass(frozen=True)
class Work:
    """Rows for one operation; ``change`` is what it means to the ledger."""

    operation: Operation
    change: str
    rows: pl.DataFrame


@dataclass
class _Bisection:
    """What became of a refused batch while it is taken apart."""

    accepted: bool = False
    message: str = ""
    open: int = 1


@dataclass
class _Pending:
    """A delivery about to be sent, or sent again."""

    delivery: Delivery
    change: str
    attempt: int = 1
    waits: int = 0
    delay: float = 0.0
    bisection: _Bisection | None = None
    due: float = 0.0
    """By ``time.monotonic()``: not to be sent before."""


@dataclass
class Sender:
    """One run's sending: driver, journal, tally and pace, shared by its workers.

    When the pace stops, rows not taken up yet are left out of the tally: the caller knows
    how many were planned.
    """

    driver: Driver
    journal: Journal
    tally: Tally
    pace: Pace
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _errors: list[BaseException] = field(default_factory=list)

    def run(self, phases: Iterable[Iterable[Work]]) -> None:
        """Send phase by phase; a phase starts when every answer to the one before is in.

        Raises:
            LedgerError: the journal could not be written.
        """
        for phase in phases:
            if self.pace.stopped is not None:
                return
            source = self._deliveries(phase)
            first = next(source, None)
            if first is None:
                continue
            source = chain([first], source)
            count = max(self.driver.capabilities.concurrency, 1)
            in_flight = getattr(self.driver, "flights", lambda: None)()
            with ThreadPoolExecutor(count, thread_name_prefix="sender") as pool:
                if in_flight is not None:
                    workers = [pool.submit(self._fly, in_flight, source, count)]
                else:
                    workers = [pool.submit(self._work, source) for _ in range(count)]
                try:
                    while wait(workers, timeout=0.1).not_done:
                        pass  # a wait without limit may not be interrupted
                except BaseException:
                    # Let what is in flight land, so that its answers are kept.
                    self.pace.stop("the run was cancelled")
                    if isinstance(self.driver, Interruptible):
                        self.driver.interrupt()
                    wait(workers)
                    raise
            if self._errors:
                raise self._errors[0]

    def _deliveries(self, phase: Iterable[Work]) -> Iterator[_Pending]:
        for work in phase:
            rows = self._sendable(work)
            seen = 0
            for delivery in self.driver.deliveries(work.operation, rows) if rows.height else ():
                if self.pace.stopped is not None:
                    break
                seen += delivery.rows.height
                yield _Pending(delivery, work.change)
            if self.pace.stopped is not None:
                return
            if seen != rows.height:
                # Its keys are unknown without holding them all; the count is what must not vanish.
                self.tally.defer(work.change, rows.height - seen, NO_DELIVERY)

    def _sendable(self, work: Work) -> pl.DataFrame:
        """Rows without those that break a rule of the vendor; these are refused here."""
        problems = self.driver.problems(work.operation, work.rows)
        if problems.null_count() == work.rows.height:
            return work.rows
        judged = work.rows.with_columns(masked_series(problems).alias("message"))
        bad = judged.filter(pl.col("message").is_not_null())
        self.journal.commit([events.rejections(bad, work.change)])
        self.tally.because(work.change, REJECTED, bad)
        return judged.filter(pl.col("message").is_null()).drop("message")

    def _work(self, source: Iterator[_Pending]) -> None:
        answered: list[Entry] = []
        try:
            while True:
                with self._turn:
                    pending = next(source, None)
                if pending is None:
                    break
                answered = self._finish(pending, answered)
            self.journal.commit(answered)
        except BaseException as error:
            # Raised again by the main thread; the others stop at their next delivery.
            self._errors.append(error)
            self.pace.stop(f"the run failed: {error}")

    def _finish(self, first: _Pending, answered: list[Entry]) -> list[Entry]:
        """Send one delivery until each of its rows met its fate; returns answers not yet durable."""
        stack = [first]
        while stack:
            pending = stack.pop()
            pause = max(pending.delay, self.pace.delay())
            if pause > 0:
                self.journal.commit(answered)
                answered = []
                while pause > 0 and self.pace.stopped is None:
                    self.tally.wait(self.pace.sleep(pause))
                    pause = self.pace.delay()
            if self.pace.stopped is not None:
                self._defer(pending, pending.delivery.rows, self.pace.stopped)
                continue
            self.journal.commit([*answered, _claims(pending)])
            try:
                outcome: Outcome | Exception = self.driver.send(pending.delivery)
            except Exception as error:  # a driver must answer, not raise
                outcome = error
            answer, more = self._settle(pending, outcome)
            answered = [answer]
            stack += more
        return answered

    def _fly(self, in_flight: InFlight, source: Iterator[_Pending], count: int) -> None:
        """What ``count`` workers do, in one thread: claims and answers share one commit a round."""
        try:
            with closing(in_flight):
                self._rounds(in_flight, source, count)
        except BaseException as error:
            self._errors.append(error)
            self.pace.stop(f"the run failed: {error}")

    def _rounds(self, in_flight: InFlight, source: Iterator[_Pending], count: int) -> None:
        under_way: dict[int, _Pending] = {}
        waiting: list[_Pending] = []
        answered: list[Entry] = []
        while True:
            taken: list[_Pending] = []
            while len(under_way) + len(taken) < count:
                pending = self._due(waiting)
                if pending is None and len(under_way) + len(taken) + len(waiting) < count:
                    pending = None if self.pace.stopped is not None else next(source, None)
                if pending is None:
                    break
                (waiting if self.pace.delay() > 0 else taken).append(pending)
            self.journal.commit([*answered, *map(_claims, taken)])
            answered = []
            for pending in taken:
                under_way[id(pending.delivery)] = pending
                in_flight.start(pending.delivery)
            if not under_way and not waiting:
                return
            before = time.monotonic()
            patience = self._patience(waiting)
            # What came in meanwhile shares the commit: syncing a disk costs more than many answers.
            while landed := in_flight.landed(patience):
                patience = 0.0
                for delivery, outcome in landed:
                    answer, more = self._settle(under_way.pop(id(delivery)), outcome)
                    answered.append(answer)
                    for pending in more:
                        pending.due = time.monotonic() + pending.delay
                    waiting += more
            if not under_way and not answered:
                self.tally.wait(time.monotonic() - before)

    def _due(self, waiting: list[_Pending]) -> _Pending | None:
        """The delivery that may be sent again now, the last put there first."""
        if self.pace.stopped is not None:
            for pending in waiting:
                self._defer(pending, pending.delivery.rows, self.pace.stopped)
            waiting.clear()
        if not waiting or self.pace.delay() > 0:
            return None
        now = time.monotonic()
        for place in range(len(waiting) - 1, -1, -1):
            if waiting[place].due <= now:
                return waiting.pop(place)
        return None

    def _patience(self, waiting: list[_Pending]) -> float:
        """Seconds for which nothing is to be done unless an answer comes."""
        until = max(min((pending.due for pending in waiting), default=0.0) - time.monotonic(), 0.0)
        pause = max(until, self.pace.delay())
        return min(pause, MAX_SLEEP) if pause > 0 else MAX_SLEEP

    def _settle(
        self, pending: _Pending, outcome: Outcome | Exception
    ) -> tuple[Entry, list[_Pending]]:
        """Count and record what came of a delivery; what of it is to be sent again."""
        delivery = pending.delivery
        if isinstance(outcome, AlikeOutcome) and outcome.alike.status is Status.ACCEPTED:
            return self._accepted(pending, outcome), []
        if isinstance(outcome, Exception):
            outcome = failed(delivery, outcome)
        results = checked(delivery, outcome)
        status = results["status"].to_list()
        accepted, refused = status.count(Status.ACCEPTED.value), status.count(Status.REJECTED.value)
        self._judge(outcome, results, answered=accepted + refused > 0)
        again = pending.attempt > 1 or pending.waits > 0
        number = self.tally.request(outcome, again, delivery.rows, accepted < results.height)
        if accepted == results.height:
            self.tally.count(pending.change, DELIVERED, accepted)
            self._close(pending, accepted=True, message="")
            return events.answers(results, delivery.hashes, pending.change, number), []

        halves: list[_Pending] = []
        if to_bisect(delivery, outcome, results, self.driver.capabilities.per_row_results):
            halves = self._halves(pending, results)
            results = results.with_columns(pl.lit(Status.RETRY.value).alias("status"))
            return events.answers(results, delivery.hashes, pending.change, number), halves
        self.tally.count(pending.change, DELIVERED, accepted)
        bad = results.filter(pl.col("status") == Status.REJECTED.value)
        self.tally.because(pending.change, REJECTED, bad)
        later = results.filter(
            ~pl.col("status").is_in([Status.ACCEPTED.value, Status.REJECTED.value])
        )
        more = self._again(pending, outcome, later)
        message = bad["message"].drop_nulls().first() if refused else ""
        self._close(pending, accepted > 0, str(message or ""), opened=len(more))
        return events.answers(results, delivery.hashes, pending.change, number), more

    def _accepted(self, pending: _Pending, outcome: AlikeOutcome) -> Entry:
        """The same as for any answer, without building frames: nearly every answer is one of these."""
        delivery = pending.delivery
        self.pace.answered()
        if outcome.retry_after is not None:
            self.pace.asked_to_wait(outcome.retry_after)
        again = pending.attempt > 1 or pending.waits > 0
        number = self.tally.request(outcome, again, delivery.rows, refused=False)
        self.tally.count(pending.change, DELIVERED, len(delivery.keys))
        self._close(pending, accepted=True, message="")
        known = outcome.alike.remote_id
        return events.accepted(delivery.keys, delivery.hashes, pending.change, known, number)

    def _judge(self, outcome: Outcome, results: pl.DataFrame, answered: bool) -> None:
        """Tell the pace what this answer means for all workers."""
        if outcome.stop is not None:
            self.pace.refused(masked_text(outcome.stop))
        if outcome.retry_after is not None:
            self.pace.asked_to_wait(outcome.retry_after)
        if answered or outcome.retry_after is not None:
            self.pace.answered()
        else:
            self.pace.failure(str(results["message"].drop_nulls().first() or "no answer"))

    def _again(self, pending: _Pending, outcome: Outcome, later: pl.DataFrame) -> list[_Pending]:
        """Deliveries for the rows to be sent again; those that may not be are deferred."""
        if later.is_empty():
            return []
        doubt = pl.col("status") == Status.IN_DOUBT.value
        if not self.driver.capabilities.repeats(pending.delivery.operation):
            # Sending twice would do harm: the next run decides, by the sync's `in_doubt`.
            self._defer_with_messages(pending, later.filter(doubt), "no answer, not sent twice")
            later = later.filter(~doubt)
        asked = outcome.retry_after is not None
        attempt = pending.attempt if asked else pending.attempt + 1
        if attempt > self.pace.policy.attempts or later.is_empty():
            self._defer_with_messages(pending, later, f"gave up after {pending.attempt} attempts")
            return []
        waits = pending.waits + asked
        # Also when asked: "wait 0 seconds", said again and again, must not become a tight loop.
        delay = self.pace.backoff(min(waits, 3) if asked else pending.attempt)
        rows = pending.delivery.rows.filter(pl.col(KEY).is_in(later[KEY].implode()))
        return self._remade(pending, rows, attempt, waits, delay, pending.bisection)

    def _halves(self, pending: _Pending, results: pl.DataFrame) -> list[_Pending]:
        rows = pending.delivery.rows
        middle = rows.height // 2
        bisection = pending.bisection or _Bisection(open=1)
        made = []
        for half in (rows.slice(middle), rows.slice(0, middle)):
            made += self._remade(pending, half, pending.attempt, pending.waits, 0.0, bisection)
        bisection.message = str(results["message"].drop_nulls().first() or "")
        bisection.open += len(made) - 1
        return made

    def _remade(
        self,
        pending: _Pending,
        rows: pl.DataFrame,
        attempt: int,
        waits: int,
        delay: float,
        bisection: _Bisection | None,
    ) -> list[_Pending]:
        """Deliveries for some rows of an earlier one."""
        operation = pending.delivery.operation
        made = list(self.driver.deliveries(operation, rows))
        lost = rows.height - sum(delivery.rows.height for delivery in made)
        if lost:
            self.tally.defer(pending.change, lost, NO_DELIVERY)
        return [_Pending(d, pending.change, attempt, waits, delay, bisection) for d in made]

    def _close(self, pending: _Pending, accepted: bool, message: str, opened: int = 0) -> None:
        """One part of a bisected batch is done; when all are, the breaker learns how it went."""
        bisection = pending.bisection
        if bisection is None:
            return
        bisection.accepted |= accepted
        bisection.message = message or bisection.message
        bisection.open += opened - 1
        if bisection.open == 0:
            self.pace.bisected(bisection.accepted, bisection.message)

    def _defer(self, pending: _Pending, rows: pl.DataFrame, reason: str) -> None:
        self.tally.defer(pending.change, rows, reason)

    def _defer_with_messages(self, pending: _Pending, rows: pl.DataFrame, why: str) -> None:
        told = pl.concat_str([pl.lit(f"{why}: "), pl.col("message").fill_null("no reason given")])
        self.tally.because(pending.change, DEFERRED, rows.with_columns(told.alias("message")))


def _claims(pending: _Pending) -> Entry:
    return events.claims(pending.delivery.keys, pending.change)
