"""From a YAML file to a spec, or to words that say what to write instead."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from destinations.errors import ConfigurationError
from destinations.language.broken import Broken
from destinations.language.families import FamilyError, extended, family_file, load_family
from destinations.language.marks import Marked, MarkedError, read
from destinations.language.rules import broken_rules
from destinations.language.spec import Spec

SHOWN = 5
"""Problems named in one message."""

# What the best known vendors' keys look like: none of these is ever an example.
_KEYS = re.compile(
    r"sk_live_\w{8,}|sk-[A-Za-z0-9_-]{20,}|xox[abpr]-[\w-]{10,}|AKIA[0-9A-Z]{16}|gh[pousr]_\w{30,}"
    r"|SG\.[\w-]{16,}\.[\w-]{16,}|pk_[0-9a-f]{30,}|pat-(?:na|eu)\d-[0-9a-f-]{30,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY"
)


class SpecError(ConfigurationError):
    """A spec that cannot be used, with every problem found: file, line and the fix."""

    def __init__(self, origin: str, problems: list[tuple[int, Broken]]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem[0])
        shown = [
            f"{origin}:{line}: {broken.message}." + (f" {broken.fix}" if broken.fix else "")
            for line, broken in self.problems[:SHOWN]
        ]
        more = len(problems) - SHOWN
        super().__init__("\n".join([*shown, *([f"and {more} more."] if more > 0 else [])]))


def load_spec_file(path: Path) -> Spec:
    """Read one spec.

    Raises:
        SpecError: it cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(path.name, [(1, Broken((), f"cannot be read: {error}"))]) from None
    spec = load_spec_text(text, path.name, path)
    if spec.id != path.stem:
        fix = f"Rename the file to {spec.id}.yaml, or write `id: {path.stem}`."
        raise SpecError(path.name, [(1, Broken(("id",), f"the id is '{spec.id}'", fix))])
    return spec


def load_spec_text(text: str, origin: str, path: Path | None = None) -> Spec:
    """Read a spec from text; ``origin`` names it in errors.

    Args:
        path: where it stands, by which its family is found.

    Raises:
        SpecError: it cannot be used.
    """
    try:
        marked = read(text)
    except MarkedError as error:
        raise SpecError(origin, [(error.line, Broken((), error.message))]) from None
    if not isinstance(marked.value, dict):
        raise SpecError(origin, [(1, Broken((), "a spec is a mapping that starts with `id:`"))])
    problems = _keys_in_clear(text)
    document, family = _with_family(marked, origin, path)
    if path is not None:
        document = {"category": path.parent.name, **document}
    try:
        spec = Spec.model_validate(document)
    except ValidationError as error:
        problems += [_described(detail, marked) for detail in error.errors()]
        raise SpecError(origin, _located(problems, marked, family)) from None
    except RecursionError:
        raise SpecError(origin, [(1, Broken((), "nested too deep"))]) from None
    problems += [(marked.line(broken.path), broken) for broken in broken_rules(spec)]
    if problems:
        raise SpecError(origin, _located(problems, marked, family))
    return spec


def _with_family(
    marked: Marked, origin: str, path: Path | None
) -> tuple[dict[str, Any], Marked | None]:
    name = marked.value.get("extends")
    if name is None:
        return marked.value, None
    line = marked.line(("extends",))
    if path is None or not re.fullmatch(r"[a-z0-9][a-z0-9_]*", str(name)):
        raise SpecError(origin, [(line, Broken(("extends",), f"'{name}' is no family"))])
    try:
        family = load_family(family_file(path, str(name)))
    except FamilyError as error:
        message = f"{error.path.parent.name}/{error.path.name}:{error.line}: {error.message}"
        raise SpecError(origin, [(line, Broken(("extends",), message))]) from None
    return extended(marked.value, family.value), family


def _located(
    problems: list[tuple[int, Broken]], own: Marked, family: Marked | None
) -> list[tuple[int, Broken]]:
    """Problems of what a family brought are told with the family's own line."""
    if family is None:
        return problems
    located = []
    for line, broken in problems:
        if broken.path and not own.has(broken.path[:2]) and family.has(broken.path[:2]):
            there = f"(line {family.line(broken.path)} of its family)"
            located.append(
                (own.line(("extends",)), replace(broken, message=f"{broken.message} {there}"))
            )
        else:
            located.append((line, broken))
    return located


def did_you_mean(wrong: str, known: Iterable[str], otherwise: str = "") -> str:
    names = sorted(known)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    if near:
        return f"Did you mean '{near[0]}'?"
    return otherwise or (f"It may be one of: {', '.join(names)}." if names else "")


def _keys_in_clear(text: str) -> list[tuple[int, Broken]]:
    return [
        (
            text.count("\n", 0, match.start()) + 1,
            Broken(
                (),
                "a secret stands in clear",
                'Declare a setting with `secret: true` and write "{settings.name}".',
            ),
        )
        for match in _KEYS.finditer(text)
    ]


def _described(detail: Any, marked: Marked) -> tuple[int, Broken]:
    path = tuple(detail["loc"])
    where = ".".join(str(name) for name in path if not isinstance(name, int))
    line = marked.line(path)
    match detail["type"]:
        case "extra_forbidden":
            message = f"there is no key '{path[-1]}'" + _in(path[:-1])
            return line, Broken(path, message, did_you_mean(str(path[-1]), _known_keys(path[:-1])))
        case "missing":
            return line, Broken(path, f"the key '{path[-1]}' is missing" + _in(path[:-1]))
        case "enum" | "literal_error" | "union_tag_invalid":
            expected = str(detail["ctx"].get("expected") or detail["ctx"].get("expected_tags"))
            wrong = str(detail["ctx"].get("tag", detail["input"]))
            fix = did_you_mean(wrong, re.findall(r"'([^']+)'", expected))
            return line, Broken(path, f"{where} cannot be '{wrong}'", fix)
        case "string_pattern_mismatch" if path[-1] == "request":
            fix = "Write the method and a path, `POST /v1/contacts/{email}`."
            return line, Broken(path, f"'{detail['input']}' is no request", fix)
        case _:
            return line, Broken(path, f"{where}: {detail['msg'][:1].lower()}{detail['msg'][1:]}")


def _in(path: tuple[Any, ...]) -> str:
    names = [str(name) for name in path if not isinstance(name, int)]
    return f" in {'.'.join(names)}" if names else ""


def _known_keys(path: tuple[Any, ...]) -> set[str]:
    """The keys that the model takes at a place of the spec."""
    models: list[type[BaseModel]] = [Spec]
    for name in path:
        fields = [_fields_of(model).get(str(name)) for model in models]
        below = [model for field in fields if field for model in _models_in(field.annotation)]
        models = below or models  # a key of a dict, a position, or the name of a variant
    return {name for model in models for name in _fields_of(model)}


def _fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]
