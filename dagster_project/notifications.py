"""Where alerts go. Which notifier is used stands in the environment.

``STOREROOM_NOTIFIER`` is ``log`` (the default), ``webhook`` (posts JSON to
``STOREROOM_NOTIFIER_URL``), ``connection:<name>`` (sends a row through a connection of the
connections file whose destination takes events: Slack, e-mail, a signed webhook …) or
``package.module:function`` for one of your own, which is called with one :class:`Alert`.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial

import polars as pl
import requests

from destinations.connections import load_connections
from destinations.driver import HASH, ID, KEY, REMOTE_ID, Capabilities, Operation, Status
from destinations.errors import ConfigurationError, StoreroomError
from destinations.paths import connections_file
from destinations.registry import open_driver

NOTIFIER_VARIABLE = "STOREROOM_NOTIFIER"
URL_VARIABLE = "STOREROOM_NOTIFIER_URL"
CONNECTION = "connection:"
ATTEMPTS = 3
PAUSE = 1.0
LONGEST_PAUSE = 10.0
MOST_WORDS = 2000
"""Characters of an alert's text that are sent through a connection."""

logger = logging.getLogger("storeroom.alerts")


@dataclass(frozen=True)
class Alert:
    """One thing somebody should know: what, where, and in which words."""

    subject: str
    text: str
    run_id: str
    job: str
    kind: str = "run_failed"
    """``run_failed``, or how the sync stands (:class:`destinations.sync.health.Condition`)."""
    sync: str = ""
    """``<connection>/<audience>``; empty where it is about a whole run."""


Notifier = Callable[[Alert], None]


def to_log(alert: Alert) -> None:
    """Write the alert to the log of the process, as an error."""
    logger.error("%s (%s, run %s): %s", alert.subject, alert.job, alert.run_id, alert.text)


def to_webhook(alert: Alert) -> None:
    """Post the alert as JSON; an answer that is not 2xx is an error."""
    url = os.environ.get(URL_VARIABLE)
    if not url:
        raise ConfigurationError(
            f"{NOTIFIER_VARIABLE} is 'webhook' but {URL_VARIABLE} is not set.",
            f"Set {URL_VARIABLE} to the address that takes the alerts.",
        )
    requests.post(url, json=asdict(alert), timeout=10).raise_for_status()


def to_connection(name: str, alert: Alert) -> None:
    """Send the alert as an event, in the fields of :class:`Alert`, to a declared connection.

    A destination that takes fewer fields gets those it knows; where ``subject`` is none of
    them, the text starts with it.

    Raises:
        ConfigurationError: there is no such connection, or its destination takes no such events.
        StoreroomError: it did not take the alert; carries its words.
    """
    connections = load_connections(connections_file())
    if name not in connections:
        raise ConfigurationError(
            f"{NOTIFIER_VARIABLE} names the connection '{name}', which {connections_file()} does not have.",
            f"It has: {', '.join(sorted(connections))}.",
        )
    driver = open_driver(connections[name], {}, "id", "alerts")
    try:
        rows = _row(alert, name, driver.capabilities)
        for broken in driver.problems(Operation.TRACK, rows).drop_nulls():
            raise StoreroomError(f"Connection '{name}' cannot take an alert: {broken}")
        for delivery in driver.deliveries(Operation.TRACK, rows):
            for attempt in range(1, ATTEMPTS + 1):
                outcome = driver.send(delivery)
                (status,), (words,) = outcome.results["status"], outcome.results["message"]
                # In doubt it may have arrived: better twice than never.
                if status in (Status.ACCEPTED, Status.REJECTED) or outcome.stop:
                    break
                if attempt < ATTEMPTS:
                    time.sleep(min(outcome.retry_after or PAUSE, LONGEST_PAUSE))
            if status != Status.ACCEPTED:
                raise StoreroomError(f"Connection '{name}' did not take the alert: {words}")
    finally:
        driver.close()


def _row(alert: Alert, name: str, capabilities: Capabilities) -> pl.DataFrame:
    if Operation.TRACK not in capabilities.operations:
        raise ConfigurationError(
            f"{NOTIFIER_VARIABLE} names the connection '{name}', whose destination takes no events.",
            "Name one to Slack, an e-mail server or a webhook.",
        )
    fields = asdict(alert)
    known = capabilities.fields
    if known is not None and "subject" not in known:
        fields["text"] = f"{alert.subject}\n{alert.text}".strip()
    if known is not None:
        fields = {field: value for field, value in fields.items() if field in known}
    missing = [group for group in capabilities.required if not fields.keys() & set(group)]
    if not fields or missing:
        wanted = " or ".join(missing[0]) if missing else "other fields"
        raise ConfigurationError(
            f"{NOTIFIER_VARIABLE} names the connection '{name}', whose events need {wanted}: an "
            "alert has none.",
            "Name one to Slack, an e-mail server or a webhook.",
        )
    if len(fields.get("text", "")) > MOST_WORDS:
        fields["text"] = fields["text"][: MOST_WORDS - 1] + "…"
    content = hashlib.sha256(repr(sorted(fields.items())).encode()).hexdigest()[:32]
    row = {KEY: content, HASH: content, REMOTE_ID: None, ID: uuid.uuid4().hex, **fields}
    return pl.DataFrame([row], schema=dict.fromkeys(row, pl.String))


BUILT_IN: Mapping[str, Notifier] = {"log": to_log, "webhook": to_webhook}


def notifier() -> Notifier:
    """The notifier that the environment names.

    Raises:
        ConfigurationError: it names none that exists.
    """
    name = os.environ.get(NOTIFIER_VARIABLE, "log")
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name.startswith(CONNECTION):
        return partial(to_connection, name.removeprefix(CONNECTION))
    module, _, function = name.partition(":")
    try:
        found: Notifier = getattr(importlib.import_module(module), function)
        if not callable(found):
            raise TypeError("it cannot be called")
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{NOTIFIER_VARIABLE} is '{name}', which cannot be loaded: {error}.",
            f"Use {', '.join(BUILT_IN)}, {CONNECTION}<name>, or package.module:function.",
        ) from None
    return found
