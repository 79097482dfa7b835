"""``python -m destinations.sandbox --port 8321 [--state DIR]``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from destinations.errors import StoreroomError
from destinations.sandbox.server import DEFAULT_PORT, serve


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0 then, 2 where it could not start."""
    parser = argparse.ArgumentParser(prog="python -m destinations.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1 or ::1")
    parser.add_argument("--state", type=Path, help="folder of its state file")
    options = parser.parse_args(arguments)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        sandbox = serve(options.port, options.state, host=options.host)
    except StoreroomError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with sandbox:
        sys.stdout.write(f"Sandbox at {sandbox.url}, state in {sandbox.state_file}\n")
        sys.stdout.flush()
        stopping.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
