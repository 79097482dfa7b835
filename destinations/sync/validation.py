"""Refuses at once a sync that no run could carry out, and says what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from destinations.connections import CONSENT_NOT_REQUIRED
from destinations.driver import META_COLUMNS, Capabilities, Operation
from destinations.errors import ConfigurationError
from destinations.sync.config import Mode, SyncConfig, closest

_DTYPES: dict[str, pl.DataType] = {
    name: getattr(pl, name)()
    for name in (
        *("String", "Boolean", "Date", "Time", "Binary", "Float32", "Float64", "Datetime"),
        *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
    )
} | {"Int128": pl.Int128(), "Decimal": pl.Decimal(38, 9), "Duration": pl.Duration()}


@dataclass(frozen=True)
class Problem:
    """One thing that keeps a sync from running."""

    message: str
    fix: str


def consent_column(consent: str) -> str | None:
    """The audience column that decides under a connection's consent purpose; None for no check."""
    return None if consent == CONSENT_NOT_REQUIRED else f"consent_{consent}"


def operation_for(
    config: SyncConfig, change: str, offered: frozenset[Operation]
) -> Operation | None:
    """What a change (``add``, ``update``, ``remove``) asks of the destination; None if it cannot."""
    if config.mode is Mode.APPEND_EVENT:
        wanted = [Operation.TRACK]
    elif change == "remove":
        wanted = [Operation(config.on_remove)]
    elif change == "add":
        wanted = [Operation.ADD, Operation.UPSERT]
    else:
        wanted = [Operation.UPSERT, Operation.ADD]
    return next((operation for operation in wanted if operation in offered), None)


def changes_of(mode: Mode) -> tuple[str, ...]:
    """The changes a mode may send."""
    return {
        Mode.UPSERT: ("add", "update"),
        Mode.MIRROR: ("add", "update", "remove"),
        Mode.ADD_ONLY: ("add",),
        Mode.UPDATE_ONLY: ("update",),
        Mode.REMOVE_ONLY: ("remove",),
        Mode.APPEND_EVENT: ("add", "remove"),
        Mode.FULL_REFRESH: ("add", "update"),
    }[mode]


def problems_of(
    config: SyncConfig,
    columns: Mapping[str, str],
    capabilities: Capabilities,
    consent: str,
) -> list[Problem]:
    """Everything a run of ``config`` would fail on; empty where it can run.

    Args:
        columns: the audience's columns and their types as Polars writes them; an empty
            or unknown type is taken as unknown and only the name is checked.
        consent: the connection's purpose, or ``not_required``.
    """
    problems = [*_columns(config, columns), *_fields(config, capabilities)]
    problems += _operations(config, capabilities)
    problems += _consent(config, columns, consent)
    if config.where is not None:
        problems += _where(config.where, columns)
    return problems


def validate(
    config: SyncConfig,
    columns: Mapping[str, str],
    capabilities: Capabilities,
    consent: str,
) -> None:
    """Raise what :func:`problems_of` finds, all of it in one message.

    Raises:
        ConfigurationError: the sync could not run.
    """
    problems = problems_of(config, columns, capabilities, consent)
    if problems:
        *others, last = problems
        told = "".join(f"{problem.message} {problem.fix} " for problem in others)
        raise ConfigurationError(
            f"Sync '{config.name}' could not run: {told}{last.message}", last.fix
        )


def _columns(config: SyncConfig, columns: Mapping[str, str]) -> list[Problem]:
    known = sorted(columns)
    problems = []
    if config.key not in columns:
        problems.append(
            Problem(
                f"the audience has no column '{config.key}', its declared key.",
                closest(config.key, known, "Its columns are"),
            )
        )
    for field, column in config.columns.items():
        if column not in columns:
            problems.append(
                Problem(
                    f"`mapping.{field}` names column '{column}', which the audience lacks.",
                    closest(column, known, "Its columns are"),
                )
            )
    return problems


