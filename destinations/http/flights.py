"""Requests on their way, many at once, in one thread.

A thread per request spends most of its time on waiting for its turn to run. Here one thread
writes what can be written and reads what has come, on whichever connection is ready; only
making a connection (names, TLS) waits, and does so in threads of its own. So does what takes
more than a request and its answer.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from destinations.driver import Delivery, Outcome
from destinations.http.session import NoAnswerError, NotSentError, Response, Session
from destinations.http.wire import Connection
from destinations.language.requests import Request

Course = Generator[Request | float, Response | NotSentError | NoAnswerError | None, Outcome]
"""A delivery's way: see :meth:`destinations.http.driver.HttpDriver.course`."""
Answer = Response | NotSentError | NoAnswerError | None


FRESH = 0.01
"""Seconds for which an unused connection counts as open without looking at it again."""


@dataclass(eq=False)
class _Flight:
    delivery: Delivery
    course: Course
    message: bytes = b""
    deadline: float = 0.0
    """By ``time.monotonic()``: when its answer must be there, or when it goes on."""
    connection: Connection | None = None


class Flights:
    """The deliveries that one thread has under way (``destinations.driver.InFlight``).

    Args:
        course: a delivery's way; None where there is none.
        send: for deliveries without one.
        connections: most connections that are made at once.
    """

    def __init__(
        self,
        course: Callable[[Delivery], Course | None],
        send: Callable[[Delivery], Outcome],
        session: Session,
        connections: int,
    ) -> None:
        self._course = course
        self._whole = send
        self._session = session
        self._selector = selectors.DefaultSelector()
        self._flying: dict[int, _Flight] = {}
        """By the connection's file descriptor."""
        self._idle: dict[int, Connection] = {}
        self._connecting: set[_Flight] = set()
        self._sleeping: set[_Flight] = set()
        self._looked = 0.0
        self._landed: list[tuple[Delivery, Outcome | Exception]] = []
        self._connected: deque[tuple[_Flight, Future[Connection]]] = deque()
        self._sent: deque[tuple[Delivery, Future[Outcome]]] = deque()
        self._threads = ThreadPoolExecutor(max(connections, 1), thread_name_prefix="connect")
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, None)

    def start(self, delivery: Delivery) -> None:
        course = self._course(delivery)
        if course is not None:
            self._go_on(_Flight(delivery, course), None)
            return
        made = self._threads.submit(self._whole, delivery)
        made.add_done_callback(lambda done: self._ring(self._sent, (delivery, done)))

    def landed(self, seconds: float) -> list[tuple[Delivery, Outcome | Exception]]:
        wait = 0.0 if self._landed else max(0.0, min(seconds, self._next() - time.monotonic()))
        ready = self._selector.select(wait)
        self._looked = time.monotonic()
        for key, _ in ready:
            if key.data is None:
                self._take_done()
            else:
                self._ready(key.fd, key.data)
        self._expire()
        landed, self._landed = self._landed, []
        return landed

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        for _, made in self._connected:
            if not made.cancelled() and made.exception() is None:
                made.result().close()
        for flight in self._flying.values():
            if flight.connection is not None:
                flight.connection.close()
        self._selector.close()
        for connection in self._idle.values():
            connection.wait_for_nothing(False)
            self._session.keep(connection)
        self._bell.close()
        self._rope.close()

    def _next(self) -> float:
        """When something is to be done though nothing comes in."""
        times = [flight.deadline for flight in self._flying.values()]
        times += [flight.deadline for flight in self._sleeping]
        return min(times, default=float("inf"))

    def _go_on(self, flight: _Flight, answer: Answer) -> None:
        """Ask a delivery what comes next, and do it."""
        while True:
            try:
                asked = flight.course.send(answer)
            except StopIteration as end:
                self._landed.append((flight.delivery, end.value))
                return
            except Exception as error:  # the engine tells it like any other fault of a driver
                self._landed.append((flight.delivery, error))
                return
            if isinstance(asked, float):
                flight.deadline = time.monotonic() + asked
                self._sleeping.add(flight)
                return
            try:
                flight.message = self._session.written(
                    asked.method, asked.path, asked.headers, asked.body
                )
            except NotSentError as error:
                answer = error
                continue
            flight.deadline = time.monotonic() + self._session.timeout
            self._send(flight)
            return

    def _send(self, flight: _Flight) -> None:
        while self._idle:
            number, connection = self._idle.popitem()
            # It may have been closed since somebody last looked.
            if time.monotonic() - self._looked < FRESH or connection.idle:
                self._begin(flight, connection)
                return
            self._drop(number, connection)
        kept = self._session.kept()
        if kept is not None:
            self._adopt(kept)
            self._begin(flight, kept)
            return
        self._connecting.add(flight)
        made = self._threads.submit(self._session.connected)
        made.add_done_callback(lambda done: self._ring(self._connected, (flight, done)))

    def _adopt(self, connection: Connection) -> None:
        connection.wait_for_nothing(True)
        self._selector.register(connection.fileno(), selectors.EVENT_READ, connection)

    def _begin(self, flight: _Flight, connection: Connection) -> None:
        flight.connection = connection
        self._flying[connection.fileno()] = flight
        connection.begin(flight.message)
        if connection.writes:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(connection.fileno(), both, connection)

    def _ring(self, done: deque[Any], what: Any) -> None:
        # In a thread that waited; the bell wakes the one that sends.
        done.append(what)
        self._rope.send(b".")

    def _take_done(self) -> None:
        self._bell.recv(4096)
        while self._sent:
            delivery, sent = self._sent.popleft()
            error = sent.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            self._landed.append((delivery, error or sent.result()))
        while self._connected:
            flight, made = self._connected.popleft()
            self._connecting.discard(flight)
            error = made.exception()
            if isinstance(error, NotSentError):
                self._go_on(flight, error)
            elif error is not None:
                flight.course.close()
                self._landed.append((flight.delivery, RuntimeError(repr(error))))
            else:
                flight.deadline = time.monotonic() + self._session.timeout
                self._adopt(made.result())
                self._begin(flight, made.result())

    def _ready(self, number: int, connection: Connection) -> None:
        flight = self._flying.get(number)
        if flight is None:
            if connection.speaks_unasked():
                self._idle.pop(number, None)
                self._drop(number, connection)
            return
        wrote = connection.writes
        try:
            response = connection.go_on()
        except NoAnswerError as error:
            self._give_up(number, flight, error)
            return
        if wrote and not connection.writes:
            self._selector.modify(number, selectors.EVENT_READ, connection)
        if response is None:
            return
        del self._flying[number]
        flight.connection = None
        if connection.reusable:
            self._idle[number] = connection
        else:
            self._drop(number, connection)
        self._go_on(flight, response)

    def _give_up(self, number: int, flight: _Flight, error: NoAnswerError) -> None:
        connection = self._flying.pop(number).connection
        if connection is not None:
            self._drop(number, connection)
        flight.connection = None
        self._go_on(flight, error)

    def _drop(self, number: int, connection: Connection) -> None:
        self._selector.unregister(number)
        connection.close()

    def _expire(self) -> None:
        now = time.monotonic()
        late = [(number, f) for number, f in self._flying.items() if f.deadline <= now]
        for number, flight in late:
            self._give_up(number, flight, NoAnswerError("the answer did not arrive in time"))
        for flight in [flight for flight in self._sleeping if flight.deadline <= now]:
            self._sleeping.discard(flight)
            self._go_on(flight, None)
