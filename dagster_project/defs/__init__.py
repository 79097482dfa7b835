"""Dagster definitions by topic: ingestion, warehouse, syncs, schedules, sensors."""
