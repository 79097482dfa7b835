"""Operations as jobs: found by their tag, configured in the UI, doing what the commands do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import polars as pl
import pytest

from dagster_project import operations
from dagster_project.defs import syncs as sync_defs
from dagster_project.defs.operations import DEFINITIONS, OPERATION_TAG
from destinations.errors import ConfigurationError
from destinations.paths import syncs_dir

SYNC = {
    "connection": "tables",
    "mode": "mirror",
    "mapping": {"profile_id": "profile_id", "email": "email"},
}
TARGET = {"connection": "tables", "audience": "vips"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def vips(declared: Any, published: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Audience ``vips`` of three people, sent to the table of the same name."""
    (sync,) = declared(vips=[SYNC | {"target": {"table": "vips"}}])
    monkeypatch.setattr(operations, "load", lambda _: [sync])
    monkeypatch.setattr(operations.manifest, "ensure", lambda: Path("manifest.json"))
    published("vips")
    sync_defs.run(sync)
    return sync


def run(instance: dg.DagsterInstance, name: str, **config: Any) -> dg.ExecuteInProcessResult:
    job = DEFINITIONS.resolve_job_def(name)
    (op,) = (node.name for node in job.nodes)
    return job.execute_in_process(
        run_config={"ops": {op: {"config": config}}}, instance=instance, raise_on_error=False
    )


def people(state: Path) -> set[str]:
    with sqlite3.connect(state / "out.sqlite") as database:
        return {key for (key,) in database.execute("select profile_id from vips")}


def test_every_job_is_found_by_its_tag() -> None:
    tags = {job.name: job.tags.get(OPERATION_TAG) for job in DEFINITIONS.resolve_all_job_defs()}
    tags.pop("__ASSET_JOB", None)
    assert tags == {
        "resend_rows": "resend",
        "forget_sync": "forget",
        "move_sync": "move",
        "delete_person": "delete_person",
        "pause_sync": "pause",
    }


def test_resending(vips: Any, instance: dg.DagsterInstance) -> None:
    assert run(instance, "resend_rows", **TARGET, everything=True).success
    assert sync_defs.run(vips).updated == 3
    result = run(instance, "resend_rows", **TARGET)
    assert not result.success


def test_deleting_a_person(
    vips: Any, instance: dg.DagsterInstance, state: Path, published: Any
) -> None:
    assert people(state) == {"p0", "p1", "p2"}
    result = run(instance, "delete_person", key="p1")
    assert result.success
    assert people(state) == {"p0", "p2"}
    (line,) = (syncs_dir() / "deletions.jsonl").read_text().splitlines()
    proof = orjson.loads(line)
    assert [asked["answer"] for asked in proof["asked"]] == ["deleted"]
    assert "p1" not in line
    published("vips")
    report = sync_defs.run(vips)
    assert (report.withheld, report.added) == (1, 0)
    assert people(state) == {"p0", "p2"}


def test_an_incomplete_deletion_fails_its_run(
    vips: Any, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "load", lambda _: [])
    result = run(instance, "delete_person", key="p1")
    assert not result.success
    assert "declared no longer" in str(result.all_events)


def test_forgetting_needs_a_word(vips: Any, instance: dg.DagsterInstance) -> None:
    assert not run(instance, "forget_sync", **TARGET).success
    assert run(instance, "forget_sync", **TARGET, yes=True).success
    assert sync_defs.run(vips).added == 3


def test_moving_and_pausing(vips: Any, instance: dg.DagsterInstance) -> None:
    assert run(instance, "move_sync", **TARGET, source="tables", assume="same").success
    assert sync_defs.run(vips).unchanged == 3
    assert not run(instance, "move_sync", **TARGET, source="tables", assume="empty").success
    assert run(instance, "pause_sync", **TARGET).success
    with pytest.raises(Exception, match="is paused"):
        sync_defs.run(vips)
    assert run(instance, "pause_sync", **TARGET, paused=False).success
    assert sync_defs.run(vips).unchanged == 3


@pytest.mark.parametrize("suffix", ["txt", "csv", "parquet"])
def test_keys_of_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"keys.{suffix}"
    if suffix == "parquet":
        pl.DataFrame({"id": ["a", "b", "a"]}).write_parquet(path)
    else:
        path.write_text(("id\n" if suffix == "csv" else "") + "a\nb\n\na \n")
    assert operations.keys_in(path).to_list() == ["a", "b"]


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    for keys in ("empty.txt", "none.txt"):
        with pytest.raises(ConfigurationError):
            operations.keys_in(tmp_path / keys)
    with pytest.raises(ConfigurationError, match="in one way"):
        operations.choice_of()
    with pytest.raises(ConfigurationError, match="in one way"):
        operations.choice_of(everything=True, rejected=True)
    with pytest.raises(ConfigurationError, match="in one way"):
        operations.choice_of(since=datetime.now(UTC), reason="words")
    with pytest.raises(ConfigurationError, match="is no date"):
        operations.moment_of("yesterday")
