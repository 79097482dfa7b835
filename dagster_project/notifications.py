"""Where alerts go. Which notifier is used stands in the environment.

``STOREROOM_NOTIFIER`` is ``log`` (the default), ``webhook`` (posts JSON to
``STOREROOM_NOTIFIER_URL``) or ``package.module:function`` for one of your own,
which is called with one :class:`Alert`.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import requests

from destinations.errors import ConfigurationError

NOTIFIER_VARIABLE = "STOREROOM_NOTIFIER"
URL_VARIABLE = "STOREROOM_NOTIFIER_URL"

logger = logging.getLogger("storeroom.alerts")


@dataclass(frozen=True)
class Alert:
    """One thing somebody should know: what, where, and in which words."""

    subject: str
    text: str
    run_id: str
    job: str


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


BUILT_IN: Mapping[str, Notifier] = {"log": to_log, "webhook": to_webhook}


def notifier() -> Notifier:
    """The notifier that the environment names.

    Raises:
        ConfigurationError: it names none that exists.
    """
    name = os.environ.get(NOTIFIER_VARIABLE, "log")
    if name in BUILT_IN:
        return BUILT_IN[name]
    module, _, function = name.partition(":")
    try:
        found: Notifier = getattr(importlib.import_module(module), function)
        if not callable(found):
            raise TypeError("it cannot be called")
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{NOTIFIER_VARIABLE} is '{name}', which cannot be loaded: {error}.",
            f"Use {', '.join(BUILT_IN)}, or package.module:function.",
        ) from None
    return found
