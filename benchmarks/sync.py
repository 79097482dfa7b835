"""How fast and how lean syncs are, beside drt-core and beside the least that the work must cost.

Every side of every row runs in a process of its own; its CPU time and peak memory are the
operating system's, and the two sides of a ratio are measured in one run. Wall time depends on
what else the machine does: compare CPU seconds.

    python benchmarks/sync.py [--json] [--only NAME] [--scale 0.1]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Nothing heavy here: on Linux a child's peak memory is never below its parent's at the start.
HERE = Path(__file__).parent
RIVAL = "drt-core"
RIVAL_VERSION = "1.2.1"
GIGABYTE = 1024


@dataclass(frozen=True)
class Result:
    """One line of the table. ``ratio`` is ours to the peer's in ``unit``."""

    name: str
    value: float
    unit: str
    peer: float | None
    ratio: float | None
    goal: str
    met: bool | None
    """None where the line is only shown beside another."""


@dataclass(frozen=True)
class Usage:
    """What a finished process has used, and what it said of itself."""

    cpu: float
    wall: float
    megabytes: float
    said: dict[str, Any]
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Resident megabytes, with the seconds since the start."""


def measure(command: list[str], **environment: str) -> Usage:
    """Run a command to its end; its last line of output may be a JSON object."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=environment.pop("cwd", None),
        env=os.environ | {"PYTHONPATH": str(HERE.parent)} | environment,
    )
    samples: list[tuple[float, float]] = []
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, begun, samples, over))
    watcher.start()
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - begun
    over.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}\n{output}")
    last = output.strip().rpartition("\n")[2]
    said = json.loads(last) if last.startswith("{") else {}
    return Usage(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024, said, samples)


def _watch(
    pid: int, begun: float, samples: list[tuple[float, float]], over: threading.Event
) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    while not over.wait(0.5):
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, IndexError):
            return
        samples.append((time.monotonic() - begun, pages * page / (1 << 20)))


def side(name: str, folder: Path, **settings: Any) -> Usage:
    """Run one function of ``sync_sides.py`` in a process of its own."""
    arguments = [name, str(folder), json.dumps(settings)]
    return measure([sys.executable, str(HERE / "sync_sides.py"), *arguments])


@contextmanager
def server() -> Iterator[int]:
    """The loopback server; gives its port."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "loopback.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait()


def received(port: int) -> dict[str, int]:
    """Requests and rows the server got since it was last asked."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


