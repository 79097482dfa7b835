"""Steps that are made for some rows, ids that flow, lists that are searched, audiences found."""

import json
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest

from destinations.driver import KEY, REMOTE_ID, Operation

DOCS = "https://example.com/docs"
LOOK = {
    "name": "find",
    "unless": "remote_id",
    "request": "GET /contacts",
    "query": {"email": "{email}"},
    "answer": {"id": "contacts.0.id?"},
}
CREATE = {
    "name": "create",
    "unless": "remote_id",
    "request": "POST /contacts",
    "body": {"email": "{email}"},
    "answer": {"status": [201], "id": "id"},
}
UPDATE = {
    "request": "PUT /contacts/{remote_id}",
    "unless": "create.id",
    "body": {"email": "{email}"},
    "errors": [{"status": [404], "means": "gone"}],
}
STEPS = {"upsert": {"steps": [LOOK, CREATE, UPDATE]}}


def people(*remote_ids):
    count = len(remote_ids)
    return pl.DataFrame(
        {
            KEY: [f"k{n}" for n in range(count)],
            "_hash": ["h"] * count,
            REMOTE_ID: list(remote_ids),
            "email": [f"p{n}@example.com" for n in range(count)],
        },
        schema_overrides={REMOTE_ID: pl.String},
    )


def sent(driver, rows, operation=Operation.UPSERT):
    return [driver.send(delivery) for delivery in driver.deliveries(operation, rows)]


def statuses(outcomes):
    return [status for outcome in outcomes for status in outcome.results["status"]]


def ids(outcomes):
    return [found for outcome in outcomes for found in outcome.results["remote_id"]]


def made(vendor):
    return [f"{r.method} {r.path}" for r in vendor.received]


FIND = "GET /contacts?email=p0%40example.com"


@pytest.mark.parametrize(
    ("known", "replies", "requests", "remote_id"),
    [
        (None, [(200, {"contacts": []}), (201, {"id": 7})], [FIND, "POST /contacts"], "7"),
        (None, [(200, {"contacts": [{"id": 5}]}), (200,)], [FIND, "PUT /contacts/5"], "5"),
        ("9", [(200,)], ["PUT /contacts/9"], None),
        (
            "9",
            [(404,), (200, {"contacts": []}), (201, {"id": 7})],
            ["PUT /contacts/9", FIND, "POST /contacts"],
            "7",
        ),
        (
            "9",
            [(404,), (200, {"contacts": [{"id": 5}]}), (200,)],
            ["PUT /contacts/9", FIND, "PUT /contacts/5"],
            "5",
        ),
    ],
    ids=["created", "found", "remembered", "gone and created", "gone and found"],
)
def test_look_up_then_create_or_update(vendor, opened, reply, known, replies, requests, remote_id):
    vendor.replies = [reply(*one) for one in replies]
    outcomes = sent(opened(STEPS), people(known))
    assert statuses(outcomes) == ["accepted"]
    assert made(vendor) == requests
    assert ids(outcomes) == [remote_id]


def test_what_is_gone_twice_is_rejected(vendor, opened, reply):
    vendor.replies = [reply(404), reply(200, {"contacts": [{"id": 5}]}), reply(404)]
    assert statuses(sent(opened(STEPS), people("9"))) == ["rejected"]
    assert len(vendor.received) == 3


def test_rows_with_and_without_an_id_start_where_they_belong(vendor, opened, reply):
    vendor.replies = [
        lambda r: reply(201, {"id": 7}) if r.method == "POST" else reply(200, {"contacts": []})
    ]
    driver = opened(STEPS)
    rows = people("1", None, "3")
    assert driver.problems(Operation.UPSERT, rows).to_list() == [None] * 3
    outcomes = sent(driver, rows)
    assert statuses(outcomes) == ["accepted"] * 3
    assert sorted(key for outcome in outcomes for key in outcome.results[KEY]) == ["k0", "k1", "k2"]
    assert sorted(made(vendor)) == sorted(
        [
            "GET /contacts?email=p1%40example.com",
            "POST /contacts",
            "PUT /contacts/1",
            "PUT /contacts/3",
        ]
    )


