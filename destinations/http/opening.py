"""From a connection to a driver: settings checked, secrets kept apart, the sandbox put in place."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from destinations.connections import Connection, FromEnvironment, sandbox_url
from destinations.errors import ConfigurationError
from destinations.http.account import Account, base_url_of
from destinations.http.audience import VendorAudience, new_mark
from destinations.http.auth import Headers
from destinations.http.driver import HttpDriver
from destinations.http.kept import Kept, kept_dir
from destinations.http.limits import Limiter, account_file
from destinations.http.logins import login_of
from destinations.http.redaction import Redactor
from destinations.http.session import Sessions
from destinations.language.settings import checked, for_sandbox
from destinations.language.spec import Spec
from destinations.paths import state_dir


def open_http(
    spec: Spec,
    connection: Connection,
    target: Mapping[str, Any],
    audience: str,
    *,
    limiter: Limiter | None = None,
    sandbox: str | None = None,
) -> HttpDriver:
    """A driver for one connection and one target of it.

    With ``connection.sandbox`` requests go to the local sandbox's part for this
    destination, with placeholders for secrets and for settings that are not given.

    Args:
        limiter: keeps the vendor's pace; by default the account's, which all processes share.
        sandbox: base URL of the sandbox, where it is not the one of this machine.

    Raises:
        ConfigurationError: a setting is unknown, missing, misshapen, or a secret in clear.
    """
    hidden = {name for name, v in connection.settings.items() if isinstance(v, FromEnvironment)}
    given = {**connection.resolved(), **target}
    if connection.sandbox:
        given = for_sandbox(spec, given, hidden - set(target))
    settings = checked(spec, given, connection.name)
    fixed: str | None = base_url_of(spec, settings, {}) if "{auth." not in spec.base_url else None
    base_url = f"{sandbox or sandbox_url()}/{spec.id}" if connection.sandbox else fixed
    credentials = {name: settings[name] for name, s in spec.settings.items() if s.secret}
    # Whatever somebody keeps out of the file is kept out of the records too (a webhook's URL).
    secrets = [str(settings[name]) for name in {*credentials, *hidden} if settings.get(name)]
    redacted = Redactor(secrets)
    sessions = Sessions(timeout=spec.timeout, connections=spec.concurrency)
    login = login_of(spec, settings, base_url, sessions, redacted, sandbox=connection.sandbox)
    if isinstance(login, Headers):
        redacted.add(text.split(" ", 1)[-1] for text in login.headers.values())
    found: VendorAudience | None = None
    if spec.audience is not None and settings.get(spec.audience.setting) is None:
        plain = {name: value for name, value in settings.items() if name not in credentials}
        names = {**plain, "connection": connection.name, "at": base_url, "audience": audience}
        settings = {**settings, spec.audience.setting: new_mark()}
        found = VendorAudience(spec, settings, audience, Kept(kept_dir(), spec.id, names))
    account = account_file(
        _limits_dir(), spec.id, {**credentials, "base_url": base_url or spec.base_url}
    )
    return HttpDriver(
        spec,
        settings,
        audience,
        account=Account(spec, settings, sessions, login, base_url),
        # The sandbox is nobody's account: what it may be asked is up to this machine.
        limiter=limiter or Limiter(account, () if connection.sandbox else spec.limits),
        redacted=redacted,
        found=found,
    )


def _limits_dir() -> Path:
    try:
        return state_dir() / "limits"
    except ConfigurationError:  # outside a project (a plugin's own tests)
        return Path(tempfile.gettempdir()) / "storeroom-limits"
