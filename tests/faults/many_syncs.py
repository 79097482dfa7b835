"""Several syncs of one account at once, each in a process of its own.

Usage: ``python many_syncs.py STATE COUNT ROWS`` with the spec as JSON on standard input;
prints one report a line when all have ended.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from destinations.connections import Connection
from destinations.http.opening import open_http
from destinations.language.spec import Spec
from destinations.sync.config import SyncConfig
from destinations.sync.engine import run_sync
from destinations.sync.snapshot import publish


def sync(state: Path, spec: Spec, number: int, rows: int, start: float) -> dict[str, Any]:
    name = f"people{number}"
    people = pl.DataFrame({"id": [f"{name}-{row}" for row in range(rows)]})
    publish(state / "audiences", name, "id", people.write_parquet)
    config = SyncConfig.model_validate(
        {"audience": name, "connection": "tool", "key": "id", "mapping": {"v": "id"}}
    )
    connection = Connection(
        name="tool",
        destination=spec.id,
        consent="not_required",
        settings={"token": {"env": "FAULTS_TOKEN"}},
    )
    driver = open_http(spec, connection, {}, name)
    time.sleep(max(start - time.time(), 0))
    report = run_sync(config, driver, None, state / "audiences", state / "syncs", datetime.now(UTC))
    return report.as_row()


def main(state: Path, count: int, rows: int) -> None:
    spec = Spec.model_validate(json.loads(sys.stdin.readline()))
    start = time.time() + 1.0
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            try:
                text = json.dumps(sync(state, spec, number, rows, start), default=str)
                (state / f"answer-{number}.json").write_text(text)
            finally:
                os._exit(0)
        children.append(child)
    for number, child in enumerate(children):
        os.waitpid(child, 0)
        print((state / f"answer-{number}.json").read_text(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
