"""Jobs: created, uploaded, closed, asked after until they are done, their failed rows read."""

from __future__ import annotations

import polars as pl
import pytest

from destinations.driver import KEY, Operation
from destinations.http.elsewhere import fits_host

ROWS = pl.DataFrame(
    {KEY: ["a", "b", "c"], "_hash": ["1", "2", "3"], "email": ["a@x.de", "b@x.de", "c@x.de"]}
)


def job(vendor, *, failed_rows=True, url=False, **more):
    """An operation in five steps, as Salesforce's Bulk API has it."""
    upload = (
        {"request": "PUT", "url": "{create.upload}", "hosts": ["*.example.com"]}
        if url
        else {"request": "PUT /jobs/{create.id}/rows"}
    )
    steps = [
        {
            "name": "create",
            "request": "POST /jobs",
            "body": {"object": "person"},
            "answer": {"capture": {"id": "id", **({"upload": "upload"} if url else {})}},
        },
        {
            **upload,
            "encoding": "csv",
            "body": {"each": {"Email": "{email}"}},
            "answer": {"status": [201]},
        },
        {"request": "PATCH /jobs/{create.id}", "body": {"state": "Closed"}},
        {
            "request": "GET /jobs/{create.id}",
            "until": {"state": ["Done"]},
            "failed": {"state": ["Failed"]},
            "every": 0.01,
            "for": 0.2,
        },
    ]
    if failed_rows:
        steps.append(
            {
                "request": "GET /jobs/{create.id}/failed",
                "answer": {
                    "format": "csv",
                    "rejected": {"at": "@", "key": "Email", "field": "email", "message": "Error"},
                },
            }
        )
    batch = {"rows": 100, "docs": "https://example.com"}
    return {"upsert": {"steps": steps, "batch": batch, **more}}


def deliver(driver, rows=ROWS):
    (delivery,) = driver.deliveries(Operation.UPSERT, rows)
    return driver.send(delivery)


def statuses(outcome):
    return dict(zip(outcome.results[KEY], outcome.results["status"], strict=True))


def test_a_job_ends_in_one_result_per_row(opened, vendor, reply):
    vendor.replies = [
        reply(200, {"id": "7"}),
        reply(201),
        reply(),
        reply(body={"state": "InProgress"}),
        reply(503),
        reply(body={"state": "Done"}),
        reply(body='Email,Error\r\nb@x.de,"bad, really"\r\n'),
    ]
    outcome = deliver(opened(job(vendor)))
    assert statuses(outcome) == {"a": "accepted", "b": "rejected", "c": "accepted"}
    assert outcome.results["message"].to_list() == [None, "bad, really", None]
    assert not outcome.whole
    asked = [(r.method, r.path) for r in vendor.received]
    assert asked == [
        ("POST", "/jobs"),
        ("PUT", "/jobs/7/rows"),
        ("PATCH", "/jobs/7"),
        ("GET", "/jobs/7"),
        ("GET", "/jobs/7"),
        ("GET", "/jobs/7"),
        ("GET", "/jobs/7/failed"),
    ]
    assert vendor.received[1].body == b"Email\r\na@x.de\r\nb@x.de\r\nc@x.de\r\n"
    assert vendor.received[1].headers["Content-Type"] == "text/csv"


def test_a_failed_job_without_row_detail_refuses_the_batch(opened, vendor, reply):
    vendor.replies = [reply(200, {"id": "7"}), reply(201), reply(), reply(body={"state": "Failed"})]
    outcome = deliver(opened(job(vendor)))
    assert outcome.whole
    assert set(statuses(outcome).values()) == {"rejected"}


def test_a_job_that_takes_too_long_leaves_its_rows_in_doubt(opened, vendor, reply):
    vendor.replies = [reply(200, {"id": "7"}), reply(201), reply(), reply(body={"state": "Queued"})]
    outcome = deliver(opened(job(vendor)))
    assert set(statuses(outcome).values()) == {"in_doubt"}
    assert "0.2 seconds" in outcome.results["message"][0]
    assert not outcome.whole


@pytest.mark.parametrize("status", [404, 400, 401])
def test_a_job_that_cannot_be_asked_after_leaves_its_rows_in_doubt(opened, vendor, reply, status):
    vendor.replies = [reply(200, {"id": "7"}), reply(201), reply(), reply(status)]
    assert set(statuses(deliver(opened(job(vendor)))).values()) == {"in_doubt"}


def test_a_cancelled_run_waits_for_no_job(opened, vendor, reply):
    vendor.replies = [reply(200, {"id": "7"}), reply(201), reply(), reply(body={"state": "Queued"})]
    driver = opened(job(vendor))
    driver.interrupt()
    outcome = deliver(driver)
    assert len(vendor.received) == 4
    assert set(statuses(outcome).values()) == {"in_doubt"}


def test_what_follows_a_job_that_is_done_is_not_sent_again_where_that_does_harm(
    opened, vendor, reply
):
    vendor.replies = [
        reply(200, {"id": "7"}), reply(201), reply(), reply(body={"state": "Done"}), reply(503),
    ]  # fmt: skip
    outcome = deliver(opened(job(vendor, idempotent=False)))
    assert set(statuses(outcome).values()) == {"in_doubt"}


def test_a_signed_url_gets_no_login(opened, vendor, reply):
    vendor.replies = [
        reply(200, {"id": "7", "upload": f"{vendor.url}/signed?sig=abc"}),
        reply(201), reply(), reply(body={"state": "Done"}),
    ]  # fmt: skip
    outcome = deliver(opened(job(vendor, url=True, failed_rows=False)))
    assert set(statuses(outcome).values()) == {"accepted"}
    assert vendor.received[1].path == "/signed?sig=abc"
    assert "Authorization" not in vendor.received[1].headers
    assert "Authorization" in vendor.received[2].headers


@pytest.mark.parametrize(
    "url",
    ["https://evil.test/x", "http://files.example.com/x", "https://example.com/x", "x", None,
     "https://files.example.com@evil.test/", "https://evil.test/.example.com"],
)  # fmt: skip
def test_a_url_of_another_host_is_not_followed(opened, vendor, reply, url):
    vendor.replies = [reply(200, {"id": "7", "upload": url})]
    outcome = deliver(opened(job(vendor, url=True, failed_rows=False)))
    assert len(vendor.received) == 1
    assert "accepted" not in statuses(outcome).values()


@pytest.mark.parametrize(
    ("host", "pattern", "fits"),
    [
        ("a.example.com", "*.example.com", True),
        ("a.b.example.com", "*.example.com", True),
        ("example.com", "*.example.com", False),
        ("badexample.com", "*.example.com", False),
        ("example.com", "example.com", True),
        ("a.example.com", "example.com", False),
        ("", "*.example.com", False),
    ],
)
def test_hosts(host, pattern, fits):
    assert fits_host(host, pattern) is fits


def test_rows_are_parted_by_what_the_carrying_step_may_hold(opened, vendor, reply):
    operations = job(vendor)
    operations["upsert"]["batch"]["bytes"] = len("Email\r\n") + 2 * len("a@x.de\r\n")
    driver = opened(operations)
    sizes = [d.rows.height for d in driver.deliveries(Operation.UPSERT, ROWS)]
    assert sizes == [2, 1]
