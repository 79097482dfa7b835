import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.driver import KEY, Status
from destinations.http.answers import judge
from destinations.http.session import Response
from destinations.language.replies import Answer
from destinations.language.spec import Spec

ROWS = pl.DataFrame({KEY: ["a", "b", "c"], "email": ["1@x.de", "2@x.de", "2@x.de"]})


def verdict(answer, body, status=200, errors=(), rows=ROWS):
    spec = Spec.model_validate(
        {
            "id": "t",
            "name": "T",
            "category": "t",
            "kind": "http_api",
            "docs": "https://example.com",
            "message": "error.message",
            "operations": {"add": {"request": "POST /", "answer": answer, "errors": errors}},
        }
    )
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return judge(spec, spec.operations["add"], Response(status, {}, content), rows, idempotent=True)


def statuses(found):
    return [status[0] for status in found.results["status"]]


@pytest.mark.parametrize(
    ("answer", "body", "wanted"),
    [
        # parallel to the request
        ({"rejected": {"at": "r", "index": "#", "when": {"ok": False}}}, {"r": [{"ok": True}, {"ok": False}, {"ok": True}]}, "ara"),
        # by position, also as text, also bare
        ({"rejected": {"at": "e", "index": "i"}}, {"e": [{"i": "1"}]}, "ara"),
        ({"rejected": {"at": "e", "index": "@"}}, {"e": [0, 2]}, "rar"),
        # by a value; a value of two rows is both
        ({"rejected": {"at": "e", "key": "mail", "field": "email"}}, {"e": [{"mail": "2@x.de"}]}, "arr"),
        ({"rejected": {"at": "e", "key": "@"}}, {"e": ["c"]}, "aar"),
        ({"rejected": {"at": "e", "key": "context.ids"}}, {"e": [{"context": {"ids": ["a", "b"]}}]}, "rra"),
        # the whole answer is the list
        ({"rejected": {"at": "@", "index": "i"}}, [{"i": 0}], "raa"),
        # no list of refusals, none refused
        ({"rejected": {"at": "e", "index": "i"}}, {"ok": 1}, "aaa"),
        # a refusal that names nobody leaves everybody in doubt, but for those it names
        ({"rejected": {"at": "e", "index": "i"}}, {"e": [{"i": 9}]}, "iii"),
        ({"rejected": {"at": "e", "key": "k"}}, {"e": [{"k": "a"}, {"k": "?"}]}, "rii"),
        # who is accepted is named; the others are in doubt
        ({"accepted": {"at": "d", "key": "@"}}, {"d": ["a", "c"]}, "aia"),
        ({"accepted": {"at": "d", "key": "@"}}, {"d": []}, "iii"),
        # several lists of refusals; what one of them does not name is asked again in parts
        ({"rejected": [{"at": "e", "key": "@"}, {"at": "f", "key": "@"}]}, {"e": ["a"], "f": ["c"]}, "rar"),
        ({"rejected": {"at": "e", "key": "@"}, "refused_count": "n"}, {"e": ["a"], "n": 1}, "raa"),
        ({"rejected": {"at": "e", "key": "@"}, "refused_count": "n"}, {"e": ["a"], "n": 2}, "rrr"),
        # who is to be sent again
        ({"accepted": {"at": "r", "index": "#", "when": {"e": None}}, "retry": {"at": "r", "index": "#", "when": {"e": "busy"}}}, {"r": [{}, {"e": "busy"}, {"e": "other"}]}, "ari"),
        # refused wins over accepted
        ({"accepted": {"at": "d", "key": "@"}, "rejected": {"at": "e", "key": "@"}}, {"d": ["a", "b"], "e": ["b"]}, "ari"),
        # counts
        ({"count": "n"}, {"n": 3}, "aaa"),
        ({"count": "n"}, {"n": 2}, "rrr"),
        ({"count": "n"}, {}, "iii"),
        ({"count": "n", "refused_count": "bad"}, {"n": 3, "bad": 1}, "rrr"),
        ({"count": "n", "refused_count": "bad"}, {"n": "3", "bad": "0"}, "aaa"),
    ],
)  # fmt: skip
def test_what_answers_mean(answer, body, wanted):
    found = verdict(answer, body)
    assert "".join(statuses(found)) == wanted
    assert found.whole is (wanted == "rrr")


@pytest.mark.parametrize(
    ("rule", "status", "body", "wanted"),
    [
        ({"status": [400], "means": "accept"}, 400, {}, "aaa"),
        ({"body": {"error.code": [17, 4]}, "means": "retry"}, 400, {"error": {"code": 17}}, "rrr"),
        ({"body": {"error.code": 190}, "means": "auth"}, 400, {"error": {"code": 190}}, "rrr"),
        ({"body": {"errors": []}, "means": "done"}, 200, {"errors": []}, "aaa"),
        ({"body": {"error": None}, "means": "accept"}, 500, {"error": None}, "aaa"),
        ({"body": {"flag": 1}, "means": "accept"}, 400, {"flag": True}, "rrr"),
    ],
)
def test_rules(rule, status, body, wanted):
    found = verdict({}, body, status, [rule])
    assert "".join(statuses(found)) == wanted
    assert (found.stop is not None) is (rule["means"] == "auth")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 5) | st.text(max_size=3) | st.sampled_from("abc"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["d", "e", "i", "k", "n"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(body=JSON | st.binary(max_size=30), status=st.sampled_from([200, 204, 302, 400, 429, 500]))
def test_any_answer_gives_every_row_one_status_and_none_is_accepted_unnamed(body, status):
    answer = {
        "accepted": {"at": "d", "key": "k"},
        "rejected": {"at": "e", "index": "i"},
        "count": "n",
    }
    found = verdict(answer, body, status)
    assert found.results[KEY].to_list() == ["a", "b", "c"]
    named = str(body)
    for key, said in zip("abc", found.results["status"], strict=True):
        assert said in list(Status)
        if said == "accepted":
            assert f"'k': '{key}'" in named or f"'{key}'" in named


def test_a_header_is_captured_whatever_its_case():
    answer = Answer(status=(201,), id="header:Resource-ID", capture={"page": "header:Link?"})
    spec = Spec(
        id="t",
        name="T",
        category="t",
        kind="http_api",
        docs="https://example.com",
        operations={"add": {"request": "POST /", "answer": answer}},
    )
    response = Response(201, {"resource-id": "500"}, b"")
    found = judge(spec, spec.operations["add"], response, ROWS.head(1), idempotent=True)
    assert found.results["remote_id"].to_list() == ["500"]
    assert found.captures == {"id": "500", "page": None}


def test_who_cannot_be_taken_now_is_sent_again():
    busy = {"at": "r", "index": "#", "when": {"error": "busy"}}
    refused = {"at": "r", "index": "#", "when": {"ok": False}, "message": "error"}
    body = {"r": [{"ok": True}, {"ok": False, "error": "busy"}, {"ok": False, "error": "bad"}]}
    found = verdict({"rejected": refused, "retry": busy}, body).results
    assert found["status"].to_list() == ["accepted", "retry", "rejected"]
