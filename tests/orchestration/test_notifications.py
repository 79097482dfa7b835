"""A run that fails tells somebody, by whichever notifier the environment names."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests

from dagster_project.defs.sensors import run_failed
from dagster_project.notifications import Alert, notifier
from destinations.errors import ConfigurationError, StoreroomError

ALERT = Alert(subject="Run failed", text="disk full", run_id="r1", job="hourly")


@pytest.fixture
def failed() -> Iterator[Any]:
    """What the sensor is given after a run whose one step failed."""

    @dg.op
    def send() -> None:
        raise StoreroomError("The disk is full.", "Make room.")

    @dg.job
    def hourly() -> None:
        send()

    with dg.DagsterInstance.ephemeral() as instance:
        result = hourly.execute_in_process(instance=instance, raise_on_error=False)
        (event,) = [e for e in result.all_events if e.event_type == dg.DagsterEventType.RUN_FAILURE]
        yield dg.build_run_status_sensor_context(
            sensor_name="run_failed",
            dagster_event=event,
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        ).for_run_failure()


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]], list[int]]]:
    """A server on loopback: its address, the bodies it was sent, and the statuses to answer."""
    bodies: list[dict[str, Any]] = []
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            bodies.append(json.loads(self.rfile.read(length)))
            self.send_response(statuses.pop() if statuses else 204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/alerts", bodies, statuses
        server.shutdown()
        thread.join()


def test_to_the_log_by_default(failed: Any, caplog: pytest.LogCaptureFixture) -> None:
    run_failed(failed)
    (record,) = [r for r in caplog.records if r.name == "storeroom.alerts"]
    assert record.levelname == "ERROR"
    text = record.getMessage()
    assert "Storeroom run failed: hourly" in text
    assert failed.dagster_run.run_id in text
    assert "send: The disk is full. Make room." in text


def test_to_a_webhook(failed: Any, hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url, bodies, statuses = hook
    monkeypatch.setenv("STOREROOM_NOTIFIER", "webhook")
    monkeypatch.setenv("STOREROOM_NOTIFIER_URL", url)
    run_failed(failed)
    (body,) = bodies
    assert body["job"] == "hourly"
    assert body["run_id"] == failed.dagster_run.run_id
    assert "The disk is full." in body["text"]
    # An alert that nobody took is no alert: the sensor's tick must fail and be seen.
    statuses.append(500)
    with pytest.raises(requests.HTTPError):
        notifier()(ALERT)


def test_to_a_function_of_ones_own(
    failed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "taken = []\n\n\ndef page(alert):\n    taken.append(alert)\n"
    (tmp_path / "our_pager.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("STOREROOM_NOTIFIER", "our_pager:page")
    run_failed(failed)
    import our_pager  # type: ignore[import-not-found]

    (alert,) = our_pager.taken
    assert isinstance(alert, Alert)
    assert alert.subject == "Storeroom run failed: hourly"


@pytest.mark.parametrize("name", ["", "pager", "no.such.module:page", "json:page", "os:sep"])
def test_a_name_that_leads_nowhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOREROOM_NOTIFIER", name)
    with pytest.raises(ConfigurationError, match=r"package\.module:function") as refused:
        notifier()
    assert f"'{name}'" in refused.value.message


def test_a_webhook_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOREROOM_NOTIFIER", "webhook")
    with pytest.raises(ConfigurationError, match="STOREROOM_NOTIFIER_URL is not set"):
        notifier()(ALERT)
