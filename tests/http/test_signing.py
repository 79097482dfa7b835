"""Signatures against published examples and against libraries that are not ours."""

import json
import re
from urllib.parse import unquote

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from destinations.errors import ConfigurationError
from destinations.http.signing import OAuth1Signature, SigV4Signature, signed_token
from destinations.language.requests import Request


def test_oauth1_as_twitter_documents_it():
    """https://developer.x.com/en/docs/authentication/oauth-1-0a/creating-a-signature"""
    sign = OAuth1Signature(
        "https://api.twitter.com/1.1",
        "xvz1evFS4wEEPTGEFPHBog",
        "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw",
        "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb",
        "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE",
        clock=lambda: 1318622958.0,
        nonce=lambda: "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg",
    )
    form = b"status=Hello%20Ladies%20%2B%20Gentlemen%2C%20a%20signed%20OAuth%20request%21"
    request = Request(
        "POST",
        "/statuses/update.json?include_entities=true",
        {"Content-Type": "application/x-www-form-urlencoded"},
        form,
    )
    header = sign(request).headers["Authorization"]
    found = re.search(r'oauth_signature="([^"]*)"', header)
    assert found is not None
    assert unquote(found[1]) == "hCtSmYh+iHYCEqBWrE7C7hYmtUk="
    assert 'oauth_consumer_key="xvz1evFS4wEEPTGEFPHBog"' in header


@pytest.mark.parametrize("service", ["execute-api", "personalize", "s3"])
@pytest.mark.parametrize("session_token", [None, "session/token"])
@pytest.mark.parametrize(
    ("path", "body"),
    [("/", b"{}"), ("/a%20b/c~d?z=1&a=%C3%A4&empty=", b'{"x": 1}'), ("/x?list-type=2", None)],
)
def test_sigv4_is_what_the_vendors_own_library_writes(service, session_token, path, body):
    base = "https://abc.execute-api.eu-west-1.amazonaws.com/prod"
    sign = SigV4Signature(base, "AKID", "secret", session_token, "eu-west-1", service)
    ours = sign(Request("POST", path, {"Content-Type": "application/json"}, body))
    # Theirs signs the moment it finds in the request.
    theirs = AWSRequest(
        "POST", base + ("" if path == "/" else path), {"Content-Type": "application/json"}, body
    )
    theirs.context["timestamp"] = ours.headers["X-Amz-Date"]
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    signer = kind(Credentials("AKID", "secret", session_token), service, "eu-west-1")
    theirs.headers["X-Amz-Date"] = ours.headers["X-Amz-Date"]
    if service == "s3":
        theirs.headers["X-Amz-Content-SHA256"] = ours.headers["X-Amz-Content-SHA256"]
    if session_token:
        theirs.headers["X-Amz-Security-Token"] = session_token
    canonical = signer.canonical_request(theirs)
    signature = signer.signature(signer.string_to_sign(theirs, canonical), theirs)
    assert ours.headers["Authorization"].endswith(f"Signature={signature}")


KEYS = {
    "HS256": (OctKey.import_key("a secret of thirty-two characters"), None),
    "RS256": (RSAKey.generate_key(2048), True),
    "ES256": (ECKey.generate_key("P-256"), True),
}


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_token_of_ours_is_read_by_whoever_has_the_key(algorithm):
    key, pem = KEYS[algorithm]
    text = key.as_pem(private=True).decode() if pem else "a secret of thirty-two characters"
    # As it stands in an environment variable.
    text = text.replace("\n", "\\n")
    made = signed_token(algorithm, text, "text", {"kid": "7"}, {"iss": "us"}, 60, 1000.0)
    read = jwt.decode(made, key, algorithms=[algorithm])
    assert read.header == {"typ": "JWT", "alg": algorithm, "kid": "7"}
    assert read.claims == {"iat": 1000, "exp": 1060, "iss": "us"}


def test_a_key_may_be_written_in_hex():
    made = signed_token("HS256", "00ff" * 16, "hex", {}, {}, 60, 1000.0)
    assert jwt.decode(made, OctKey.import_key(bytes.fromhex("00ff" * 16)), algorithms=["HS256"])


def test_a_wrong_key_is_told_without_a_word_of_it():
    with pytest.raises(ConfigurationError) as caught:
        signed_token("RS256", "not-a-key-at-all", "text", {}, {}, 60, 1000.0)
    assert "not-a-key" not in str(caught.value)
    assert json.dumps(str(caught.value))
