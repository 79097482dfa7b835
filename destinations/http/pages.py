"""From one page of a list to the next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from destinations.http.documents import MISSING, found
from destinations.language.requests import Request
from destinations.language.steps import Pages


def turned(
    pages: Pages, first: Request, current: Request, document: Any, number: int
) -> Request | None:
    """The request for the next page; None after the last one.

    Args:
        first: the request for the first page.
        current: the request that ``document`` answers.
        number: of pages seen.
    """
    if pages.page is not None:
        return _with_query(first, pages.page, str(pages.first + number))
    if pages.offset is not None:
        return _with_query(first, pages.offset, str(pages.size * number))
    following = found(pages.next or "", document)
    if following in (MISSING, None, "", False) or isinstance(following, dict | list):
        return None
    if pages.query is not None:
        turned_to = _with_query(first, pages.query, str(following))
    else:
        turned_to = replace(first, path=str(following))
    return None if turned_to.path == current.path else turned_to


def _with_query(request: Request, name: str, value: str) -> Request:
    """The request with this query parameter, in the place of one of that name."""
    path, _, query = request.path.partition("?")
    escaped = quote(name, safe="")
    pairs = [pair for pair in query.split("&") if pair and pair.partition("=")[0] != escaped]
    pairs.append(f"{escaped}={quote(value, safe='')}")
    return replace(request, path=f"{path}?{'&'.join(pairs)}")
