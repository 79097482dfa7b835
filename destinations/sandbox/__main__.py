"""``python -m destinations.sandbox --port 8321 [--state DIR] [--connections FILE]``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from destinations.connections import FromEnvironment, load_connections
from destinations.errors import StoreroomError
from destinations.sandbox.server import DEFAULT_PORT, serve


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0 then, 2 where it could not start."""
    parser = argparse.ArgumentParser(prog="python -m destinations.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1 or ::1")
    parser.add_argument("--state", type=Path, help="folder of its state file")
    parser.add_argument(
        "--connections", type=Path, help="take the secrets of this file's sandbox connections only"
    )
    options = parser.parse_args(arguments)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        known = known_secrets(options.connections) if options.connections else None
        sandbox = serve(options.port, options.state, host=options.host, known=known)
    except StoreroomError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with sandbox:
        sys.stdout.write(f"Sandbox at {sandbox.url}, state in {sandbox.state_file}\n")
        sys.stdout.flush()
        stopping.wait()
    return 0


def known_secrets(file: Path) -> dict[str, dict[str, set[str]]]:
    """Destination -> setting -> the values that its sandbox connections send.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    known: dict[str, dict[str, set[str]]] = {}
    for connection in load_connections(file).values():
        if connection.sandbox:
            values = connection.resolved()
            for name, value in connection.settings.items():
                if isinstance(value, FromEnvironment):
                    settings = known.setdefault(connection.destination, {})
                    settings.setdefault(name, set()).add(str(values[name]))
    return known


if __name__ == "__main__":
    sys.exit(main())
