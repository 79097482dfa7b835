"""A spec in words, for a listing or a page."""

from __future__ import annotations

from typing import Any

from destinations.driver import Capabilities
from destinations.language.settings import is_found
from destinations.language.spec import DestinationField, Spec


def described(spec: Spec, capabilities: Capabilities, model: Any = None) -> dict[str, Any]:
    """Settings, fields, operations and limits as short texts.

    Args:
        model: the pydantic model of a code adapter's settings.
    """
    batches = {op.value: d.batch.rows for op, d in spec.operations.items() if d.batch}
    return {
        "id": spec.id,
        "name": spec.name,
        "category": spec.category,
        "kind": spec.kind,
        "docs": spec.docs,
        "notes": spec.notes,
        "deprecated": deprecation(spec),
        "settings": _model_settings(model, spec)
        if model is not None
        else {name: _setting(spec, name) for name in spec.settings},
        "fields": {name: _field(field) for name, field in spec.fields.items()},
        "other_fields": spec.other_fields,
        "operations": {
            operation.value: spec.operations[operation].effect
            if operation in spec.operations
            else ""
            for operation in sorted(capabilities.operations)
        },
        "remove": spec.remove_none or "",
        "batch": {name: f"{rows} rows" for name, rows in batches.items()}
        or {"all": f"{capabilities.batch_rows} rows"},
        "per_row_results": capabilities.per_row_results,
        "limits": [f"{limit.requests} requests in {limit.per:g} s" for limit in spec.limits],
    }


def deprecation(spec: Spec) -> str:
    """When the vendor takes the API away, and what to use instead; empty where nobody said so."""
    if spec.deprecated is None:
        return ""
    successor = f"; use {spec.deprecated.successor}" if spec.deprecated.successor else ""
    return f"{spec.name} ends on {spec.deprecated.date}{successor} ({spec.deprecated.docs})"


def _setting(spec: Spec, name: str) -> str:
    setting = spec.settings[name]
    marks = [
        "found by the audience's name, or created, where not given" if is_found(spec, name) else "",
        "secret" if setting.secret else "",
        "" if setting.required and setting.default is None else "optional",
        f"default {setting.default}" if setting.default is not None else "",
        f"one of {', '.join(setting.choices)}" if setting.choices else "",
    ]
    said = ", ".join(mark for mark in marks if mark)
    return f"{setting.description} ({said})" if said else setting.description


def _field(field: DestinationField) -> str:
    marks = [
        field.type,
        "required" if field.required else "",
        "identifier" if field.identifier else "",
        f"normalised as {field.normalise}" if field.normalise else "",
        f"hashed with {field.hash}" if field.hash else "",
    ]
    said = ", ".join(mark for mark in marks if mark)
    return f"{field.description} ({said})" if field.description else said


def _model_settings(model: Any, spec: Spec) -> dict[str, str]:
    """The code's own words and defaults, unless the spec gives others."""
    texts = {}
    for name, field in model.model_fields.items():
        given = spec.settings.get(name)
        text = given.description if given else field.description or ""
        default = "" if field.is_required() else f"default {field.get_default()}"
        if given is not None and given.default is not None:
            default = f"default {given.default}"
        marks = ["secret" if "SecretStr" in str(field.annotation) else "", default]
        said = ", ".join(mark for mark in marks if mark)
        texts[name] = f"{text} ({said})" if said else text
    return texts
