"""Days of the demo shop, read back from their files as anybody would."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

Call = dict[str, Any]


@pytest.fixture(scope="session")
def read_calls() -> Callable[[Path], list[Call]]:
    """The calls of one web or app file: lines that are no JSON are left out."""

    def read(path: Path) -> list[Call]:
        if path.suffix == ".zst":
            text = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read().decode()
        else:
            text = gzip.decompress(path.read_bytes()).decode()
        calls = []
        for line in text.splitlines():
            try:
                calls.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return calls

    return read


@pytest.fixture(scope="session")
def bytes_by_name() -> Callable[[Path], dict[str, bytes]]:
    def read(landing: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(landing)): path.read_bytes()
            for path in sorted(landing.rglob("*"))
            if path.is_file()
        }

    return read
