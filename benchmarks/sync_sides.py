"""What ``sync.py`` measures, one function a process: ``sync_sides.py NAME FOLDER SETTINGS``.

Functions that end in ``_prepared`` (and ``people``) make data for others; what they cost is not
compared. A function's return value, if any, is printed as one JSON object.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sync_bodies import bodies, loop_bodies
from sync_shared import AUDIENCE, CONNECTION, KEY_COLUMN, SPEC, cpu
from sync_tick import tick, tick_prepared

COLUMNS = (
    "profile_id", "email", "first_name", "last_name", "phone",
    "country", "revenue", "orders", "vip", "last_seen",
)  # fmt: skip
PEOPLE = """
    select md5(i::varchar) as profile_id, 'person' || i || '@example.com' as email,
        'First' || (i % 1000) as first_name, 'Last' || (i % 5000) as last_name,
        '+4930' || (1000000 + i) as phone, ['de', 'fr', 'it', 'pl'][1 + i % 4] as country,
        (i % 100) * 1.5::double as revenue, i % 17 as orders, i % 2 = 0 as vip,
        timestamp '2026-01-01' + to_minutes((i % 100000)::int) as last_seen
    from range({rows}) t(i)
"""


def people(folder: Path, rows: int) -> None:
    """A DuckDB file with a table of 10 columns."""
    import duckdb

    with duckdb.connect(str(folder / "people.duckdb")) as base:
        base.execute(f"create table people as {PEOPLE.format(rows=rows)}")


def start(folder: Path) -> None:
    """Nothing: what starting costs."""


def rest(folder: Path, port: int, rows: int, batch: int, concurrency: int) -> dict[str, Any]:
    """Publish the table as an audience, and sync it."""
    import duckdb

    from destinations.sync.snapshot import publish

    begun = time.monotonic()
    state = folder / f"state-{batch}"
    with duckdb.connect(str(folder / "people.duckdb"), read_only=True) as base:
        query = f"select * from people limit {rows}"
        publish(
            state / "audiences", AUDIENCE, KEY_COLUMN,
            lambda path: base.execute(f"copy ({query}) to '{path}' (format parquet)"),
        )  # fmt: skip
    delivered = sync(state, port, batch, concurrency).delivered
    assert delivered == rows
    return {"seconds": time.monotonic() - begun}


def sync(state: Path, port: int, batch: int, concurrency: int) -> Any:
    """One run to the loopback server; its report."""
    import os

    from destinations.connections import Connection
    from destinations.http.opening import open_http
    from destinations.language.loader import load_spec_text
    from destinations.sync.config import SyncConfig
    from destinations.sync.engine import run_sync

    os.environ["STOREROOM_STATE"] = str(state)
    text = SPEC.format(
        concurrency=concurrency,
        batch=f'batch: {{rows: {batch}, docs: "https://www.rfc-editor.org/rfc/rfc9110"}}'
        if batch > 1
        else "",
        body='{each: "{fields}"}' if batch > 1 else '"{fields}"',
    )
    spec = load_spec_text(text, "benchmark.yaml")
    connection = Connection(
        name=CONNECTION,
        destination="benchmark",
        consent="not_required",
        settings={"url": f"http://127.0.0.1:{port}"},
    )
    config = SyncConfig.model_validate(
        {
            "audience": AUDIENCE,
            "connection": CONNECTION,
            "key": KEY_COLUMN,
            "mapping": {name: name for name in COLUMNS},
        }
    )
    driver = open_http(spec, connection, {}, AUDIENCE)
    try:
        return run_sync(
            config, driver, None, state / "audiences", state / "syncs", datetime.now(UTC)
        )
    finally:
        driver.close()


def requests_alone(folder: Path, port: int, rows: int, concurrency: int) -> dict[str, Any]:  # noqa: ARG001
    """The same number of ready bodies, sent by ``requests`` and nothing else."""
    from concurrent.futures import ThreadPoolExecutor

    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.trust_env = False
    session.mount("http://", HTTPAdapter(pool_maxsize=concurrency))
    values = dict.fromkeys(COLUMNS, "0123456789")
    body = json.dumps(values).encode()
    headers = {"Content-Type": "application/json"}

    def send(count: int) -> None:
        for _ in range(count):
            session.post(f"http://127.0.0.1:{port}/rows", data=body, headers=headers, timeout=30)

    begun = time.monotonic()
    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(send, [math.ceil(rows / concurrency)] * concurrency))
    return {"seconds": time.monotonic() - begun}


class Accepting:
    """A destination that takes everything at once and keeps nothing."""

    def __init__(self, refused: str | None = None) -> None:
        from destinations.driver import Capabilities, Operation

        self.refused = refused
        self.capabilities = Capabilities(frozenset(Operation), batch_rows=10_000, concurrency=2)

    def problems(self, operation: Any, rows: Any) -> Any:  # noqa: ARG002
        import polars as pl

        refused = pl.lit(self.refused, pl.String)
        told = pl.when(pl.col("_key") == refused).then(pl.lit("breaks a rule"))
        return rows.select(told.alias("rule")).to_series()

    def deliveries(self, operation: Any, rows: Any) -> Iterator[Any]:
        from destinations.driver import Delivery

        for part in rows.iter_slices(10_000):
            yield Delivery(operation, part, None)

    def send(self, delivery: Any) -> Any:
        from destinations.driver import Outcome, Status, results_for

        return Outcome(results_for(delivery.rows, Status.ACCEPTED))

    def check(self) -> str:
        return ""

    def close(self) -> None: ...


def accepted(state: Path, columns: list[str], refused: str | None = None) -> Any:
    """One run to a destination that accepts; its report."""
    from destinations.sync.config import SyncConfig
    from destinations.sync.engine import run_sync

    config = SyncConfig.model_validate(
        {
            "audience": AUDIENCE,
            "connection": CONNECTION,
            "key": KEY_COLUMN,
            "mode": "mirror",
            "mapping": {name: name for name in columns},
        }
    )
    now = datetime.now(UTC)
    return run_sync(
        config, Accepting(refused), None, state / "audiences", state / "syncs", now,
        allow_guards=True,
    )  # fmt: skip


def published(state: Path, query: str) -> None:
    """Publish what a query over nothing gives."""
    import duckdb

    from destinations.sync.snapshot import publish

    with duckdb.connect() as base:
        base.execute("set memory_limit = '2GB'")
        publish(
            state / "audiences", AUDIENCE, KEY_COLUMN,
            lambda path: base.execute(f"copy ({query}) to '{path}' (format parquet)"),
        )  # fmt: skip


def unchanged_prepared(folder: Path, rows: int) -> None:
    """Two states after a first run, one with a row left over, and the audience built again."""
    for name, refused in (("settled", None), ("leftover", "c4ca4238a0b923820dcc509a6f75849b")):
        published(folder / name, PEOPLE.format(rows=rows))
        accepted(folder / name, list(COLUMNS), refused)
        published(folder / name, PEOPLE.format(rows=rows))


def unchanged_run(folder: Path, replan: bool = False) -> dict[str, Any]:
    """The second run."""
    refused = "c4ca4238a0b923820dcc509a6f75849b" if replan else None
    report = accepted(folder / ("leftover" if replan else "settled"), list(COLUMNS), refused)
    assert report.unchanged == report.rows - replan
    return {"requests": report.requests}


def read_snapshots(folder: Path) -> None:
    """Both versions of the audience, whole, a bounded number of rows at a time."""
    import polars as pl

    for path in sorted((folder / "settled" / "audiences" / AUDIENCE).glob("*.parquet")):
        for _ in pl.scan_parquet(path).collect_batches(chunk_size=100_000, maintain_order=True):
            pass


def diff_prepared(folder: Path, rows: int) -> dict[str, Any]:
    """Rows held, and an audience of which 1 % are new, 1 % gone and 2 % changed."""
    columns = "md5(i::varchar) as profile_id, 'person' || i || '@example.com' as email"
    published(folder, f"select {columns}, i % 17 as orders from range({rows}) t(i)")
    accepted(folder, ["email", "orders"])
    begun = cpu()
    published(
        folder,
        f"select {columns}, i % 17 + case when i % 50 = 1 then 100 else 0 end as orders "
        f"from range({rows} + {rows} // 100) t(i) where i >= {rows} or i % 100 != 7",
    )
    return {"published": cpu() - begun}


def _diff_parts(folder: Path) -> tuple[Any, Any, Any]:
    from destinations.sync.config import SyncConfig
    from destinations.sync.hashes import hashed
    from destinations.sync.snapshot import current
    from destinations.sync.suppression import NOBODY

    mapping = {"email": "email", "orders": "orders"}
    config = SyncConfig.model_validate(
        {
            "audience": AUDIENCE,
            "connection": CONNECTION,
            "key": KEY_COLUMN,
            "mode": "mirror",
            "mapping": mapping,
        }
    )
    snapshot = current(folder / "audiences", AUDIENCE)
    assert snapshot is not None
    return config, snapshot, hashed(snapshot, config, None, NOBODY, ledger_folder(folder), [])


def ledger_folder(folder: Path) -> Path:
    return folder / "syncs" / CONNECTION / AUDIENCE


def diff_hashed(folder: Path) -> None:
    """Hash the audience's rows: done once for all plans on them."""
    _diff_parts(folder)


