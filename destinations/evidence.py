"""Previews and checks by a destination's id, for the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from destinations.driver import Operation
from destinations.errors import ConfigurationError
from destinations.http.check import Finding, check
from destinations.http.preview import preview
from destinations.language.loader import SpecError
from destinations.registry import load_spec


def previews(destination: str, operation: str | None, rows: int) -> Iterator[dict[str, Any]]:
    """The requests of one operation, or of every one that the destination has.

    Raises:
        ConfigurationError: no such destination or operation.
    """
    spec = load_spec(destination)
    if operation is None:
        # A destination with a protocol of its own has no requests to show.
        for offered in spec.operations:
            yield preview(spec, offered, rows)
        return
    if operation not in list(Operation):
        near = difflib.get_close_matches(operation, list(Operation), n=1)
        raise ConfigurationError(
            f"There is no operation '{operation}'.",
            f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(Operation)}.",
        )
    yield preview(spec, Operation(operation), rows)


def check_spec(destination: str, description: Path | None = None) -> list[Finding]:
    """Everything that can be found out about a spec without an account.

    Args:
        description: the vendor's OpenAPI file, if there is one at hand.

    Raises:
        ConfigurationError: no such destination.
    """
    try:
        spec = load_spec(destination)
    except SpecError as error:
        return [Finding("problem", line) for line in error.message.splitlines()]
    return [Finding("ok", "It loads."), *check(spec, description)]
