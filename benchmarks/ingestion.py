"""How fast and how lean ingestion is, beside a plain Python loop over the same file.

Each side runs in a process of its own, whose CPU time counts from when its imports are done;
peak memory is the operating system's.
The peer is what one would write by hand: ``orjson.loads`` line by line, the rules that a call must
keep, lists per column, Parquet in chunks. It knows fewer rules, and loads nothing exactly once.

    python benchmarks/ingestion.py [--json] [--only NAME] [--scale 0.1]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
CALLS = 350_000
"""About 190 MB of JSON Lines."""
SLICE = 50_000
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Result:
    """One line of the table. A ratio above 1 is in our favour."""

    name: str
    value: float
    unit: str
    peer: float | None
    ratio: float | None
    goal: str
    met: bool


@dataclass(frozen=True)
class Usage:
    """What a finished process has used: CPU seconds after its imports, and peak memory."""

    cpu: float
    megabytes: float


def write_calls(path: Path, count: int) -> None:
    """Page views, product views and orders of about 535 bytes; one line in a thousand is bad."""
    with path.open("wb") as file:
        for start in range(0, count, SLICE):
            n = pl.int_range(start, min(start + SLICE, count), dtype=pl.Int64, eager=True)
            frame = pl.DataFrame({"n": n}).select(
                type=pl.when(pl.col("n") % 1000 == 999).then(pl.lit("click")).otherwise(pl.lit("track")),
                event=pl.lit("Product Viewed"),
                messageId=pl.format("{}-6f1c-4f0e-9d53-3b0f6c2f8a11", "n"),
                anonymousId=pl.format("a{}-52c1-4d7e-8a55", pl.col("n") % 9973),
                userId=pl.when(pl.col("n") % 3 == 0).then(pl.format("user-{}", pl.col("n") % 4999)),
                timestamp=pl.format("2026-05-{}T{}:{}:07.123Z", *(
                    (part + low).cast(pl.String).str.zfill(2)
                    for part, low in ((pl.col("n") % 28, 1), (pl.col("n") % 24, 0), (pl.col("n") % 60, 0))
                )),
                sentAt=pl.lit("2026-05-30T10:00:08.000Z"),
                receivedAt=pl.lit("2026-05-30T10:00:09.000Z"),
                properties=pl.struct(
                    product_id=pl.format("sku-{}", pl.col("n") % 200),
                    name=pl.lit("Käsereibe, edelstahl"),
                    price=(pl.col("n") % 10_000) / 100,
                    quantity=pl.col("n") % 5,
                    category=pl.lit("kitchen"),
                ),
                context=pl.struct(
                    ip=pl.lit("192.0.2.7"),
                    userAgent=pl.lit("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
                    page=pl.struct(url=pl.format("https://shop.example/p/{}", "n"), path=pl.lit("/p")),
                ),
            )  # fmt: skip
            frame.write_ndjson(file)


def our_parse(path: Path) -> None:
    """Lines into judged calls, in columns; nothing written."""
    from dagster_project.ingestion.calls import classify
    from dagster_project.ingestion.engine import open_engine
    from dagster_project.ingestion.lines import line_chunks
    from dagster_project.ingestion.streams import read_blocks

    with open_engine() as engine:
        for chunk in line_chunks(read_blocks(path)):
            classify(engine, chunk, NOW.replace(tzinfo=None))


def our_ingest(path: Path) -> None:
    """The file from the landing zone into the raw zone."""
    from dagster_project.ingestion import Sources, ingest

    sources = Sources.model_validate({"sources": [{"name": "web", "path": "*.jsonl"}]})
    with tempfile.TemporaryDirectory(dir=path.parent.parent) as folder:
        report = ingest(sources, path.parent, Path(folder), NOW)
    assert report.lines == report.events + report.rejections > 0


TYPES = {"track", "identify", "page", "screen", "group", "alias"}
TEXTS = ("messageId", "type", "event", "userId", "anonymousId", "previousId", "groupId")
TIMES = ("timestamp", "sentAt", "receivedAt")
OBJECTS = ("properties", "traits", "context")
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), NOW + timedelta(days=1)


def naive_rows(path: Path) -> Iterator[tuple[list[Any] | None, bytes]]:
    """A row per call, None for a line that is none, beside the line."""
    with path.open("rb") as file:
        for line in file:
            try:
                call = orjson.loads(line)
                texts = [None if (v := call.get(key)) is None else str(v) for key in TEXTS]
                times = [
                    None if (v := call.get(key)) is None else datetime.fromisoformat(v)
                    for key in TIMES
                ]
                objects = [
                    None if (v := call.get(key)) is None else orjson.dumps(v).decode()
                    for key in OBJECTS
                ]
                good = (
                    call["type"] in TYPES
                    and (texts[3] or texts[4])
                    and EARLIEST <= call_time(times) <= LATEST
                    and all(isinstance(call.get(key) or {}, dict) for key in OBJECTS)
                )
            except (ValueError, KeyError, TypeError, AttributeError):
                good = False
            yield ([*texts, *times, *objects] if good else None), line


def call_time(times: list[datetime | None]) -> datetime:
    """The first time that is given.

    Raises:
        ValueError: none is.
    """
    for moment in times:
        if moment is not None:
            return moment
    raise ValueError("no time")


def naive_tables(path: Path, bad: list[tuple[int, str]]) -> Iterator[pa.Table]:
    """The good calls in columns, 65,536 at a time; the others go to ``bad``."""
    moment = pa.timestamp("us", "UTC")
    kinds = [*[pa.string()] * len(TEXTS), *[moment] * len(TIMES), *[pa.string()] * len(OBJECTS)]
    names = (*TEXTS, *TIMES, *OBJECTS)
    schema = pa.schema([*zip(names, kinds, strict=True), ("line", pa.int64())])
    rows: list[list[Any]] = []

    def table() -> pa.Table:
        columns = zip(*rows, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
        rows.clear()
        return pa.Table.from_arrays(arrays, schema=schema)

    for number, (row, line) in enumerate(naive_rows(path), 1):
        if row is None:
            bad.append((number, line.decode("utf-8", "replace")))
            continue
        rows.append([*row, number])
        if len(rows) == 65_536:
            yield table()
    if rows:
        yield table()


def naive_parse(path: Path) -> None:
    """As :func:`our_parse`, by hand."""
    for _ in naive_tables(path, []):
        pass


def naive_ingest(path: Path) -> None:
    """As :func:`our_ingest`, by hand: two Parquet files, and a digest of the file."""
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    bad: list[tuple[int, str]] = []
    with tempfile.TemporaryDirectory(dir=path.parent.parent) as folder:
        writer = None
        for table in naive_tables(path, bad):
            target = Path(folder) / "events.parquet"
            writer = writer or pq.ParquetWriter(target, table.schema, compression="zstd")
            writer.write_table(table)
        if writer:
            writer.close()
        lines, texts = ([pair[side] for pair in bad] for side in (0, 1))
        rejected = pa.table({"line": lines, "raw": texts})
        pq.write_table(rejected, Path(folder) / "rejected.parquet", compression="zstd")


SIDES: dict[str, Callable[[Path], None]] = {
    side.__name__: side for side in (our_parse, naive_parse, our_ingest, naive_ingest)
}


def measure(side: str, path: Path) -> Usage:
    """Run one side to its end in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--side", side, str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{side} ended with {process.returncode}")
    return Usage(float(said), used.ru_maxrss / 1024)


