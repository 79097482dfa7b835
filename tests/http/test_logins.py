"""Logins by token: fetched once, renewed, replaced, refused."""

import base64
import json
import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs

import polars as pl
import pytest

from destinations.driver import KEY, REMOTE_ID, Operation
from destinations.errors import StoreroomError
from destinations.http.kept import kept_dir

ONE = {"upsert": {"request": "POST /people", "body": {"email": "{email}"}}}
ROOT = Path(__file__).parents[2]
SECRET = "very-secret-key-123"


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


def sent(driver, count=1):
    return [driver.send(d) for d in driver.deliveries(Operation.UPSERT, people(count))]


def statuses(outcomes):
    return [status for outcome in outcomes for status in outcome.results["status"]]


class Issuer:
    """A vendor that gives tokens and takes those it says are good."""

    def __init__(self, vendor, reply, **answer):
        self.vendor, self.reply, self.answer = vendor, reply, answer
        self.asked, self.good, self.rotating = [], set(), None
        self.lock = threading.Lock()
        vendor.replies = [self]

    def __call__(self, request):
        if not request.path.startswith("/token"):
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            return (
                self.reply(200) if token in self.good else self.reply(401, {"message": "expired"})
            )
        with self.lock:
            self.asked.append(request)
            form = parse_qs(request.body.decode())
            if self.rotating is not None:
                if form.get("refresh_token") != [self.rotating]:
                    return self.reply(400, {"error": "invalid_grant"})
                self.rotating = f"refresh-{len(self.asked)}"
            token = f"token-{len(self.asked)}"
            self.good.add(token)
            body = {"access_token": token, "expires_in": 3600, **self.answer}
            return self.reply(
                200, body | ({"refresh_token": self.rotating} if self.rotating else {})
            )


def oauth2(vendor, **more):
    return {
        "type": "oauth2",
        "grant": "client_credentials",
        "token_url": f"{vendor.url}/token",
        "client_id": "ours",
        "client_secret": "{settings.key}",
        **more,
    }


@pytest.fixture
def issuer(vendor, reply):
    return Issuer(vendor, reply)


def test_one_token_serves_many_workers(vendor, opened, issuer):
    driver = opened(ONE, auth=oauth2(vendor, scope="a b", params={"audience": "x"}))
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(driver.send, driver.deliveries(Operation.UPSERT, people(12))))
    assert statuses(outcomes) == ["accepted"] * 12
    (asked,) = issuer.asked
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["ours"],
        "client_secret": [SECRET],
        "scope": ["a b"],
        "audience": ["x"],
    }


def test_the_client_may_log_in_by_basic_and_json(vendor, opened, issuer):
    auth = oauth2(vendor, client_auth="basic", encoding="json")
    assert statuses(sent(opened(ONE, auth=auth))) == ["accepted"]
    (asked,) = issuer.asked
    pair = base64.b64decode(asked.headers["Authorization"].removeprefix("Basic ")).decode()
    assert pair == f"ours:{SECRET}"
    assert asked.json == {"grant_type": "client_credentials"}


def test_the_password_grant_says_who_we_are(vendor, opened, issuer):
    auth = oauth2(vendor, grant="password", username="ann", password="{settings.key}")
    assert statuses(sent(opened(ONE, auth=auth))) == ["accepted"]
    form = parse_qs(issuer.asked[0].body.decode())
    assert (form["username"], form["password"]) == (["ann"], [SECRET])


def test_a_token_is_renewed_ahead_of_its_end(vendor, opened, reply):
    issuer = Issuer(vendor, reply, expires_in=1)
    driver = opened(ONE, auth=oauth2(vendor))
    sent(driver)
    sent(driver)
    assert len(issuer.asked) == 1
    time.sleep(0.95)  # of 1 second a tenth is kept back
    assert statuses(sent(driver)) == ["accepted"]
    assert len(issuer.asked) == 2


def test_a_token_that_ends_amid_a_run_is_renewed_once_by_all(vendor, opened, issuer):
    driver = opened(ONE, auth=oauth2(vendor))
    sent(driver)
    issuer.good.clear()
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(driver.send, driver.deliveries(Operation.UPSERT, people(8))))
    assert statuses(outcomes) == ["accepted"] * 8
    assert len(issuer.asked) == 2


def test_a_rule_may_say_that_the_token_is_not_good(vendor, opened, reply, issuer):
    driver = opened(ONE, auth=oauth2(vendor), errors=[{"body": {"code": 190}, "means": "auth"}])
    vendor.replies = [issuer, reply(400, {"code": 190}), issuer, reply(200)]
    (outcome,) = sent(driver)
    assert (statuses([outcome]), outcome.requests) == (["accepted"], 2)


def test_401_for_ever_stops_the_connection(vendor, opened, reply):
    issuer = Issuer(vendor, reply)
    issuer.good = type("Nothing", (set,), {"__contains__": lambda *_: False})()
    driver = opened(ONE, auth=oauth2(vendor))
    outcomes = sent(driver, 3)
    assert statuses(outcomes) == ["retry"] * 3
    assert all("refused" in outcome.stop for outcome in outcomes)
    assert len(issuer.asked) == 2  # the first one and one renewal, however many rows


def test_a_login_that_is_refused_stops_and_is_asked_once(vendor, opened, reply, caplog):
    vendor.replies = [reply(401, {"error_description": f"wrong secret {SECRET}"})]
    driver = opened(ONE, auth=oauth2(vendor), check={"request": "GET /me"})
    outcomes = sent(driver, 2)
    assert len(vendor.received) == 1
    assert [outcome.stop for outcome in outcomes] == [
        "The login was refused: 401 wrong secret •••"
    ] * 2
    with pytest.raises(StoreroomError, match="refused the login: 401 wrong secret •••"):
        driver.check()


