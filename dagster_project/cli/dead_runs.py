"""Closes runs whose process is gone, so that what they held is free again.

A run that was killed cannot say so: Dagster would show it as running, and it would keep
its place in the pools (one writer of the warehouse, one sender per connection) for ever.
Every run of the command carries the process it runs in as a tag; the next one looks.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dagster as dg

PROCESS_TAG = "storeroom/process"
UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def this_process() -> str:
    """``host:pid:start``; the start (clock ticks, where the system tells) sets apart reused pids."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def close_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs of processes that are gone as failed and free their places in pools; their ids."""
    closed = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        process = run.tags.get(PROCESS_TAG)
        if process is None or _alive(process):
            continue
        instance.report_run_failed(run, f"Its process ({process}) was killed.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        closed.append(run.run_id)
    return closed


def _alive(process: str) -> bool:
    host, pid, started = process.rsplit(":", 2)
    if host != socket.gethostname():
        return True  # only its own machine can tell
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, so alive
    return started == _started(int(pid))


def _started(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    # The name in parentheses may hold spaces; the start is the 20th field behind it.
    return stat.rpartition(")")[2].split()[19]
