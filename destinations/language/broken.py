"""A rule that a spec breaks: where, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from destinations.language.spec import Spec
from destinations.language.template import (
    CUSTOM,
    FIELDS,
    META,
    META_NAMES,
    REMOTE_ID,
    SETTINGS,
    Placeholder,
)

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Broken:
    path: Path
    """Keys that lead to the place in the file."""
    message: str
    fix: str = ""


def unknown_name(
    spec: Spec, path: Path, found: Placeholder, captures: dict[str, list[str]], *, rows: bool
) -> Iterator[Broken]:
    """The placeholder names something that there is."""
    known: Iterable[str]
    match found.scope:
        case "settings":
            known = [f"{SETTINGS}.{name}" for name in spec.settings]
        case "meta":
            known = [f"{META}.{name}" for name in META_NAMES]
        case None:
            known = [*spec.fields, CUSTOM, FIELDS, REMOTE_ID] if rows else []
        case _:
            known = [f"{step}.{name}" for step, names in captures.items() for name in names]
    if found.name in known:
        return
    everything = [*spec.fields, *(f"{SETTINGS}.{name}" for name in spec.settings), *known]
    if found.scope is None and found.name in spec.fields:
        yield Broken(path, f"{found}: no value of a row can stand here", "Use settings or meta.")
    else:
        yield Broken(
            path,
            f"{found} names no field, setting or captured value",
            nearest(found.name, everything),
        )


def nearest(wrong: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, sorted(set(known)), n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else "Declare it under `fields:` or `settings:`."
