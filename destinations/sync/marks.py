"""The marks of rows to be sent again, as a run reads and clears them (see resend.py)."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from destinations.driver import KEY
from destinations.sync.durable import discard, place, read
from destinations.sync.journal import ACCEPTED
from destinations.sync.sealing import unsealed

MARKS = "again.parquet"
MARK = "_mark"


def read_marks(folder: Path) -> pl.DataFrame | None:
    """``_key`` and ``_mark`` (String: when it was asked, as a version); None where none waits."""
    path = folder / MARKS
    try:
        return pl.read_parquet(io.BytesIO(unsealed(read(path), str(path))))
    except FileNotFoundError:
        return None


def clear_marks(folder: Path, events: pl.DataFrame) -> None:
    """Take the marks off rows that a run's journal says were accepted.

    Called before the journal is folded: killed in between, both are done again.
    """
    marks = read_marks(folder)
    if marks is None:
        return
    done = events.filter(pl.col("event") == ACCEPTED).select(KEY)
    left = marks.join(done, on=KEY, how="anti", maintain_order="left")
    if left.height == marks.height:
        return
    if left.height:
        place(folder / MARKS, left.write_parquet)
        return
    discard(folder / MARKS)
