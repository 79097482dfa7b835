"""``storeroom destinations``: the catalog, and what a destination would be sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from dagster_project.cli.output import Exit, cell, err, out, print_json, print_rows, progress_bar
from dagster_project.progress import announce
from destinations.errors import ConfigurationError

if TYPE_CHECKING:
    from destinations.evidence import Source

app = App(name="destinations", help_format="plaintext")

Json = Annotated[bool, Parameter(name="--json", negative=())]


@app.command(name="list")
def list_all(
    text: str | None = None,
    *,
    category: str | None = None,
    kind: str | None = None,
    evidence: str | None = None,
    as_json: Json = False,
) -> Exit:
    """List the catalog.

    Parameters
    ----------
    text
        Only destinations whose id or name holds this text.
    category
        Only this category.
    kind
        Only this kind: http_api, webhook, database, warehouse, object_storage, file or stream.
    evidence
        Only this level of evidence: documented, schema-checked or vendor-verified.
    as_json
        Print one JSON object a line.
    """
    from destinations.registry import search

    found = search(text, category=category, kind=kind, evidence=evidence)
    rows = [row.as_row() for row in found]
    columns = {
        "id": "id",
        "category": "category",
        "operations": "operations",
        "batch_size": "batch",
        "per_row_results": "per row",
        "evidence": "evidence",
    }
    print_rows(rows, columns, as_json=as_json)
    return Exit.DONE


@app.command
def show(destination: str, *, as_json: Json = False) -> Exit:
    """Show one destination: settings, fields, operations, limits, what remove does.

    Parameters
    ----------
    destination
        Id of the catalog.
    as_json
        Print it as one JSON object.
    """
    from destinations.registry import describe

    description = describe(destination)
    if as_json:
        print_json([description])
        return Exit.DONE
    for name, value in description.items():
        if isinstance(value, dict):
            out.print(f"[bold]{name}[/]")
            for key, text in value.items():
                out.print(f"  {key}: {cell(text)}", markup=False, soft_wrap=True)
        elif value not in (None, "", [], ()):
            out.print(f"[bold]{name}[/]: ", end="")
            out.print(cell(value), markup=False, soft_wrap=True)
    return Exit.DONE


@app.command
def preview(
    destination: str | None = None,
    *,
    operation: str | None = None,
    rows: int = 2,
    all_destinations: Annotated[bool, Parameter(name="--all", negative=())] = False,
    as_json: Json = False,
) -> Exit:
    """Show the exact requests for sample rows, from the spec's own example settings.

    Parameters
    ----------
    destination
        Id of the catalog.
    operation
        upsert, add, remove, delete or track; every one that the destination has by default.
    rows
        How many sample rows.
    all_destinations
        Every destination and every operation that it has.
    as_json
        Print one JSON object a line.
    """
    from destinations.previews import previews
    from destinations.registry import list_destinations

    if all_destinations == (destination is not None):
        raise ConfigurationError("Name one destination, or use --all.")
    if all_destinations and operation is not None:
        raise ConfigurationError("--all shows every operation; leave --operation out.")
    names = [row.id for row in list_destinations()] if all_destinations else [str(destination)]
    code = Exit.DONE
    for name in names:
        try:
            for found in previews(name, operation, rows):
                _show_requests(found, as_json=as_json)
        except ConfigurationError as error:
            if not all_destinations:
                raise
            # One spec that cannot be used does not hide the others.
            err.print(f"{name}: {error}", markup=False, soft_wrap=True)
            code = Exit.FAILED
    return code


def _show_requests(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json([found])
        return
    out.print(f"[bold]{found['destination']} {found['operation']}[/]")
    for request in found["requests"]:
        out.print(f"{request['method']} {request['url']}", markup=False, soft_wrap=True)
        for header, value in request["headers"].items():
            out.print(f"  {header}: {value}", markup=False, soft_wrap=True)
        for parameter, value in request["query"].items():
            out.print(f"  ?{parameter}={value}", markup=False, soft_wrap=True)
        if isinstance(request["body"], str):
            out.print(request["body"], markup=False, soft_wrap=True)
        elif request["body"] is not None:
            out.print_json(data=request["body"])


@app.command
def check(
    destination: str | None = None,
    *,
    connection: str | None = None,
    openapi: Path | None = None,
    record: Annotated[bool, Parameter(negative=())] = False,
    all_destinations: Annotated[bool, Parameter(name="--all", negative=())] = False,
    as_json: Json = False,
) -> Exit:
    """Check specs without an account, or with --connection ask the vendor whether it takes us.

    Parameters
    ----------
    destination
        Id of the catalog; every destination by default.
    connection
        Name of a connection: send the destination's harmless check request with its credentials.
    openapi
        A folder of the vendors' OpenAPI files with an index.csv, or one file: compare requests.
    record
        With a folder: write what passed into the catalog's evidence.json.
    all_destinations
        Every destination, as by default.
    as_json
        Print one JSON object per finding.
    """
    if connection is not None:
        return _check_connection(connection, as_json=as_json)
    if all_destinations and destination is not None:
        raise ConfigurationError("Name one destination, or use --all.")
    from destinations.evidence import check_spec, write_record
    from destinations.registry import list_destinations

    names = [row.id for row in list_destinations()] if destination is None else [destination]
    sources = _openapi_sources(openapi, destination, record=record)
    findings = []
    with progress_bar(quiet=as_json):
        for number, name in enumerate(names, start=1):
            announce("check", name, number, len(names))
            made = check_spec(name, sources.get(name, ()))
            findings += [{"destination": name, **finding.as_row()} for finding in made]
    if record:
        write_record({name: sources.get(name, ()) for name in names})
    print_rows(
        findings,
        {"destination": "destination", "state": "state", "text": "finding"},
        as_json=as_json,
    )
    failed = any(finding["state"] == "problem" for finding in findings)
    return Exit.FAILED if failed else Exit.DONE


def _openapi_sources(
    place: Path | None, destination: str | None, *, record: bool
) -> dict[str, list[Source]]:
    """Destination -> the OpenAPI files to compare it with."""
    from destinations.evidence import Source, sources_in

    if place is not None and place.is_file():
        if destination is None or record:
            raise ConfigurationError(
                "One OpenAPI file is compared with one destination, and not recorded.",
                "Name the destination; --record takes a folder with an index.csv.",
            )
        return {destination: [Source(place)]}
    if place is None:
        if record:
            raise ConfigurationError("There is nothing to record.", "Add --openapi FOLDER.")
        return {}
    return sources_in(place)


def _check_connection(name: str, *, as_json: bool) -> Exit:
    from dagster_project.declarations import load
    from dagster_project.warehouse import manifest
    from destinations.connections import load_connections
    from destinations.paths import connections_file
    from destinations.registry import open_driver

    connections = load_connections(connections_file())
    if name not in connections:
        raise ConfigurationError(
            f"There is no connection '{name}'.", f"There are: {', '.join(connections)}."
        )
    # A sync of the connection says what its target is; without one its own settings must do.
    sync = next((s for s in load(manifest.ensure()) if s.connection.name == name), None)
    driver = sync.driver() if sync else open_driver(connections[name], {}, "profile_id", name)
    try:
        answer = driver.check()
    finally:
        driver.close()
    if as_json:
        print_json([{"connection": name, "state": "ok", "text": answer}])
    else:
        out.print(f"{name}: {answer}", markup=False)
    return Exit.DONE
