import datetime as dt
import json
import logging
import socket
import time
from email.utils import format_datetime

import polars as pl
import pytest

from destinations.connections import Connection
from destinations.driver import KEY, REMOTE_ID, Operation
from destinations.errors import ConfigurationError, StoreroomError
from destinations.http.opening import open_http
from destinations.registry import load_spec

SECRET = "very-secret-key-123"
DOCS = "https://example.com/docs"
ONE = {"upsert": {"request": "POST /people", "body": {"email": "{email}"}}}
BATCH = {
    "request": "POST /people",
    "batch": {"rows": 3, "docs": DOCS},
    "body": {"people": {"each": {"email": "{email}", "ref": "{meta.key}"}}},
}


def people(count=1):
    return pl.DataFrame(
        {
            KEY: [f"k{n}" for n in range(count)],
            "_hash": ["h"] * count,
            REMOTE_ID: [None] * count,
            "email": [f"p{n}@example.com" for n in range(count)],
        },
        schema_overrides={REMOTE_ID: pl.String},
    )


def sent(driver, rows, operation=Operation.UPSERT):
    return [driver.send(delivery) for delivery in driver.deliveries(operation, rows)]


def statuses(outcome):
    return outcome.results["status"].to_list()


def messages(outcome):
    return outcome.results["message"].to_list()


def test_a_request_goes_out_as_declared(vendor, opened):
    (outcome,) = sent(opened(ONE), people())
    assert statuses(outcome) == ["accepted"]
    (request,) = vendor.received
    assert (request.method, request.path) == ("POST", "/people")
    assert request.json == {"email": "p0@example.com"}
    assert request.headers["Authorization"] == f"Bearer {SECRET}"
    assert outcome.requests == 1


@pytest.mark.parametrize(
    ("auth", "where"),
    [
        ({"type": "header", "name": "X-Key", "value": "Key {settings.key}"}, f"Key {SECRET}"),
        ({"type": "query", "name": "key", "value": "{settings.key}"}, f"?key={SECRET}"),
        (
            {"type": "basic", "username": "me", "password": "{settings.key}"},
            "Basic bWU6dmVyeS1zZWN",
        ),
        ({"type": "hmac", "secret": "{settings.key}", "header": "X-Sig"}, "X-Sig"),
    ],
)
def test_every_login_arrives_and_is_not_in_the_sample(vendor, opened, auth, where):
    (outcome,) = sent(opened(ONE, auth=auth), people())
    (request,) = vendor.received
    assert where in request.path + str(request.headers)
    assert SECRET not in json.dumps(outcome.sample)


def test_the_signature_is_that_of_the_body(vendor, opened):
    import hashlib
    import hmac

    auth = {
        "type": "hmac",
        "secret": "{settings.key}",
        "header": "X-Sig",
        "over": "{timestamp}.{body}",
        "value": "t={timestamp},v1={signature}",
    }
    sent(opened(ONE, auth=auth), people())
    (request,) = vendor.received
    stamp, signature = (part.split("=")[1] for part in request.headers["X-Sig"].split(","))
    wanted = hmac.new(SECRET.encode(), stamp.encode() + b"." + request.body, hashlib.sha256)
    assert signature == wanted.hexdigest()
    assert abs(int(stamp) - time.time()) < 5


def test_batches_and_their_per_row_answers(vendor, opened, reply):
    answer = {
        "status": [200, 207],
        "accepted": {"at": "done", "key": "ref", "id": "id"},
        "rejected": {"at": "failed", "index": "position", "message": "why"},
    }
    body = {"done": [{"ref": "k0", "id": 7}], "failed": [{"position": 2, "why": "bad address"}]}
    vendor.replies = [reply(207, body)]
    (outcome,) = sent(opened({"upsert": {**BATCH, "answer": answer}}), people(3))
    assert statuses(outcome) == ["accepted", "in_doubt", "rejected"]
    assert outcome.results["remote_id"].to_list() == ["7", None, None]
    assert messages(outcome)[2] == "bad address"
    assert not outcome.whole


def test_the_most_rows_and_one_more(vendor, opened):
    driver = opened({"upsert": BATCH})
    assert len(sent(driver, people(3))) == 1
    assert [len(r.json["people"]) for r in vendor.received] == [3]
    assert [statuses(o) for o in sent(driver, people(4))] == [["accepted"] * 3, ["accepted"]]
    assert sent(driver, people(0)) == []