def diff(folder: Path) -> dict[str, Any]:
    """Plan."""
    from destinations.sync.ledger import Ledger
    from destinations.sync.plan import make_plan

    config, snapshot, hashes = _diff_parts(folder)
    state = Ledger.open(ledger_folder(folder)).state()
    plan = make_plan(snapshot, hashes, state, config.mode, hold_doubts=False)
    found = {name: plan.counts[name] for name in ("add", "update")}
    return {"found": found | {"removes": plan.removes.height}}


def read_keys_and_hashes(folder: Path) -> None:
    """Key and hash of both sides, read in the cheapest way found, and thrown away."""
    import polars as pl

    home = ledger_folder(folder)
    for path, column in (
        (next(home.glob("hashes-*")), "_hash"),
        (next(home.glob("base-*")), "hash"),
    ):
        rows = pl.scan_parquet(path).select("_key", column)
        for _ in rows.collect_batches(chunk_size=100_000, maintain_order=True):
            pass


def first_prepared(folder: Path, rows: int) -> None:
    """A large audience of 10 columns."""
    published(folder, PEOPLE.format(rows=rows))


def first(folder: Path, port: int) -> dict[str, Any]:
    """Its first sync."""
    report = sync(folder, port, 1000, 4)
    assert report.delivered == report.rows
    return {"requests": report.requests}


SIDES: dict[str, Callable[..., dict[str, Any] | None]] = {
    side.__name__: side
    for side in (
        people, start, rest, requests_alone, unchanged_prepared, unchanged_run,
        read_snapshots, diff_prepared, diff_hashed, diff, read_keys_and_hashes, bodies,
        loop_bodies, first_prepared, first, tick_prepared, tick,
    )
}  # fmt: skip


def main() -> None:
    chosen, folder, settings = sys.argv[1:]
    # What starting costs is no part of any row's work.
    import duckdb  # noqa: F401
    import requests  # noqa: F401

    import destinations.http.opening
    import destinations.language.compile
    import destinations.sync.engine  # noqa: F401

    begun = cpu()
    told = SIDES[chosen](Path(folder), **json.loads(settings)) or {}
    print(json.dumps({"cpu": cpu() - begun} | told), flush=True)


if __name__ == "__main__":
    main()
