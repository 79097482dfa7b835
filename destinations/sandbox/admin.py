"""The sandbox's own API, under ``/_sandbox/``; JSON in and out.

=======================================  ========================================================
``GET    health``                        whether it is up
``GET    state/<destination>``           members by target, profiles, events, counts
``GET    requests?destination=&limit=``  the last requests, newest first
``GET    faults``                        the faults that are set, and how often each fired
``POST   faults``                        set one: the keys of :class:`Fault`
``DELETE faults[/<number>]``             clear all, those of ``?destination=``, or one
``POST   settings/<destination>``        ``{setting: value}``: take no other value for it
``POST   reset``                         forget everything, or ``{destination: <id>}``
=======================================  ========================================================

Writing needs ``Content-Type: application/json``, so that no web page can do it unasked.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import orjson
from pydantic import ValidationError

from destinations.sandbox.catalog import Catalog
from destinations.sandbox.faults import Fault, Faults
from destinations.sandbox.play import Reply
from destinations.sandbox.storage import Store

MOST_REQUESTS = 10_000


def administer(
    store: Store,
    catalog: Catalog,
    faults: Faults,
    method: str,
    path: str,
    query: str,
    content_type: str,
    body: bytes,
) -> Reply:
    """Answer one request to the admin API; ``path`` is what follows ``/_sandbox/``."""
    options = {name: values[-1] for name, values in parse_qs(query).items()}
    what, _, which = path.strip("/").partition("/")
    if method == "GET":
        return _read(store, catalog, faults, what, which, options)
    if method == "DELETE" and what == "faults":
        if which:
            return _json({}) if which.isdigit() and faults.remove(int(which)) else _unknown()
        faults.clear(options.get("destination"))
        return _json({})
    if method != "POST":
        return _unknown()
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return _error("Content-Type must be application/json", 415)
    try:
        document = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        return _error(f"the body is not JSON: {error}")
    if not isinstance(document, dict):
        return _error("the body must be an object")
    return _write(store, catalog, faults, what, which, document)


def _read(
    store: Store, catalog: Catalog, faults: Faults, what: str, which: str, options: dict[str, str]
) -> Reply:
    if what == "health":
        return _json({"status": "up"})
    if what == "faults":
        return _json({"faults": faults.listing()})
    if what == "requests":
        limit = options.get("limit", "100")
        most = min(int(limit), MOST_REQUESTS) if limit.isdigit() else 100
        return _json({"requests": requests(store, options.get("destination"), most)})
    if what == "state" and which in catalog.ids():
        return _json(state(store, which))
    return _unknown()


def _write(
    store: Store,
    catalog: Catalog,
    faults: Faults,
    what: str,
    which: str,
    document: dict[str, Any],
) -> Reply:
    if what == "faults":
        try:
            fault = Fault.model_validate(document)
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            return _error("; ".join(problems))
        if fault.destination != "*" and fault.destination not in catalog.ids():
            return _error(f"the sandbox plays no destination '{fault.destination}'")
        return _json({"id": faults.add(fault)}, 201)
    if what == "reset":
        destination = document.get("destination")
        if destination is not None and destination not in catalog.ids():
            return _error(f"the sandbox plays no destination '{destination}'")
        store.reset(destination)
        faults.clear(destination)
        return _json({})
    if what == "settings" and which in catalog.ids():
        catalog.tell(which, {name: [str(value)] for name, value in document.items()})
        return _json({})
    return _unknown()


def state(store: Store, destination: str) -> dict[str, Any]:
    """What one destination holds: members by target, profiles, events and counts."""
    with store.reading() as reading:
        members: dict[str, list[dict[str, Any]]] = {}
        for row in reading.execute(
            "select target, identity, key, fields, updated_at from members"
            " where destination = ? order by target, identity",
            (destination,),
        ):
            members.setdefault(row["target"], []).append(_person(row))
        profiles = [
            {"remote_id": str(row["id"]), **_person(row)}
            for row in reading.execute(
                "select id, identity, key, fields, updated_at from profiles"
                " where destination = ? order by id",
                (destination,),
            )
        ]
        events = [
            {"identity": row["identity"], "fields": orjson.loads(row["fields"]), "ts": row["ts"]}
            for row in reading.execute(
                "select identity, fields, ts from events where destination = ? order by seq",
                (destination,),
            )
        ]
        counts = {
            row["name"]: row["value"]
            for row in reading.execute(
                "select name, value from counts where destination = ?", (destination,)
            )
        }
    return {
        "destination": destination,
        "members": members,
        "profiles": profiles,
        "events": events,
        "counts": counts,
    }


def requests(store: Store, destination: str | None, limit: int) -> list[dict[str, Any]]:
    """The last requests, newest first."""
    with store.reading() as reading:
        rows = reading.execute(
            "select seq, ts, destination, method, path, status, rows from requests"
            " where ?1 is null or destination = ?1 order by seq desc limit ?2",
            (destination, limit),
        ).fetchall()
    return [dict(row) for row in rows]


def _person(row: Any) -> dict[str, Any]:
    return {
        "identity": row["identity"],
        "key": row["key"],
        "fields": orjson.loads(row["fields"]),
        "updated_at": row["updated_at"],
    }


def _json(document: Any, status: int = 200) -> Reply:
    return Reply(status, orjson.dumps(document))


def _error(message: str, status: int = 400) -> Reply:
    return _json({"message": message}, status)


def _unknown() -> Reply:
    return _error("the sandbox has no such thing", 404)
