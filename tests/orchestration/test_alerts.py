"""Somebody is told when a sync begins to fare ill and when it is well again, and not in between."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from email import message_from_bytes, message_from_string
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
from aiosmtpd.controller import Controller

from dagster_project import alerts
from dagster_project.alerts import WELL, tell
from dagster_project.defs import syncs
from dagster_project.defs.sensors import run_failed, run_recovered
from dagster_project.notifications import Alert, notifier
from destinations.errors import ConfigurationError, StoreroomError
from destinations.sandbox import Sandbox, serve
from destinations.sync.durable import locked
from tests.object_store import in_bucket, s3_server

ALERT = Alert(subject="Sync failed", text="disk full", run_id="r1", job="hourly")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Alert]:
    """Alerts as they are sent."""
    sent: list[Alert] = []
    monkeypatch.setattr(alerts, "notifier", lambda: sent.append)
    return sent


def test_each_change_is_told_once(told: list[Alert]) -> None:
    conditions = [WELL, "failed", "failed", "guarded", WELL, WELL, "failed"]
    assert [tell("syncs/crm/vips", condition, ALERT) for condition in conditions] == [
        *(False, True, False, True, True, False, True),
    ]
    recovery = told[2]
    assert recovery.text.endswith(": disk full")
    assert tell("syncs/crm/others", "failed", ALERT)
    assert len(told) == 5


def test_many_at_once_tell_it_once(told: list[Alert]) -> None:
    start = threading.Barrier(8)

    def one(_: int) -> bool:
        start.wait()
        return tell("jobs/hourly", "failed", ALERT)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(8))) == 1
    assert len(told) == 1


def test_an_alert_that_nobody_took_is_sent_again(
    told: list[Alert], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(alert: Alert) -> None:
        raise OSError("no route")

    with monkeypatch.context() as patch:
        patch.setattr(alerts, "notifier", lambda: broken)
        with pytest.raises(OSError, match="no route"):
            tell("jobs/hourly", "failed", ALERT)
    assert tell("jobs/hourly", "failed", ALERT)
    assert told == [ALERT]


def test_machines_that_share_a_bucket_tell_it_once(
    told: list[Alert], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def machine(name: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setenv("STOREROOM_STATE", str(tmp_path / name))

    with s3_server() as endpoint:
        for name, value in in_bucket(endpoint).items():
            monkeypatch.setenv(name, value)
        machine("one")
        assert tell("jobs/hourly", "failed", ALERT)
        machine("other")
        assert not alerts.stands_well("jobs/hourly")
        assert not tell("jobs/hourly", "failed", ALERT)
        assert tell("jobs/hourly", WELL, ALERT)
        machine("one")
        assert alerts.stands_well("jobs/hourly")
    assert len(told) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"other": 1}'])
def test_what_cannot_be_read_is_told_again(told: list[Alert], state: Path, content: bytes) -> None:
    tell("jobs/hourly", "failed", ALERT)
    (state / "alerts" / "jobs" / "hourly" / "standing.json").write_bytes(content)
    assert tell("jobs/hourly", "failed", ALERT)
    assert not tell("jobs/hourly", "failed", ALERT)


# --- Syncs ---------------------------------------------------------------------------------


@pytest.fixture
def run(declared: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the sync of ``vips`` to the table, as any job does."""

    def make(instance: dg.DagsterInstance | None = None, **entry: Any) -> dg.ExecuteInProcessResult:
        declaration = {
            "connection": "tables",
            "mode": "mirror",
            "mapping": {"profile_id": "profile_id", "email": "email"},
        }
        found = declared(vips=[declaration | entry])
        monkeypatch.setattr(syncs, "load", lambda _: found)
        with nullcontext(instance) if instance else dg.DagsterInstance.ephemeral() as here:
            return dg.materialize(
                list(syncs.definitions().assets or []),  # type: ignore[arg-type]
                instance=here,
                raise_on_error=False,
            )

    return make


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def test_a_sync_from_well_to_well(told: list[Alert], run: Any, published: Any) -> None:
    assert not run().success  # never published
    assert run(guards={"max_adds": 1}).success is False
    published("vips", 3)
    assert not run(guards={"max_adds": 1}).success
    assert not run(guards={"max_adds": 1}).success
    assert run().success
    assert run().success
    assert [(alert.kind, alert.sync) for alert in told] == [
        *(("failed", "tables/vips"), ("guarded", "tables/vips"), ("well", "tables/vips")),
    ]
    failed, guarded, well = told
    assert failed.subject == "Storeroom sync tables/vips failed"
    assert "has not been published yet" in failed.text
    assert "3 adds" in guarded.text or "max_adds" in guarded.text
    assert well.subject == "Storeroom sync tables/vips recovered"
    assert guarded.text in well.text


