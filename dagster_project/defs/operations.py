"""What an operator does to syncs, each as a job with its configuration.

The command line calls the same functions. Every job carries the tag ``storeroom/operation``,
by which its runs are found in the UI.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

import dagster as dg

from dagster_project.operations import (
    choice_of,
    declared,
    delete_person,
    forget_sync,
    moment_of,
    move_sync,
    resend_rows,
    unsettled,
)
from destinations.paths import syncs_dir
from destinations.sync.status import pause

OPERATION_TAG = "storeroom/operation"


class OneSync(dg.Config):
    """Which sync."""

    connection: str
    audience: str


class Resend(OneSync):
    """Which rows of a sync to send again, in one way."""

    everything: bool = False
    since: str = ""
    """An ISO date or date-time, UTC where it names no zone."""
    keys_file: str = ""
    rejected: bool = False
    reason: str = ""


class Forget(OneSync):
    """Which ledger to drop."""

    yes: bool = False


class Move(OneSync):
    """The sync as declared now, and whose ledger it goes on from."""

    source: str
    assume: Literal["same", "empty"]
    yes: bool = False


class Person(dg.Config):
    """Whom to delete."""

    key: str


class Pause(OneSync):
    """Which sync to refuse runs of, or to allow them again."""

    paused: bool = True


@dg.op(name="mark_rows")
def _resend(context: dg.OpExecutionContext, config: Resend) -> None:
    choice, named = choice_of(
        everything=config.everything,
        since=moment_of(config.since) if config.since else None,
        keys=Path(config.keys_file) if config.keys_file else None,
        rejected=config.rejected,
        reason=config.reason or None,
    )
    found = resend_rows(declared(config.connection, config.audience), choice, named)
    context.add_output_metadata(asdict(found))


@dg.op(name="drop_ledger")
def _forget(context: dg.OpExecutionContext, config: Forget) -> None:
    held = forget_sync(config.connection, config.audience, yes=config.yes)
    context.add_output_metadata({"forgotten": held})


@dg.op(name="move_ledger")
def _move(context: dg.OpExecutionContext, config: Move) -> None:
    sync = declared(config.connection, config.audience)
    found = move_sync(sync, config.source, config.assume, yes=config.yes)
    context.add_output_metadata(asdict(found))


@dg.op(name="erase_person")
def _delete(context: dg.OpExecutionContext, config: Person) -> None:
    proof = delete_person(config.key)
    context.add_output_metadata({"proof": dg.MetadataValue.json(proof)})
    if not proof["complete"]:
        raise dg.Failure(unsettled(proof), allow_retries=False)


@dg.op(name="set_pause")
def _pause(context: dg.OpExecutionContext, config: Pause) -> None:
    pause(syncs_dir(), config.connection, config.audience, config.paused)
    context.log.info("Paused." if config.paused else "Resumed.")


def _job(name: str, op: dg.OpDefinition, operation: str, description: str) -> dg.JobDefinition:
    @dg.job(name=name, description=description, tags={OPERATION_TAG: operation})
    def job() -> None:
        op()

    return job


DEFINITIONS = dg.Definitions(
    jobs=[
        _job("resend_rows", _resend, "resend", "Have the next run of a sync send rows again."),
        _job("forget_sync", _forget, "forget", "Drop a sync's ledger; nothing is sent."),
        _job(
            "move_sync",
            _move,
            "move",
            "Go on from another connection's ledger, or at a changed target.",
        ),
        _job(
            "delete_person",
            _delete,
            "delete_person",
            "Delete one person at every destination, with proof.",
        ),
        _job("pause_sync", _pause, "pause", "Refuse runs of a sync, or allow them again."),
    ]
)
