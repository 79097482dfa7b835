"""``storeroom destinations``: the catalog, and what a destination would be sent."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from dagster_project.cli.output import Exit, cell, out, print_json, print_rows, progress_bar
from dagster_project.progress import announce
from destinations.errors import ConfigurationError

app = App(name="destinations", help_format="plaintext")

Json = Annotated[bool, Parameter(name="--json", negative=())]


@app.command(name="list")
def list_all(*, category: str | None = None, as_json: Json = False) -> Exit:
    """List the catalog.

    Parameters
    ----------
    category
        Only this category.
    as_json
        Print one JSON object a line.
    """
    from destinations.registry import list_destinations

    rows = [
        row.as_row() for row in list_destinations() if category is None or row.category == category
    ]
    columns = {
        "id": "id",
        "category": "category",
        "operations": "operations",
        "batch_size": "batch",
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
    from destinations.evidence import previews
    from destinations.registry import list_destinations

    if all_destinations == (destination is not None):
        raise ConfigurationError("Name one destination, or use --all.")
    if all_destinations and operation is not None:
        raise ConfigurationError("--all shows every operation; leave --operation out.")
    names = [row.id for row in list_destinations()] if all_destinations else [str(destination)]
    for name in names:
        shown = list(previews(name, operation, rows))
        if not shown and not all_destinations:
            raise ConfigurationError(
                f"{name} is reached through its own protocol, not by requests.",
                f"See `storeroom destinations show {name}`.",
            )
        for found in shown:
            _show_requests(found, as_json=as_json)
    return Exit.DONE


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
    as_json: Json = False,
) -> Exit:
    """Check specs without an account, or with --connection ask the vendor whether it takes us.

    Parameters
    ----------
    destination
        Id of the catalog; every destination by default.
    connection
        Name of a connection: send the destination's harmless check request with its credentials.
    as_json
        Print one JSON object per finding.
    """
    if connection is not None:
        return _check_connection(connection, as_json=as_json)
    from destinations.evidence import check_spec
    from destinations.registry import list_destinations

    names = [row.id for row in list_destinations()] if destination is None else [destination]
    findings = []
    with progress_bar(quiet=as_json):
        for number, name in enumerate(names, start=1):
            announce("check", name, number, len(names))
            findings += [{"destination": name, **finding.as_row()} for finding in check_spec(name)]
    print_rows(
        findings,
        {"destination": "destination", "state": "state", "text": "finding"},
        as_json=as_json,
    )
    failed = any(finding["state"] == "problem" for finding in findings)
    return Exit.FAILED if failed else Exit.DONE


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
