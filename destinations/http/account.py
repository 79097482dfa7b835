"""A connection's account at the vendor: where it is, and how requests to it are made ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from destinations.errors import ConfigurationError
from destinations.http.answers import refuses_login
from destinations.http.auth import Authorizer
from destinations.http.elsewhere import Elsewhere, fits_host
from destinations.http.session import Response, Session, Sessions, is_loopback, joined
from destinations.http.tokens import LoginRefusedError, TokenLogin
from destinations.language.bodies import constant_text
from destinations.language.requests import Request
from destinations.language.spec import Spec
from destinations.language.steps import Step


class Account:
    """Sends requests with the connection's login; a token that is refused is renewed once.

    Args:
        base_url: None where the login's answer says it (``{auth.x}``).
    """

    def __init__(
        self,
        spec: Spec,
        settings: Mapping[str, Any],
        sessions: Sessions,
        login: Authorizer,
        base_url: str | None,
    ) -> None:
        self._spec = spec
        self._settings = settings
        self._sessions = sessions
        self._login = login
        self._base_url = base_url
        self._elsewhere = Elsewhere(
            timeout=spec.timeout,
            connections=spec.concurrency,
            local=base_url is not None and is_loopback(base_url),
        )
        if base_url is not None:
            sessions.to(base_url)  # a URL that cannot be used is told before anything runs

    def url(self, request: Request) -> str:
        """The URL as a record shows it."""
        if request.elsewhere:
            # A signed URL is as good as a password.
            return request.path.partition("?")[0]
        return joined(self._base_url or self._spec.base_url, request.path)

    def send(
        self, request: Request, step: Step, leave: Callable[[], None] = lambda: None
    ) -> Response:
        """Send one request.

        Args:
            leave: asked before another try; raises where there is none.

        Raises:
            NotSentError: it never left.
            NoAnswerError: it left, and no whole answer came back in time.
            LoginRefusedError: the vendor gives no token for the credentials.
            ConfigurationError: the login cannot be made, or leads to a host that it may not.
        """
        if request.elsewhere:
            return self._elsewhere.send(request, step.hosts)
        ours = self._login(request)
        response = self._exchange(ours)
        login = self._login
        if not isinstance(login, TokenLogin):
            return response
        if not refuses_login(self._spec, step, response):
            login.taken(ours)
            return response
        if not login.refused(ours):
            return response
        leave()
        ours = login(request)
        response = self._exchange(ours)
        if not refuses_login(self._spec, step, response):
            login.taken(ours)
        return response

    def plain_session(self) -> Session | None:
        """Where requests go that need nothing but :meth:`signed`; None where they may need more."""
        if self._base_url is None or isinstance(self._login, TokenLogin):
            return None
        return self._sessions.to(self._base_url)

    def signed(self, request: Request) -> Request:
        """A request with the connection's login.

        Raises:
            ConfigurationError: the login cannot be made.
        """
        return self._login(request)

    def close(self) -> None:
        self._sessions.close()
        self._elsewhere.close()

    def _exchange(self, request: Request) -> Response:
        session = self._sessions.to(self._base())
        return session.send(request.method, request.path, request.headers, request.body)

    def _base(self) -> str:
        if self._base_url is not None:
            return self._base_url
        if not isinstance(self._login, TokenLogin):
            raise ConfigurationError(f"The login of {self._spec.name} gives no base URL.")
        base_url = base_url_of(self._spec, self._settings, self._login.token().captured)
        hosts = getattr(self._spec.auth, "hosts", ())
        if not is_allowed(base_url, hosts):
            raise LoginRefusedError(
                f"the login leads to {urlsplit(base_url).hostname}, which is none of {', '.join(hosts)}"
            )
        return base_url


def base_url_of(spec: Spec, settings: Mapping[str, Any], login: Mapping[str, str]) -> str:
    """The vendor's URL for these settings.

    Args:
        login: what the login's answer gave, by name.
    """
    constants = {f"settings.{name}": value for name, value in settings.items()}
    captured = {f"auth.{name}": value for name, value in login.items()}
    return constant_text(spec.base_url, {**constants, **captured}) or ""


def is_allowed(url: str, hosts: tuple[str, ...]) -> bool:
    """Whether a URL from an answer is https and leads to one of these hosts."""
    try:
        parts = urlsplit(url)
        host, plain = parts.hostname or "", parts.username is None and parts.password is None
    except ValueError:
        return False
    named = any(fits_host(host, pattern) for pattern in hosts)
    return parts.scheme == "https" and plain and named
