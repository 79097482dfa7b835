"""One sync to a loopback HTTP destination, in a process of its own that tests can kill.

Usage: ``python loopback_sync.py FOLDER PORT``; prints ``ready`` before it runs.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from destinations.driver import KEY, Capabilities, Delivery, Operation, Outcome, Status, results_for
from destinations.sync.config import SyncConfig
from destinations.sync.engine import run_sync

BATCH = 20
WORKERS = 3


class LoopbackDriver:
    capabilities = Capabilities(
        operations=frozenset({Operation.UPSERT, Operation.REMOVE}),
        batch_rows=BATCH,
        concurrency=WORKERS,
    )

    def __init__(self, port: int) -> None:
        self.port = port
        self.local = threading.local()

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        return pl.repeat(None, rows.height, dtype=pl.String, eager=True)

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        for batch in rows.iter_slices(BATCH):
            body = json.dumps({"op": operation.value, "rows": batch.select(KEY, "v").rows()})
            yield Delivery(operation, batch, payload=body)

    def send(self, delivery: Delivery) -> Outcome:
        try:
            if not hasattr(self.local, "connection"):
                self.local.connection = http.client.HTTPConnection(
                    "127.0.0.1", self.port, timeout=5
                )
            self.local.connection.request("POST", "/", body=delivery.payload)
            self.local.connection.getresponse().read()
        except OSError as error:
            return Outcome(results_for(delivery.rows, Status.IN_DOUBT, str(error)))
        return Outcome(results_for(delivery.rows, Status.ACCEPTED))

    def check(self) -> str:
        return "loopback"

    def close(self) -> None: ...


def main(folder: Path, port: int) -> None:
    config = SyncConfig.model_validate(
        {
            "audience": "vip",
            "connection": "crm",
            "key": "id",
            "mode": "mirror",
            "mapping": {"v": "v"},
        }
    )
    print("ready", flush=True)
    report = run_sync(
        config,
        LoopbackDriver(port),
        None,
        folder / "audiences",
        folder / "syncs",
        datetime.now(UTC),
    )
    print(report.accounting, report.status, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
