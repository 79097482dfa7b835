"""``storeroom sandbox``: play every destination of the catalog on this machine."""

from __future__ import annotations

import threading
from contextlib import suppress

from cyclopts import App

from dagster_project.cli.output import Exit, out
from destinations.connections import DEFAULT_SANDBOX_URL
from destinations.paths import sandbox_dir
from destinations.sandbox import serve

app = App(name="sandbox", help_format="plaintext")


@app.default
def run(*, port: int = int(DEFAULT_SANDBOX_URL.rpartition(":")[2])) -> Exit:
    """Serve until stopped with Ctrl-C. Connections with `sandbox: true` send here.

    Parameters
    ----------
    port
        Port on 127.0.0.1; the sandbox never listens on another address.
    """
    with serve(port, sandbox_dir()) as server:
        out.print(f"The sandbox plays every destination at {server.url} (Ctrl-C stops it).")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    return Exit.DONE
