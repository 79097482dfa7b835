"""Why a value is, or is not, at a destination: one key of one sync, from audience to answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from destinations.driver import HASH, KEY
from destinations.sync.config import Mode, SyncConfig
from destinations.sync.content import with_hash
from destinations.sync.fields import mapped
from destinations.sync.head import read_head
from destinations.sync.ledger import Ledger
from destinations.sync.marks import read_marks
from destinations.sync.masking import masked_rows
from destinations.sync.report import kept_reports
from destinations.sync.snapshot import Snapshot, current
from destinations.sync.suppression import read_suppression

RUN = ("run", "started_at", "snapshot", "status", "accounting", "message")


@dataclass(frozen=True)
class Explanation:
    """What is known of one key in one sync.

    ``verdict``: ``held``, ``add``, ``update``, ``again`` (the next run sends it), ``remove`` (the
    next run takes it out), ``left`` (held, gone from the audience, and the mode leaves it),
    ``rejected``, ``doubt``, ``deleted``, ``duplicate``, ``filtered``, ``withheld``, ``not_sent`` or
    ``unknown``.
    """

    sync: str
    key: str
    verdict: str
    why: str
    snapshot: str | None
    rows: tuple[dict[str, Any], ...]
    """The audience's rows with that key: destination field: value (masked unless asked for)."""
    ledger: dict[str, Any] | None
    """``state``, ``present`` (whether the present content was acknowledged), ``remote_id``,
    ``first_at``, ``last_at``, ``attempts`` and ``message``, the destination's words; ``run`` and
    ``request`` that was answered last; ``changed_run`` and ``changed_at``: what is held stands
    since then."""
    run: dict[str, Any] | None
    """The run that touched the key last: its id, start, snapshot, status and accounting."""
    answers: tuple[dict[str, Any], ...]
    """Requests of that run, with their answers, that were kept as samples and name the key."""
    interrupted: bool
    """Whether a run is under way, or was killed: its answers are not in here yet."""


