"""A running sandbox of made-up vendors (``vendors.yaml``), and their requests, written by hand."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from destinations.language.spec import Spec
from destinations.sandbox import Sandbox, serve

VENDORS = Path(__file__).parent / "vendors.yaml"


class Client:
    """Sends what a vendor's client would, with the sandbox's placeholder secrets."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.url = sandbox.url
        self.session = requests.Session()
        self.session.trust_env = False

    def send(self, method: str, path: str, **how: Any) -> requests.Response:
        how.setdefault("timeout", 10)
        how.setdefault("allow_redirects", False)
        return self.session.request(method, self.url + path, **how)

    def admin(self, method: str, path: str, **how: Any) -> Any:
        answer = self.send(method, f"/_sandbox/{path}", **how)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def state(self, destination: str) -> Any:
        return self.admin("GET", f"state/{destination}")

    def members(self, destination: str, target: str) -> dict[str, dict[str, Any]]:
        people = self.state(destination)["members"].get(target, [])
        return {one["identity"]: one["fields"] for one in people}

    def crm(self, *inputs: dict[str, Any], **headers: str) -> requests.Response:
        return self.send(
            "POST",
            "/crm/contacts/batch",
            json={"inputs": list(inputs)},
            headers={"Authorization": "Bearer sandbox-access_token", **headers},
        )

    def mail(self, method: str, path: str, body: Any = None) -> requests.Response:
        return self.send(
            method,
            f"/mail/api/3/{path}",
            json=body,
            headers={"Api-Token": "sandbox-token"},
        )

    def people(self, method: str, path: str, body: Any = None) -> requests.Response:
        return self.send(method, f"/people/{path}", json=body, auth=("7bcee", "sandbox-api_key"))

    def ads(self, method: str, *rows: list[str], audience: str = "238") -> requests.Response:
        schema = ["EMAIL", "PHONE", "FN"]
        return self.send(
            method,
            f"/ads/v25.0/{audience}/users",
            json={"payload": {"schema": schema, "data": list(rows)}},
            headers={"Authorization": "Bearer sandbox-access_token"},
        )

    def hook(
        self, operation: str, *rows: dict[str, Any], secret: str = "sandbox-secret", age: int = 0
    ) -> requests.Response:
        body = json.dumps({"operation": operation, "audience": "loyal", "rows": list(rows)})
        at = int(time.time()) - age
        signed = hmac.new(secret.encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
        return self.send(
            "POST",
            "/hook",
            data=body,
            headers={
                "Content-Type": "application/json",
                "Idempotency-Key": hashlib.sha256(body.encode()).hexdigest()[:32],
                "X-Signature": f"t={at},v1={signed}",
            },
        )


@pytest.fixture(scope="session")
def vendors() -> dict[str, Spec]:
    """The made-up vendors by id."""
    documents = yaml.safe_load_all(VENDORS.read_text(encoding="utf-8"))
    return {one["id"]: Spec.model_validate(one) for one in documents}


@pytest.fixture
def sandbox(tmp_path: Path, vendors: dict[str, Spec]) -> Iterator[Sandbox]:
    with serve(0, tmp_path / "sandbox", specs=vendors.values()) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    made = Client(sandbox)
    yield made
    made.session.close()


@pytest.fixture
def contact() -> Any:
    """Makes one input of the CRM's batch, a member of the audience."""

    def make(key: str, email: str, member: str = "true", **properties: Any) -> dict[str, Any]:
        return {
            "idProperty": "email",
            "id": email,
            "trace": key,
            "properties": {"email": email, **properties, "in_loyal": member},
        }

    return make


@pytest.fixture
def digest() -> Any:
    return lambda text: hashlib.sha256(text.encode()).hexdigest()
