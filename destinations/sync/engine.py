"""Runs a sync: plan, guards, delivery, ledger, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import polars as pl

from destinations.connections import CONSENT_NOT_REQUIRED
from destinations.driver import KEY, Capabilities, Driver
from destinations.errors import ConfigurationError, LedgerError, PausedError, StoreroomError
from destinations.sync import journal as events
from destinations.sync.accounting import WRITES, reasons_of, status_of
from destinations.sync.chunks import leavers_of
from destinations.sync.config import SyncConfig
from destinations.sync.deliver import Sender, Work
from destinations.sync.durable import locked
from destinations.sync.footing import Footing, footing_of
from destinations.sync.guards import tripped
from destinations.sync.hashes import CLASS, hashed
from destinations.sync.identity import identifier_columns, with_changed_identities
from destinations.sync.ledger import Ledger
from destinations.sync.marks import read_marks
from destinations.sync.pace import Pace, Policy
from destinations.sync.plan import AccountingError, Plan, make_plan
from destinations.sync.report import RunStatus, SyncReport, keep_report
from destinations.sync.shared import let_go
from destinations.sync.snapshot import Snapshot, current
from destinations.sync.suppression import Suppression, read_suppression
from destinations.sync.tally import DEFERRED, DELIVERED, REJECTED, Tally
from destinations.sync.validation import changes_of, operation_for, validate
from destinations.sync.work import Ready, cleared, phases_of

CANCELLED = "the run was cancelled"


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
    place: str = "",
    expected: Footing | None = None,
) -> SyncReport:
    """Bring the destination from what it holds to what the published audience says.

    Args:
        consent_column: boolean audience column that must be true; None where no consent is asked.
        audiences: folder of published snapshots.
        state: folder of all syncs' ledgers.
        on_progress: called with rows done and rows planned, from any thread.
        dry_run: plan only; nothing is sent or recorded, what would be sent counts as deferred.
        place: names where the connection puts rows; a change is refused while rows are held.
        allow_guards: run even though a guard would stop it, this once.
        expected: what a saved plan stood on; the run is refused if anything of it changed.

    A run that is cancelled (``KeyboardInterrupt`` and its like) lets what is in flight land,
    keeps every answer and its report, and then raises it again.

    Raises:
        LockedError: this sync is running already.
        ConfigurationError: no run could carry the sync out, or key or target changed while rows are held under the old ones.
        LedgerError: the ledger cannot be read or written.
        PausedError: the sync is paused.
        StoreroomError: the audience was never published, or the plan is stale.
    """
    with opened(config, driver, consent_column, audiences, state, now, policy, place) as run:
        if run.ledger.head.paused and not dry_run:
            raise PausedError(
                f"Sync '{config.name}' is paused.",
                f"Resume it: `storeroom syncs resume {config.connection} {config.audience}`.",
            )
        if expected is not None:
            expected.refuse_unless(run.footing())
        report = run.spared() if not dry_run else None
        if report is None:
            report = run.carry_out(on_progress, dry_run, allow_guards)
        if not report.balances():
            raise AccountingError(f"sync {config.name}, run {report.run}: {report.accounting}")
        if not dry_run:
            keep_report(run.ledger.folder, report)
        if run.cancelled is not None:
            raise run.cancelled
        return report


@contextmanager
def opened(
    config: SyncConfig,
    driver: Driver,
    consent_column: str | None,
    audiences: Path,
    state: Path,
    now: datetime,
    policy: Policy | None = None,
    place: str = "",
) -> Iterator[Run]:
    """A run that could start, under the sync's lock; raises what :func:`run_sync` does."""
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
    with _writing(folder), locked(folder, f"Sync '{config.name}'"):
        ledger = Ledger.open(folder)
        run = Run(
            config,
            driver,
            consent_column,
            snapshot,
            ledger,
            now,
            policy or Policy(),
            place,
            read_suppression(state),
        )
        run.refuse_another_place()
        yield run


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


