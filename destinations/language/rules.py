"""What a spec must hold to beyond the shape of its keys.

Each rule gives the places where it is broken, with what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from destinations.driver import Operation
from destinations.language.broken import Broken, Path
from destinations.language.login_rules import base_url_rules, login_rules
from destinations.language.spec import Spec
from destinations.language.step_rules import audience_rules, operation_rules, step_rules
from destinations.language.template import CUSTOM, FIELDS


def broken_rules(spec: Spec) -> list[Broken]:
    """Every rule the spec breaks, in the order of the rules."""
    found = [*_links(spec), *_patterns(spec)]
    if spec.adapter is not None:
        return [*found, *_code(spec)]
    found += [*base_url_rules(spec), *login_rules(spec), *audience_rules(spec), *_removal(spec)]
    sent: set[str] = set()
    for operation, declared in spec.operations.items():
        found += operation_rules(spec, operation, declared, sent)
    if spec.check is not None:
        found += step_rules(spec, ("check",), spec.check, {}, batched=None, sent=set())
    return found + list(_other_fields(spec, sent))


# --- the spec as a whole -------------------------------------------------------------------


def _links(spec: Spec) -> Iterator[Broken]:
    """Every fact names the vendor's page."""
    pages: list[tuple[Path, str | None]] = [(("docs",), spec.docs)]
    if spec.deprecated:
        pages.append((("deprecated", "docs"), spec.deprecated.docs))
    pages += [(("limits", i, "docs"), limit.docs) for i, limit in enumerate(spec.limits)]
    pages += [(("fields", name, "docs"), f.docs) for name, f in spec.fields.items() if f.docs]
    for name, operation in spec.operations.items():
        if operation.batch:
            pages.append((("operations", name.value, "batch", "docs"), operation.batch.docs))
        pages.append((("operations", name.value, "docs"), operation.docs or spec.docs))
    for path, page in pages:
        if not page or not page.startswith("https://"):
            yield Broken(path, "no vendor page is named", "Write `docs: https://...`.")


def _patterns(spec: Spec) -> Iterator[Broken]:
    parts: list[tuple[Path, str | None]] = [
        *((("settings", name, "pattern"), s.pattern) for name, s in spec.settings.items()),
        *((("fields", name, "pattern"), f.pattern) for name, f in spec.fields.items()),
    ]
    for path, pattern in parts:
        try:
            re.compile(pattern or "")
        except re.error as error:
            yield Broken(path, f"not a regular expression: {error}")


def _code(spec: Spec) -> Iterator[Broken]:
    if not spec.code_operations:
        yield Broken(("adapter",), "code says no operations", "Add `code_operations: [upsert]`.")
    if spec.operations or spec.base_url or spec.auth:
        fix = "Keep `adapter:` or the requests, not both."
        yield Broken(("adapter",), "a code adapter has no requests", fix)


def _removal(spec: Spec) -> Iterator[Broken]:
    removes = Operation.REMOVE in spec.operations
    if not spec.operations:
        yield Broken(("operations",), "there are no operations", "Add `operations:`.")
    elif not removes and not spec.remove_none:
        fix = "Add `operations.remove`, or `remove_none: why there is none`."
        yield Broken(("operations",), "nothing says how a person is removed", fix)
    elif removes and spec.remove_none:
        yield Broken(("remove_none",), "there is a remove", "Leave `remove_none` out.")


def _other_fields(spec: Spec, sent: set[str]) -> Iterator[Broken]:
    taken = bool(sent & {CUSTOM, FIELDS})
    if spec.other_fields and not taken:
        fix = 'Add `other_fields: false`, or `"...": "{custom}"` to a body.'
        yield Broken(("other_fields",), "other fields may be mapped and no request sends them", fix)
    if not spec.other_fields and CUSTOM in sent:
        yield Broken(("other_fields",), "{custom} is always empty", "Leave `other_fields` out.")
    for name in spec.fields:
        if name not in sent and FIELDS not in sent:
            yield Broken(
                ("fields", name), f"no request sends the field '{name}'", f'Write "{{{name}}}".'
            )
