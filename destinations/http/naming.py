"""How the lists of an answer name the rows of its request, and what they say of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from destinations.driver import KEY, REMOTE_ID
from destinations.http.documents import MISSING, found, holds, listed, text_in, text_of
from destinations.language.replies import Answer, NamedRows

MOST_WORDS = 500
"""Characters of a vendor's message that are kept."""


def elements_of(
    answer: Answer, named: NamedRows, document: Any, rows: pl.DataFrame
) -> Iterator[tuple[list[int], Any]]:
    """Every element of the list that fits ``when``, with the positions of the rows it names."""
    elements = listed(named.at, document, answer.format)
    if not isinstance(elements, list):
        return
    as_text = answer.format not in ("json", "ndjson")
    positions = {} if named.key is None else _positions(named.field, rows)
    for place, element in enumerate(elements):
        if not holds(named.when, element, as_text):
            continue
        if named.index is not None:
            name = place if named.index == "#" else found(named.index, element)
            known = str(name).isdigit() and int(name) < rows.height
            yield ([int(name)] if known else []), element
        else:
            names = found(named.key or "@", element)
            several = names if isinstance(names, list) else [names]
            yield [p for name in several for p in positions.get(text_of(name), [])], element


def words_of(named: NamedRows, element: Any) -> str:
    said = found(named.message, element) if named.message else MISSING
    return shortened(text_in(element if said in (MISSING, None, "") else said))


def identifier_of(named: NamedRows, element: Any) -> str | None:
    identifier = found(named.id, element) if named.id else MISSING
    return None if identifier in (MISSING, None) else str(identifier)


def shortened(text: str) -> str:
    return text if len(text) <= MOST_WORDS else text[: MOST_WORDS - 1] + "…"


def _positions(field_name: str, rows: pl.DataFrame) -> dict[str, list[int]]:
    """Positions of the rows by the value that names them in an answer."""
    column = {"meta.key": KEY, "remote_id": REMOTE_ID}.get(field_name, field_name)
    if column not in rows.columns:
        return {}
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(rows[column].cast(pl.String).to_list()):
        if name is not None:
            positions.setdefault(name, []).append(position)
    return positions
