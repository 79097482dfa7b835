"""What a person sees at ``/`` and ``/<destination>``: plain HTML, everything escaped."""

from __future__ import annotations

import html
import time
from typing import Any

from destinations.sandbox.admin import requests
from destinations.sandbox.catalog import Catalog
from destinations.sandbox.storage import Store

CONTENT_SECURITY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"
MOST_MEMBERS = 100
MOST_REQUESTS = 25

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884;vertical-align:top}
td.n,th.n{text-align:right}code{font-size:.9em;overflow-wrap:anywhere}.bad{color:#b00020}
:root{color-scheme:light dark}
"""


def page(store: Store, catalog: Catalog, destination: str) -> tuple[int, str]:
    """Status and HTML of the overview, or of one destination's page."""
    if not destination:
        return 200, _document("Storeroom sandbox", _overview(store, catalog))
    if destination not in catalog.ids():
        return 404, _document("Not here", "<p>The sandbox plays no destination of this id.</p>")
    return 200, _document(destination, _one(store, destination))


def _overview(store: Store, catalog: Catalog) -> str:
    with store.reading() as reading:
        held = {
            row["destination"]: row
            for row in reading.execute(
                "select c.destination,"
                " max(case when name = 'requests' then value else 0 end) as requests,"
                " max(case when name = 'accepted' then value else 0 end) as accepted,"
                " max(case when name = 'rejected' then value else 0 end) as rejected,"
                " (select count(*) from memberships m where m.destination = c.destination) as members,"
                " (select count(*) from profiles p where p.destination = c.destination) as profiles"
                " from counts c group by c.destination"
            )
        }
    names = ("members", "profiles", "requests", "accepted", "rejected")
    # Those that were used first: with hundreds in the catalog the others are below.
    ordered = sorted(catalog.ids(), key=lambda one: (one not in held, one))
    rows = [
        [_link(one), *(held[one][name] if one in held else 0 for name in names)] for one in ordered
    ]
    return (
        "<p>Plays the destinations of the catalog on this machine. Nothing leaves it.</p>"
        + _table(["Destination", *(name.capitalize() for name in names)], rows)
        + "<h2>Last requests</h2>"
        + _requests(store, None)
    )


def _one(store: Store, destination: str) -> str:
    with store.reading() as reading:
        targets = reading.execute(
            "select target, count(*) as n from memberships where destination = ? group by target",
            (destination,),
        ).fetchall()
        members = reading.execute(
            "select target, identity, fields, updated_at from members where destination = ?"
            " order by updated_at desc limit ?",
            (destination, MOST_MEMBERS),
        ).fetchall()
    return (
        '<p><a href="/">All destinations</a></p><h2>Audiences</h2>'
        + _table(["Audience", "Members"], [[row["target"] or "(all)", row["n"]] for row in targets])
        + f"<h2>Members, the last {MOST_MEMBERS}</h2>"
        + _table(
            ["Audience", "Member", "Fields", "Since"],
            [
                [row["target"], row["identity"], _Code(row["fields"]), _time(row["updated_at"])]
                for row in members
            ],
        )
        + "<h2>Last requests</h2>"
        + _requests(store, destination)
    )


def _requests(store: Store, destination: str | None) -> str:
    rows = [
        [
            _time(one["ts"]),
            one["destination"],
            one["method"],
            _Code(one["path"]),
            _Status(one["status"]),
            one["rows"],
        ]
        for one in requests(store, destination, MOST_REQUESTS)
    ]
    return _table(["Time", "Destination", "Method", "Path", "Status", "Rows"], rows)


class _Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def _Code(text: str) -> _Html:  # noqa: N802 - reads like the element it makes
    return _Html(f"<code>{html.escape(text)}</code>")


def _Status(status: int) -> _Html:  # noqa: N802
    text = "cut off" if status == 0 else str(status)
    return _Html(text if 200 <= status < 300 else f'<span class="bad">{text}</span>')


def _link(destination: str) -> _Html:
    name = html.escape(destination)
    return _Html(f'<a href="/{name}">{name}</a>')


def _table(heads: list[str], rows: list[list[Any]]) -> str:
    if not rows:
        return "<p>None yet.</p>"
    head = "".join(f"<th>{html.escape(one)}</th>" for one in heads)
    body = "".join("<tr>" + "".join(_cell(one) for one in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, _Html):
        return f"<td>{value}</td>"
    return (
        f'<td class="n">{value:,}</td>'
        if isinstance(value, int)
        else f"<td>{html.escape(str(value))}</td>"
    )


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) + " UTC"


def _document(title: str, content: str) -> str:
    name = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style><h1>{name}</h1>{content}</html>"
    )
