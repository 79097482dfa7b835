"""One asset per audience and connection, so that lineage runs from raw events to each tool.

The syncs of one connection are one step with one spec per audience: a run may take any
subset, and the connection's pool lets one sender at a time reach the tool.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_project.declarations import Sync, load
from dagster_project.defs import health
from dagster_project.defs.failures import BUSY, TOLD
from dagster_project.defs.sync_alerts import stands_well, tell_of_run
from dagster_project.progress import announce
from dagster_project.warehouse import manifest
from destinations.errors import LockedError, PausedError, StoreroomError
from destinations.paths import audiences_dir, syncs_dir
from destinations.registry import summary_of
from destinations.sync.engine import run_sync
from destinations.sync.footing import Footing, read_plans
from destinations.sync.report import SyncReport

CADENCE_TAG = "storeroom/cadence"
ALLOW_GUARDS_TAG = "storeroom/allow_guards"
"""A run with this tag goes past the guards, once."""
PLAN_TAG = "storeroom/plan"
"""A run with this tag does exactly what the plan saved in that file says, or nothing."""
ACCOUNTING_CHECK = "accounting"
REJECTIONS_CHECK = "no_rejected_rows"


def asset_key(sync: Sync) -> dg.AssetKey:
    """``syncs / <connection> / <audience>``."""
    return dg.AssetKey(["syncs", sync.connection.name, sync.audience.name])


def definitions() -> dg.Definitions:
    """Every declared sync as an asset with its checks.

    Raises:
        ConfigurationError: a declared sync could not be run.
    """
    by_connection: dict[str, list[Sync]] = defaultdict(list)
    for sync in load(manifest.ensure()):
        by_connection[sync.connection.name].append(sync)
    assets = [_sender(name, syncs) for name, syncs in sorted(by_connection.items())]
    return dg.Definitions(assets=assets)


def _sender(connection: str, syncs: Sequence[Sync]) -> dg.AssetsDefinition:
    by_key = {asset_key(sync): sync for sync in syncs}

    @dg.multi_asset(
        name=f"sync_{connection}",
        specs=[_spec(sync) for sync in syncs],
        check_specs=[spec for sync in syncs for spec in _checks(sync)],
        can_subset=True,
        pool=f"connection_{connection}",
        # The engine retries what a retry can mend; a step retry would only repeat it.
    )
    def send(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        failures: list[str] = []
        locked, told = 0, 0
        allow_guards = ALLOW_GUARDS_TAG in context.run.tags
        plans = _plans(context.run.tags.get(PLAN_TAG))
        for key in sorted(context.selected_asset_keys):
            sync = by_key[key]
            try:
                report = run(sync, allow_guards=allow_guards, expected=plans.get(sync.name))
            except PausedError as error:
                # On purpose, so no failure: the asset is left as it is, and the log says why.
                context.log.info(f"Skipped. {error}")
                continue
            except StoreroomError as error:
                # One sync that cannot run must not keep the connection's others from running.
                failures.append(f"{sync.name}: {error}")
                context.log.error(failures[-1])
                if isinstance(error, LockedError):
                    locked += 1
                else:
                    told += tell_of_run(context, sync, error)
                yield health.age(sync, key)
                continue
            context.log.info(f"{sync.name}: {report.accounting}")
            # With nothing to send, what the last run found holds; recording that it does costs
            # more than the run.
            is_news = report.requests > 0 or report.status != "ok" or not stands_well(sync)
            is_told = tell_of_run(context, sync, report)
            if report.status in {"failed", "guarded"}:
                failures.append(f"{sync.name}: {report.message}")
                told += is_told
            yield dg.MaterializeResult(asset_key=key, metadata=metadata_of(report))
            yield from check_results(key, report)
            if is_news:
                yield from health.results(sync, key, report)
        if failures:
            marks = {BUSY: locked == len(failures), TOLD: told == len(failures)}
            metadata = {mark: True for mark, holds in marks.items() if holds}
            raise dg.Failure(" ".join(failures), metadata=metadata, allow_retries=False)

    return send


def _plans(file: str | None) -> dict[str, Footing]:
    return {} if file is None else {footing.sync: footing for footing, _ in read_plans(Path(file))}


def run(sync: Sync, *, allow_guards: bool = False, expected: Footing | None = None) -> SyncReport:
    """Run one sync against the current snapshot of its audience.

    Args:
        expected: what a saved plan stood on; the run is refused if anything of it changed.

    Raises:
        StoreroomError: it cannot run as declared, its connection is paused, or another process
            runs it right now.
    """
    if sync.connection.paused:
        raise PausedError(
            f"Connection '{sync.connection.name}' is paused.",
            "Take `paused: true` out of its entry in the connections file.",
        )
    driver = sync.driver()
    try:
        return run_sync(
            sync.config,
            driver,
            sync.consent_column,
            audiences_dir(),
            syncs_dir(),
            datetime.now(UTC),
            on_progress=lambda done, total: announce("sync", sync.name, done, total),
            allow_guards=allow_guards,
            place=sync.place,
            expected=expected,
        )
    finally:
        driver.close()


def _spec(sync: Sync) -> dg.AssetSpec:
    destination = summary_of(sync.connection.destination)
    owner = sync.audience.owner
    return dg.AssetSpec(
        asset_key(sync),
        deps=[dg.AssetKey(["audiences", sync.audience.name])],
        description=f"{sync.audience.description}\n\nKept in {destination.name} "
        f"({sync.config.mode}, {sync.config.cadence}).",
        group_name="syncs",
        kinds={sync.connection.destination},
        owners=[owner if "@" in owner else f"team:{owner}"] if owner else [],
        tags={CADENCE_TAG: sync.config.cadence, "storeroom/connection": sync.connection.name},
        metadata={
            "mode": sync.config.mode.value,
            "destination": destination.name,
            "documentation": dg.MetadataValue.url(destination.docs),
        },
        skippable=True,
    )


def _checks(sync: Sync) -> list[dg.AssetCheckSpec]:
    key = asset_key(sync)
    return [
        dg.AssetCheckSpec(
            ACCOUNTING_CHECK,
            asset=key,
            description="Rows read = delivered + unchanged + filtered + withheld + rejected + deferred.",
        ),
        dg.AssetCheckSpec(
            REJECTIONS_CHECK,
            asset=key,
            description="Every row was taken by the destination.",
        ),
        *health.specs(sync, key),
    ]


def check_results(key: dg.AssetKey, report: SyncReport) -> Iterator[dg.AssetCheckResult]:
    """The two checks of a sync, from what it counted."""
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=ACCOUNTING_CHECK,
        passed=report.balances(),
        metadata={"accounting": report.accounting},
    )
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=REJECTIONS_CHECK,
        passed=report.rejected + report.removes_rejected == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "rejected": report.rejected,
            "reasons": dg.MetadataValue.json(report.as_row()["reasons"]),
        },
    )


def metadata_of(report: SyncReport) -> dict[str, Any]:
    """What one run of a sync counted; the numbers plot over time in the UI."""
    row = dict.fromkeys(("accounting", "status", "message"), "") | report.as_row()
    documents = {name: dg.MetadataValue.json(row.pop(name)) for name in ("reasons", "samples")}
    return {**row, **documents}
