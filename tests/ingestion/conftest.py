"""A landing zone and a raw zone in a temporary folder, and short ways to use them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dagster_project.ingestion import IngestReport, Sources, ingest, open_rejections, replay
from dagster_project.ingestion.raw_zone import scan

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)


@dataclass
class Zone:
    """One landing zone with its raw zone."""

    root: Path
    sources: Sources

    @property
    def landing(self) -> Path:
        return self.root / "landing"

    @property
    def raw(self) -> Path:
        return self.root / "raw"

    def land(self, name: str, content: bytes | str | list[Any]) -> Path:
        """Put a file there: bytes, text, or calls to be written as JSON Lines."""
        if isinstance(content, list):
            content = "".join(json.dumps(call) + "\n" for call in content)
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def ingest(self, now: datetime = NOW) -> IngestReport:
        report = ingest(self.sources, self.landing, self.raw, now)
        self.check_accounts()
        return report

    def replay(self, **chosen: Any) -> IngestReport:
        report = replay(self.sources, self.landing, self.raw, NOW, **chosen)
        self.check_accounts()
        return report

    def table(self, name: str) -> pl.DataFrame:
        return scan(self.raw, name).collect()

    def events(self) -> pl.DataFrame:
        return self.table("events").sort("load_seq", "file", "line")

    def reasons(self) -> dict[int | None, str]:
        """Reason by line of every open rejection."""
        return dict(open_rejections(self.raw).select("line", "reason").collect().iter_rows())

    def check_accounts(self) -> None:
        """The identities that hold for every row of files.parquet, counted from the other tables."""
        files = self.table("files")
        assert (
            files["lines"] == files["mapped"] + files["filtered"] + files["rejected_lines"]
        ).all()
        for name in ("events", "rejected"):
            counted = self.table(name).group_by("load_seq", "file").len()
            joined = files.join(counted, on=["load_seq", "file"], how="left")
            assert (joined["len"].fill_null(0) == joined[name]).all(), name
        # Events of a load that read no file are those of its replayed lines, one for one.
        outside = self.table("events").join(files, on=["load_seq", "file"], how="anti")
        replayed = self.table("replayed").drop_nulls("line")
        assert set(outside.select("load_seq", "line").rows()) == set(
            replayed.select("load_seq", "line").rows()
        )
        assert files.select("file", "digest", "load_seq").is_unique().all()


def call(**changes: Any) -> dict[str, Any]:
    """A good track call with some keys changed; None takes a key out."""
    base = {
        "type": "track",
        "event": "Product Viewed",
        "messageId": "m1",
        "userId": "u1",
        "timestamp": "2024-05-31T10:00:00Z",
        "properties": {"price": 12.5},
    } | changes
    return {key: value for key, value in base.items() if value is not None}


@pytest.fixture
def make_call():
    return call


@pytest.fixture
def make_zone(tmp_path: Path):
    def make(*sources: dict[str, Any], root: Path | None = None) -> Zone:
        declared = sources or ({"name": "events", "path": "events/**/*"},)
        zone = Zone(root or tmp_path, Sources.model_validate({"sources": list(declared)}))
        zone.landing.mkdir(parents=True, exist_ok=True)
        return zone

    return make


@pytest.fixture
def zone(make_zone) -> Zone:
    return make_zone()
