"""Starting and stopping a sandbox."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from destinations import paths
from destinations.errors import ConfigurationError, StoreroomError
from destinations.language.spec import Spec
from destinations.sandbox.admin import state
from destinations.sandbox.catalog import Catalog
from destinations.sandbox.faults import Fault, Faults
from destinations.sandbox.listener import Server
from destinations.sandbox.storage import Store

DEFAULT_PORT = 8321
LOOPBACK = ("127.0.0.1", "::1")


class Sandbox:
    """A running sandbox; a context manager that stops it. See :func:`serve`."""

    def __init__(self, server: Server, store: Store, catalog: Catalog, faults: Faults) -> None:
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(0.05,), name="sandbox", daemon=True
        )
        self.store = store
        self.faults = faults
        self.catalog = catalog
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Base URL without a trailing slash; a destination is below it by its id."""
        host = str(self._server.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def state_file(self) -> Path:
        return self.store.path

    def fail(self, destination: str, kind: str, **how: Any) -> int:
        """Set a fault (see :class:`Fault`); its number."""
        return self.faults.add(Fault(destination=destination, kind=kind, **how))  # type: ignore[arg-type]

    def state(self, destination: str) -> dict[str, Any]:
        """Members by target, profiles, events and counts of one destination."""
        return state(self.store, destination)

    def reset(self, destination: str | None = None) -> None:
        """Forget members, requests and faults: of one destination, or all."""
        self.store.reset(destination)
        self.faults.clear(destination)

    def stop(self) -> None:
        """Answer what was asked, then close: nothing half done is left. May be called twice."""
        if self._server.stopping:
            return
        self._server.stop()
        self._thread.join()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def serve(
    port: int = DEFAULT_PORT,
    state_dir: Path | None = None,
    *,
    host: str = "127.0.0.1",
    specs: Iterable[Spec] | None = None,
    known: Mapping[str, Mapping[str, Iterable[str]]] | None = None,
) -> Sandbox:
    """Start a sandbox in threads of this process and return it running.

    Args:
        port: 0 for any free one.
        state_dir: where its SQLite file stands; ``paths.sandbox_dir()`` unless given.
        host: 127.0.0.1 or ::1, nothing else.
        specs: the destinations to play; every HTTP destination of the catalog unless given.
        known: destination -> setting -> values to take for it (a secret that a client really
            has); unless told, the sandbox takes any token, and signatures by ``sandbox-<setting>``.

    Raises:
        ConfigurationError: another host than loopback.
        StoreroomError: the port is taken.
    """
    if host not in LOOPBACK:
        raise ConfigurationError(
            f"The sandbox does not listen on {host}.",
            "It is for this machine only: 127.0.0.1 or ::1.",
        )
    try:
        server = Server(host, port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise StoreroomError(
            f"Port {port} on {host} is taken: {error.strerror}.",
            "Stop what listens there (a sandbox of yours?), or choose another with --port.",
        ) from None
    store = Store(state_dir or paths.sandbox_dir())
    faults = Faults()
    catalog = Catalog(store, faults, specs)
    for destination, values in (known or {}).items():
        catalog.tell(destination, values)
    server.attach(store, catalog, faults)
    return Sandbox(server, store, catalog, faults)
