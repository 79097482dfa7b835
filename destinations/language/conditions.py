"""Which rows a step is made for: ``when`` and ``unless``, as columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import polars as pl

from destinations.driver import REMOTE_ID
from destinations.language.steps import Step
from destinations.language.template import REMOTE_ID as REMOTE_ID_NAME

OF_STEP = "_step."
"""Prefix of the columns that hold what earlier steps gave each row: ``_step.find.id``."""


def known(name: str, columns: Collection[str], captures: Mapping[str, Any]) -> pl.Expr:
    """Whether a row has this: a field, ``remote_id``, or what an earlier step captured (Boolean).

    Args:
        columns: of the frame of prepared rows.
        captures: what earlier answers gave for all rows, ``step.name`` -> value.
    """
    column = {REMOTE_ID_NAME: REMOTE_ID}.get(name, name)
    if f"{OF_STEP}{name}" in columns:
        column = f"{OF_STEP}{name}"
    elif name in captures:
        return pl.lit(captures[name] not in (None, ""))
    if column not in columns:
        return pl.lit(False)
    return pl.col(column).is_not_null() & (pl.col(column).cast(pl.String, strict=False) != "")


def applies(step: Step, columns: Collection[str], captures: Mapping[str, Any]) -> pl.Expr:
    """Whether the step is made for a row (Boolean), by what is known of it by now."""
    made = pl.lit(True)
    if step.when is not None:
        made &= known(step.when, columns, captures)
    if step.unless is not None:
        made &= ~known(step.unless, columns, captures)
    return made


def may_apply(step: Step, columns: Collection[str], captured: Collection[str]) -> pl.Expr:
    """Whether the step may be made for a row, before any answer.

    Args:
        captured: names that earlier steps may give, ``remote_id`` among them where they give ids.
    """
    made = pl.lit(True)
    if step.when is not None and step.when not in captured:
        made &= known(step.when, columns, {})
    if step.unless is not None and "." not in step.unless:
        made &= ~known(step.unless, columns, {})
    return made
