"""``storeroom destinations new | test | docs | schema``: what an author of a destination uses."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dagster_project.cli.destinations import Json, app
from dagster_project.cli.output import Exit, err, out, print_rows
from destinations.errors import ConfigurationError

_ID = re.compile(r"[a-z0-9][a-z0-9_]*")


@app.command
def new(
    destination: str,
    *,
    docs: str,
    base_url: str,
    name: str | None = None,
    category: str = "other",
    auth: str = "bearer",
    folder: Path | None = None,
) -> Exit:
    """Write the start of a spec, which loads and is to be put right.

    Parameters
    ----------
    destination
        Id: small letters, digits and _.
    docs
        The vendor's page on the API.
    base_url
        Where the API is: https://...
    name
        Name for people; the id by default.
    category
        Folder of the catalog that it goes to.
    auth
        How to log in: bearer, header, query or basic; others are in docs/destination_reference.md.
    folder
        A folder of specs of your own, in the place of the catalog.
    """
    from destinations.language.loader import SpecError, load_spec_text
    from destinations.registry import CATALOG, list_destinations
    from destinations.skeleton import AUTH, skeleton

    if not _ID.fullmatch(destination):
        raise ConfigurationError(f"'{destination}' is no id.", "Use small letters, digits and _.")
    if not _ID.fullmatch(category):
        raise ConfigurationError(
            f"'{category}' is no category.", "Use small letters, digits and _."
        )
    if auth not in AUTH:
        raise ConfigurationError(f"There is no skeleton for '{auth}'.", f"Use {', '.join(AUTH)}.")
    if any(row.id == destination for row in list_destinations()):
        raise ConfigurationError(f"There is a destination '{destination}' already.")
    path = (folder or CATALOG) / category / f"{destination}.yaml"
    text = skeleton(destination, name or destination, docs, base_url, auth)
    try:
        load_spec_text(text, path.name)
    except SpecError as error:
        raise ConfigurationError(
            error.message, "Mend the option that the line is made of."
        ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    out.print(str(path), markup=False, soft_wrap=True)
    err.print(f"Next: storeroom destinations check {destination}", markup=False)
    return Exit.DONE


@app.command(name="test")
def ask(destination: str, *, as_json: Json = False) -> Exit:
    """Ask a destination every question of the conformance suite, on a sandbox of its own.

    Parameters
    ----------
    destination
        Id of the catalog.
    as_json
        Print one JSON object a question.
    """
    from destinations.conformance import examine
    from destinations.registry import load_spec
    from destinations.sandbox import serve

    spec = load_spec(destination)
    with tempfile.TemporaryDirectory() as folder, serve(0, Path(folder), specs=[spec]) as sandbox:
        rows = [{"destination": destination, **v.as_row()} for v in examine(spec, sandbox)]
    columns = {"case": "question", "state": "state", "text": "what was seen"}
    print_rows(rows, columns, as_json=as_json)
    return Exit.FAILED if any(row["state"] == "failed" for row in rows) else Exit.DONE


@app.command
def docs(destination: str) -> Exit:
    """Print one destination as a page in Markdown.

    Parameters
    ----------
    destination
        Id of the catalog.
    """
    from destinations.pages import destination_page

    out.file.write(destination_page(destination))
    return Exit.DONE


@app.command
def schema(*, to: Annotated[Path | None, Parameter(name="--to")] = None) -> Exit:
    """Print the JSON Schema of a spec, for editors.

    Parameters
    ----------
    to
        Write it into this file.
    """
    from destinations.pages import schema_text

    if to is not None:
        to.write_text(schema_text(), encoding="utf-8")
    else:
        out.file.write(schema_text())
    return Exit.DONE
