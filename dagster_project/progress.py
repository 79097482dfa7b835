"""Tells whoever listens how far a run is: the command line's progress bar, or nobody.

Work announces where it is; it never knows who listens, and nothing depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str, str, int, int], None]
"""Takes the stage (``ingest``, ``warehouse``, ``sync``), what is being done, how many are
done and how many there are (0 where nobody knows)."""

_listeners: list[Listener] = []


def announce(stage: str, what: str, done: int = 0, total: int = 0) -> None:
    """Say how far a stage is."""
    for listener in _listeners:
        listener(stage, what, done, total)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hear every announcement inside the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
