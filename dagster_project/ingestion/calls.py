"""Segment-spec calls: which lines are calls, and what they say.

The rules follow https://segment.com/docs/connections/spec/common/ :

- ``type`` is one of track, identify, page, screen, group and alias; a track has an
  ``event``, a group a ``groupId``, an alias a ``previousId``.
- Every call has a ``userId`` or an ``anonymousId``. Ids are text; a number is taken as its text.
- ``timestamp`` is when it happened. Where it is missing it is computed from the other three, to
  take a wrong client clock out: ``receivedAt - (sentAt - originalTimestamp)``; without all
  three it is ``originalTimestamp``, else ``receivedAt``, else ``sentAt``.
- Timestamps are ISO 8601; without a zone they are read as UTC.

Ours beside them: a call without ``messageId`` gets the SHA-256 of its line, so that the same
line always gets the same id; a timestamp before 2000 or more than a day ahead is not believed.
"""

# ruff: noqa: S608 - SQL is built of quoted names and checked expressions, in a locked session
from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from dagster_project.ingestion.engine import Connection, identifier, literal, query

TYPES = ("track", "identify", "page", "screen", "group", "alias")
EARLIEST = datetime(2000, 1, 1)  # noqa: DTZ001 - raw timestamps are UTC without a zone
MOST_AHEAD = timedelta(days=1)

REASONS: dict[str, str] = {
    "bad_json": "the line is not JSON",
    "not_an_object": "the line is JSON, and not an object",
    "not_utf8": "the line is not UTF-8",
    "nul_character": "the line holds a NUL character",
    "too_long": "the line is longer than a call may be",
    "bad_row": "the CSV row has more or fewer fields than the header",
    "unknown_type": "`type` is missing or none of the six",
    "wrong_type": "a key holds a value of the wrong kind",
    "missing_event": "a track without `event`",
    "missing_identity": "neither `userId` nor `anonymousId`",
    "missing_previous_id": "an alias without `previousId`",
    "missing_group_id": "a group without `groupId`",
    "missing_timestamp": "no timestamp of any kind",
    "invalid_timestamp": "a timestamp that is not ISO 8601",
    "timestamp_too_old": "before 2000-01-01",
    "timestamp_in_future": "more than a day after the load",
    "expression_failed": "an expression of the mapping fails on this row",
    "mapping_failed": "the mapping does not fit the file",
    "damaged_file": "the file breaks off or is corrupt from this line on",
    "unreadable_file": "nothing of the file can be read",
    "unsupported_format": "the file's name tells no format we read",
    "empty_file": "the file holds nothing",
}
"""Every reason code of rejected.parquet, with its meaning."""

_IDS = ("userId", "anonymousId", "previousId", "groupId", "messageId")
_WORDS = ("type", "event", "name")
_TIMES = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")
_OBJECTS = ("properties", "traits", "context")
# The first character of a JSON text tells its kind, and comparing is the fastest way to ask:
# text begins with ", numbers with - or a digit, then come Infinity, NaN, [, false, true and {.
_NO_TEXT, _NO_SCALAR, _OBJECT = "'#'", "'A'", "'{'"
KEYS = (*_WORDS, *_IDS, *_TIMES, *_OBJECTS)


