"""A raw zone and a warehouse of a test's own."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

PROJECT = Path(__file__).parents[2] / "dbt"
EPOCH = dt.datetime(2026, 1, 1)  # noqa: DTZ001  (the raw zone's timestamps are UTC without a zone)

TEXT, MOMENT = pl.String, pl.Datetime("us")
EVENTS = {
    **dict.fromkeys(
        ("message_id", "type", "event", "user_id", "anonymous_id", "previous_id", "group_id"), TEXT
    ),
    **dict.fromkeys(("timestamp", "sent_at", "received_at"), MOMENT),
    **dict.fromkeys(("properties", "traits", "context", "source", "file"), TEXT),
    "line": pl.Int64,
    "loaded_at": MOMENT,
}
REJECTED = {
    **dict.fromkeys(("source", "file", "file_digest"), TEXT),
    "line": pl.Int64,
    **dict.fromkeys(("reason", "detail", "raw"), TEXT),
    "rejected_at": MOMENT,
}
FILES = {
    **dict.fromkeys(("source", "file", "digest"), TEXT),
    **dict.fromkeys(
        ("bytes", "lines", "events", "rejected", "mapped", "filtered", "rejected_lines"), pl.Int64
    ),
    "loaded_at": MOMENT,
}
REPLAYED = {"file_digest": TEXT, "line": pl.Int64, "replayed_at": MOMENT}

Call = Mapping[str, Any]


class RawZone:
    """Writes loads as ingestion does: immutable folders ``load_seq=00000001`` and so on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = -1
        self.load([])

    def load(
        self,
        calls: Sequence[Call],
        rejected: Sequence[Mapping[str, Any]] = (),
        replayed: Sequence[Mapping[str, Any]] = (),
        file: str | None = None,
    ) -> int:
        """One load of one file. ``at`` of a call is minutes after the epoch."""
        self.last += 1
        now = EPOCH + dt.timedelta(days=365, minutes=self.last)
        file = file or f"events_{self.last:04}.jsonl"
        digest = f"digest-of-{file}-{self.last}"
        rows = []
        for line, call in enumerate(calls, 1):
            row = {key: value for key, value in call.items() if key in EVENTS}
            row.setdefault("message_id", f"m-{self.last}-{line}")
            row.setdefault("type", "track")
            row["timestamp"] = EPOCH + dt.timedelta(minutes=call.get("at", 0))
            row["received_at"] = row["timestamp"] + dt.timedelta(seconds=5)
            for column in ("properties", "traits", "context"):
                if call.get(column) is not None:
                    row[column] = json.dumps(call[column])
            rows.append({**row, "source": "web", "file": file, "line": line, "loaded_at": now})
        refused = [
            {"source": "web", "file": file, "file_digest": digest, "rejected_at": now, **row}
            for row in rejected
        ]
        files = [
            {
                "source": "web",
                "file": file,
                "digest": digest,
                "bytes": 1,
                "lines": len(rows) + len(refused),
                "events": len(rows),
                "rejected": len(refused),
                "mapped": len(rows),
                "filtered": 0,
                "rejected_lines": len(refused),
                "loaded_at": now,
            }
        ]
        self._write(
            {
                "events": pl.DataFrame(rows, schema=EVENTS),
                "rejected": pl.DataFrame(refused, schema=REJECTED),
                "files": pl.DataFrame(files if self.last else [], schema=FILES),
                "replayed": pl.DataFrame(
                    [{**row, "replayed_at": now} for row in replayed], schema=REPLAYED
                ),
            }
        )
        return self.last

    def _write(self, tables: Mapping[str, pl.DataFrame]) -> None:
        folder = self.folder / "loads" / f"load_seq={self.last:08}"
        folder.mkdir(parents=True)
        for name, table in tables.items():
            table.write_parquet(folder / f"{name}.parquet")


class Warehouse:
    """One DuckDB file that dbt builds from one raw zone, inside this process."""

    def __init__(self, path: Path, raw: Path, target: Path) -> None:
        self.path, self.raw, self.target = path, raw, target

    def dbt(self, *arguments: str) -> Any:
        """Run a dbt command; fails the test with what dbt said went wrong."""
        from dbt.cli.main import dbtRunner

        os.environ["STOREROOM_WAREHOUSE"] = str(self.path)
        os.environ["STOREROOM_RAW"] = str(self.raw)
        os.environ["STOREROOM_SYNCS"] = str(self.raw.parent / "syncs")
        segments = sorted(path.stem for path in (PROJECT / "models" / "segments").rglob("*.sql"))
        os.environ["STOREROOM_SEGMENTS"] = " ".join(segments)
        result = dbtRunner().invoke(
            [
                *arguments,
                "--quiet",
                f"--project-dir={PROJECT}",
                f"--profiles-dir={PROJECT}",
                f"--target-path={self.target}",
                f"--log-path={self.target}",
            ]
        )
        release_warehouse()
        if not result.success:
            bad = [
                f"{r.node.name}: {r.message}"
                for r in getattr(result.result, "results", [])
                if r.status not in ("success", "pass", "warn")
            ]
            pytest.fail("\n".join([f"dbt {' '.join(arguments)}", str(result.exception), *bad]))
        return result.result

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def table(self, name: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """All rows in a fixed order, for comparing two warehouses."""
        return self.query(f"select {columns} from {name} order by all")


def release_warehouse() -> None:
    """dbt-duckdb keeps its file open between commands of one process."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    if DuckDBConnectionManager._ENV is not None:
        DuckDBConnectionManager._ENV.close()
    DuckDBConnectionManager.close_all_connections()


@pytest.fixture
def raw_zone(tmp_path: Path) -> RawZone:
    return RawZone(tmp_path / "raw")


@pytest.fixture(scope="session")
def dbt_target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all tests of a process, so that the project is parsed once."""
    return tmp_path_factory.mktemp("dbt_target")


@pytest.fixture
def make_warehouse(
    dbt_target: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path, Path], Warehouse]:
    # dbt reads these when it runs; restored afterwards whatever a test sets.
    monkeypatch.setenv("STOREROOM_WAREHOUSE", "")
    monkeypatch.setenv("STOREROOM_RAW", "")
    monkeypatch.setenv("STOREROOM_SYNCS", "")
    monkeypatch.setenv("STOREROOM_SEGMENTS", "")
    return lambda path, raw: Warehouse(path, raw, dbt_target)


@pytest.fixture
def new_raw_zone() -> Callable[[Path], RawZone]:
    return RawZone


@pytest.fixture
def compared_tables() -> list[str]:
    """Tables that the same events must give row for row, however they arrived."""
    return [
        path.stem
        for folder in ("profiles", "traits", "segments", "audiences")
        for path in sorted((PROJECT / "models" / folder).glob("*.sql"))
        if path.stem not in ("activity_days", "category_views")  # these carry load numbers
    ]
