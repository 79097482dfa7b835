"""SIGKILL at random moments, real processes, a real HTTP destination: nothing lost or orphaned."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from destinations.sync.snapshot import publish
from tests.loopback_destination import Destination

BATCH, WORKERS, ROWS = 20, 3, 1200
KILLS = int(os.environ.get("STOREROOM_TEST_KILLS", "10"))


def start(folder: Path, server: Destination) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [
            sys.executable,
            Path(__file__).with_name("loopback_sync.py"),
            folder,
            str(server.server_port),
        ],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_killed_anywhere_and_run_again_the_destination_equals_the_audience(
    tmp_path: Path, destination: Destination
) -> None:
    chance = random.Random(11)
    desired: dict[str, int] = {}
    kills, version = 0, 0
    while kills < KILLS:
        version += 1
        # A third leaves, a third changes, and some come back: also rows in flight at a kill.
        keys = chance.sample(range(ROWS), ROWS * 2 // 3)
        desired = {f"k{n}": n * 1000 + chance.randrange(2) for n in keys}
        rows = pl.DataFrame({"id": list(desired), "v": list(desired.values())})
        publish(tmp_path / "audiences", "vip", "id", rows.write_parquet)
        for _ in range(chance.randrange(1, 4)):
            process = start(tmp_path, destination)
            time.sleep(chance.uniform(0.0, 0.35))
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
            kills += 1
        if chance.random() < 0.5:
            continue  # the audience changes before anybody reruns
        settle(tmp_path, destination)
        assert destination.members == desired
    settle(tmp_path, destination)
    assert destination.members == desired


def test_a_kill_sends_at_most_the_rows_in_flight_again(
    tmp_path: Path, destination: Destination
) -> None:
    chance = random.Random(3)
    desired = {f"k{n}": n for n in range(4000)}
    rows = pl.DataFrame({"id": list(desired), "v": list(desired.values())})
    publish(tmp_path / "audiences", "vip", "id", rows.write_parquet)
    kills = 0
    while kills < 4:
        process = start(tmp_path, destination)
        before = len(destination.members)
        while len(destination.members) == before and process.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        kills += 1
    assert len(destination.members) < len(desired)
    settle(tmp_path, destination)
    assert destination.members == desired
    again = sum(count - 1 for count in destination.writes.values())
    assert again <= kills * WORKERS * BATCH


def settle(folder: Path, server: Destination) -> None:
    process = start(folder, server)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.rstrip().endswith(" ok"), output