@pytest.mark.parametrize(("status", "headers"), [(503, {}), (429, {"Retry-After": "7"})])
def test_a_login_that_is_not_there_now_is_asked_again(vendor, opened, reply, status, headers):
    driver = opened(ONE, auth=oauth2(vendor))
    vendor.replies = [reply(status, {}, headers)]
    (outcome,) = sent(driver)
    assert (statuses([outcome]), outcome.stop) == (["retry"], None)
    assert outcome.retry_after == (7 if headers else None)
    Issuer(vendor, reply)
    assert statuses(sent(driver)) == ["accepted"]


def test_a_redirected_login_is_not_followed(vendor, opened, reply):
    vendor.replies = [reply(302, {}, {"Location": f"{vendor.url}/other"})]
    (outcome,) = sent(opened(ONE, auth=oauth2(vendor)))
    assert outcome.stop is not None
    assert [r.path for r in vendor.received] == ["/token"]


REFRESH = {"grant": "refresh_token", "refresh_token": "{settings.key}"}


def test_a_replaced_refresh_token_is_kept_for_the_owner_alone(vendor, opened, issuer):
    issuer.rotating = SECRET
    assert statuses(sent(opened(ONE, auth=oauth2(vendor, **REFRESH)))) == ["accepted"]
    (kept,) = kept_dir().glob("*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert json.loads(kept.read_text())["refresh_token"] == "refresh-1"
    # another opening uses the token that is still good; when it is not, the refresh token kept
    issuer.good.clear()
    assert statuses(sent(opened(ONE, auth=oauth2(vendor, **REFRESH)))) == ["accepted"]
    assert len(issuer.asked) == 2
    assert parse_qs(issuer.asked[1].body.decode())["refresh_token"] == ["refresh-1"]


_PROCESS = """
import json, sys
import polars as pl
from destinations.connections import Connection
from destinations.driver import KEY, REMOTE_ID, Operation
from destinations.http.opening import open_http
from destinations.language.spec import Spec

connection = Connection(
    name="test", destination="t", consent="not_required", settings={"key": {"env": "TEST_KEY"}}
)
driver = open_http(Spec.model_validate(json.loads(sys.argv[1])), connection, {}, "loyal")
rows = pl.DataFrame({KEY: ["k"], "_hash": ["h"], "email": ["a@example.com"]})
for _ in range(3):
    for delivery in driver.deliveries(Operation.UPSERT, rows):
        print(driver.send(delivery).results["status"][0])
"""


def test_two_processes_do_not_spend_the_same_refresh_token(vendor, reply):
    issuer = Issuer(vendor, reply, expires_in=0.1)
    issuer.rotating = SECRET
    document = {
        "id": "t",
        "name": "T",
        "category": "t",
        "kind": "http_api",
        "docs": "https://example.com",
        "settings": {"key": {"description": "key", "secret": True}},
        "base_url": vendor.url,
        "auth": oauth2(vendor, **REFRESH),
        "fields": {"email": {"identifier": True}},
        "operations": ONE,
    }
    command = [sys.executable, "-c", _PROCESS, json.dumps(document)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0].split() for process in started]
    assert said == [["accepted"] * 3] * 2
    spent = [parse_qs(asked.body.decode())["refresh_token"][0] for asked in issuer.asked]
    assert len(spent) > 1
    assert len(set(spent)) == len(spent)


def test_a_login_of_the_vendors_own(vendor, opened, reply):
    def play(request):
        if request.path == "/v1/session":
            assert request.json == {"user": "ann", "pass": SECRET}
            return reply(201, {"data": {"token": "t-1"}})
        return reply(200 if request.headers.get("X-Token") == "key=t-1" else 401)

    vendor.replies = [play]
    auth = {
        "type": "login",
        "request": "POST /session",
        "body": {"user": "ann", "pass": "{settings.key}"},
        "token": "data.token",
        "header": "X-Token",
        "value": "key={token}",
    }
    driver = opened(ONE, url=f"{vendor.url}/v1", auth=auth)
    assert statuses(sent(driver, 2)) == ["accepted"] * 2
    assert [r.path for r in vendor.received] == ["/v1/session", "/v1/people", "/v1/people"]


def test_a_captured_host_must_be_one_of_the_vendors(vendor, opened, reply):
    Issuer(vendor, reply, instance_url="https://evil.example")
    auth = oauth2(vendor, capture={"instance": "instance_url"}, hosts=["*.vendor.example"])
    (outcome,) = sent(opened(ONE, url="{auth.instance}/v1", auth=auth))
    assert "evil.example, which is none of *.vendor.example" in outcome.stop
    assert [r.path for r in vendor.received] == ["/token"]


def test_tokens_are_nowhere_in_what_is_kept_of_a_run(vendor, opened, reply, caplog):
    caplog.set_level(logging.DEBUG)
    token = "a-very-long-token-of-theirs"

    def play(request):
        if request.path == "/token":
            return reply(200, {"access_token": token, "refresh_token": "another-long-one"})
        return reply(400, {"message": f"no {request.headers['Authorization']} another-long-one"})

    vendor.replies = [play]
    (outcome,) = sent(opened(ONE, auth=oauth2(vendor, **REFRESH)))
    written = str(outcome) + outcome.results.write_json() + caplog.text
    for secret in (token, "another-long-one", SECRET):
        assert secret not in written
    assert "no Bearer •••" in outcome.results["message"][0]
