"""SIGKILL at random moments of every phase: nothing lost, nothing orphaned, little sent twice.

``STOREROOM_FAULT_KILLS=1000 pytest tests/faults`` kills a thousand times.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from destinations.sync.report import kept_reports
from destinations.sync.snapshot import current

KILLS = int(os.environ.get("STOREROOM_FAULT_KILLS", "20"))
BATCH, WORKERS, ROWS = 20, 3, 300

PHASES = {
    "publish": (1, 0.03),
    "open": (1, 0.02),
    "plan": (1, 0.03),
    "begin": (1, 0.01),
    "journal": (12, 0.004),
    "send": (12, 0.006),
    "settle": (2, 0.03),
    "fold": (2, 0.02),
    "compact": (1, 0.02),
    "report": (1, 0.004),
}
"""Of each phase how often it is entered at most, and how long it lasts at most, in seconds."""


@pytest.fixture
def killer(new_killer: Callable[..., Any], loopback: Any, spec_of: Callable[..., Any]) -> Any:
    return new_killer(spec_of(loopback.url, batch=BATCH, workers=WORKERS))


@pytest.mark.timeout(60 + 2 * KILLS)
def test_killed_anywhere_and_run_again_the_destination_equals_the_audience(
    tmp_path: Path, loopback: Any, killer: Any
) -> None:
    chance = random.Random(KILLS)
    kills = reruns = most_twice = all_twice = since_rerun = unharmed = 0
    died_in: Counter[str] = Counter()
    phases = list(PHASES)
    assert set(killer.phases) == set(phases)
    while kills < KILLS:
        # A third leaves, a third changes, and some come back: also rows in flight at a kill.
        people = None
        if since_rerun == 0 or chance.random() < 0.3:
            keys = chance.sample(range(ROWS), ROWS * 2 // 3)
            people = {f"k{number}": chance.randrange(3) for number in keys}
        phase = chance.choice(phases if people is not None else phases[1:])
        entries, longest = PHASES[phase]
        told = killer.kill(people, phase, chance.randint(1, entries), chance.uniform(0.0, longest))
        assert told["fate"] in ("killed", "done"), told
        if told["fate"] == "done":
            # The phase did not come that often, or the run was quicker than the kill.
            assert "broken" not in told["report"], told
            unharmed += 1
            continue
        kills += 1
        died_in.update(told["open"] or ["between phases"])
        since_rerun += 1
        if chance.random() < 0.7 and current(tmp_path / "audiences", "people") is not None:
            report = killer.run()
            desired = audience(tmp_path)
            assert {key: row["v"] for key, row in loopback.members.items()} == desired
            assert report["status"] == "ok", report
            assert report["rows"] == len(desired) == report["delivered"] + report["unchanged"]
            assert report["removes"] == report["removed"]
            assert loopback.twice <= since_rerun * WORKERS * BATCH
            reruns += 1
            most_twice = max(most_twice, loopback.twice)
            all_twice += loopback.twice
            since_rerun = 0
            loopback.forget_requests()
    report = killer.run()
    assert report["status"] == "ok"
    assert {key: row["v"] for key, row in loopback.members.items()} == audience(tmp_path)
    again = killer.run()
    assert (again["requests"], again["delivered"], again["removes"]) == (0, 0, 0)
    # Every line of the record was written whole or is left out.
    runs = [row["run"] for row in kept_reports(tmp_path / "syncs" / "tool" / "people")]
    assert len(runs) == len(set(runs)) >= reruns
    if 10 * len(PHASES) <= KILLS:
        assert set(died_in) >= set(PHASES)
    print(
        f"\n{kills} kills, {reruns} clean reruns, {unharmed} runs ended before their kill, "
        f"{all_twice} rows sent twice in all, {most_twice} at most between two reruns; "
        f"phases open at the kills: {dict(died_in.most_common())}"
    )


def audience(state: Path) -> dict[str, int]:
    snapshot = current(state / "audiences", "people")
    assert snapshot is not None
    return dict(snapshot.scan().select("id", "v").collect().iter_rows())
