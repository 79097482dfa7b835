"""Stopped while it loads, the command says so and exits with 130, as at any other moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WHILE_LOADING = """
class Stopping:
    def find_spec(self, name, *_):
        if name == "cyclopts":
            signal.raise_signal(signal.{how})

sys.meta_path.insert(0, Stopping())
"""
IN_CODE_MADE_FROM_TEXT = """
stop = "import signal; signal.raise_signal(signal.{how})"
sys.modules["dagster_project.cli.commands"] = SimpleNamespace(call=lambda _: exec(stop))
"""


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("moment", [WHILE_LOADING, IN_CODE_MADE_FROM_TEXT])
def test_a_stop_is_heard_from_the_start(tmp_path: Path, moment: str, how: str) -> None:
    script = f"""
import signal, sys
from types import SimpleNamespace
from dagster_project.cli import main
{moment.format(how=how)}
sys.argv = ["storeroom", "syncs", "list"]
main.main()
"""
    (tmp_path / "stopped.py").write_text(script)
    said = subprocess.run(
        [sys.executable, "-m", "stopped"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "STOREROOM_STATE": str(tmp_path)},
        # Whoever runs the tests in the background ignores SIGINT, and children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert said.returncode == 130, said.stderr
    assert said.stderr.startswith("Stopped.")
    assert said.stdout == ""
