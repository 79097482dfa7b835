"""A cancelled run lets what is in flight land, keeps every answer, defers the rest by name."""

from __future__ import annotations

import time

import pytest

from destinations.sync import deliver
from destinations.sync.report import kept_reports

PEOPLE = {f"k{n:03}": n for n in range(200)}


@pytest.mark.parametrize("cancelled", [KeyboardInterrupt, SystemExit])
def test_cancelling(bench, monkeypatch, cancelled: type[BaseException]) -> None:
    bench.audience(PEOPLE)

    def stop_after_some(done: int, total: int) -> None:
        if done >= 50:
            raised.append(True)

    raised: list[bool] = []
    real = deliver.wait

    def interrupted(workers, timeout=None):
        if raised and timeout is not None:
            raised.clear()
            raise cancelled
        return real(workers, timeout=0.001 if timeout else None)

    monkeypatch.setattr(deliver, "wait", interrupted)
    bench.driver.faults = [lambda driver, delivery: time.sleep(0.01)]
    with pytest.raises(cancelled):
        bench.run(on_progress=stop_after_some)
    monkeypatch.undo()
    (report,) = kept_reports(bench.ledger_folder)
    assert report["status"] == "deferred"
    assert report["message"] == "the run was cancelled"
    assert 50 <= report["delivered"] == len(bench.held) < 200
    assert report["rows"] == report["delivered"] + report["deferred"]
    bench.driver.sends.clear()
    again = bench.run()
    assert again.delivered == report["deferred"]
    assert sum(d.rows.height for d in bench.driver.sends) == report["deferred"]
