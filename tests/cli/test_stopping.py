"""Stopped while it loads, the command says so and exits with 130, as at any other moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODULE = """
import signal
signal.raise_signal(signal.{how})
print("loaded", flush=True)
"""
WHILE_LOADING = "import stopping"
IN_CODE_MADE_FROM_TEXT = "import signal; signal.raise_signal(signal.{how})"


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("moment", "said"), [(WHILE_LOADING, "loaded\n"), (IN_CODE_MADE_FROM_TEXT, "")]
)
def test_a_stop_is_heard_from_the_start(tmp_path: Path, moment: str, said: str, how: str) -> None:
    script = f"""
import sys, time
from types import SimpleNamespace
from dagster_project.cli import main

def call(_):
    exec({moment.format(how=how)!r})
    time.sleep(60)

sys.modules["dagster_project.cli.commands"] = SimpleNamespace(call=call)
main.main()
"""
    (tmp_path / "stopped.py").write_text(script)
    (tmp_path / "stopping.py").write_text(MODULE.format(how=how))
    process = subprocess.run(
        [sys.executable, "-m", "stopped"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        # Whoever runs the tests in the background ignores SIGINT, and children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert process.returncode == 130, process.stderr
    assert process.stderr.startswith("Stopped.")
    assert process.stdout == said
