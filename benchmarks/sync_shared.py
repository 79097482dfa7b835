"""What the sides of ``sync.py`` have in common: names, the destination, the clock."""

from __future__ import annotations

import resource
from datetime import UTC, datetime

AUDIENCE, CONNECTION, KEY_COLUMN = "people", "rest", "profile_id"
SPEC = """
id: benchmark
name: Benchmark
category: webhook
kind: webhook
docs: https://www.rfc-editor.org/rfc/rfc9110
settings: {{url: {{description: Where it listens, example: "http://127.0.0.1:1"}}}}
base_url: "{{settings.url}}"
remove_none: Nobody leaves a benchmark.
concurrency: {concurrency}
operations:
  upsert:
    request: POST /rows
    {batch}
    body: {body}
examples: []
"""
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def cpu() -> float:
    """CPU seconds of this process, all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
