"""How commands speak: tables for people, one JSON object a line for scripts, exit codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from dagster_project.progress import listening

out = Console(highlight=False)
if not out.is_terminal:
    out.width = max(out.width, 120)  # a file or a pipe has no edge to fold at
err = Console(stderr=True, highlight=False)

SHORT = 20
"""Characters of a cell that is never folded."""
LONG = 200
"""Rows above which a listing is plain text."""


class Exit(IntEnum):
    """Exit codes that scripts can use."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    """Finished, but rows were rejected or deferred."""
    BUSY = 4
    """Somebody else is doing the same thing right now."""


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line, on standard output."""
    for row in rows:
        out.file.write(orjson.dumps(row, default=str, option=orjson.OPT_NAIVE_UTC).decode() + "\n")


def print_rows(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    *,
    as_json: bool,
    title: str | None = None,
) -> None:
    """A listing: as a table of ``columns`` (key -> heading), or whole as JSON lines."""
    if as_json:
        print_json(rows)
        return
    if len(rows) > LONG:
        _print_plain(rows, columns)
        return
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for key, heading in columns.items():
        cells = [row.get(key) for row in rows]
        numeric = bool(cells) and all(isinstance(found, int | float) for found in cells)
        # Names stay whole; in a narrow terminal it is the long texts that fold.
        short = all(len(cell(found)) <= SHORT for found in cells)
        table.add_column(
            heading,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=short or key == next(iter(columns)),
        )
    for row in rows:
        table.add_row(*(cell(row.get(key)) for key in columns))
    out.print(table)


def _print_plain(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Aligned columns without folding: a long list is searched, and measuring every cell is slow."""
    lines = [list(columns.values()), *([cell(row.get(key)) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        out.file.write("  ".join(padded).rstrip() + "\n")


def cell(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(str, value))
    return str(value)


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[None]:
    """Show whatever is announced inside the block as one bar on standard error.

    Nothing is drawn where standard error is no terminal, nor with ``quiet``.
    """
    if quiet or not err.is_terminal:
        yield
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[stage]:<9}"),
        BarColumn(bar_width=30),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=None, stage="start")

        def show(stage: str, what: str, done: int, total: int) -> None:
            progress.update(
                task, stage=stage, description=what, completed=done, total=total or None
            )

        with listening(show):
            yield