def test_a_removal_of_nobody_is_done_and_a_promised_id_must_come(vendor, opened, reply):
    find = {key: value for key, value in LOOK.items() if key != "unless"}
    remove = {"request": "DELETE /contacts/{find.id}", "when": "find.id"}
    driver = opened({"remove": {"steps": [find, remove]}})
    vendor.replies = [reply(200, {"contacts": []})]
    assert statuses(sent(driver, people(None), Operation.REMOVE)) == ["accepted"]
    strict = {**find, "answer": {"id": "contacts.0.id"}}
    driver = opened({"remove": {"steps": [strict, remove]}})
    assert statuses(sent(driver, people(None), Operation.REMOVE)) == ["in_doubt"]


def test_a_later_step_without_what_it_needs_is_not_sent(vendor, opened, reply):
    update = {"request": "PUT /contacts/{find.id}"}
    driver = opened({"upsert": {"steps": [{**LOOK, "name": "find"}, update]}})
    vendor.replies = [reply(200, {"contacts": []})]
    (outcome,) = sent(driver, people(None))
    assert statuses([outcome]) == ["rejected"]
    assert "gave no find.id" in outcome.results["message"][0]
    assert len(vendor.received) == 1


def test_rows_of_one_batch_go_their_own_ways(vendor, opened, reply):
    """The first request gives ids to some rows; the next is made for the others alone."""
    steps = [
        {
            "name": "find",
            "request": "POST /find",
            "body": {"people": {"each": {"email": "{email}"}}},
            "answer": {
                "accepted": {"at": "found", "key": "email", "field": "email", "id": "id"},
            },
        },
        {
            "request": "POST /new",
            "unless": "find.id",
            "body": {"people": {"each": {"email": "{email}"}}},
        },
        {
            "request": "POST /old",
            "when": "find.id",
            "body": {"people": {"each": {"id": "{find.id}", "again": "{remote_id}"}}},
        },
    ]

    def play(request):
        if request.path != "/find":
            return reply(200)
        found = [{"email": p["email"], "id": n} for n, p in enumerate(request.json["people"])]
        return reply(200, {"found": [{"email": p["email"]} if p["id"] % 2 else p for p in found]})

    vendor.replies = [play]
    driver = opened({"upsert": {"batch": {"rows": 10, "docs": DOCS}, "steps": steps}})
    outcomes = sent(driver, people(*[None] * 4))
    assert statuses(outcomes) == ["accepted"] * 4
    assert ids(outcomes) == ["0", None, "2", None]
    new, old = vendor.received[1:]
    assert new.json == {"people": [{"email": "p1@example.com"}, {"email": "p3@example.com"}]}
    assert old.json == {"people": [{"id": "0", "again": "0"}, {"id": "2", "again": "2"}]}


def listing(pages, answer=None, **more):
    answer = answer or {"at": "data", "match": {"email": "{email}"}, "id": "id"}
    find = {"name": "find", "request": "GET /contacts?size=2", "pages": pages, "answer": answer}
    return {"upsert": {"steps": [{**find, **more}, {"request": "PUT /contacts/{remote_id}"}]}}


def shelf(vendor, reply, turned):
    """A list of five people, two a page."""
    everybody = [{"id": n, "email": f"P{9 - n}@example.com"} for n in range(9, 4, -1)]

    def play(request):
        if request.method == "PUT":
            return reply(200)
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        start, more = turned(query)
        body = {"data": everybody[start : start + 2]}
        return reply(200, body | (more(start + 2) if start + 2 < len(everybody) else {}))

    vendor.replies = [play]


