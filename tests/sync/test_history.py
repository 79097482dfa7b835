"""What was held at any moment, against a model that remembers every run."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from destinations.errors import StoreroomError
from destinations.sync import ledger as module
from destinations.sync.head import read_head
from destinations.sync.history import held_on

people = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2), max_size=6)


def now() -> datetime:
    return datetime.now().astimezone()


def held(bench, at: datetime) -> dict[str, tuple[str, str]]:
    rows = held_on(bench.folder / "syncs", "crm", "vip", at).rows.collect()
    assert rows["_key"].is_sorted()
    return {row["_key"]: (row["hash"], row["run"]) for row in rows.iter_rows(named=True)}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(people, min_size=2, max_size=6), st.booleans())
def test_every_moment_is_told_as_it_was(new_bench, audiences, compact: bool) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        if compact:
            patched.setattr(module, "MAX_DELTAS", 1)
            patched.setattr(module, "MAX_SMALL", 1)
        bench = new_bench(Path(folder))
        model: list[tuple[datetime, dict[str, tuple[str, str]]]] = []
        standing: dict[str, tuple[str, str]] = {}
        for audience in audiences:
            bench.audience(audience)
            report = bench.run(allow_guards=True)
            state = module.Ledger.open(bench.ledger_folder).state().collect()
            hashes = dict(state.select("_key", "hash").iter_rows())
            standing = {
                key: standing[key]
                if key in standing and standing[key][0] == found
                else (found, report.run)
                for key, found in hashes.items()
            }
            model.append((now(), standing))
        for moment, expected in model:
            assert held(bench, moment) == expected


def test_a_run_costs_what_it_changed_and_old_versions_go(bench, monkeypatch) -> None:
    bench.audience({f"k{n}": n for n in range(100)})
    bench.run()
    assert read_head(bench.ledger_folder).history == ()
    bench.audience({f"k{n}": n + (n < 3) for n in range(99)})
    bench.run()
    (part,) = read_head(bench.ledger_folder).history
    assert part.rows == 4  # three changed, one left
    first = now()
    monkeypatch.setattr(module, "history_days", lambda: 0)
    bench.audience({"k0": 5})
    bench.run(allow_guards=True)
    assert read_head(bench.ledger_folder).history == ()
    assert len(list(bench.ledger_folder.glob("history-*"))) == 0
    with pytest.raises(StoreroomError, match="goes back to"):
        held(bench, first)
    assert set(held(bench, now() + timedelta(seconds=1))) == {"k0"}


def test_it_is_readable_as_parquet(bench, tmp_path) -> None:
    bench.audience({"a": 1})
    bench.run()
    bench.audience({"a": 2})
    bench.run()
    rows = pl.read_parquet(bench.ledger_folder / "history-*.parquet")
    (row,) = rows.iter_rows(named=True)
    assert row["valid_from"] < row["valid_to"]
    assert row["run"] < row["ended_by"]


def test_a_sync_that_never_ran_is_told(tmp_path) -> None:
    with pytest.raises(StoreroomError, match="never run"):
        held_on(tmp_path, "crm", "vip", now())
