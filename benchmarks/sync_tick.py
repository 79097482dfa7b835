"""A whole tick through Dagster, with many connections and nothing to send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sync_shared import KEY_COLUMN


def tick_prepared(folder: Path, connections: int) -> None:
    """A project with 5 audiences to each of many connections, and everything sent once."""
    import os
    import shutil

    import polars as pl

    root = Path(__file__).parents[1]
    project = folder / "project"
    ignored = shutil.ignore_patterns("target", "logs")
    shutil.copytree(root / "dbt", project / "dbt", ignore=ignored)
    (project / "dagster_project").mkdir()
    shutil.copy(root / "dagster_project" / "sources.yaml", project / "dagster_project")
    shutil.copy(root / "dagster.yaml", project)
    home = project / "dbt" / "models" / "audiences"
    for path in home.iterdir():
        path.unlink()
    names = [f"connection_{number}" for number in range(connections)]
    for audience in (f"audience_{number}" for number in range(5)):
        query = "select 'p' as profile_id, 'a@example.com' as email"
        (home / f"{audience}.sql").write_text(query + "\n", encoding="utf-8")
        syncs = [
            {"connection": name, "mapping": {"email": "email", "profile_id": "profile_id"}}
            for name in names
        ]
        columns = [{"name": name, "data_type": "varchar"} for name in ("profile_id", "email")]
        meta = {"audience": {"key": "profile_id"}, "syncs": syncs}
        model = {"name": audience, "config": {"meta": meta}, "columns": columns}
        # JSON is YAML.
        text = json.dumps({"version": 2, "models": [model]})
        (home / f"{audience}.yml").write_text(text, encoding="utf-8")
    entries = {
        name: {
            "destination": "sqlite",
            "consent": "not_required",
            "settings": {"path": {"state": f"out/{name}.sqlite"}, "table": "people"},
        }
        for name in names
    }
    text = json.dumps({"connections": entries})
    (project / "dagster_project" / "connections.yaml").write_text(text, encoding="utf-8")

    _enter(folder)
    from dagster_project.declarations import load
    from dagster_project.defs.syncs import run
    from dagster_project.warehouse import manifest
    from destinations.paths import audiences_dir
    from destinations.sync.snapshot import publish

    (folder / "state" / "out").mkdir(parents=True)
    rows = pl.DataFrame({"profile_id": [f"p{n}" for n in range(100)]})
    rows = rows.with_columns(email=pl.format("{}@example.com", "profile_id"))
    for number in range(5):
        publish(audiences_dir(), f"audience_{number}", KEY_COLUMN, rows.write_parquet)
    for one in load(manifest.ensure()):
        assert run(one).status == "ok"
    del os


def _enter(folder: Path) -> None:
    import os

    os.environ["STOREROOM_PROJECT"] = str(folder / "project")
    os.environ["STOREROOM_STATE"] = str(folder / "state")


def tick(folder: Path) -> dict[str, Any]:
    """Load the definitions and run every sync as the job that schedules use."""
    _enter(folder)
    from dagster_project.cli.execute import instance, load_definitions, run_job

    with instance():
        summary = run_job(load_definitions(), "syncs")
    assert summary.success, summary.errors
    rows = summary.syncs()
    return {"syncs": len(rows), "requests": sum(row["requests"] for row in rows)}
