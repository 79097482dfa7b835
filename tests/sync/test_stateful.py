"""Any mix of audience edits, faults, kills, reruns and operations: accounts balance, nothing is orphaned."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from destinations.driver import Capabilities, Operation, Outcome, Status, results_for
from destinations.errors import StoreroomError
from destinations.sync.ledger import Ledger
from destinations.sync.resend import among, mark
from destinations.sync.status import pause
from destinations.sync.suppression import readmit, suppress

KEYS = [f"k{n}" for n in range(8)]
FAULTS = [
    "outage",
    "rate_limit",
    "lost_answer",
    "lost_request",
    "bad_credentials",
    "half_an_answer",
]
people = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 3), max_size=8)


class Syncing(RuleBasedStateMachine):
    """One audience, one destination; ``bench`` and ``failing`` are set by the test below."""

    new_bench = None
    failing = None

    @initialize(per_row=st.booleans(), start=people)
    def open(self, per_row: bool, start: dict[str, int]) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.bench = type(self).new_bench(self.folder)
        self.bench.driver.capabilities = Capabilities(
            operations=frozenset(Operation), batch_rows=3, concurrency=2, per_row_results=per_row
        )
        self.deleted: set[str] = set()
        self.marked: dict[str, int] = {}
        self.edit(start, set(), 4)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @rule(rows=people, withheld=st.sets(st.sampled_from(KEYS), max_size=2), below=st.integers(1, 4))
    def edit(self, rows: dict[str, int], withheld: set[str], below: int) -> None:
        self.below = below
        self.desired = {k: v for k, v in rows.items() if k not in withheld and v < below}
        self.rows = rows
        consents = [key not in withheld for key in rows]
        self.bench.publish(
            pl.DataFrame(
                {"id": list(rows), "v": list(rows.values()), "consent_email": consents},
                schema={"id": pl.String, "v": pl.Int64, "consent_email": pl.Boolean},
            )
        )

    @rule(keys=st.sets(st.sampled_from(KEYS), max_size=2))
    def refuse(self, keys: set[str]) -> None:
        self.bench.driver.bad_keys = keys

    @rule(keys=st.sets(st.sampled_from(KEYS), max_size=1))
    def forbid(self, keys: set[str]) -> None:
        self.bench.driver.rule_breakers = keys

    @property
    def syncs(self) -> Path:
        return self.folder / "syncs"

    def has_run(self) -> bool:
        return (self.bench.ledger_folder / "head.json").exists()

    def writes_of(self, key: str) -> int:
        return sum(n for (name, _), n in self.bench.driver.writes.items() if name == key)

    @precondition(has_run)
    @rule(keys=st.sets(st.sampled_from(KEYS), min_size=1, max_size=3))
    def have_sent_again(self, keys: set[str]) -> None:
        mark(self.bench.config(), self.syncs, among(pl.Series(list(keys))), self.bench.now)
        self.marked |= {key: self.writes_of(key) for key in keys}

    @rule(keys=st.sets(st.sampled_from(KEYS), min_size=1, max_size=2))
    def delete_people(self, keys: set[str]) -> None:
        suppress(self.syncs, sorted(keys), self.bench.now)
        self.deleted |= keys

    @rule(keys=st.sets(st.sampled_from(KEYS), min_size=1, max_size=4))
    def readmit_people(self, keys: set[str]) -> None:
        assert set(readmit(self.syncs, sorted(keys))) == keys & self.deleted
        self.deleted -= keys

    @precondition(has_run)
    @rule()
    def pause_and_resume(self) -> None:
        sent = len(self.bench.driver.sends)
        pause(self.syncs, "crm", "vip")
        with pytest.raises(StoreroomError, match="paused"):
            self.run()
        pause(self.syncs, "crm", "vip", paused=False)
        assert len(self.bench.driver.sends) == sent

    def run(self):
        report = self.bench.run(
            consent="consent_email", where=f"v < {self.below}", guards={"allow_empty": True}
        )
        assert report.rows == len(self.rows)
        return report

    @rule(faults=st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(1, 3)), max_size=3))
    def run_with_faults(self, faults: list[tuple[str, int]]) -> None:
        driver = self.bench.driver
        driver.faults = [type(self).failing(name, count) for name, count in faults]
        self.run()
        driver.faults = []

    @rule(survivor=st.integers(0, 6), lands=st.booleans())
    def run_and_die(self, survivor: int, lands: bool) -> None:
        """What a kill leaves: the ledger as it stood at one send, the destination as it became."""
        driver, kept = self.bench.driver, self.folder / "kept"
        dead = []

        def die(driver, delivery):
            with driver.lock:
                if dead or len(driver.sends) - sent <= survivor:
                    return None if not dead else _silence(delivery)
                dead.append(True)
                # Sends that others have under way were claimed before this copy is taken.
                shutil.copytree(self.bench.ledger_folder, kept)
            if lands:
                driver.apply(delivery)
            return _silence(delivery)

        sent = len(driver.sends)
        driver.faults = [die]
        self.run()
        driver.faults = []
        if dead:
            shutil.rmtree(self.bench.ledger_folder)
            kept.rename(self.bench.ledger_folder)

    @rule()
    def run_in_peace(self) -> None:
        report = self.run()
        refused = self.bench.driver.bad_keys | self.bench.driver.rule_breakers
        held = self.bench.held
        assert report.deferred == report.removes_deferred == 0
        for key in KEYS:
            if key not in refused:
                wanted = None if key in self.deleted else self.desired.get(key)
                assert held.get(key) == wanted, key
                if key in self.marked and wanted is not None:
                    assert self.writes_of(key) > self.marked.pop(key), key
        if not refused & (set(self.desired) | set(held)):
            assert report.status == "ok"
            again = self.run()
            assert (again.requests, again.delivered, again.removes) == (0, 0, 0)
            assert again.rows == again.unchanged + again.filtered + again.withheld

    @precondition(lambda self: hasattr(self, "bench"))
    @invariant()
    def the_ledger_knows_everything_that_is_held(self) -> None:
        if not (self.bench.ledger_folder / "head.json").exists():
            assert not self.bench.driver.members
            return
        state = Ledger.open(self.bench.ledger_folder).state().collect()
        known = {row["_key"]: row for row in state.iter_rows(named=True)}
        held = self.bench.driver.members
        for key in held:
            assert key in known
            assert known[key]["hash"] is not None or known[key]["maybe"]
        for key, row in known.items():
            if row["hash"] is not None and not row["maybe"]:
                # Acknowledged means: there, and with that content.
                assert key in held
                assert self.bench.driver.writes[key, row["hash"]] > 0


def _silence(delivery) -> Outcome:
    return Outcome(results_for(delivery.rows, Status.IN_DOUBT, "no answer"))


def test_syncing(new_bench, failing) -> None:
    Syncing.new_bench, Syncing.failing = staticmethod(new_bench), staticmethod(failing)
    case = Syncing.TestCase
    case.settings = settings(
        max_examples=40,
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()