def run_side(side: str, path: Path) -> None:
    """In the child: do it, and print the CPU seconds it took, of all threads."""
    import dagster_project.ingestion  # noqa: F401 - both sides bear its weight in memory

    started = time.process_time()
    SIDES[side](path)
    print(time.process_time() - started)


def compare(name: str, goal: float, ours: str, theirs: str, path: Path, count: int) -> list[Result]:
    """Calls per second of CPU, and peak memory."""
    used, peer = measure(ours, path), measure(theirs, path)
    speed, peer_speed = count / used.cpu, count / peer.cpu
    ratio = speed / peer_speed
    return [
        Result(
            name, round(speed), "calls/CPU-s", round(peer_speed), round(ratio, 2),
            f"at least {goal} x the peer", ratio >= goal,
        ),
        Result(
            f"{name}_memory", round(used.megabytes), "MB", round(peer.megabytes),
            round(peer.megabytes / used.megabytes, 2), "at most 1024 MB", used.megabytes <= 1024,
        ),
    ]  # fmt: skip


def parse(folder: Path, scale: float) -> list[Result]:
    """Lines into judged calls, in columns."""
    count = max(1, round(CALLS * scale))
    return compare("parse", 1.0, "our_parse", "naive_parse", landed(folder, count), count)


def ingest(folder: Path, scale: float) -> list[Result]:
    """Landing zone to raw zone."""
    count = max(1, round(CALLS * scale))
    return compare("ingest", 1.0, "our_ingest", "naive_ingest", landed(folder, count), count)


def landed(folder: Path, count: int) -> Path:
    """The file of calls, written by the first benchmark that needs it."""
    path = folder / "landing" / "calls.jsonl"
    if not path.exists():
        path.parent.mkdir()
        write_calls(path, count)
    return path


BENCHMARKS = {benchmark.__name__: benchmark for benchmark in (parse, ingest)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--only", choices=BENCHMARKS, help="run this one only")
    parser.add_argument("--scale", type=float, default=1.0, help="below 1 for a quick look")
    parser.add_argument("--side", nargs=2, metavar=("SIDE", "FILE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        run_side(chosen.side[0], Path(chosen.side[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, benchmark in BENCHMARKS.items():
            if chosen.only not in (None, name):
                continue
            for result in benchmark(Path(folder), chosen.scale):
                show(result, as_json=chosen.json)


def show(result: Result, as_json: bool) -> None:
    """One line for a machine or for a person."""
    if as_json:
        print(json.dumps(asdict(result)), flush=True)
        return
    verdict = "met" if result.met else "NOT met"
    peer = "" if result.peer is None else f"  peer {result.peer:,.0f}  ratio {result.ratio}"
    print(
        f"{result.name:16} {result.value:>10,.0f} {result.unit:12}{peer}  {result.goal}: {verdict}",
        flush=True,
    )


if __name__ == "__main__":
    main()