def test_rejected_rows_over_the_threshold(
    told: list[Alert], run: Any, published: Any, state: Path
) -> None:
    published("vips", 4)
    state.mkdir(exist_ok=True)
    with sqlite3.connect(state / "out.sqlite") as database:
        # A table of theirs, with a rule of theirs.
        database.execute(
            "create table people (profile_id text primary key, email text, "
            "check (profile_id in ('p0', 'p1', 'p2')))"
        )
    few = checks(run(alerts={"rejection_rate": 0.5}))
    assert few["rejection_rate"].passed
    assert few["rejection_rate"].metadata["rejection_rate"].value == 0.25
    assert not few["no_rejected_rows"].passed
    assert told == []
    result = run(alerts={"rejection_rate": 0.2})
    assert result.success
    found = checks(result)["rejection_rate"]
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.ERROR
    (alert,) = told
    assert alert.kind == "rejecting"
    assert "25.0% rejected" in alert.text


def test_a_paused_sync_and_a_busy_one_change_nothing(
    told: list[Alert], run: Any, published: Any, connections: Any, state: Path
) -> None:
    published("vips", 3)
    with locked(state / "syncs" / "tables" / "vips", "it"):
        assert not run().success
    connections(tables={"paused": True})
    run()
    assert told == []


def test_a_notifier_that_fails_fails_no_sync(
    run: Any, published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOREROOM_NOTIFIER", "no.such:thing")
    published("vips", 3)
    guarded = run(guards={"max_adds": 1})
    assert not guarded.success
    (event,) = [event for event in guarded.all_events if event.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    assert "told" not in failure.metadata
    assert run().success


def test_how_many_rows_are_usual(run: Any, published: Any) -> None:
    found = []
    for rows in (3, 2, 3, 4, 3, 10, 9, 0):
        published("vips", rows)
        found.append(checks(run(guards={"allow_empty": True}))["volume_anomaly"])
    assert [check.passed for check in found] == [True] * 5 + [False, True, False]
    assert found[5].severity == dg.AssetCheckSeverity.WARN
    assert found[5].metadata["usual_rows"].value == 3
    # Nothing to send: what was found holds, and is not recorded again.
    assert set(checks(run(guards={"allow_empty": True}))) == {"accounting", "no_rejected_rows"}


def test_a_sync_that_has_not_succeeded_for_long(run: Any, published: Any, state: Path) -> None:
    published("vips", 3)
    assert checks(run(cadence="hourly"))["freshness"].passed
    path = state / "syncs" / "tables" / "vips" / "runs.jsonl"
    report = json.loads(path.read_text())
    path.write_text(json.dumps(report | {"started_at": "2026-01-01T00:00:00+00:00"}) + "\n")
    published("vips", 30)
    # A run that is stopped leaves it late; one that cannot start says so too.
    assert not checks(run(cadence="hourly", guards={"max_adds": 1}))["freshness"].passed
    stopped = checks(run(cadence="hourly", target={"table": "elsewhere"}))
    assert {name: found.passed for name, found in stopped.items()} == {"freshness": False}
    assert checks(run(cadence="manual", guards={"max_adds": 1}))["freshness"].passed
    assert checks(run(cadence="hourly"))["freshness"].passed


# --- Runs ----------------------------------------------------------------------------------


def test_a_job_that_fails_and_recovers(told: list[Alert], run: Any, published: Any) -> None:
    broken = True

    @dg.op
    def load() -> None:
        if broken:
            raise StoreroomError("The disk is full.", "Make room.")

    @dg.job
    def hourly() -> None:
        load()

    with dg.DagsterInstance.ephemeral() as instance:

        def tick() -> None:
            result = hourly.execute_in_process(instance=instance, raise_on_error=False)
            kinds = (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_SUCCESS)
            (event,) = [found for found in result.all_events if found.event_type in kinds]
            context = dg.build_run_status_sensor_context(
                sensor_name="it",
                dagster_event=event,
                dagster_instance=instance,
                dagster_run=result.dagster_run,
            )
            if result.success:
                run_recovered(context)
            else:
                run_failed(context.for_run_failure())

        tick()
        tick()
        broken = False
        tick()
        tick()
    assert [alert.subject for alert in told] == [
        "Storeroom run failed: hourly",
        "Storeroom run recovered: hourly",
    ]


def test_what_a_sync_told_the_run_does_not_repeat(
    told: list[Alert], run: Any, published: Any
) -> None:
    published("vips", 3)
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, guards={"max_adds": 1})
        assert len(told) == 1
        (event,) = [e for e in result.all_events if e.event_type == dg.DagsterEventType.RUN_FAILURE]
        context = dg.build_run_status_sensor_context(
            sensor_name="run_failed",
            dagster_event=event,
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        ).for_run_failure()
        assert len(context.get_step_failure_events()) == 1
        run_failed(context)
    assert len(told) == 1


# --- Through a connection ------------------------------------------------------------------


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with serve(0, tmp_path / "sandbox") as running:
        monkeypatch.setenv("STOREROOM_SANDBOX_URL", running.url)
        yield running


def sent(sandbox: Sandbox, destination: str) -> list[dict[str, Any]]:
    with requests.Session() as session:
        session.trust_env = False
        found = session.get(f"{sandbox.url}/_sandbox/state/{destination}", timeout=10).json()
    return [event["fields"] for event in found["events"]]


def test_to_slack(sandbox: Sandbox, connections: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connections(
        ops={
            "destination": "slack",
            "sandbox": True,
            "settings": {"team_id": "T1", "webhook_id": "B1", "token": {"env": "SLACK_TOKEN"}},
        }
    )
    monkeypatch.setenv("STOREROOM_NOTIFIER", "connection:ops")
    assert tell("syncs/crm/vips", "failed", ALERT)
    assert not tell("syncs/crm/vips", "failed", ALERT)
    assert sent(sandbox, "slack") == [{"text": "Sync failed\ndisk full"}]


def test_to_a_signed_webhook(
    sandbox: Sandbox, connections: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"url": "https://hooks.example.com/ops", "secret": {"env": "HOOK_SECRET"}}
    connections(ops={"destination": "webhook", "sandbox": True, "settings": settings})
    monkeypatch.setenv("STOREROOM_NOTIFIER", "connection:ops")
    notifier()(ALERT)
    (event,) = sent(sandbox, "webhook")
    assert event["subject"] == "Sync failed"
    assert event["text"] == "disk full"
    assert event["kind"] == "run_failed"


def test_by_email(connections: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mails: list[str] = []

    class Post:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            mails.append(message_from_bytes(envelope.content).as_string())
            return "250 OK"

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    post = Controller(Post(), hostname="127.0.0.1", port=port)
    post.start()
    try:
        settings = {
            "host": "127.0.0.1",
            "port": port,
            "security": "none",
            "sender": "storeroom@example.com",
            "recipients": ["team@example.com"],
        }
        connections(ops={"destination": "email_csv", "settings": settings})
        monkeypatch.setenv("STOREROOM_NOTIFIER", "connection:ops")
        assert tell("syncs/crm/vips", "failed", ALERT)
    finally:
        post.stop()
    (mail,) = mails
    assert "team@example.com" in mail
    attached = message_from_string(mail).get_payload()[-1].get_payload(decode=True)  # type: ignore[union-attr]
    assert b"disk full" in attached  # type: ignore[operator]


def test_a_connection_that_refuses(
    connections: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOREROOM_NOTIFIER", "connection:ops")
    with pytest.raises(ConfigurationError, match=r"connection 'ops'.*does not have"):
        notifier()(ALERT)
    connections(ops={})
    with pytest.raises(ConfigurationError, match="takes no events"):
        notifier()(ALERT)
    monkeypatch.setenv("OPS_SECRET", "s")
    settings = {"url": "http://127.0.0.1:1/ops", "secret": {"env": "OPS_SECRET"}}
    connections(ops={"destination": "webhook", "settings": settings})
    monkeypatch.setattr("dagster_project.notifications.PAUSE", 0.01)
    with pytest.raises(StoreroomError, match="did not take the alert"):
        notifier()(ALERT)
