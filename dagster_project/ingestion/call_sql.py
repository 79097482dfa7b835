"""A declared call as SQL over the rows of a file, in the table ``rows`` or a part of it.

The queries of calls yield

==========  ===========  ======================================================
column      dtype        meaning
==========  ===========  ======================================================
``line``    Int64        line at which the call stands: the smallest of its rows
``lines``   List(Int64)  its rows
``text``    String       the call as a line of JSON
==========  ===========  ======================================================
"""

# ruff: noqa: S608 - SQL is built of quoted names and checked expressions, in a locked session
from __future__ import annotations

from dagster_project.ingestion.engine import identifier, literal
from dagster_project.ingestion.sources import Call
from dagster_project.ingestion.tables import LINE

_KEYS = {
    "message_id": "messageId",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "previous_id": "previousId",
    "group_id": "groupId",
    "timestamp": "timestamp",
}
_OBJECTS = ("properties", "traits", "context")


def tried(sql: str) -> str:
    """A struct with the value as ``v``, or null where the expression fails on a row."""
    return f"try({{'v': {sql}}})"


def first_failing(parts: list[str]) -> str:
    """Number of the first of these expressions that fails on the row; null if all can be read."""
    cases = " ".join(f"when {tried(sql)} is null then {i}" for i, sql in enumerate(parts))
    return f"case {cases} end" if parts else "null"


def where(call: Call) -> str:
    """The condition of the call, a boolean for every row on which it does not fail."""
    return "true" if call.where is None else f"coalesce(cast(({call.where}\n) as boolean), false)"


def passes(call: Call) -> str:
    """What the condition says of a row; null where it fails."""
    return f"{tried(where(call))}.v"


def tested(call: Call, rows: str) -> str:
    return f"with tested as (select *, {passes(call)} as passes from {rows})"


def failed_conditions(call: Call, rows: str) -> str:
    """Rows on which ``where`` fails: ``line``, ``lines``, ``shown``, ``part`` (always 0)."""
    return (
        f"{tested(call, rows)} select {LINE} as line, [{LINE}] as lines, {LINE} as shown, "
        "0 as part from tested where passes is null"
    )


def single(call: Call, rows: str) -> str:
    """One call per row, with ``part``: number of the field that fails on the row, else null."""
    parts = fields(call)
    values = ", ".join(f"{tried(sql)} as {identifier('=' + key)}" for key, sql in parts.items())
    failed = " ".join(
        f"when {identifier('=' + key)} is null then {i}" for i, key in enumerate(parts)
    )
    text = _text(call, {key: f"{identifier('=' + key)}.v" for key in parts})
    return f"""{tested(call, rows)},
    made as (select {LINE}, {values} from tested where passes)
    select {LINE} as line, [{LINE}] as lines, {text} as text, case {failed} end as part from made"""


def grouped(call: Call, rows: str) -> str:
    """One call per group; fails as a whole where a group fails."""
    return f"""{tested(call, rows)}
    select min({LINE}) as line, list({LINE}) as lines, {_text(call, fields(call))} as text
    from tested where passes group by {", ".join(group_keys(call))} order by line"""


def group_keys(call: Call) -> list[str]:
    return [f"({text}\n)" for text in call.group_by]


def fields(call: Call) -> dict[str, str]:
    """SQL of each part of the call that rows decide."""
    found = {
        key: f"cast(({getattr(call, key)}\n) as varchar)" for key in _KEYS if getattr(call, key)
    }
    for key in _OBJECTS:
        if members := getattr(call, key):
            pairs = ", ".join(f"{literal(name)}, ({text}\n)" for name, text in members.items())
            found[key] = f"json_object({pairs})"
    return found


def _text(call: Call, parts: dict[str, str]) -> str:
    """SQL of the call as a line of JSON."""
    pairs = ["'type'", literal(call.type)]
    if call.event:
        pairs += ["'event'" if call.type == "track" else "'name'", literal(call.event)]
    for key, sql in parts.items():
        pairs += [literal(_KEYS.get(key, key)), sql]
    return f"json_object({', '.join(pairs)})::varchar"