def classify(connection: Connection, chunk: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Read each line of ``chunk`` as a call and judge it.

    Args:
        chunk: as :mod:`.lines` makes them; with a Boolean column ``require_identity``, calls need
            a user or a visitor only where it is true.
        now: time of the load, UTC without a zone; calls far ahead of it are rejected.

    Returns:
        One row per line, in any order: the columns of events.parquet from ``message_id`` to
        ``context``, ``line``, and ``reason``, ``detail``, ``raw``, all three null in a good call.
    """
    if "require_identity" not in chunk.columns:
        chunk = chunk.with_columns(pl.lit(True).alias("require_identity"))
    return query(connection, _sql(now), chunk=chunk)


def _sql(now: datetime) -> str:
    # One pass over the line for all keys; null and missing are the same.
    shape = literal("{" + ", ".join(f'"{key}": "JSON"' for key in KEYS) + "}")
    values = ",\n".join(f"v.{identifier(key)} as {_value(key)}" for key in KEYS)
    texts = ",\n".join(f"{_text(key)} as {_name(key)}" for key in (*_WORDS, *_IDS, *_TIMES))
    times = ",\n".join(f"{_time(key)} as {_parsed(key)}" for key in _TIMES)
    return f"""
with checked as (
    select line, text, problem, detail as problem_detail, require_identity,
        case when problem is null then json_valid(text) else false end as valid
    from chunk
),
extracted as (
    select *, valid and starts_with(text, '{{') as is_object,
        case when is_object then from_json(text, {shape}) end as v
    from checked
),
typed as (select * exclude (v), {values} from extracted),
texts as (select *, {texts} from typed),
times as (select *, {times} from texts),
dated as (
    select *, coalesce(
        {_parsed("timestamp")},
        {_parsed("receivedAt")} - ({_parsed("sentAt")} - {_parsed("originalTimestamp")}),
        {_parsed("originalTimestamp")}, {_parsed("receivedAt")}, {_parsed("sentAt")}
    ) as happened_at
    from times
),
judged as (
    select *, case {_rules(now)} end as verdict
    from dated
)
select
    coalesce({_name("messageId")}, 'sha256-' || sha256(text)) as message_id,
    {_name("type")} as type,
    case {_name("type")} when 'track' then {_name("event")}
        when 'page' then {_name("name")} when 'screen' then {_name("name")} end as event,
    {_name("userId")} as user_id,
    {_name("anonymousId")} as anonymous_id,
    {_name("previousId")} as previous_id,
    {_name("groupId")} as group_id,
    happened_at as timestamp,
    {_parsed("sentAt")} as sent_at,
    {_parsed("receivedAt")} as received_at,
    {", ".join(f"nullif({_value(key)}::varchar, 'null') as {key}" for key in _OBJECTS)},
    line,
    verdict.reason as reason,
    verdict.detail as detail,
    case when verdict is not null then text end as raw
from judged"""


def _rules(now: datetime) -> str:
    """The rules in the order in which they are asked: the first that is broken is the reason."""
    latest = now + MOST_AHEAD
    kind = f"{_name('type')}"
    rules = [
        ("problem is not null", "problem", "problem_detail"),
        ("not valid", "'bad_json'", "'the line is not JSON'"),
        ("not is_object", "'not_an_object'", "'write one JSON object per line'"),
        (
            # \\u0000 after an even number of backslashes: the escape itself, not text about it.
            "contains(text, '\\u0000') and regexp_matches(text, '(^|[^\\\\])(\\\\\\\\)*\\\\u0000')",
            "'nul_character'",
            "'a value holds the escape \\u0000, which databases cannot store'",
        ),
        *(
            (
                # The reader takes NaN and Infinity, JSON does not. Asked of the text without strings.
                f"(contains({_value(key)}::varchar, 'NaN') or "
                f"contains({_value(key)}::varchar, 'Infinity')) and regexp_matches(regexp_replace("
                f"{_value(key)}::varchar, '\"([^\"\\\\]|\\\\.)*\"', '', 'g'), 'NaN|Infinity')",
                "'bad_json'",
                f"'{key} holds NaN or Infinity, which JSON does not know'",
            )
            for key in _OBJECTS
        ),
        *(
            (
                f"{_value(key)}::varchar >= {_NO_SCALAR}",
                "'wrong_type'",
                f"'{key} must be text or a number'",
            )
            for key in _IDS
        ),
        *(
            (
                f"{_value(key)}::varchar >= {_NO_TEXT}",
                "'unknown_type'" if key == "type" else "'wrong_type'",
                f"'{key} must be text'",
            )
            for key in _WORDS
        ),
        *(
            (f"{_value(key)}::varchar < {_OBJECT}", "'wrong_type'", f"'{key} must be an object'")
            for key in _OBJECTS
        ),
        (
            f"{kind} is null",
            "'unknown_type'",
            f"'type is missing; write one of {', '.join(TYPES)}'",
        ),
        (
            " and ".join(f"{kind} <> {literal(name)}" for name in TYPES),
            "'unknown_type'",
            f"'type ' || {_shown('type')} || ' is none of {', '.join(TYPES)}'",
        ),
        (
            f"{kind} = 'track' and {_name('event')} is null",
            "'missing_event'",
            "'a track needs event'",
        ),
        (
            f"{kind} = 'alias' and {_name('previousId')} is null",
            "'missing_previous_id'",
            "'an alias needs previousId'",
        ),
        (
            f"{kind} = 'group' and {_name('groupId')} is null",
            "'missing_group_id'",
            "'a group needs groupId'",
        ),
        (
            f"require_identity and {_name('userId')} is null and {_name('anonymousId')} is null",
            "'missing_identity'",
            "'neither userId nor anonymousId is given'",
        ),
        *(
            (
                f"{_name(key)} is not null and {_parsed(key)} is null",
                "'invalid_timestamp'",
                f"'{key} ' || {_shown(key)} || ' is not an ISO 8601 time'",
            )
            for key in _TIMES
        ),
        (
            "happened_at is null",
            "'missing_timestamp'",
            "'none of timestamp, originalTimestamp, receivedAt and sentAt is given'",
        ),
        (
            f"happened_at < timestamp {literal(str(EARLIEST))}",
            "'timestamp_too_old'",
            f"'the call is dated ' || happened_at::varchar || ', before {EARLIEST:%Y-%m-%d}'",
        ),
        (
            f"happened_at > timestamp {literal(str(latest))}",
            "'timestamp_in_future'",
            "'the call is dated ' || happened_at::varchar || ', more than a day ahead of the load'",
        ),
    ]
    return "\n".join(
        f"when {test} then {{'reason': {reason}, 'detail': {detail}}}"
        for test, reason, detail in rules
    )


def _value(key: str) -> str:
    """Column of the key's JSON text."""
    return f'"{key}_json"'


def _name(key: str) -> str:
    """Column of the key's text."""
    return f'"{key}_text"'


def _parsed(key: str) -> str:
    """Column of the key's time."""
    return f'"{key}_time"'


def _shown(key: str) -> str:
    return f"left({_value(key)}::varchar, 100)"


def _text(key: str) -> str:
    """Text of a JSON scalar without blanks around it; null, blank and missing are the same."""
    value, text = f"{_value(key)}::varchar", f"({_value(key)} ->> '$')"
    # Trimming is slow, and hardly any text needs it; blanks beyond ASCII make it longer in bytes.
    return (
        f"nullif(case when starts_with({value}, '\" ') or ends_with({value}, ' \"') "
        f"or strlen({value}) <> length({value}) then trim({text}) else {text} end, '')"
    )


def _time(key: str) -> str:
    # TIMESTAMP ignores an offset that is written; TIMESTAMPTZ honours it, and UTC is the default.
    # Its words (infinity, epoch) are no ISO 8601, so a digit must come first.
    return (
        f"case when {_name(key)} >= '0' and {_name(key)} < ':' and {_value(key)}::varchar < {_NO_TEXT} "
        f"then try_cast({_name(key)} as timestamptz)::timestamp end"
    )
