"""The fields of a mapping, as expressions over an audience's columns."""

from __future__ import annotations

import polars as pl

from destinations.sync.config import SyncConfig


def mapped(config: SyncConfig, change: str, schema: pl.Schema) -> list[pl.Expr]:
    """One expression per mapped field, over the audience's columns; absent columns read as null."""
    expressions = []
    for name, source in config.mapping.items():
        if source.column is None:
            value = source.constant
            if source.is_event:
                value = source.exited if change == "remove" else source.entered
            expression = pl.lit(value)
        elif source.column in schema:
            expression = pl.col(source.column)
        else:
            expression = pl.lit(None)
        expressions.append(expression.alias(name))
    return expressions
