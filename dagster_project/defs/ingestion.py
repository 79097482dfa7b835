"""The first step of the graph: landing files become raw events, each file exactly once."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from dagster_project.ingestion import IngestReport, Progress, ingest, load_sources
from dagster_project.progress import announce
from destinations.paths import landing_dir, raw_dir, sources_file

RAW = {
    "events": "Segment-spec calls as loaded, one immutable folder of Parquet per load.",
    "rejected_events": "Input that could not be loaded: file, line, reason and the original text.",
    "loaded_files": "Every landing file that was loaded, with its counts.",
    "replayed": "Rejected rows that a later replay accepted.",
}
"""The tables of the raw zone, by the names that dbt's sources use."""


def metadata_of(report: IngestReport) -> dict[str, dict[str, Any]]:
    """Per raw table what one ingestion did, as Dagster metadata (lateness in seconds)."""
    late = report.lateness
    lateness = {f"lateness_{name}": value for name, value in asdict(late).items()} if late else {}
    return {
        "events": {
            "events": report.events,
            "bytes": report.bytes,
            "seconds": report.seconds,
            **lateness,
        },
        "rejected_events": {
            "rejected": report.rejections,
            "reasons": dg.MetadataValue.json(report.rejected),
        },
        "loaded_files": {
            "files": report.files_loaded,
            "skipped": report.files_skipped,
            "lines": report.lines,
            "filtered": report.filtered,
            "waiting": dg.MetadataValue.json(report.waiting),
            "unmatched": dg.MetadataValue.json(list(report.unmatched)),
        },
        "replayed": {},
    }


def load() -> IngestReport:
    """Load what is new in the landing zone, announcing how far it is.

    Raises:
        StoreroomError: no landing zone, or another process is loading.
    """
    landing_dir().mkdir(parents=True, exist_ok=True)

    def tell(progress: Progress) -> None:
        what = f"file {progress.files:,} of {progress.files_total:,}"
        announce("ingest", what, progress.bytes, progress.bytes_total)

    return ingest(
        load_sources(sources_file()),
        landing_dir(),
        raw_dir(),
        datetime.now(UTC),
        on_progress=tell,
    )


def definitions() -> dg.Definitions:
    """The landing sources as external assets and the raw zone as one step."""
    sources = load_sources(sources_file())
    landing = [
        dg.AssetSpec(
            ["landing", source.name],
            description=source.description or f"Files that match {source.path}.",
            group_name="landing",
            kinds={"file"},
            metadata={"path": str(landing_dir() / source.path)},
        )
        for source in sources.sources
    ]

    @dg.multi_asset(
        name="ingest",
        specs=[
            dg.AssetSpec(
                ["raw", name],
                description=description,
                group_name="ingestion",
                kinds={"polars", "parquet"},
                deps=[spec.key for spec in landing],
            )
            for name, description in RAW.items()
        ],
        pool="ingestion",
        retry_policy=dg.RetryPolicy(max_retries=1, delay=5),
    )
    def ingest_landing_files(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any]]:
        report = load()
        context.log.info(report.as_text)
        for name, metadata in metadata_of(report).items():
            yield dg.MaterializeResult(asset_key=["raw", name], metadata=metadata)

    return dg.Definitions(assets=[*landing, ingest_landing_files])
