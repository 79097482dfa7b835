"""Told to fail, a destination fails so, for as long as it was told, and keeps what it says."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
from pydantic import ValidationError

from destinations.sandbox.faults import Fault, Faults

PERSON = {"contact": {"email": "ada@example.org"}}


def sync(client: Any) -> requests.Response:
    return client.mail("POST", "contact/sync", PERSON)


def test_a_status_for_the_next_requests_and_nothing_kept(client: Any) -> None:
    client.admin(
        "POST",
        "faults",
        json={"destination": "mail", "kind": "status", "status": 503, "times": 2},
    )
    first = sync(client)
    assert first.status_code == 503
    assert first.json() == {"errors": [{"title": "The service is not available"}]}
    assert client.state("mail")["profiles"] == []
    assert [sync(client).status_code for _ in range(2)] == [503, 200]


def test_every_kth_a_fraction_and_a_while(client: Any) -> None:
    faults = Faults()
    faults.add(Fault(destination="a", kind="status", status=500, every=3))
    assert [bool(faults.firing("a", None)) for _ in range(6)] == [False, False, True] * 2
    faults.clear()
    faults.add(Fault(kind="status", status=500, fraction=0.25))
    fired = sum(bool(faults.firing("a", None)) for _ in range(1000))
    assert 180 < fired < 320
    faults.clear()
    faults.add(Fault(kind="status", status=500, seconds=0.05))
    assert faults.firing("a", None)
    time.sleep(0.06)
    assert not faults.firing("a", None)


@pytest.mark.parametrize("form", ["seconds", "milliseconds", "date", "epoch"])
def test_how_long_to_wait_in_every_form(client: Any, form: str) -> None:
    how = {"status": 429, "retry_after": 30, "retry_after_form": form, "times": 1}
    client.admin("POST", "faults", json={"destination": "mail", "kind": "status", **how})
    answer = sync(client)
    said = answer.headers["Retry-After"]
    assert answer.status_code == 429
    seconds = {
        "seconds": lambda: float(said),
        "milliseconds": lambda: float(said) / 1000,
        "date": lambda: parsedate_to_datetime(said).timestamp() - time.time(),
        "epoch": lambda: float(said) - time.time(),
    }[form]()
    assert 28 <= seconds <= 31


def test_rows_are_refused_by_rule(client: Any, contact: Any) -> None:
    rule = {"contains": {"email": "@blocked."}}
    fault = {"kind": "rows", "rule": rule, "message": "Blocked domain"}
    client.admin("POST", "faults", json={"destination": "crm", **fault})
    answer = client.crm(contact("p1", "ada@example.org"), contact("p2", "bob@blocked.org"))
    assert answer.status_code == 207
    assert answer.json()["errors"][0]["message"] == "Blocked domain"
    assert set(client.members("crm", "in_loyal")) == {"ada@example.org"}


def test_a_fraction_of_identities_is_the_same_each_time(client: Any, contact: Any) -> None:
    fault = {"kind": "rows", "rule": {"fraction": 0.3}}
    client.admin("POST", "faults", json={"destination": "crm", **fault})
    rows = [contact(f"p{i}", f"u{i}@example.org") for i in range(100)]
    refused = [
        {one["context"]["trace"] for one in client.crm(*rows).json()["errors"]} for _ in range(2)
    ]
    assert refused[0] == refused[1]
    assert 15 < len(refused[0]) < 45


def test_success_that_is_none(client: Any, contact: Any, digest: Any) -> None:
    client.admin("POST", "faults", json={"kind": "errors", "message": "Nothing done"})
    answer = client.crm(contact("p1", "ada@example.org"))
    assert answer.status_code == 200
    assert answer.json()["errors"][0]["message"] == "Nothing done"
    row = [digest("a"), "", ""]
    assert client.ads("POST", row).json() == {"num_received": 1, "num_invalid": 1}
    assert sync(client).json() == {"errors": [{"message": "Nothing done"}]}
    for destination in ("crm", "ads", "mail"):
        assert client.state(destination)["profiles"] == []


@pytest.mark.parametrize(("keep", "held"), [(True, 1), (False, 0)])
def test_a_cut_connection_after_or_before_the_rows_were_kept(
    client: Any, keep: bool, held: int
) -> None:
    fault = {"destination": "mail", "kind": "drop", "keep": keep, "times": 1}
    client.admin("POST", "faults", json=fault)
    with pytest.raises(requests.ConnectionError):
        sync(client)
    assert len(client.state("mail")["profiles"]) == held
    assert client.admin("GET", "requests")["requests"][0]["status"] == 0
    assert sync(client).ok


def test_slow_whole_and_drop_by_drop(client: Any) -> None:
    for drip in (False, True):
        fault = {"kind": "slow", "delay": 0.3, "drip": drip, "times": 1}
        client.admin("POST", "faults", json=fault)
        started = time.monotonic()
        assert sync(client).json()["contact"]["id"] == "1"
        assert time.monotonic() - started > 0.29
    client.admin("POST", "faults", json={"kind": "slow", "delay": 1, "times": 1})
    with pytest.raises(requests.Timeout):
        client.send(
            "POST",
            "/mail/api/3/contact/sync",
            json={"contact": {"email": "bob@example.org"}},
            headers={"Api-Token": "x"},
            timeout=0.2,
        )
    assert len(client.state("mail")["profiles"]) == 2


def test_garbage_and_a_redirect(client: Any) -> None:
    client.admin("POST", "faults", json={"kind": "garbage", "keep": True, "times": 1})
    garbled = sync(client)
    assert garbled.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        garbled.json()
    assert len(client.state("mail")["profiles"]) == 1
    client.admin("POST", "faults", json={"kind": "redirect", "times": 1})
    moved = sync(client)
    assert (moved.status_code, moved.headers["Location"]) == (302, "https://elsewhere.example/")


def test_a_fault_for_one_operation_leaves_the_others_alone(client: Any) -> None:
    fault = {
        "destination": "mail",
        "kind": "status",
        "status": 500,
        "operation": "delete",
    }
    number = client.admin("POST", "faults", json=fault)["id"]
    assert sync(client).ok
    assert client.mail("DELETE", "contacts/1").status_code == 500
    assert client.admin("GET", "faults")["faults"][0]["fired"] == 1
    client.admin("DELETE", f"faults/{number}")
    assert client.mail("DELETE", "contacts/1").ok


def test_the_vendors_own_error_fields_come_with_the_status(client: Any, digest: Any) -> None:
    client.admin("POST", "faults", json={"kind": "status", "status": 400, "message": "No"})
    answer = client.ads("POST", [digest("a"), "", ""])
    assert answer.json() == {"error": {"message": "No"}}
    client.admin("DELETE", "faults")
    refused = client.send("GET", "/ads/v25.0/238?fields=id,name")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == 190


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status"},
        {"kind": "rows"},
        {"kind": "rows", "rule": {}},
        {"kind": "slow"},
        {"kind": "sulk"},
        {"kind": "status", "status": 503, "time": 3},
    ],
)
def test_a_fault_that_says_too_little_is_refused(fault: dict[str, Any], client: Any) -> None:
    with pytest.raises(ValidationError):
        Fault.model_validate(fault)
    assert client.send("POST", "/_sandbox/faults", json=fault).status_code == 400
