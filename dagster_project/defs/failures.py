"""Why a step failed, in the words of the exception that the step's own code raised."""

from __future__ import annotations

import re

import dagster as dg

BUSY = "busy"
"""Metadata of a failure that only says: somebody else is doing the same thing."""
TOLD = "told"
"""Metadata of a failure of which every part was told to somebody already."""
LOCKED = "LockedError"
INTERRUPTED = "DagsterExecutionInterruptedError"
OURS = re.compile(r"^destinations\.[\w.]+: ")


def error_of(step: dg.DagsterEvent) -> str:
    """What went wrong; an error of ours without its class, which says nothing to a person."""
    failure = step.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error and (failure.error.cause or failure.error)
    return OURS.sub("", error.message.strip()) if error else step.message or ""


def is_busy(step: dg.DagsterEvent) -> bool:
    """Whether the step failed only because somebody else holds what it needs."""
    failure = step.step_failure_data
    if failure.user_failure_data:
        return BUSY in failure.user_failure_data.metadata
    error = failure.error and (failure.error.cause or failure.error)
    return bool(error and error.cls_name == LOCKED)


def is_told(step: dg.DagsterEvent) -> bool:
    """Whether alerts on what failed in the step were sent when it happened."""
    failure = step.step_failure_data.user_failure_data
    return failure is not None and TOLD in failure.metadata


def is_interrupted(step: dg.DagsterEvent) -> bool:
    """Whether the step was stopped from outside (Ctrl-C, SIGTERM)."""
    failure = step.step_failure_data
    return bool(failure.error and failure.error.cls_name == INTERRUPTED)
