"""Syncs as analysts declare them, under ``meta`` of an audience model.

::

    meta:
      audience: {key: profile_id}
      syncs:
        - connection: newsletter
          mode: mirror
          cadence: hourly
          mapping:
            email: email                        # destination field: audience column
            plan: {constant: gold}
            phone: {column: phone, nulls: clear}
          where: "email is not null"
          guards: {max_removes: 500}

What a run could not do is refused in :mod:`destinations.sync.validation`.
"""

from __future__ import annotations

import difflib
import hashlib
from enum import StrEnum
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from destinations.errors import ConfigurationError


class Mode(StrEnum):
    """What a sync does with the difference between audience and destination.

    "Held" is what the destination acknowledged to this sync, never what others wrote there.
    """

    UPSERT = "upsert"  # add new rows, update changed ones, leave leavers there
    MIRROR = "mirror"  # add, update, and take out who left, was filtered or took consent back
    ADD_ONLY = "add_only"  # only rows that are not held yet
    UPDATE_ONLY = "update_only"  # only rows that are held and changed
    REMOVE_ONLY = "remove_only"  # only take out held rows that left
    APPEND_EVENT = "append_event"  # send an event for each entry and each exit
    FULL_REFRESH = "full_refresh"  # send every row on every run, leave leavers there

    @property
    def removes(self) -> bool:
        return self in (Mode.MIRROR, Mode.REMOVE_ONLY, Mode.APPEND_EVENT)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldSource(_Model):
    """Where a destination field's value comes from: a column, a constant or, for events, the change."""

    column: str | None = None
    constant: str | int | float | bool | None = None
    entered: str | None = None
    exited: str | None = None
    nulls: Literal["skip", "clear"] = "skip"
    """``skip`` leaves a null out of what is sent; ``clear`` empties the field at the destination."""

    @model_validator(mode="after")
    def _one_source(self) -> FieldSource:
        event = self.entered is not None or self.exited is not None
        if event and (self.entered is None or self.exited is None):
            raise ValueError("an event field needs both: {entered: <value>, exited: <value>}")
        if (self.column is not None) + (self.constant is not None) + event != 1:
            raise ValueError(
                "write a column name, {column: <name>, nulls: skip|clear}, {constant: <value>} "
                "or, for append_event, {entered: <value>, exited: <value>}"
            )
        return self

    @property
    def is_event(self) -> bool:
        return self.entered is not None


