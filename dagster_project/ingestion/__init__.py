"""Ingestion: files of the landing zone into the raw zone. A library, without Dagster or CLI."""

from dagster_project.ingestion.calls import REASONS
from dagster_project.ingestion.landing import Progress, ingest
from dagster_project.ingestion.raw_zone import ensure_raw, open_rejections
from dagster_project.ingestion.replays import replay
from dagster_project.ingestion.report import IngestReport, Lateness
from dagster_project.ingestion.sources import Source, Sources, load_sources

__all__ = [
    "REASONS",
    "IngestReport",
    "Lateness",
    "Progress",
    "Source",
    "Sources",
    "ensure_raw",
    "ingest",
    "load_sources",
    "open_rejections",
    "replay",
]
