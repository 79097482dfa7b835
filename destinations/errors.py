"""The one error a user can cause, and its cousins.

Every message says what is wrong and, in ``fix``, what to write instead. The
command line prints both as one paragraph; nothing here carries a traceback to
a user.
"""

from __future__ import annotations


class StoreroomError(Exception):
    """Something a user can put right.

    Args:
        message: what is wrong, naming the file, line, setting or value.
        fix: what to do or write instead; empty where the message says it all.
    """

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".strip()


class ConfigurationError(StoreroomError):
    """A declaration (connection, sync, source, spec) that no run could carry out."""


class PausedError(StoreroomError):
    """Somebody stopped this for a while, on purpose."""


class LockedError(StoreroomError):
    """Somebody else is doing the same thing right now."""


class LedgerError(StoreroomError):
    """What is known of a destination cannot be read or written; it is never guessed at."""