def rival(folder: Path) -> tuple[Path | None, str]:
    """The rival's command, installed into an environment that lasts as long as the benchmark."""
    home = folder / "rival"
    if not (home / "bin" / "drt").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        install = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        wanted = f"{RIVAL}[duckdb]=={RIVAL_VERSION}"
        done = subprocess.run([*install, wanted], capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
            return None, reason
    return home / "bin" / "drt", ""


def rival_runs(drt: Path, folder: Path, port: int, rows: int, batch: bool) -> tuple[Usage, Usage]:
    """The rival's start alone (it lists its syncs), and its sync of ``rows`` rows."""
    home = folder / "rival-project"
    (home / ".drt").mkdir(parents=True, exist_ok=True)
    (home / "syncs").mkdir(exist_ok=True)
    (home / "drt_project.yml").write_text("name: benchmark\nprofile: default\n", encoding="utf-8")
    database = folder / "people.duckdb"
    profiles = {"default": {"type": "duckdb", "database": str(database)}}
    (home / ".drt" / "profiles.yml").write_text(json.dumps(profiles), encoding="utf-8")
    body = (
        {"body_mode": "batch", "batch_template": "{{ rows | tojson_safe }}"}
        if batch
        else {"body_mode": "record", "body_template": "{{ row | tojson_safe }}"}
    )
    sync = {
        "name": "people",
        "model": f"select * from people limit {rows}",
        "destination": {"type": "rest_api", "url": f"http://127.0.0.1:{port}/rows", **body},
        # 0 switches its limiter off.
        "sync": {"mode": "full", "batch_size": 1000, "rate_limit": {"requests_per_second": 0}},
    }
    (home / "syncs" / "people.yml").write_text(json.dumps(sync), encoding="utf-8")
    places = {"HOME": str(home), "cwd": str(home)}
    start = measure([str(drt), "list"], **places)
    received(port)
    used = measure([str(drt), "run"], **places)
    counts = received(port)
    if counts["rows"] != rows:
        sys.exit(f"{RIVAL} sent {counts} of {rows} rows")
    return start, used


def rest_batches(folder: Path, scale: float) -> Iterator[Result]:
    """DuckDB to REST, 1,000 rows a request."""
    rows = scaled(100_000, scale)
    side("people", folder, rows=rows)
    with server() as port:
        used = side("rest", folder, port=port, rows=rows, batch=1000, concurrency=4)
        counts = received(port)
        if counts["rows"] != rows:
            sys.exit(f"the server got {counts} of {rows} rows")
        drt, reason = rival(folder)
        if drt is None:
            yield skipped("rest_batches", rows / used.cpu, "rows/CPU-s", reason)
            return
        their_start, theirs = rival_runs(drt, folder, port, rows, batch=True)
    goal = 20.0
    ratio = theirs.cpu / used.cpu
    yield Result(
        "rest_batches", rows / used.cpu, "rows/CPU-s", rows / theirs.cpu, ratio,
        "at least 20 x the peer's", ratio >= goal,
    )  # fmt: skip
    ours, their = used.said["cpu"], theirs.cpu - their_start.cpu
    yield Result(
        "rest_batches_started", rows / ours, "rows/CPU-s", rows / their, their / ours,
        "at least 20 x the peer's", their / ours >= goal,
    )  # fmt: skip
    yield memory("rest_batches_memory", used.megabytes, theirs.megabytes)


def rest_single(folder: Path, scale: float) -> Iterator[Result]:
    """DuckDB to REST, one row a request, 16 in flight; rates are by wall time."""
    rows = scaled(20_000, scale)
    side("people", folder, rows=rows)
    with server() as port:
        ceiling = side("requests_alone", folder, port=port, rows=rows, concurrency=16)
        received(port)
        used = side("rest", folder, port=port, rows=rows, batch=1, concurrency=16)
        counts = received(port)
        if counts["rows"] != rows or counts["requests"] != rows:
            sys.exit(f"the server got {counts} of {rows} rows")
        rate = rows / used.said["seconds"]
        best = rows / ceiling.said["seconds"]
        drt, reason = rival(folder)
        if drt is None:
            yield skipped("rest_single", rate, "rows/s", reason)
        else:
            start, theirs = rival_runs(drt, folder, port, rows, batch=False)
            their = rows / (theirs.wall - start.wall)
            yield Result(
                "rest_single", rate, "rows/s", their, rate / their, "at least 10 x the peer's",
                rate / their >= 10,
            )  # fmt: skip
            yield Result(
                "rest_single_cpu", rows / used.cpu, "rows/CPU-s", rows / theirs.cpu,
                theirs.cpu / used.cpu, "beside it: by CPU, start included", None,
            )  # fmt: skip
    yield Result(
        "requests_alone", best, "rows/s", None, None, "beside it: the ceiling of requests", None
    )


def unchanged(folder: Path, scale: float) -> Iterator[Result]:
    """A second run on an audience that was built again and is the same."""
    rows = scaled(1_000_000, scale)
    side("unchanged_prepared", folder, rows=rows)
    peer = side("read_snapshots", folder).said["cpu"]
    for name, settings in (("unchanged", {}), ("unchanged_replanned", {"replan": True})):
        used = side("unchanged_run", folder, **settings)
        if used.said["requests"]:
            sys.exit(f"{used.said['requests']} requests for an unchanged audience")
        ours = used.said["cpu"]
        goal = "0 requests; at most 2 x reading both snapshots"
        if settings:
            goal = "at most 2 x reading both snapshots, also where a refused row is left over"
        yield Result(name, ours, "CPU-s", peer, ours / peer, goal, ours <= 2 * peer)


def diff(folder: Path, scale: float) -> Iterator[Result]:
    """The plan of 10M rows against 10M held: 1 % added, 1 % removed, 2 % changed."""
    rows = scaled(10_000_000, scale)
    made = side("diff_prepared", folder, rows=rows)
    cold = side("diff_hashed", folder)
    used = side("diff", folder)
    reading = side("read_keys_and_hashes", folder)
    expected = {"add": rows // 100, "update": rows // 50, "removes": rows // 100}
    if used.said["found"] != expected:
        sys.exit(f"the diff found {used.said['found']}, not {expected}")
    ours, peer = used.said["cpu"], reading.said["cpu"]
    yield Result(
        "diff", ours, "CPU-s", peer, ours / peer, "at most 1.6 x reading key and hash of both",
        ours <= 1.6 * peer,
    )  # fmt: skip
    yield memory("diff_memory", used.megabytes)
    yield Result(
        "diff_sorted", made.said["published"], "CPU-s", peer, made.said["published"] / peer,
        "beside it: publishing the audience sorted, with its digest", None,
    )  # fmt: skip
    hashed = cold.said["cpu"]
    yield Result(
        "diff_hashed", hashed, "CPU-s", peer, hashed / peer,
        "beside it: hashing the rows, once per audience and mapping", None,
    )  # fmt: skip


def bodies(folder: Path, scale: float) -> Iterator[Result]:
    """Rows to bodies in every encoding, nulls dropped: 1,000 each, of forms one each."""
    loops = {
        "json": "an orjson loop", "ndjson": "an orjson loop", "csv": "a csv.writer loop",
        "xml": "an xml.etree loop", "form": "a urlencode loop", "multipart": "urllib3, row by row",
    }  # fmt: skip
    for encoding, loop in loops.items():
        rows = scaled(1_000_000 if encoding == "json" else 200_000, scale)
        used = side("bodies", folder, rows=rows, encoding=encoding)
        peer = side("loop_bodies", folder, rows=rows, encoding=encoding)
        if used.said["wrong"]:
            sys.exit(f"{encoding} bodies differ from what they should say: {used.said['wrong']}")
        ours, theirs = used.said["cpu"] / rows, peer.said["cpu"] / rows
        ratio = theirs / ours
        yield Result(
            f"bodies_{encoding}", ours * 1e6, "CPU-us/row", theirs * 1e6, ratio,
            f"at least 3 x {loop}", ratio >= 3,
        )  # fmt: skip


def first_sync(folder: Path, scale: float) -> Iterator[Result]:
    """The first sync of 10M rows, 1,000 a request."""
    rows = scaled(10_000_000, scale)
    side("first_prepared", folder, rows=rows)
    with server() as port:
        used = side("first", folder, port=port)
        counts = received(port)
    if counts["rows"] != rows:
        sys.exit(f"the server got {counts} of {rows} rows")
    yield memory("first_sync_memory", used.megabytes)
    # At a small scale there is no minute: then the first third stands for it.
    early = min(60.0, used.wall / 3)
    before = max(mb for at, mb in used.memory if at <= early)
    after = max(mb for at, mb in used.memory if at > early)
    yield Result(
        "first_sync_growth", after, "MB", before, after / before,
        "at most 1.2 x the peak of the first minute", after <= 1.2 * before,
    )  # fmt: skip
    yield Result("first_sync_rate", rows / used.cpu, "rows/CPU-s", None, None, "beside it", None)


def tick(folder: Path, scale: float) -> Iterator[Result]:
    """400 connections with 5 audiences each and nothing to send, as one run of Dagster."""
    connections = scaled(400, scale)
    side("tick_prepared", folder, connections=connections)
    used = side("tick", folder)
    if (used.said["syncs"], used.said["requests"]) != (connections * 5, 0):
        sys.exit(f"the tick did {used.said}")
    yield Result("tick", used.wall, "s", None, None, "at most 180 s on 2 cores", used.wall <= 180)
    yield Result("tick_cpu", used.cpu, "CPU-s", None, None, "beside it", None)
    yield Result("tick_memory", used.megabytes, "MB", None, None, "beside it", None)


def scaled(count: int, scale: float) -> int:
    """``count`` at a scale, a multiple of 100 where it is no smaller."""
    made = max(1, round(count * scale))
    return made - made % 100 if made > 100 else made


def memory(name: str, ours: float, peer: float | None = None) -> Result:
    """Peak resident memory, against a gigabyte or against the peer's."""
    if peer is None:
        return Result(name, ours, "MB", None, None, "at most 1 GB", ours <= GIGABYTE)
    return Result(name, ours, "MB", peer, ours / peer, "no more than the peer's", ours <= peer)


def skipped(name: str, value: float, unit: str, reason: str) -> Result:
    """Our figure alone: the rival could not be installed."""
    goal = f"{RIVAL} {RIVAL_VERSION} could not be installed: {reason}"
    return Result(name, value, unit, None, None, goal, None)


Benchmark = Callable[[Path, float], Iterator[Result]]
BENCHMARKS: dict[str, Benchmark] = {
    benchmark.__name__: benchmark
    for benchmark in (rest_batches, rest_single, unchanged, diff, bodies, first_sync, tick)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--only", choices=BENCHMARKS, help="run this one only")
    parser.add_argument("--scale", type=float, default=1.0, help="below 1 for a quick look")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, benchmark in BENCHMARKS.items():
            if chosen.only in (None, name):
                place = Path(folder) / name
                place.mkdir()
                for result in benchmark(place, chosen.scale):
                    show(result, as_json=chosen.json)


def show(result: Result, as_json: bool) -> None:
    """One line for a machine or for a person. Goals are for the full size."""
    if as_json:
        row = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(result).items()}
        print(json.dumps(row), flush=True)
        return
    verdict = {True: ": met", False: ": NOT met", None: ""}[result.met]
    peer = "" if result.peer is None else f"  peer {result.peer:,.2f}  ratio {result.ratio:,.2f}"
    print(
        f"{result.name:22} {result.value:>12,.2f} {result.unit:11}{peer}  {result.goal}{verdict}",
        flush=True,
    )


if __name__ == "__main__":
    main()
