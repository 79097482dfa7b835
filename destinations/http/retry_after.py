"""How long a vendor asks us to wait, in whichever form it says so."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from destinations.language.replies import RetryAfter

LONGEST = 24 * 3600.0
"""A longer wait is taken for a mistake of the sender's clock or units."""
_EPOCH = 1_000_000_000.0
_EPOCH_MS = 1_000_000_000_000.0


def seconds_to_wait(
    declared: RetryAfter, headers: Mapping[str, str], said: object = None, now: float | None = None
) -> float | None:
    """Seconds from now, at least 0; None where nothing readable was said.

    Args:
        headers: names in lower case. The spec's header is asked first, then ``Retry-After``
            (RFC 9110, section 10.2.3: seconds or a date).
        said: what stands at the spec's path in the answer's body, asked last.
    """
    moment = time.time() if now is None else now
    for text, form in (
        (headers.get(declared.header.lower()), declared.form),
        (headers.get("retry-after"), "auto"),
        (said if isinstance(said, str | int | float) else None, declared.form),
    ):
        if text is not None:
            seconds = _seconds(str(text).strip(), form, moment)
            if seconds is not None:
                return min(max(seconds, 0.0), LONGEST)
    return None


def _seconds(text: str, form: str, now: float) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return _date(text, now)
    if number != number:  # not a number, in so many letters
        return None
    if form == "milliseconds":
        return number / 1000
    if form == "epoch" or (form == "auto" and number >= _EPOCH):
        return (number / 1000 if number >= _EPOCH_MS else number) - now
    return number


def _date(text: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return moment.timestamp() - now
