"""What a spec says a destination can do, and which rows it could never take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from destinations.driver import KEY, REMOTE_ID, Capabilities, Operation
from destinations.language.compile import NO_REMOTE_ID
from destinations.language.conditions import may_apply
from destinations.language.normalise import prepare
from destinations.language.requests import StepTemplate
from destinations.language.spec import DestinationField, Spec
from destinations.language.steps import captured_by
from destinations.language.template import CUSTOM, FIELDS
from destinations.language.template import REMOTE_ID as REMOTE_ID_NAME


def capabilities(spec: Spec) -> Capabilities:
    """Read off the declarations; for code adapters, what the catalog says of them."""
    if spec.adapter is not None:
        # Tables, files and messages carry a row as it is, its nulls included.
        return Capabilities(
            frozenset(spec.code_operations),
            batch_rows=spec.batch_rows or 1,
            per_row_results=spec.per_row_results,
            idempotent=spec.idempotent,
            clears=True,
        )
    operations = spec.operations.values()
    batches = [operation.batch for operation in operations if operation.batch]
    sizes = [batch.bytes for batch in batches if batch.bytes]
    identifiers = tuple(name for name, field in spec.fields.items() if field.identifier)
    required = tuple((name,) for name, field in spec.fields.items() if field.required)
    return Capabilities(
        operations=frozenset(spec.operations),
        batch_rows=max((batch.rows for batch in batches), default=1),
        batch_bytes=min(sizes, default=None),
        concurrency=spec.concurrency,
        per_row_results=all(
            operation.batch is None
            or any(s.answer.accepted or s.answer.rejected for s in (operation, *operation.steps))
            for operation in operations
        ),
        sent_once=frozenset(
            name for name, operation in spec.operations.items() if not operation.idempotent
        ),
        required=tuple(dict.fromkeys((*required, identifiers) if identifiers else required)),
        identifiers=frozenset(identifiers),
        writes_by_remote_id=any(
            f"{{{REMOTE_ID_NAME}" in str(step)
            for name, operation in spec.operations.items()
            if name in (Operation.ADD, Operation.UPSERT)
            for step in (operation, *operation.steps)
        ),
        fields=None if spec.other_fields else frozenset(spec.fields),
        clears=all(
            declared.nulls != "drop"
            for operation, declared in spec.operations.items()
            if operation in (Operation.ADD, Operation.UPSERT)
        ),
    )


def problems(spec: Spec, steps: Iterable[StepTemplate], rows: pl.DataFrame) -> pl.Series:
    """Per row the first rule it breaks, in plain words; null where none.

    Only fields that the operation sends count: a removal by id needs no e-mail address.
    """
    templates = list(steps)
    names = [
        (template, part, found.name)
        for template in templates
        for part, found in template.placeholders()
        if not found.scope
    ]
    used = {name for _, _, name in names}
    declared = {
        name: field for name, field in spec.fields.items() if name in used or FIELDS in used
    }
    missing = [name for name in declared if name not in rows.columns]
    frame = prepare(rows, spec.fields, hashed=False).with_columns(
        pl.lit(None, dtype=pl.String).alias(name) for name in missing
    )
    rules = [*_field_rules(declared), *_identifier_rules(spec, declared)]
    given: set[str] = set()
    made = pl.lit(False)
    for template in templates:
        applicable = may_apply(template.step, frame.columns, given)
        made |= applicable
        rules += _step_rules(template, frame, applicable, given)
        given |= captured_by(template.step)
    if any(template.step.when or template.step.unless for template in templates):
        rules.append(_rule(~made, "None of the operation's requests is made for this row."))
    if not rules:
        return pl.Series("problem", [None] * rows.height, dtype=pl.String)
    return frame.select(pl.col(KEY), pl.coalesce(rules).alias("problem"))["problem"]


def _step_rules(
    template: StepTemplate, frame: pl.DataFrame, applicable: pl.Expr, given: set[str]
) -> Iterator[pl.Expr]:
    """What a row must have for one request, where that request is made for it."""
    names = {(part, found.name) for part, found in template.placeholders() if not found.scope}
    in_path = {name for part, name in names if part == "request"} - {FIELDS, CUSTOM}
    expected = {template.step.when, *given}
    for name in sorted(in_path - expected):
        column = REMOTE_ID if name == REMOTE_ID_NAME else name
        yield pl.when(applicable).then(_path_rule(column, frame))
    if REMOTE_ID_NAME in {name for _, name in names} - expected:
        known = pl.col(REMOTE_ID).is_null() if REMOTE_ID in frame.columns else pl.lit(True)
        yield pl.when(known & applicable).then(pl.lit(NO_REMOTE_ID))


def _field_rules(declared: dict[str, DestinationField]) -> list[pl.Expr]:
    rules = []
    for name, field in declared.items():
        value = pl.col(name)
        if field.required:
            rules.append(_rule(value.is_null(), f"{name} is required and is empty or not valid."))
        words = value.cast(pl.String)
        if field.max_length is not None:
            too_long = words.str.len_chars() > field.max_length
            rules.append(_rule(too_long, f"{name} is longer than {field.max_length} characters."))
        if field.pattern is not None:
            fits = words.str.contains(f"^(?:{field.pattern})$")
            rules.append(_rule(~fits, f"{name} does not fit the pattern {field.pattern}."))
    return rules


def _identifier_rules(spec: Spec, declared: dict[str, DestinationField]) -> list[pl.Expr]:
    names = [name for name, field in declared.items() if field.identifier]
    if not names:
        return []
    nobody = pl.all_horizontal(pl.col(name).is_null() for name in names)
    return [
        _rule(nobody, f"No identifier {spec.name} takes: {', '.join(names)} empty or not valid.")
    ]


def _path_rule(name: str, frame: pl.DataFrame) -> pl.Expr:
    """A value in a path must be one segment of it: never empty, never a step up."""
    if name not in frame.columns:
        return pl.lit(f"{name} is part of the request's path and is not mapped.")
    words = pl.col(name).cast(pl.String)
    return _rule(
        words.is_null() | words.is_in(["", ".", ".."]),
        f"{name} is part of the request's path and is empty.",
    )


def _rule(broken: pl.Expr, words: str) -> pl.Expr:
    return pl.when(broken).then(pl.lit(words))
