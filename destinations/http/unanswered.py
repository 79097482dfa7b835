"""A request that was not answered."""

from __future__ import annotations

from destinations.driver import Status


class UnansweredError(Exception):
    """A request without an answer to judge: what that means for its rows.

    Args:
        status: of the rows it was for.
        retry_after: seconds before anything else is sent.
        stop: set when nothing more can succeed on this connection.
    """

    def __init__(
        self,
        status: Status,
        message: str,
        retry_after: float | None = None,
        stop: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after
        self.stop = stop