class Run:
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
        place: str,
        suppression: Suppression,
    ) -> None:
        self.config = config
        self.driver = driver
        self.consent_column = consent_column
        self.snapshot = snapshot
        self.ledger = ledger
        self.now = now
        self.policy = policy
        self.place = place
        self.suppression = suppression
        self.marks = read_marks(ledger.folder)
        self._planned: tuple[Plan, pl.DataFrame] | None = None
        self.cancelled: BaseException | None = None
        """What was raised into the run from outside; it is over, and its answers are kept."""
        self.started = time.monotonic()
        self.id = ledger.next_run(now)

    def refuse_another_place(self) -> None:
        held_at = self.ledger.head.place
        if held_at not in (None, self.config.place_fingerprint(self.place)):
            raise ConfigurationError(
                f"Sync '{self.config.name}' changed its key, its target or its connection's settings, and the destination "
                "still holds what was sent under the old ones.",
                "Put them back, or declare a second connection for the new target. To forget what "
                "was sent, `storeroom syncs forget`; if the new target holds the same, "
                "`storeroom syncs move`.",
            )

    def footing(self) -> Footing:
        """Everything that decides what this run would do."""
        where = self.config.place_fingerprint(self.place)
        return footing_of(
            self.config, self._fingerprint(), self.snapshot, self.ledger, self.marks, where
        )

    def _fingerprint(self) -> str:
        return self.config.fingerprint(self.consent_column) + self.suppression.fingerprint()

    def spared(self) -> SyncReport | None:
        """The report of a run that has nothing to do: same rows, same sync, nothing left over."""
        settled = self.ledger.head.settled
        if (
            not settled
            or self.marks is not None
            or (settled["digest"], settled["fingerprint"])
            != (
                self.snapshot.digest,
                self._fingerprint(),
            )
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
        plan, leavers = self.plan()
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
            if dry_run:
                self._judge(plan, leavers, tally)
            self._leave(tally, planned, message)
        else:
            pace = Pace(self.policy)
            try:
                self._send(plan, leavers, tally, pace)
            except Exception:
                raise
            except BaseException as cancelled:
                pace.stop(CANCELLED)
                self.cancelled = cancelled
            if pace.stopped is not None:
                message = pace.stopped
                self._leave(tally, planned, message)
            status = status_of(plan, tally, failed=pace.failed)
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

    def plan(self) -> tuple[Plan, pl.DataFrame]:
        """What is to be done, and the fields of held rows that left (see :func:`leavers_of`)."""
        if self._planned is None:
            ledger, config, capabilities = self.ledger, self.config, self.driver.capabilities
            state = ledger.state()
            plan = make_plan(
                self.snapshot,
                hashed(
                    *(self.snapshot, config, self.consent_column, self.suppression),
                    *(ledger.folder, identifier_columns(config, capabilities)),
                ),
                state,
                config.mode,
                hold_doubts=self._holds_doubts(capabilities),
                again=None if self.marks is None else self.marks[KEY],
            )
            leavers = leavers_of(plan.absent, config, ledger.seen(), ledger.leavers())
            plan = let_go(plan, leavers, self.snapshot, config, capabilities, state)
            plan, former = with_changed_identities(
                *(plan, self.snapshot, config, capabilities, state),
                *(ledger.seen(), ledger.leavers()),
            )
            if former is not None:
                leavers = pl.concat([leavers, former], how="diagonal_relaxed")
            self._planned = plan, leavers
        return self._planned

    def work(
        self, plan: Plan, leavers: pl.DataFrame, ready: Ready | None = None
    ) -> Iterator[Iterator[Work]]:
        """The rows of the plan with their fields, phase by phase (see :func:`phases_of`)."""
        offered = self.driver.capabilities.operations
        return phases_of(plan, leavers, self.config, self.snapshot, offered, self.marks, ready)

    def _judge(self, plan: Plan, leavers: pl.DataFrame, tally: Tally) -> None:
        """Count the rows that break a rule of the vendor: a run would reject them."""
        for phase in self.work(plan, leavers):
            for work in phase:
                problems = self.driver.problems(work.operation, work.rows)
                judged = work.rows.select(KEY, problems.alias("message"))
                tally.because(work.change, REJECTED, judged.drop_nulls("message"))

    def _holds_doubts(self, capabilities: Capabilities) -> bool:
        if self.config.in_doubt is not None:
            return self.config.in_doubt == "hold"
        changes, offered = changes_of(self.config.mode), capabilities.operations
        asked = (operation_for(self.config, change, offered) for change in changes)
        return not capabilities.repeats(*filter(None, asked))

    def _send(self, plan: Plan, leavers: pl.DataFrame, tally: Tally, pace: Pace) -> None:
        place = self.config.place_fingerprint(self.place)
        journal = self.ledger.begin(self.id, self.snapshot, leavers, place)
        try:
            if len(plan.lapsed):
                journal.commit([events.forgets(plan.lapsed)])
            if len(plan.merged):
                journal.commit([events.merges(plan.merged)])
            ready = cleared(plan, journal, tally)
            Sender(self.driver, journal, tally, pace).run(self.work(plan, leavers, ready))
        finally:
            journal.close()
            self.ledger.settle()

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
            withheld=counts.get("withheld", 0) + counts.get("deleted", 0),
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
            reasons=reasons_of(counts, tally, plan),
            samples=tuple(tally.samples),
        )