def _as_source(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


class Guards(_Model):
    """Limits on one run; a run beyond them stops before its first request."""

    max_removes: int | None = Field(default=None, ge=0)
    max_remove_fraction: float | None = Field(default=None, ge=0, le=1)
    """Removes as a share of the rows held."""
    max_adds: int | None = Field(default=None, ge=0)
    allow_empty: bool = False
    """Whether an empty audience may take everybody out."""


class Alerts(_Model):
    """When a run of the sync is worth telling somebody; changes nothing of what is sent."""

    rejection_rate: float = Field(default=0.75, ge=0, le=1)
    """Share of the rows meant to stand at the destination of which more may not be rejected."""
    volume_factor: float = Field(default=3.0, ge=1)
    """How many times more or fewer rows than usual the audience may have."""


class SyncConfig(_Model):
    """One audience to one connection, as declared."""

    audience: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    connection: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    key: str
    mapping: dict[str, Annotated[FieldSource, BeforeValidator(_as_source)]] = Field(min_length=1)
    mode: Mode = Mode.UPSERT
    cadence: Literal["hourly", "daily", "manual"] = "daily"
    where: str | None = None
    """A SQL condition over the audience's columns (Polars SQL); the other rows count as filtered."""
    target: dict[str, Any] = {}
    guards: Guards = Guards()
    alerts: Alerts = Alerts()
    on_remove: Literal["remove", "delete"] = "remove"
    """Whether leavers leave the destination's audience or are erased there."""
    in_doubt: Literal["hold", "resend"] | None = None
    """Rows sent without an answer: by default sent again only where that is harmless."""

    @property
    def name(self) -> str:
        return f"{self.connection}/{self.audience}"

    @property
    def columns(self) -> dict[str, str]:
        """Mapped fields that are columns: destination field -> audience column."""
        return {field: s.column for field, s in self.mapping.items() if s.column is not None}

    def place_fingerprint(self, place: str) -> str:
        """Changes when held rows can no longer be found again at the destination.

        Args:
            place: what the connection and the target name, as the registry tells it.
        """
        return _fingerprint([self.key, place or self.target])

    def fingerprint(self, consent_column: str | None) -> str:
        """Changes whenever the same snapshot could lead to other work."""
        document = self.model_dump(mode="json", exclude={"cadence", "guards", "alerts"})
        return _fingerprint([document, consent_column])


def _fingerprint(document: object) -> str:
    text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(text).hexdigest()[:32]


def syncs_of(audience: str, meta: dict[str, Any], origin: str) -> list[SyncConfig]:
    """The syncs that an audience model declares, in order; empty where it declares none.

    Args:
        audience: name of the audience model.
        meta: the model's ``meta`` (``owner``, ``audience``, ``syncs`` …).
        origin: the file it stands in, for messages.

    Raises:
        ConfigurationError: an entry does not fit; names file, sync and key, and what to write.
    """
    where = f"{origin}: audience '{audience}'"
    entries = meta.get("syncs")
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise ConfigurationError(
            f"{where}: `syncs` is not a list.",
            "Write `syncs:` and below it `- connection: <name>`.",
        )
    declared = meta.get("audience")
    key = declared.get("key") if isinstance(declared, dict) else None
    if entries and not isinstance(key, str):
        raise ConfigurationError(
            f"{where} declares syncs but no key.",
            "Add `audience: {key: <column>}` to its meta; the key names each row, once.",
        )
    syncs: list[SyncConfig] = []
    for number, entry in enumerate(entries, start=1):
        sync = _sync_of(audience, key, entry, f"{where}, sync {number}")
        if any(other.connection == sync.connection for other in syncs):
            raise ConfigurationError(
                f"{where} has two syncs to connection '{sync.connection}'.",
                "Merge them, or declare a second connection for the other target.",
            )
        syncs.append(sync)
    return syncs


def _sync_of(audience: str, key: str | None, entry: Any, where: str) -> SyncConfig:
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{where} is not a mapping.", "Write `- connection: <name>`.")
    if isinstance(entry.get("connection"), str):
        where = f"{where} (connection '{entry['connection']}')"
    allowed = [name for name in SyncConfig.model_fields if name not in ("audience", "key")]
    for name in entry:
        if name not in allowed:
            raise ConfigurationError(
                f"{where}: unknown key `{name}`.", closest(str(name), allowed, "Allowed are")
            )
    try:
        return SyncConfig.model_validate({"audience": audience, "key": key, **entry})
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{where}: `{path}`: {_words(first)}", _advice(first)) from None


def _words(error: Any) -> str:
    if error["type"] == "missing":
        return "is missing."
    if error["type"] == "extra_forbidden":
        return "is not known here."
    text: str = error["msg"]
    return text.removeprefix("Value error, ") + "."


def _advice(error: Any) -> str:
    options = {
        "mode": [mode.value for mode in Mode],
        "cadence": ["hourly", "daily", "manual"],
        "on_remove": ["remove", "delete"],
        "in_doubt": ["hold", "resend"],
    }
    path = error["loc"]
    if path[0] in options and isinstance(error.get("input"), str):
        return closest(error["input"], options[path[0]], "Write one of")
    if error["type"] == "extra_forbidden":
        parts: dict[Any, type[_Model]] = {"guards": Guards, "alerts": Alerts}
        known = parts.get(path[0], FieldSource).model_fields
        return closest(str(path[-1]), list(known), "Allowed are")
    if error["type"] == "missing" and path == ("mapping",):
        return "Add `mapping: {<destination field>: <audience column>}`."
    if error["type"] == "missing":
        return f"Add `{path[-1]}: …`."
    return ""


def closest(name: str, known: list[str], otherwise: str) -> str:
    """Advice for a mistyped name: the near one if there is one, else all of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    listed = ", ".join(sorted(known))
    return (
        f"Did you mean `{near[0]}`? {otherwise}: {listed}." if near else f"{otherwise}: {listed}."
    )