@pytest.mark.parametrize(
    ("pages", "turned"),
    [
        (
            {"next": "paging.after", "query": "after"},
            lambda q: (int(q.get("after", 0)), lambda n: {"paging": {"after": n}}),
        ),
        ({"page": "page"}, lambda q: (2 * (int(q.get("page", 1)) - 1), lambda n: {})),
        ({"offset": "skip", "size": 2}, lambda q: (int(q.get("skip", 0)), lambda n: {})),
    ],
    ids=["cursor", "page", "offset"],
)
def test_pages_are_turned_until_the_row_is_found(vendor, opened, reply, pages, turned):
    shelf(vendor, reply, turned)
    driver = opened(listing(pages))
    rows = people(None, None, None, None, None, None)
    outcomes = sent(driver, rows)
    assert statuses(outcomes) == ["accepted"] * 5 + ["rejected"]
    assert ids(outcomes)[:5] == ["9", "8", "7", "6", "5"]
    assert all("size=2" in r.path for r in vendor.received if r.method == "GET")


def test_a_next_page_elsewhere_is_not_asked_for(vendor, opened, reply):
    body = {"data": [{"email": "x@example.com"}], "next": "http://127.0.0.1:1/contacts"}
    vendor.replies = [reply(200, body)]
    (outcome,) = sent(opened(listing({"next": "next", "url": True})), people(None))
    assert statuses([outcome]) == ["retry"]
    assert "another host" in outcome.results["message"][0]
    body["next"] = f"{vendor.url}/contacts?page=2"
    vendor.replies = [
        reply(200, body),
        reply(200, {"data": [{"email": "p0@example.com", "id": 4}]}),
        reply(200),
    ]
    outcomes = sent(opened(listing({"next": "next", "url": True})), people(None))
    assert (statuses(outcomes), ids(outcomes)) == (["accepted"], ["4"])
    assert made(vendor)[-2:] == ["GET /contacts?page=2", "PUT /contacts/4"]


AUDIENCE = {
    "settings": {
        "key": {"description": "API key", "secret": True},
        "list": {"description": "list", "example": "1"},
    },
    "audience": {
        "setting": "list",
        "find": {
            "request": "GET /lists",
            "answer": {"at": "data", "match": {"name": "{meta.audience}"}, "id": "id?"},
        },
        "create": {
            "request": "POST /lists",
            "body": {"name": "{meta.audience}"},
            "answer": {"status": [201], "id": "id"},
        },
    },
}
ADD = {
    "upsert": {
        "request": "POST /lists/{settings.list}/add",
        "body": {"email": "{email}", "list": "{settings.list|integer}"},
    }
}


@pytest.mark.parametrize("there", [True, False])
def test_an_audience_is_found_or_created_once_and_remembered(vendor, opened, reply, there):
    lists = [{"name": "Loyal", "id": 3}, *([{"name": "loyal", "id": 17}] if there else [])]

    def play(request):
        if request.path == "/lists":
            posted = request.method == "POST"
            return reply(201, {"id": 17}) if posted else reply(200, {"data": lists})
        return reply(200)

    vendor.replies = [play]
    driver = opened(ADD, **AUDIENCE)
    deliveries = list(driver.deliveries(Operation.UPSERT, people(None, None)))
    assert vendor.received == []  # rendering sends nothing
    assert statuses(driver.send(delivery) for delivery in deliveries) == ["accepted"] * 2
    first = ["GET /lists"] if there else ["GET /lists", "POST /lists"]
    assert made(vendor) == [*first, "POST /lists/17/add", "POST /lists/17/add"]
    assert vendor.received[-1].json == {"email": "p1@example.com", "list": 17}
    vendor.received.clear()
    assert statuses(sent(opened(ADD, **AUDIENCE), people(None))) == ["accepted"]
    assert made(vendor) == ["POST /lists/17/add"]


def test_an_audience_that_cannot_be_had_stops_the_run(vendor, opened, reply):
    vendor.replies = [reply(200, {"data": []}), reply(422, {"message": "too many lists"})]
    (outcome,) = sent(opened(ADD, **AUDIENCE), people(None))
    assert statuses([outcome]) == ["retry"]
    assert "too many lists" in outcome.stop
    assert json.dumps(outcome.sample)
