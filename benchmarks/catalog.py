"""The cost of a large catalog: importing, listing and loading one of a thousand specs.

Figures are CPU seconds beyond a Python that does nothing, the least of several runs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SPEC = ROOT / "destinations" / "catalog" / "crm" / "hubspot.yaml"
LISTING = "import destinations.registry as r; assert len(r.list_destinations()) > {count}"
ROWS = {
    "import": ("import destinations", 0.5, True),
    "list_cold": (LISTING, None, False),
    "list_cold_indexed": (LISTING, 0.5, False),
    "list_warm": (LISTING, 0.5, True),
    "list_command": ("import sys; sys.argv[1:] = ['destinations', 'list']; from dagster_project.cli.main import main; main()", 0.5, True),
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--json", action="store_true")
    options.add_argument("--only", choices=ROWS)
    options.add_argument("--scale", type=float, default=1.0)
    asked = options.parse_args()
    count = max(1, int(1000 * asked.scale))
    with tempfile.TemporaryDirectory() as folder:
        site = _plugin(Path(folder), count)
        for name, (script, goal, warm) in ROWS.items():
            if asked.only in (None, name):
                seconds = _least(name, script.format(count=count), site, warm=warm)
                row = {"name": name, "value": round(seconds, 3), "unit": "CPU-s", "peer": None,
                       "ratio": None, "goal": goal, "met": None if goal is None else seconds <= goal}  # fmt: skip
                print(
                    json.dumps(row)
                    if asked.json
                    else f"{name:20} {seconds:6.3f} CPU-s  goal {goal}"
                )


def _plugin(site: Path, count: int) -> Path:
    package, dist = site / "many_specs", site / "many-1.dist-info"
    package.mkdir()
    dist.mkdir()
    (package / "__init__.py").touch()
    text = SPEC.read_text(encoding="utf-8")
    for number in range(count):
        named = text.replace("id: hubspot", f"id: d{number}")
        (package / f"d{number}.yaml").write_text(named, encoding="utf-8")
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: many\nVersion: 1\n")
    (dist / "entry_points.txt").write_text("[storeroom.destinations]\nmany = many_specs\n")
    return site


def _least(name: str, script: str, site: Path, *, warm: bool) -> float:
    index = site / "many_specs" / "index.json"
    index.unlink(missing_ok=True)
    if name == "list_cold_indexed":
        subprocess.run(
            [sys.executable, "-m", "destinations.generated", str(index.parent)],
            cwd=ROOT,
            check=True,
        )
    found = []
    with tempfile.TemporaryDirectory() as kept:
        for attempt in range(4):
            with tempfile.TemporaryDirectory() as fresh:
                cache = kept if warm else fresh
                taken = _seconds(script, site, cache) - _seconds("pass", site, cache)
            found += [taken] if attempt or not warm else []
    return min(found)


def _seconds(script: str, site: Path, cache: str) -> float:
    environment = {**os.environ, "XDG_CACHE_HOME": cache, "PYTHONPATH": f"{site}:{ROOT}"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
