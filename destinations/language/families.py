"""What specs have in common: a family's keys, taken over by the specs that extend it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from destinations.language.marks import Marked

FOLDER = "_families"
BY_NAME = ("settings", "fields", "operations", "headers")
"""Keys that are merged name by name."""


class FamilyError(ValueError):
    """A family that cannot be used: its file, the line there, and what is wrong."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.line = line
        self.message = message


def family_file(spec: Path, name: str) -> Path:
    """Where the family of a spec stands: in the catalog, beside the categories' folders.

    A flat folder of specs has its families in itself.
    """
    nested = spec.parent.parent / FOLDER / f"{name}.yaml"
    flat = spec.parent / FOLDER / f"{name}.yaml"
    return flat if flat.is_file() else nested


def load_family(path: Path) -> Marked:
    """A family's keys.

    Raises:
        FamilyError: there is no such file, or none that a spec could extend.
    """
    from destinations.language.marks import MarkedError, read  # a listing needs no YAML

    try:
        marked = read(path.read_text(encoding="utf-8"))
    except OSError:
        raise FamilyError(path, 1, "there is no such family") from None
    except MarkedError as error:
        raise FamilyError(path, error.line, error.message) from None
    if not isinstance(marked.value, dict):
        raise FamilyError(path, 1, "a family is a mapping of a spec's keys")
    if "extends" in marked.value:
        message = "a family extends no other"
        raise FamilyError(path, marked.line(("extends",)), message)
    return marked


def extended(own: dict[str, Any], family: dict[str, Any]) -> dict[str, Any]:
    """The spec's keys over the family's; a name set to null is left out."""
    whole = {**family, **own}
    for key in BY_NAME:
        mine, theirs = own.get(key), family.get(key)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            whole[key] = {**theirs, **mine}
        if isinstance(whole.get(key), dict) and "extends" in own:
            whole[key] = {name: item for name, item in whole[key].items() if item is not None}
    return whole
