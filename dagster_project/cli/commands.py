"""The subcommands, and one place that turns errors into one paragraph."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

import cyclopts

from dagster_project.cli.output import Exit, err
from destinations.errors import ConfigurationError, LockedError, StoreroomError

app = cyclopts.App(
    name="storeroom",
    help="Events, identity, segments and syncs on your own warehouse.",
    help_format="plaintext",
    version=lambda: version("storeroom"),
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)
_MODULES = {"destinations": "destination_authoring"}  # which adds its commands to destinations'
# Named, not imported: a listing must not wait for Dagster to load.
for _name, _help in {
    "demo": "Run a shop's two days, from raw events to several destinations.",
    "ingest": "Load new landing files; --replay tries rejected rows again.",
    "run": "Ingest, build the warehouse and run the syncs, as the schedules do.",
    "syncs": "List, plan, run and look at syncs.",
    "destinations": "List, show, preview, check and write destinations.",
    "sandbox": "Play every destination locally.",
    "doctor": "Find missing settings, locks and versions, and say what to do.",
}.items():
    app.command(f"dagster_project.cli.{_MODULES.get(_name, _name)}:app", name=_name, help=_help)


def call(arguments: Sequence[str]) -> int:
    """Run one command; how it ended (:class:`Exit`)."""
    try:
        code = app(list(arguments), result_action="return_value")
    except LockedError as error:
        _say(error)
        code = Exit.BUSY
    except ConfigurationError as error:
        _say(error)
        code = Exit.USAGE
    except StoreroomError as error:
        _say(error)
        code = Exit.FAILED
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; Python must not complain while exiting.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.DONE
    return int(code or 0)


def _say(error: StoreroomError) -> None:
    err.print(f"[bold red]Error:[/] {_plain(error.message)}", soft_wrap=True)
    if error.fix:
        err.print(_plain(error.fix), soft_wrap=True)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