@pytest.mark.parametrize(
    ("header", "declared", "low", "high"),
    [
        ({"Retry-After": "7"}, {}, 7, 7),
        ({"X-Reset": "1500"}, {"header": "X-Reset", "form": "milliseconds"}, 1.5, 1.5),
        ({"X-Reset": "IN30"}, {"header": "X-Reset"}, 27, 30.5),
        ({"Retry-After": "DATE30"}, {}, 27, 30.5),
        ({"X-Reset": "ISO30"}, {"header": "X-Reset"}, 27, 30.5),
        ({}, {"body": "error.wait"}, 9, 9),
        ({"Retry-After": "7"}, {"body": "error.wait"}, 7, 7),
        ({"Retry-After": "soon"}, {}, 1, 1),
        ({}, {"body": "error.nothing"}, 1, 1),
        ({}, {}, 1, 1),
    ],
)
def test_429_says_how_long_to_wait_in_every_form(
    vendor, opened, reply, header, declared, low, high
):
    later = time.time() + 30
    forms = {
        "IN30": str(int(later)),
        "DATE30": format_datetime(dt.datetime.fromtimestamp(later, dt.UTC), usegmt=True),
        "ISO30": dt.datetime.fromtimestamp(later, dt.UTC).isoformat(),
    }
    headers = {name: forms.get(value, value) for name, value in header.items()}
    vendor.replies = [reply(429, {"message": "slow down", "error": {"wait": 9}}, headers)]
    driver = opened(ONE, retry_after=declared)
    (outcome,) = sent(driver, people())
    assert statuses(outcome) == ["retry"]
    assert messages(outcome) == ["429 slow down"]
    assert low <= outcome.retry_after <= high


def test_429_without_a_time_waits_longer_each_time(vendor, opened, reply, monkeypatch):
    monkeypatch.setattr("destinations.http.driver.UNSAID", 0.02)
    vendor.replies = [reply(429), reply(429), reply(429), reply(), reply(429)]
    driver = opened(ONE)
    waits = []
    for _ in range(5):
        (outcome,) = sent(driver, people())
        waits.append(outcome.retry_after)
    assert waits.pop(3) is None
    assert waits == pytest.approx([0.02, 0.04, 0.08, 0.02])


def test_after_429_nothing_is_sent_until_the_time_has_come(vendor, opened, reply):
    vendor.replies = [reply(429, {}, {"Retry-After": "90"}), reply()]
    driver, other = opened(ONE), opened(ONE)
    sent(driver, people())
    for again in (driver, other):  # another driver of the same account, as in another process
        (outcome,) = sent(again, people())
        assert statuses(outcome) == ["retry"]
        assert 80 < outcome.retry_after <= 90
        assert outcome.requests == 0
    assert len(vendor.received) == 1


@pytest.mark.parametrize(
    ("status", "body", "rows", "wanted", "whole"),
    [
        (500, {"message": "oops"}, 3, "retry", False),
        (503, "<html>busy</html>", 3, "retry", False),
        (504, {}, 3, "retry", False),
        (400, {"message": "bad"}, 3, "rejected", True),
        (400, {"message": "bad"}, 1, "rejected", False),
        (404, {}, 1, "rejected", False),
        (202, {}, 1, "in_doubt", False),
    ],
)
def test_statuses(vendor, opened, reply, status, body, rows, wanted, whole):
    vendor.replies = [reply(status, body)]
    (outcome,) = sent(opened({"upsert": BATCH}), people(rows))
    assert statuses(outcome) == [wanted] * rows
    assert outcome.whole is whole
    assert outcome.stop is None


def test_a_gateway_timeout_of_what_may_not_be_repeated_is_in_doubt(vendor, opened, reply):
    vendor.replies = [reply(504)]
    (outcome,) = sent(opened({"upsert": {**BATCH, "idempotent": False}}), people())
    assert statuses(outcome) == ["in_doubt"]


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_stop_everything_and_lose_nothing(vendor, opened, reply, status):
    vendor.replies = [reply(status, {"message": "no"})]
    (outcome,) = sent(opened(ONE), people())
    assert statuses(outcome) == ["retry"]
    assert "credentials" in outcome.stop


