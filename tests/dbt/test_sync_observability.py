"""The tables over the syncs' ledgers say what the ledgers say, whatever state these are in."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from destinations.driver import KEY, Capabilities, Delivery, Operation, Outcome, Status, results_for
from destinations.sync.config import SyncConfig
from destinations.sync.engine import run_sync
from destinations.sync.head import read_head
from destinations.sync.ledger import Ledger
from destinations.sync.pace import Policy
from destinations.sync.readable import readable
from destinations.sync.report import SyncReport
from destinations.sync.snapshot import publish
from tests.object_store import put_in, s3_server

BUILD = ("build", "--select", "tag:sync_observability")
MODELS = Path(__file__).parents[2] / "dbt" / "models" / "observability" / "syncs"
TABLES = sorted(path.stem for path in MODELS.glob("*.sql") if path.stem != "sync_keys")


@dataclass
class Place:
    """A destination that refuses some keys, loses answers to others, or is down."""

    refused: dict[str, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    down: bool = False
    capabilities: Capabilities = field(
        default_factory=lambda: Capabilities(frozenset(Operation), batch_rows=10)
    )

    def problems(self, operation: Operation, rows: pl.DataFrame) -> pl.Series:
        return pl.Series([None] * rows.height, dtype=pl.String)

    def deliveries(self, operation: Operation, rows: pl.DataFrame) -> Iterator[Delivery]:
        for batch in rows.iter_slices(self.capabilities.batch_rows):
            yield Delivery(operation, batch, payload=None)

    def send(self, delivery: Delivery) -> Outcome:
        if self.down:
            return Outcome(results_for(delivery.rows, Status.RETRY, "503"), stop="no such account")
        keys = delivery.rows[KEY].to_list()
        said = [
            "in_doubt" if key in self.lost else "rejected" if key in self.refused else "accepted"
            for key in keys
        ]
        words = ["no answer" if key in self.lost else self.refused.get(key) for key in keys]
        return Outcome(
            pl.DataFrame(
                {KEY: keys, "status": said, "message": words, "remote_id": [f"r{k}" for k in keys]},
                schema_overrides={"message": pl.String},
            )
        )

    def check(self) -> str:
        return "a place"

    def close(self) -> None: ...


@dataclass
class Shop:
    """A state folder with syncs of audience ``vip`` to several connections."""

    folder: Path
    place: Place = field(default_factory=Place)
    now: dt.datetime = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)

    def run(self, values: dict[str, int], connection: str = "crm", **declared: Any) -> SyncReport:
        """Publish these rows (key: value) and run the sync to ``connection``."""
        self.now += dt.timedelta(minutes=1)
        people = {"id": list(values), "v": list(values.values())}
        frame = pl.DataFrame(people, schema={"id": pl.String, "v": pl.Int64})
        publish(self.folder / "audiences", "vip", "id", frame.write_parquet, self.now)
        document = {"audience": "vip", "connection": connection, "key": "id", "mode": "mirror"}
        config = SyncConfig.model_validate(document | {"mapping": {"v": "v"}} | declared)
        return run_sync(
            *(config, self.place, None, self.folder / "audiences", self.folder / "syncs", self.now),
            policy=Policy(attempts=1, backoff=0.001, backoff_limit=0.002),
        )

    def ledger(self, connection: str = "crm") -> Path:
        return self.folder / "syncs" / connection / "vip"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def warehouse(tmp_path: Path, make_warehouse: Callable[[Path, Path], Any]) -> Any:
    return make_warehouse(tmp_path / "warehouse.duckdb", tmp_path / "raw")


def test_before_any_sync_and_after(shop: Shop, warehouse: Any) -> None:
    """Without a file to read the tables are there, empty, and of the same types."""
    warehouse.dbt(*BUILD)
    types = {name: warehouse.query(f"describe {name}") for name in TABLES}
    assert {name: warehouse.query(f"select count(*) from {name}") for name in TABLES} == {
        name: [(0,)] for name in TABLES
    }

    shop.place = Place(refused={"p1": "no such address"}, lost={"p2"})
    first = shop.run({f"p{n}": n for n in range(30)})
    shop.place = Place(refused={"p1": "no such address"})
    second = shop.run({f"p{n}": n * 2 for n in range(1, 25)})
    guarded = shop.run({"p1": 2}, guards={"max_removes": 3})
    shop.place = Place(down=True)
    failed = shop.run({"a": 1, "b": 1}, connection="ads")
    with (shop.ledger() / "runs.jsonl").open("a") as file:
        file.write('{"connection": "crm", "run": "2026')
    warehouse.dbt(*BUILD)

    assert {name: warehouse.query(f"describe {name}") for name in TABLES} == types
    reports = [first, second, guarded, failed]
    assert [report.status for report in reports] == ["deferred", "rejected", "guarded", "failed"]
    counts = ("delivered", "rejected", "deferred", "removed", "held_before", "seconds")
    assert warehouse.query(
        f"select run, rows_read, status, {', '.join(counts)} from sync_runs order by run"
    ) == [
        (report.run, report.rows, report.status, *(getattr(report, name) for name in counts))
        for report in sorted(reports, key=lambda report: report.run)
    ]
    assert warehouse.query(
        "select run, added, removed, held_after from sync_changes where connection = 'crm' "
        "order by run"
    ) == [
        (first.run, 28, 0, 28),
        (second.run, second.added, 6, warehouse.query(HELD)[0][0]),
        (guarded.run, 0, 0, warehouse.query(HELD)[0][0]),
    ]
    assert warehouse.query(
        f"select fate, reason, row_count, example_keys from sync_reasons where run = '{second.run}'"
    ) == [("rejected", "no such address", 1, ["p1"])]
    assert warehouse.query(
        "select sync, key, change, reason, attempts, is_held from sync_rejections"
    ) == [("crm/vip", "p1", "add", "no such address", 2, False)]
    assert warehouse.query(
        "select reason, open_rows, runs, most_attempts from rejection_reasons"
    ) == [("no such address", 1, 2, 2)]
    assert warehouse.query(
        "select sync, runs, rows_read, delivered, unchanged, rejected, deferred, removed "
        "from delivery_funnel order by sync"
    ) == [
        ("ads/vip", 1, 2, 0, 0, 0, 2, 0),
        ("crm/vip", 3, 55, first.delivered + second.delivered, 0, 2, 2, 6),
    ]
    assert warehouse.query(
        "select sync, last_status, last_ok_at is null, snapshot_at from sync_freshness order by sync"
    ) == [("ads/vip", "failed", True, None), ("crm/vip", "guarded", True, None)]
    assert warehouse.query("select sync, runs, requests from sync_latency order by sync") == [
        ("ads/vip", 1, failed.requests),
        ("crm/vip", 2, first.requests + second.requests),
    ]


HELD = "select held from destination_state where connection = 'crm'"


def state_of(warehouse: Any, columns: str) -> list[tuple[Any, ...]]:
    """What ``sync_keys`` comes to; it is no table."""
    (compiled,) = warehouse.dbt("compile", "--select", "sync_keys").results
    query = compiled.node.compiled_code
    return warehouse.query(f"select {columns} from ({query}) order by sync, key")


def test_the_last_word_on_a_key_counts(shop: Shop, warehouse: Any) -> None:
    """Over bases and deltas, removals among them, and whatever compaction left behind."""
    shop.run({f"p{n:02}": n for n in range(20)})
    shop.place = Place(refused={"p03": "blocked"}, lost={"p04"})
    shop.run({f"p{n:02}": n * 10 for n in range(2, 12)})
    shop.place = Place(refused={"p05": "blocked"})
    shop.run({f"p{n:02}": n * 7 for n in range(2, 25)})
    shop.run({f"p{n:02}": n for n in range(5)}, connection="ads")
    assert len(read_head(shop.ledger()).deltas) == 2
    # What does not count must not be read: a base that a killed compaction left, say.
    pl.read_parquet(next(shop.ledger("ads").glob("base-*"))).write_parquet(
        shop.ledger() / "base-20990101T000000000000Z.parquet"
    )
    warehouse.dbt(*BUILD)

    def expected() -> list[tuple[Any, ...]]:
        rows = []
        for connection in ("ads", "crm"):
            ledger = Ledger(shop.ledger(connection), read_head(shop.ledger(connection)))
            for row in ledger.state().collect().iter_rows(named=True):
                held = row["hash"] is not None
                rows.append(
                    (
                        *(f"{connection}/vip", row[KEY], row["state"], held, row["maybe"]),
                        *(row["refused"], row["message"], row["attempts"], row["remote_id"]),
                        row["last_at"].replace(tzinfo=None),
                    )
                )
        return rows

    columns = "sync, key, state, is_held, is_in_doubt, refused_change, reason, attempts, remote_id, last_at"
    assert state_of(warehouse, columns) == expected()
    assert {row[2] for row in expected()} == {"held", "rejected"}
    before = warehouse.query("select * exclude (files) from destination_state order by sync")
    assert [(row[2], row[3], row[4]) for row in before] == [("ads/vip", 5, 0), ("crm/vip", 23, 1)]

    ledger = Ledger(shop.ledger(), read_head(shop.ledger()))
    ledger.compact()
    warehouse.dbt(*BUILD)
    assert state_of(warehouse, columns) == expected()
    assert (
        warehouse.query("select * exclude (files) from destination_state order by sync") == before
    )
    assert warehouse.query("select files from destination_state order by sync") == [(1,), (1,)]


@pytest.mark.parametrize("store", ["folder", "encrypted", "s3"])
def test_what_was_held_when(
    shop: Shop, store: str, make_warehouse: Callable[[Path, Path], Any], monkeypatch: Any
) -> None:
    """Also where the ledgers are encrypted, or in a bucket and no copy of them is here."""
    with s3_server() if store == "s3" else nullcontext("") as endpoint:
        put_in(store, shop.folder, endpoint, monkeypatch)
        first = shop.run({f"p{n}": n for n in range(10)}).run
        between = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        second = shop.run({f"p{n}": n + (n == 1) for n in range(1, 11)}).run
        if store == "s3":
            shutil.rmtree(shop.folder / "syncs")
        with readable(shop.folder / "syncs") as ledgers:
            if store != "encrypted":
                assert ledgers == shop.folder / "syncs"
            opened = shop.folder / "opened"
            opened.mkdir()
            (opened / "syncs").symlink_to(ledgers)
            warehouse = make_warehouse(shop.folder / "warehouse.duckdb", opened / "raw")
            warehouse.dbt(*BUILD)
            ended = warehouse.query(
                "select sync, key, run, ended_by from sync_history "
                "where valid_to is not null order by key"
            )
            standing = warehouse.query(
                "select key, run from sync_history where valid_to is null order by key"
            )
            held = warehouse.query(
                "select key, run from sync_history where sync = 'crm/vip' "
                f"and valid_from <= '{between}' and (valid_to > '{between}' or valid_to is null)"
            )
            assert warehouse.query("select held from destination_state") == [(10,)]
    assert ended == [("crm/vip", "p0", first, second), ("crm/vip", "p1", first, second)]
    brought = {f"p{n}": first for n in range(2, 10)} | {"p1": second, "p10": second}
    assert standing == sorted(brought.items())
    assert dict(held) == {f"p{n}": first for n in range(10)}


def test_while_a_run_is_under_way(shop: Shop, warehouse: Any) -> None:
    """The first run of a sync has a head and no state; what others did is there all the same."""
    shop.run({"a": 1, "b": 2})
    folder = shop.ledger("lake")
    ledger = Ledger.open(folder)
    run = ledger.next_run(shop.now)
    snapshot = publish(
        shop.folder / "audiences", "vip", "id", pl.DataFrame({"id": ["a"], "v": [1]}).write_parquet
    )
    leavers = pl.DataFrame(schema={KEY: pl.String})
    journal = ledger.begin(run, snapshot, leavers, "here")
    warehouse.dbt(*BUILD)
    journal.close()
    columns = "sync, held, rejected, in_doubt, is_under_way, is_paused, files"
    assert warehouse.query(f"select {columns} from destination_state order by sync") == [
        ("crm/vip", 2, 0, 0, False, False, 1),
        ("lake/vip", 0, 0, 0, True, False, 0),
    ]
    assert state_of(warehouse, "sync, key") == [("crm/vip", "a"), ("crm/vip", "b")]


def test_how_old_the_content_is_that_was_delivered(shop: Shop, warehouse: Any) -> None:
    first = shop.run({"a": 1})
    shop.place = Place(refused={"a": "blocked"})
    shop.run({"a": 2})
    warehouse.dbt(*BUILD)
    ((status, ok_at, snapshot_at, age),) = warehouse.query(
        "select last_status, last_ok_at, snapshot_at, abs(age_seconds - "
        "epoch(measured_at - snapshot_at)) < 1 from sync_freshness"
    )
    assert status == "rejected"
    assert ok_at == dt.datetime.fromisoformat(first.started_at).replace(tzinfo=None)
    assert f"{snapshot_at:%Y%m%dT%H%M%S%f}Z" == first.snapshot
    assert age
