"""Keeping secrets out of whatever is written down."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

HIDDEN = "•••"
SHORTEST = 4
"""A shorter secret is not searched for: it would black out half of every text."""


class Redactor:
    """Replaces secrets in text, also where they stand escaped or in base64."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms: set[str] = set()
        for secret in secrets:
            if len(secret) >= SHORTEST:
                forms |= {
                    secret,
                    quote(secret, safe=""),
                    quote_plus(secret),
                    json.dumps(secret)[1:-1],
                    base64.b64encode(secret.encode()).decode(),
                }
        # The longest first: one form may stand within another.
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text