def test_a_redirect_to_another_host_is_not_followed(vendor, opened, reply):
    vendor.replies = [reply(307, {}, {"Location": "http://127.0.0.2:1/steal"})]
    (outcome,) = sent(opened(ONE), people())
    assert statuses(outcome) == ["retry"]
    assert "redirects" in outcome.stop
    assert len(vendor.received) == 1


@pytest.mark.parametrize(
    "body", ["", "<html>Welcome</html>", '{"done": ', "[]", '{"done": 3}', "null"]
)
def test_a_success_without_the_promised_list_is_in_doubt(vendor, opened, reply, body):
    vendor.replies = [reply(200, body)]
    answer = {"accepted": {"at": "done", "key": "ref"}}
    (outcome,) = sent(opened({"upsert": {**BATCH, "answer": answer}}), people(2))
    assert statuses(outcome) == ["in_doubt", "in_doubt"]


def test_200_with_errors_is_no_success(vendor, opened, reply):
    vendor.replies = [reply(200, {"success": False, "message": "no such list"})]
    answer = {"body": {"success": True}}
    (outcome,) = sent(opened({"upsert": {**ONE["upsert"], "answer": answer}}), people())
    assert statuses(outcome) == ["rejected"]
    assert messages(outcome) == ["200 no such list"]


def test_a_read_timeout_is_in_doubt(vendor, opened, reply):
    vendor.replies = [reply(delay=1.0)]
    (outcome,) = sent(opened(ONE, timeout=0.3), people())
    assert statuses(outcome) == ["in_doubt"]


def test_an_answer_that_drips_is_given_up(vendor, opened, reply):
    vendor.replies = [reply(200, {"a": "x" * 100}, drip=True)]
    started = time.monotonic()
    (outcome,) = sent(opened(ONE, timeout=0.8), people())
    assert statuses(outcome) == ["in_doubt"]
    assert time.monotonic() - started < 5


def test_a_reset_after_the_request_was_read_is_in_doubt(vendor, opened, reply):
    vendor.replies = [reply(reset=True)]
    (outcome,) = sent(opened(ONE), people())
    assert statuses(outcome) == ["in_doubt"]
    assert len(vendor.received) == 1


def test_nobody_listening_means_nothing_was_sent(opened):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (outcome,) = sent(opened(ONE, url=f"http://127.0.0.1:{port}"), people())
    assert statuses(outcome) == ["retry"]
    assert "Not sent" in messages(outcome)[0]


STEPS = {
    "add": {
        "steps": [
            {
                "name": "contact",
                "request": "POST /contacts",
                "body": {"email": "{email}"},
                "answer": {"capture": {"id": "contact.id"}, "id": "contact.id"},
            },
            {"request": "PUT /lists/9/{contact.id}", "body": {"contact": "{contact.id}"}},
        ]
    }
}


def test_steps_hand_on_what_they_captured(vendor, opened, reply):
    vendor.replies = [reply(200, {"contact": {"id": 113}}), reply(200)]
    (outcome,) = sent(opened(STEPS), people(), Operation.ADD)
    assert [(r.method, r.path) for r in vendor.received] == [
        ("POST", "/contacts"),
        ("PUT", "/lists/9/113"),
    ]
    assert vendor.received[1].json == {"contact": 113}
    assert statuses(outcome) == ["accepted"]
    assert outcome.results["remote_id"].to_list() == ["113"]
    assert outcome.requests == 2


@pytest.mark.parametrize(
    ("replies", "wanted", "requests"),
    [
        ([(422, {"message": "bad"})], "rejected", 1),
        ([(200, {"contact": {}})], "in_doubt", 1),
        ([(200, {"contact": {"id": 1}}), (500, {})], "retry", 2),
        ([(200, {"contact": {"id": 1}}), (422, {})], "rejected", 2),
    ],
)
def test_a_step_that_fails_is_the_rows_outcome(vendor, opened, reply, replies, wanted, requests):
    vendor.replies = [reply(*r) for r in replies]
    (outcome,) = sent(opened(STEPS), people(), Operation.ADD)
    assert statuses(outcome) == [wanted]
    assert len(vendor.received) == requests


def test_an_answer_may_end_the_steps_or_give_the_id_of_a_conflict(vendor, opened, reply):
    first, second = STEPS["add"]["steps"]
    rules = [
        {"status": [404], "means": "done"},
        {"status": [409], "means": "accept", "capture": {"id": "existing"}},
    ]
    driver = opened({"add": {"steps": [{**first, "errors": rules}, second]}})
    vendor.replies = [reply(404), reply(409, {"existing": "x/y"}), reply(200)]
    gone, known = (o for _ in range(2) for o in sent(driver, people(), Operation.ADD))
    assert (statuses(gone), statuses(known)) == (["accepted"], ["accepted"])
    assert [r.path for r in vendor.received] == ["/contacts", "/contacts", "/lists/9/x%2Fy"]


