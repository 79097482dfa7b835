"""Keeping secrets out of whatever is written down."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

HIDDEN = "•••"
SHORTEST = 4
"""A shorter secret is not searched for: it would black out half of every text."""
SHORTEST_PART = 6
"""Likewise of a part of a secret URL."""


class Redactor:
    """Replaces secrets in text, also where they stand escaped or in base64."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms: list[str] = []
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """From now on these too (tokens that a login gave)."""
        forms = set(self._forms)
        for secret in (part for whole in secrets for part in (whole, *_parts(whole))):
            if len(secret) >= SHORTEST:
                forms |= {
                    secret,
                    quote(secret, safe=""),
                    quote_plus(secret),
                    json.dumps(secret)[1:-1],
                    base64.b64encode(secret.encode()).decode(),
                }
        # The longest first: one form may stand within another.
        # A new list: other threads may be going through the one before.
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text


def _parts(secret: str) -> list[str]:
    """What is secret in a URL that is: a server quotes its path without the host before it."""
    try:
        url = urlsplit(secret)
    except ValueError:
        return []
    if not url.scheme or not url.netloc:
        return []
    values = [value for _, value in parse_qsl(url.query)]
    found = [url.path, url.query, *url.path.split("/"), *values, url.password or ""]
    return [part for part in found if len(part) >= SHORTEST_PART]
