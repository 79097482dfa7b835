"""Logins by a token that the vendor gives: fetched at first need, renewed, shared by all threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from destinations.http.session import NotSentError
from destinations.language.requests import Request

MOST_AHEAD = 60.0
"""Seconds before its end that a token is renewed; a tenth of its life where that is less."""


class LoginRefusedError(Exception):
    """The vendor does not take the credentials; the words are its own."""


class LoginUnavailableError(NotSentError):
    """No token for now: the request it was for never left."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Token:
    text: str = field(repr=False)
    until: float
    """Unix time from which on it is not used."""
    captured: Mapping[str, str] = field(default_factory=dict)
    """What else the login's answer gave, by name."""


def used_until(now: float, lifetime: float) -> float:
    return now + lifetime - min(MOST_AHEAD, lifetime / 10)


class TokenLogin:
    """Puts a token into requests.

    Args:
        header, value: where it goes; ``{token}`` in the value is the token.
        fetch: gives a token other than the one it is told, which was refused; raises
            LoginRefusedError or LoginUnavailableError.
    """

    def __init__(
        self,
        header: str,
        value: str,
        fetch: Callable[[str | None], Token],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._header = header
        self._value = value
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._refusal: LoginRefusedError | None = None
        self._renewed = False
        """Renewed after a refusal, and no request was taken with it since."""

    def __call__(self, request: Request) -> Request:
        text = self._text(self.token())
        return replace(request, headers={**request.headers, self._header: text})

    def token(self) -> Token:
        """Raises: LoginRefusedError, LoginUnavailableError: there is none."""
        current = self._token
        if current is not None and self._clock() < current.until:
            return current
        with self._lock:
            current = self._token
            if current is None or self._clock() >= current.until:
                current = self._token = self._fetched(None)
            return current

    def refused(self, used: Request) -> bool:
        """The vendor did not take the token of this request: whether another try is worth it.

        Of all the threads that hear so one renews the token, once: a new token that is refused
        as well is not the trouble.
        """
        with self._lock:
            current = self._token
            if current is not None and used.headers.get(self._header) != self._text(current):
                return True
            if self._renewed:
                return False
            self._token = self._fetched(None if current is None else current.text)
            self._renewed = True
            return True

    def taken(self, used: Request) -> None:
        """The vendor took the token of this request."""
        current = self._token
        if self._renewed and current and used.headers.get(self._header) == self._text(current):
            self._renewed = False

    def _fetched(self, stale: str | None) -> Token:
        if self._refusal is not None:
            raise self._refusal  # asking again would be refused again, and may lock the account
        try:
            return self._fetch(stale)
        except LoginRefusedError as error:
            self._refusal = error
            raise

    def _text(self, token: Token) -> str:
        return self._value.replace("{token}", token.text)