def test_secrets_are_nowhere_in_what_is_kept(vendor, opened, reply, caplog):
    def echo(request):
        return reply(400, {"message": f"bad {request.headers['Authorization']} " + "x" * 3000})

    vendor.replies = [echo]
    body = {"email": "{email}", "api_key": "{settings.key}"}
    driver = opened(
        {"upsert": {"request": "POST /p", "query": {"k": "{settings.key}"}, "body": body}}
    )
    with caplog.at_level(logging.DEBUG):
        (outcome,) = sent(driver, people())
    assert SECRET in vendor.received[0].path  # it was sent,
    assert SECRET not in repr(outcome.sample) + str(messages(outcome)) + caplog.text  # and not kept
    assert "•••" in messages(outcome)[0]
    assert len(messages(outcome)[0]) <= 520


def test_hashed_fields_never_leave_in_clear(vendor, opened):
    fields = {"email": {"normalise": "email", "hash": "sha256", "identifier": True}}
    (outcome,) = sent(opened(ONE, fields=fields), people())
    assert "example.com" not in vendor.received[0].body.decode()
    assert "p0@" not in json.dumps(outcome.sample)


def test_problems_are_said_before_anything_is_sent(opened):
    operations = {
        "upsert": {"request": "POST /people", "body": "{fields}"},
        "remove": {"request": "DELETE /people/{remote_id}"},
    }
    fields = {
        "email": {"normalise": "email", "identifier": True},
        "phone": {"normalise": "phone_e164", "identifier": True},
        "code": {"pattern": "[A-Z]+", "max_length": 3},
    }
    driver = opened(operations, fields=fields)
    rows = pl.DataFrame(
        {
            KEY: ["a", "b", "c", "d"],
            REMOTE_ID: ["1", None, "", ".."],
            "email": ["a@example.com", "nothing", None, "d@example.com"],
            "phone": [None, "+442079460958", "12", None],
            "code": ["AB", "ABCD", None, "ab"],
        }
    )
    upserts = driver.problems(Operation.UPSERT, rows).to_list()
    assert upserts[0] is None
    assert "longer than 3" in upserts[1]
    assert "identifier" in upserts[2]
    assert "pattern" in upserts[3]
    removes = driver.problems(Operation.REMOVE, rows).to_list()
    assert removes[0] is None
    assert all(removes[1:])


def test_check_asks_the_harmless_request(vendor, opened, reply):
    probe = {"request": "GET /me", "answer": {"id": "user.name"}}
    driver = opened(ONE, check=probe)
    vendor.replies = [reply(200, {"user": {"name": "ann"}}), reply(200, {})]
    assert driver.check() == "Test vendor accepts the credentials of ann."
    assert driver.check() == "Test vendor accepts the credentials."
    vendor.replies = [reply(401, {"message": "bad key"})]
    assert vendor.received[0].path == "/me"
    with pytest.raises(StoreroomError, match="bad key"):
        driver.check()
    assert "nothing was sent" in opened(ONE).check()


@pytest.mark.parametrize("url", ["http://example.com", "ftp://example.com", "https://"])
def test_only_https_and_this_machine(opened, url):
    with pytest.raises(ConfigurationError):
        opened(ONE, url=url)


def test_of_a_secret_url_no_part_is_written_down(vendor, opened, reply, monkeypatch):
    monkeypatch.setenv("TEST_URL", f"{vendor.url}/T0001/very-secret-path?key=very-secret-value")
    vendor.replies = [lambda asked: reply(400, {"message": f"Cannot POST {asked.path}"})]
    connection = Connection(
        name="hook",
        destination="webhook",
        consent="not_required",
        settings={"url": {"env": "TEST_URL"}, "secret": {"env": "TEST_KEY"}},
    )
    driver = open_http(load_spec("webhook"), connection, {}, "loyal")
    (outcome,) = sent(driver, people())
    driver.close()
    told = json.dumps([messages(outcome), outcome.sample])
    assert "Cannot POST" in told
    assert "very-secret" not in told
