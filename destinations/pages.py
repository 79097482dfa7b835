"""Pages that are made from the catalog and the language: one destination, all of them, the reference."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from destinations.language.spec import Spec
from destinations.registry import describe, list_destinations, load_spec


def destination_page(destination: str) -> str:
    """One destination in Markdown: settings, fields, operations, limits, removal, evidence.

    Raises:
        ConfigurationError: there is no such destination.
    """
    spec, said = load_spec(destination), describe(destination)
    per_row = (
        "yes" if said["per_row_results"] else "no: a refused batch is split until rows stand alone"
    )
    lines = [f"# {spec.name}", "", f"`{spec.id}` · {spec.category} · {spec.kind}", ""]
    lines += [
        *([spec.notes, ""] if spec.notes else []),
        f"Vendor's documentation: <{spec.docs}>",
        "",
    ]
    lines += _table("Settings", ("setting", "what it is"), said["settings"].items())
    lines += _table("Fields", ("field", "what it takes"), said["fields"].items())
    if spec.adapter is None:
        more = "are sent too" if spec.other_fields else "are refused"
        lines += [f"Other fields {more}.", ""]
    effects = [(name, text or "-") for name, text in said["operations"].items()]
    lines += _table("Operations", ("operation", "effect"), effects)
    lines += [f"No remove: {said['remove']}", ""] if said["remove"] else []
    batches = "; ".join(f"{name}: {rows}" for name, rows in said["batch"].items())
    lines += ["## Limits and answers", "", f"- Most rows of a request: {batches}."]
    lines += [f"- {limit}." for limit in said["limits"]]
    lines += [f"- The answer names the rows it refuses: {per_row}."]
    lines += [f"- Evidence: {said['evidence']}.", f"- Brought by: {said['origin']}."]
    if said["extra"]:
        lines += [f'- Needs: `pip install "storeroom[{said["extra"]}]"`.']
    return "\n".join(lines) + "\n"


def catalog_page() -> str:
    """Every destination of this package, in Markdown, by category."""
    rows = [row for row in list_destinations() if row.origin == "storeroom"]
    schema_checked = sum(row.evidence == "schema-checked" for row in rows)
    lines = [
        "# The catalog",
        "",
        f"{len(rows)} destinations, {schema_checked} of them schema-checked. Made by `make generated`;",
        "what the columns mean: [evidence.md](evidence.md).",
    ]
    for category in sorted({row.category for row in rows}):
        lines += ["", f"## {category}", ""]
        lines += [
            "| id | name | operations | batch | per row | evidence |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| `{row.id}` | [{row.name}]({row.docs}) | {', '.join(row.operations)} | {row.batch_size:,} "
            f"| {'yes' if row.per_row_results else 'no'} | {row.evidence} |"
            for row in rows
            if row.category == category
        ]
    return "\n".join(lines) + "\n"


def schema_text() -> str:
    """The JSON Schema of a spec, for editors: keys, values and what they mean."""
    schema = Spec.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Storeroom destination"
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def language_page() -> str:
    """The reference of the language in Markdown, from the models' own words."""
    lines = [
        "# The destination language, version 1",
        "",
        "Made by `make generated` from the models in `destinations/language`. How to write a spec:",
        "[destinations.md](destinations.md). A key without a default must be given.",
    ]
    for model in _models(Spec, []):
        lines += ["", f"## {model.__name__}", ""]
        lines += [_flat(inspect.getdoc(model) or ""), ""] if model.__doc__ else []
        for name, field in model.model_fields.items():
            default = (
                ""
                if field.is_required()
                else _default(field.get_default(call_default_factory=True))
            )
            words = f" {_flat(field.description)}" if field.description else ""
            lines.append(f"- `{field.alias or name}` ({_kind(field.annotation)}{default}).{words}")
    return "\n".join(lines) + "\n"


def _models(model: type[BaseModel], met: list[type[BaseModel]]) -> list[type[BaseModel]]:
    """The model and all it is made of, each once, the whole before its parts."""
    if model in met:
        return met
    met.append(model)
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            _models(part, met)
    return met


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _parts(inner)


def _kind(annotation: Any) -> str:
    """A type in a reader's words."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(str(one) for one in inner)
    if origin is typing.Annotated:
        return _kind(inner[0])
    if origin in (tuple, list):
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return f"mapping of {_kind(inner[0])} to {_kind(inner[1])}"
    if inner:
        return " or ".join(dict.fromkeys(_kind(one) for one in inner if one is not type(None)))
    if annotation is Any:
        return "anything"
    names = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(value: Any) -> str:
    if value is None or value in ((), {}, "") or isinstance(value, BaseModel):
        return ", optional"
    shown = json.dumps(value, default=str)
    return f", default {shown}"


def _flat(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _table(title: str, heads: tuple[str, str], rows: Iterable[tuple[str, str]]) -> list[str]:
    found = [f"| `{name}` | {str(text).replace('|', '/')} |" for name, text in rows]
    if not found:
        return []
    return [f"## {title}", "", f"| {heads[0]} | {heads[1]} |", "|---|---|", *found, ""]