def explain(
    config: SyncConfig,
    consent_column: str | None,
    audiences: Path,
    state: Path,
    key: str,
    show_values: bool = False,
) -> Explanation:
    """Look a key up without a lock; a run under way is not disturbed.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    folder = state / config.connection / config.audience
    head = read_head(folder)
    snapshot = current(audiences, config.audience)
    found = _rows(snapshot, config, consent_column, key)
    held = Ledger(folder, head).state().filter(pl.col(KEY) == key).collect()
    known = held.row(0, named=True) if held.height else None
    marks = read_marks(folder)
    again = marks is not None and bool((marks[KEY] == key).any())
    suppression = read_suppression(state)
    deleted = suppression.deleted.get(suppression.hash_of(key))
    if deleted is None and suppression.identifiers:
        values = (
            found.select(list(config.mapping)).cast(pl.String, strict=False).row(0)
            if found.height
            else ()
        )
        named = (suppression.hash_of_identifier(value) for value in values if value)
        whose = next(
            (suppression.identifiers[one] for one in named if one in suppression.identifiers), ""
        )
        deleted = suppression.deleted.get(whose)
    verdict, why = _verdict(config, consent_column, found, known, again, deleted)
    shown = found.select(KEY, *config.mapping)
    shown = shown if show_values else masked_rows(shown)
    run = _run_of(folder, known) if known else None
    return Explanation(
        sync=config.name,
        key=key,
        verdict=verdict,
        why=why,
        snapshot=snapshot.version if snapshot else None,
        rows=tuple(shown.drop(KEY).to_dicts()),
        ledger=_told(known, found) if known else None,
        run={name: run[name] for name in RUN} if run else None,
        answers=_naming(run, key) if run else (),
        interrupted=head.journal is not None,
    )


def _rows(
    snapshot: Snapshot | None, config: SyncConfig, consent_column: str | None, key: str
) -> pl.DataFrame:
    """Rows with that key: ``_key``, ``_hash``, ``_wanted``, ``_consented``, mapped fields."""
    names = [*config.mapping]
    if snapshot is None or config.key not in snapshot.columns:
        columns = [KEY, HASH, *names]
        flags = {"_wanted": pl.Boolean, "_consented": pl.Boolean}
        return pl.DataFrame(schema={**dict.fromkeys(columns, pl.String), **flags})
    scan = snapshot.scan()
    wanted = pl.sql_expr(config.where) if config.where is not None else pl.lit(True)
    consented = pl.col(consent_column) if consent_column is not None else pl.lit(True)
    text = pl.col(config.key).cast(pl.String)
    rows = scan.filter(text == key).select(
        text.alias(KEY),
        wanted.fill_null(False).alias("_wanted"),
        consented.fill_null(False).alias("_consented"),
        *mapped(config, "add", scan.collect_schema()),
    )
    types = {name: dtype for name, dtype in rows.collect_schema().items() if name in names}
    return with_hash(rows, types, HASH).collect()


def _verdict(
    config: SyncConfig,
    consent_column: str | None,
    rows: pl.DataFrame,
    known: dict[str, Any] | None,
    again: bool,
    deleted: str | None,
) -> tuple[str, str]:
    known = known or dict.fromkeys(("hash", "maybe", "refused", "message"))
    held, doubt = known["hash"] is not None, bool(known["maybe"])
    there = held or doubt
    goes = config.mode.removes and there
    after = " The next run takes it out." if goes else ""
    if deleted is not None:
        return "deleted", f"The person was deleted ({deleted}) and is not sent any more.{after}"
    if rows.is_empty():
        if goes:
            return "remove", "It is held and not in the audience any more: the next run removes it."
        if there:
            return "left", f"It left the audience, and `mode: {config.mode.value}` leaves it there."
        return "unknown", "The audience has no such key, and this sync never sent one."
    row = rows.row(0, named=True)
    if rows.height > 1:
        return "duplicate", f"The key stands {rows.height} times in the audience: none is sent."
    if not row["_wanted"]:
        return "filtered", f"The sync's `where` is not true for it: {config.where}.{after}"
    if not row["_consented"]:
        return "withheld", f"Its `{consent_column}` is not true: no consent.{after}"
    if known["refused"] is not None:
        return "rejected", f"The destination refused it: {known['message'] or 'no reason given'}"
    if doubt:
        return "doubt", f"It was sent and never answered: {known['message'] or 'no answer'}"
    if again and config.mode is not Mode.REMOVE_ONLY:
        return "again", "It was marked to be sent again: the next run does."
    return _difference(config, held, held and known["hash"] == row[HASH])


def _difference(config: SyncConfig, held: bool, same: bool) -> tuple[str, str]:
    mode = config.mode
    if same and mode is not Mode.FULL_REFRESH:
        return "held", "The destination acknowledged the present content."
    if held and mode is Mode.APPEND_EVENT:
        return "held", "The destination acknowledged that the person entered."
    unsent = {
        Mode.REMOVE_ONLY: True,
        Mode.ADD_ONLY: held,
        Mode.UPDATE_ONLY: not held,
    }.get(mode, False)
    if unsent:
        what = "held with other content" if held else "not held"
        return "not_sent", f"It is {what}, and `mode: {mode.value}` sends no such row."
    if held:
        return (
            "update",
            "It is held with other content, or sent on every run: the next run sends it.",
        )
    return "add", "It is not held yet: the next run adds it."


def _told(known: dict[str, Any], rows: pl.DataFrame) -> dict[str, Any]:
    names = (
        *("state", "remote_id", "first_at", "last_at", "attempts", "message"),
        *("run", "request", "changed_run", "changed_at"),
    )
    present = rows.height == 1 and known["hash"] == rows[HASH][0]
    return {name: known[name] for name in names} | {"present": present}


def _run_of(folder: Path, known: dict[str, Any]) -> dict[str, Any] | None:
    """The run that touched the row last; of a row from before runs were noted, the last run that
    had started by then. None where that run was killed: it left no report.
    """
    run, moment = known["run"], known["last_at"]
    found = (
        report
        for report in reversed(kept_reports(folder))
        if report["run"] == run
        or (run is None and datetime.fromisoformat(report["started_at"]) <= moment)
    )
    return next(found, None)


def _naming(run: dict[str, Any], key: str) -> tuple[dict[str, Any], ...]:
    return tuple(sample for sample in run["samples"] if key in str(sample))
