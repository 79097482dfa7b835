"""The command's entry: whoever stops it is heard before anything else is loaded."""

from __future__ import annotations

import signal
import sys
from types import FrameType

STOPPED = 130
IMPORTING = "importlib._bootstrap"
AGAIN = 0.02
"""Seconds after which a stop that came while modules were loading is tried again."""


class StoppedError(KeyboardInterrupt):
    """Ctrl-C or SIGTERM.

    Not KeyboardInterrupt itself: Python remembers one that passed through code made from text
    (as dataclasses are while modules load) and ends by that signal, although it was caught.
    """


def main() -> None:
    """Run the command line and exit with one of ``output.Exit``, or with 130 if it was stopped."""
    # Asked to end by SIGTERM, a run lands as at Ctrl-C: what is in flight is answered and kept.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupted)
    try:
        from dagster_project.cli.commands import call

        code = call(sys.argv[1:])
    except KeyboardInterrupt:
        print("Stopped. What was answered is kept; run again to go on.", file=sys.stderr)  # noqa: T201
        code = STOPPED
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.exit(code)


def _interrupted(_number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_globals.get("__name__") == IMPORTING:
            # Modules written in C may crash when they are stopped while they load.
            signal.signal(signal.SIGALRM, _interrupted)
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
            return
        frame = frame.f_back
    raise StoppedError
