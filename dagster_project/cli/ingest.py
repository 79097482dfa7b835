"""``storeroom ingest``: landing files into the raw zone, without building anything."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter

from dagster_project.cli.output import Exit, err, out, print_json, progress_bar
from dagster_project.defs.ingestion import load
from dagster_project.ingestion import load_sources, replay
from destinations.errors import ConfigurationError
from destinations.paths import landing_dir, raw_dir, sources_file

app = App(name="ingest", help_format="plaintext")


@app.default
def run(
    *,
    replay_rejected: Annotated[bool, Parameter(name="--replay", negative=())] = False,
    reason: str | None = None,
    file: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> Exit:
    """Load every new landing file exactly once, or try rejected rows again.

    Parameters
    ----------
    replay_rejected
        Try open rejected rows again under the present rules and mappings.
    reason
        With --replay: only rows rejected for this reason.
    file
        With --replay: only rows of this landing file.
    json
        Print the counts as one JSON object.
    """
    if (reason or file) and not replay_rejected:
        raise ConfigurationError("--reason and --file choose among rejected rows.", "Add --replay.")
    with progress_bar(quiet=json):
        report = (
            replay(
                load_sources(sources_file()),
                landing_dir(),
                raw_dir(),
                datetime.now(UTC),
                reason=reason,
                file=file,
            )
            if replay_rejected
            else load()
        )
    if json:
        print_json([report.as_row()])
    else:
        out.print(report.as_text)
        if replay_rejected:
            out.print(f"{report.replayed:,} taken now, {report.still_rejected:,} still rejected")
        for name, why in report.waiting.items():
            err.print(f"Left for the next run: {name} ({why})", markup=False)
    return Exit.DONE
