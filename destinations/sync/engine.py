"""Runs a sync: plan, guards, delivery, ledger, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import polars as pl

from destinations.connections import CONSENT_NOT_REQUIRED
from destinations.driver import Capabilities, Driver, Operation
from destinations.errors import ConfigurationError, StoreroomError
from destinations.sync import journal as events
from destinations.sync.chunks import leavers_of, leavers_to_send, rows_to_send, with_ids
from destinations.sync.config import SyncConfig
from destinations.sync.deliver import Sender, Work
from destinations.sync.durable import locked
from destinations.sync.guards import tripped
from destinations.sync.journal import LedgerError
from destinations.sync.ledger import Ledger
from destinations.sync.pace import Pace, Policy
from destinations.sync.plan import CLASS, AccountingError, Plan, make_plan
from destinations.sync.report import Reason, RunStatus, SyncReport, keep_report
from destinations.sync.shared import let_go
from destinations.sync.snapshot import Snapshot, current
from destinations.sync.tally import DEFERRED, DELIVERED, REJECTED, Tally
from destinations.sync.validation import operation_for, validate

WRITES = ("add", "update")
HELD_IN_DOUBT = (
    "sent by an earlier run, and the destination never answered; it might be there. Look, then "
    "declare `in_doubt: resend` on the sync to have such rows sent again"
)


def sync_folder_of(state: Path, connection: str, audience: str) -> Path:
    """Where a sync keeps its ledger, below the folder of all syncs."""
    return state / connection / audience


def run_sync(
    config: SyncConfig,
    driver: Driver,
    consent_column: str | None,
    audiences: Path,
    state: Path,
    now: datetime,
    on_progress: Callable[[int, int], None] | None = None,
    dry_run: bool = False,
    allow_guards: bool = False,
    policy: Policy | None = None,
) -> SyncReport:
    """Bring the destination from what it holds to what the published audience says.

    Args:
        consent_column: boolean audience column that must be true; None where no consent is asked.
        audiences: folder of published snapshots.
        state: folder of all syncs' ledgers.
        on_progress: called with rows done and rows planned, from any thread.
        dry_run: plan only; nothing is sent or recorded, what would be sent counts as deferred.
        allow_guards: run even though a guard would stop it, this once.

    Raises:
        LockedError: this sync is running already.
        ConfigurationError: no run could carry the sync out, or key or target changed while rows are held under the old ones.
        LedgerError: the ledger cannot be read or written.
        StoreroomError: the audience was never published, or the sync is paused.
    """
    snapshot = current(audiences, config.audience)
    if snapshot is None:
        raise StoreroomError(
            f"Audience '{config.audience}' has not been published yet.",
            "Build it first: `storeroom run`.",
        )
    if snapshot.key != config.key:
        raise ConfigurationError(
            f"Audience '{config.audience}' was published with key '{snapshot.key}', and its sync "
            f"declares '{config.key}'.",
            "Publish the audience again.",
        )
    consent = CONSENT_NOT_REQUIRED
    if consent_column is not None:
        consent = consent_column.removeprefix("consent_")
    # Also when it was valid as declared: the audience's columns may have changed since.
    validate(config, snapshot.columns, driver.capabilities, consent)
    folder = sync_folder_of(state, config.connection, config.audience)
    with locked(folder, f"Sync '{config.name}'"), _writing(folder):
        ledger = Ledger.open(folder)
        if ledger.head.paused and not dry_run:
            raise StoreroomError(f"Sync '{config.name}' is paused.", "Resume it first.")
        run = _Run(config, driver, consent_column, snapshot, ledger, now, policy or Policy())
        run.refuse_another_place()
        report = run.spared() if not dry_run else None
        if report is None:
            report = run.carry_out(on_progress, dry_run, allow_guards)
        if not report.balances():
            raise AccountingError(f"sync {config.name}, run {report.run}: {report.accounting}")
        if not dry_run:
            keep_report(folder, report)
        return report


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """A full or read-only disk is told as what it is."""
    try:
        yield
    except OSError as error:
        raise LedgerError(
            f"{error.filename or folder} cannot be read or written: {error.strerror or error}.",
            "Make room or mend the disk, then run again: what the destination answered is kept, "
            "and what was under way is settled then.",
        ) from error


class _Run:
    """One run under the folder's lock."""

    def __init__(
        self,
        config: SyncConfig,
        driver: Driver,
        consent_column: str | None,
        snapshot: Snapshot,
        ledger: Ledger,
        now: datetime,
        policy: Policy,
    ) -> None:
        self.config = config
        self.driver = driver
        self.consent_column = consent_column
        self.snapshot = snapshot
        self.ledger = ledger
        self.now = now
        self.policy = policy
        self.started = time.monotonic()
        self.id = ledger.next_run(now)

    def refuse_another_place(self) -> None:
        held_at = self.ledger.head.place
        if held_at not in (None, self.config.place_fingerprint()):
            raise ConfigurationError(
                f"Sync '{self.config.name}' changed its key or its target, and the destination "
                "still holds what was sent under the old ones.",
                "Put them back, or declare a second connection for the new target; to forget what "
                f"was sent, delete {self.ledger.folder}.",
            )

    def _fingerprint(self) -> str:
        return self.config.fingerprint(self.consent_column)

    def spared(self) -> SyncReport | None:
        """The report of a run that has nothing to do: same rows, same sync, nothing left over."""
        settled = self.ledger.head.settled
        if not settled or (settled["digest"], settled["fingerprint"]) != (
            self.snapshot.digest,
            self._fingerprint(),
        ):
            return None
        counts: dict[str, int] = settled["counts"]
        return self._report("ok", counts, Tally(), {}, 0, settled["held"])

    def carry_out(
        self,
        on_progress: Callable[[int, int], None] | None,
        dry_run: bool,
        allow_guards: bool,
    ) -> SyncReport:
        plan = make_plan(
            self.snapshot,
            self.config,
            self.consent_column,
            self.ledger.state(),
            hold_doubts=self._holds_doubts(self.driver.capabilities),
        )
        leavers = leavers_of(plan.absent, self.config, self.ledger.seen(), self.ledger.leavers())
        plan = let_go(plan, leavers, self.snapshot, self.config, self.driver.capabilities)
        sends = plan.sends
        planned = dict.fromkeys((*WRITES, "remove"), 0)
        planned |= dict(sends[CLASS].value_counts().iter_rows())
        planned["remove"] = plan.removes.height
        todo = sum(planned.values())
        tally = Tally(None if on_progress is None else lambda done: on_progress(done, todo))
        guard = None if allow_guards else tripped(self.config, self.snapshot, plan, planned)
        status: RunStatus = "ok"
        message = ""
        if dry_run or guard is not None:
            status, message = ("guarded", guard) if guard is not None else ("planned", "dry run")
            self._leave(tally, planned, message)
        else:
            pace = Pace(self.policy)
            self._send(plan, leavers, tally, pace)
            if pace.stopped is not None:
                message = pace.stopped
                self._leave(tally, planned, message)
            status = _status(plan, tally, failed=pace.failed)
        for change, rows in planned.items():
            met = tally.fate(DELIVERED, change) + tally.fate(REJECTED, change)
            if met + tally.fate(DEFERRED, change) != rows:
                raise AccountingError(
                    f"sync {self.config.name}: {rows} rows to {change}, but {dict(tally.rows)}"
                )
        report = self._report(
            status, plan.counts, tally, planned, plan.removes.height, plan.held, plan, message
        )
        if status == "ok":
            self._remember(report, plan)
        return report

    def _holds_doubts(self, capabilities: Capabilities) -> bool:
        if self.config.in_doubt is not None:
            return self.config.in_doubt == "hold"
        return not capabilities.idempotent

    def _send(self, plan: Plan, leavers: pl.DataFrame, tally: Tally, pace: Pace) -> None:
        place = self.config.place_fingerprint()
        journal = self.ledger.begin(self.id, self.snapshot, leavers, place)
        try:
            if len(plan.lapsed):
                journal.commit([events.forgets(plan.lapsed)])
            if len(plan.merged):
                journal.commit([events.merges(plan.merged)])
            # Removes first, and all of them: a person who left under one key and came back
            # under another must not be taken out after being put in.
            removes = self._removes(plan, leavers)
            sender = Sender(self.driver, journal, tally, pace)
            sender.run([removes, self._writes(plan)])
        finally:
            journal.close()
            self.ledger.settle()

    def _removes(self, plan: Plan, leavers: pl.DataFrame) -> Iterator[Work]:
        operation = self._operation("remove") if plan.removes.height else Operation.REMOVE
        for rows in leavers_to_send(plan.removes, leavers, self.config):
            yield self._work(operation, "remove", rows)
        for rows in rows_to_send(plan.removes, "remove", self.snapshot, self.config):
            yield self._work(operation, "remove", rows)

    def _writes(self, plan: Plan) -> Iterator[Work]:
        sends = plan.sends
        for change in WRITES:
            if (sends[CLASS] == change).any():
                operation = self._operation(change)
                for rows in rows_to_send(sends, change, self.snapshot, self.config):
                    yield self._work(operation, change, rows)

    def _work(self, operation: Operation, change: str, rows: pl.DataFrame) -> Work:
        return Work(operation, change, with_ids(rows, change, self.snapshot))

    def _operation(self, change: str) -> Operation:
        operation = operation_for(self.config, change, self.driver.capabilities.operations)
        if operation is None:
            raise ConfigurationError(
                f"Sync '{self.config.name}': the destination cannot {change} rows.",
                "Validate the sync before it runs.",
            )
        return operation

    def _leave(self, tally: Tally, planned: dict[str, int], reason: str) -> None:
        """Defer what was planned and not taken up."""
        fates = (DELIVERED, REJECTED, DEFERRED)
        for change, rows in planned.items():
            taken = sum(tally.fate(fate, change) for fate in fates)
            tally.defer(change, rows - taken, reason)

    def _remember(self, report: SyncReport, plan: Plan) -> None:
        """Record that nothing is left over, so that the same snapshot needs no second look."""
        counts = {name: n for name, n in plan.counts.items() if name not in WRITES}
        counts["unchanged"] = counts.get("unchanged", 0) + report.delivered
        if self.config.mode.value != "full_refresh":
            self.ledger.note(
                {
                    "digest": self.snapshot.digest,
                    "fingerprint": self._fingerprint(),
                    "counts": counts,
                    "held": plan.held + report.added - report.removed - report.merged,
                }
            )

    def _report(
        self,
        status: RunStatus,
        counts: dict[str, int],
        tally: Tally,
        planned: dict[str, int],
        removes: int,
        held: int,
        plan: Plan | None = None,
        message: str = "",
    ) -> SyncReport:
        bad_keys = counts.get("null_key", 0) + counts.get("duplicate", 0)
        return SyncReport(
            sync=self.config.name,
            audience=self.config.audience,
            connection=self.config.connection,
            mode=self.config.mode.value,
            run=self.id,
            snapshot=self.snapshot.version,
            status=status,
            started_at=self.now.isoformat(),
            seconds=round(time.monotonic() - self.started, 3),
            rows=self.snapshot.rows,
            delivered=tally.fate(DELIVERED, *WRITES),
            unchanged=counts.get("unchanged", 0),
            filtered=counts.get("filtered", 0) + counts.get("not_sent", 0),
            withheld=counts.get("withheld", 0),
            rejected=bad_keys + tally.fate(REJECTED, *WRITES),
            deferred=counts.get("in_doubt", 0) + tally.fate(DEFERRED, *WRITES),
            added=tally.fate(DELIVERED, "add"),
            updated=tally.fate(DELIVERED, "update"),
            removes=removes,
            removed=tally.fate(DELIVERED, "remove"),
            removes_rejected=tally.fate(REJECTED, "remove"),
            removes_deferred=tally.fate(DEFERRED, "remove"),
            merged=len(plan.merged) if plan is not None else 0,
            planned_adds=planned.get("add", 0),
            planned_updates=planned.get("update", 0),
            held_before=held,
            requests=tally.requests,
            retries=tally.retries,
            waited=round(tally.waited, 3),
            message=message,
            reasons=_reasons(counts, tally, plan),
            samples=tuple(tally.samples),
        )


def _reasons(counts: dict[str, int], tally: Tally, plan: Plan | None) -> tuple[Reason, ...]:
    reasons = []
    if counts.get("null_key"):
        reasons.append(Reason(REJECTED, "the key is null", counts["null_key"]))
    if counts.get("duplicate"):
        keys = tuple(plan.duplicates) if plan is not None else ()
        reasons.append(
            Reason(
                REJECTED, "the key stands more than once in the audience", counts["duplicate"], keys
            )
        )
    if counts.get("in_doubt"):
        reasons.append(Reason(DEFERRED, HELD_IN_DOUBT, counts["in_doubt"]))
    told = sorted(tally.reasons.items(), key=lambda item: -item[1][0])
    reasons += [Reason(fate, text, rows, tuple(keys)) for (fate, text), (rows, keys) in told]
    return tuple(reasons)


def _status(plan: Plan, tally: Tally, failed: bool) -> RunStatus:
    changes = (*WRITES, "remove")
    if failed:
        return "failed"
    if plan.counts.get("in_doubt") or tally.fate(DEFERRED, *changes):
        return "deferred"
    if plan.counts["null_key"] or plan.counts["duplicate"] or tally.fate(REJECTED, *changes):
        return "rejected"
    return "ok"