def _fields(config: SyncConfig, capabilities: Capabilities) -> list[Problem]:
    problems = [
        Problem(f"field '{field}' may not start with an underscore like ours.", "Rename it.")
        for field in config.mapping
        if field in META_COLUMNS
    ]
    if capabilities.fields is not None:
        known = sorted(capabilities.fields)
        problems += [
            Problem(
                f"`mapping.{field}`: the destination has no such field.",
                closest(field, known, "Its fields are"),
            )
            for field in config.mapping
            if field not in capabilities.fields
        ]
    for group in capabilities.required:
        if not any(field in config.mapping for field in group):
            names = " or ".join(f"`{field}`" for field in group)
            problems.append(
                Problem(
                    f"`mapping` names no {names}, which the destination needs to know a row by.",
                    f"Add `{group[0]}: <column>` to the mapping.",
                )
            )
    cleared = [field for field, source in config.mapping.items() if source.nulls == "clear"]
    if cleared and not capabilities.clears:
        problems.append(
            Problem(
                f"`mapping.{cleared[0]}`: the destination cannot be asked to empty a field.",
                "Write `nulls: skip`, or map a column that says what an empty value is there.",
            )
        )
    return problems


def _operations(config: SyncConfig, capabilities: Capabilities) -> list[Problem]:
    offered = capabilities.operations
    listed = ", ".join(sorted(operation.value for operation in offered))
    problems = []
    missing = [c for c in changes_of(config.mode) if operation_for(config, c, offered) is None]
    if config.mode is Mode.APPEND_EVENT:
        if missing:
            problems.append(
                Problem(
                    f"`mode: append_event`: the destination takes no events (it offers {listed}).",
                    "Write `mode: upsert` or `mode: mirror`.",
                )
            )
        if not any(source.is_event for source in config.mapping.values()):
            problems.append(
                Problem(
                    "`mode: append_event`: no field says whether a person entered or left.",
                    "Add e.g. `event: {entered: Joined VIP, exited: Left VIP}` to the mapping.",
                )
            )
        return problems
    if any(source.is_event for source in config.mapping.values()):
        problems.append(
            Problem(
                "`mapping` tells entered from exited, which only events do.",
                "Write `mode: append_event`, or {constant: <value>}.",
            )
        )
    if "remove" in missing:
        other = "delete" if config.on_remove == "remove" else "remove"
        fix = "Write `mode: upsert`, which leaves leavers there."
        if Operation(other) in offered:
            fix = f"Write `on_remove: {other}`, which the destination offers, or `mode: upsert`."
        problems.append(
            Problem(
                f"`mode: {config.mode.value}` takes leavers out, and the destination offers no "
                f"{config.on_remove} (it offers {listed}).",
                fix,
            )
        )
    if {"add", "update"} & set(missing):
        problems.append(
            Problem(
                f"`mode: {config.mode.value}` writes rows, and the destination offers only {listed}.",
                "Choose another destination, or `mode: append_event` where it takes events.",
            )
        )
    return problems


def _consent(config: SyncConfig, columns: Mapping[str, str], consent: str) -> list[Problem]:
    column = consent_column(consent)
    if column is None:
        return []
    if column not in columns:
        return [
            Problem(
                f"connection '{config.connection}' asks for consent '{consent}', "
                f"and the audience has no column '{column}'.",
                f"Add a boolean column {column} to the audience model, or name a purpose it has.",
            )
        ]
    if columns[column] not in ("Boolean", "") and columns[column] in _DTYPES:
        return [
            Problem(f"'{column}' is {columns[column]}, not Boolean.", f"Cast {column} to boolean.")
        ]
    return []


def _where(where: str, columns: Mapping[str, str]) -> list[Problem]:
    advice = "Write a SQL condition over the audience's columns, such as \"country = 'DE'\"."
    try:
        condition = pl.sql_expr(where)
        names = condition.meta.root_names()
    except Exception as error:  # whatever the SQL parser raises is about this text
        return [Problem(f"`where` cannot be read: {error}.", advice)]
    unknown = [name for name in names if name not in columns]
    if unknown:
        fix = closest(unknown[0], sorted(columns), "Its columns are")
        return [Problem(f"`where` names '{unknown[0]}', which the audience lacks.", fix)]
    types = {name: _DTYPES.get(columns[name].split("(")[0]) for name in names}
    if any(dtype is None for dtype in types.values()):
        return []
    try:
        frame = pl.DataFrame(schema={name: t for name, t in types.items() if t is not None})
        dtype = frame.select(condition.alias("condition")).schema["condition"]
    except Exception as error:  # on an empty frame any failure is the condition's
        return [Problem(f"`where` does not fit the columns: {error}.", advice)]
    if dtype != pl.Boolean:
        return [Problem(f"`where` gives {dtype}, not true or false.", advice)]
    return []
