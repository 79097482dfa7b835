"""A few connections of one kind, lent to one sending thread at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Connection = TypeVar("Connection")


class Pool(Generic[Connection]):
    """Opens a connection when none is free; a broken one is dropped, not given back.

    Args:
        connect: opens a connection; its errors reach the borrower.
        disconnect: closes one; its errors are nobody's business any more.
    """

    def __init__(
        self, connect: Callable[[], Connection], disconnect: Callable[[Connection], object]
    ) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._free: list[Connection] = []
        self._lock = threading.Lock()

    def borrow(self) -> Connection:
        with self._lock:
            if self._free:
                return self._free.pop()
        return self._connect()

    def give_back(self, connection: Connection) -> None:
        with self._lock:
            self._free.append(connection)

    def drop(self, connection: Connection) -> None:
        with contextlib.suppress(Exception):  # it was broken; closing it is only a courtesy
            self._disconnect(connection)

    def close(self) -> None:
        with self._lock:
            free, self._free = self._free, []
        for connection in free:
            self.drop(connection)
