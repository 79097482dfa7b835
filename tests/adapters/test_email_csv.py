"""E-mail in particular: recipients, replies, what a mail holds."""

import gzip

import pytest
from pydantic import ValidationError

from destinations.adapters import email_csv
from destinations.driver import Operation


@pytest.fixture
def opened(smtp_server):
    smtp_server.mails.clear()

    def start(**settings):
        given = {
            "host": "127.0.0.1", "port": smtp_server.port, "ca_file": smtp_server.ca_file,
            "username": "digest", "password": "right", "sender": "storeroom@example.com",
            "recipients": ["team@example.com"],
        }  # fmt: skip
        return email_csv.open(email_csv.Settings(**(given | settings)))

    yield start
    smtp_server.answer = "250 OK queued"


@pytest.fixture
def rows(frame):
    return frame(["a", "b"], city=["Zürich", None])


def test_a_mail_has_a_summary_and_the_rows(opened, smtp_server, rows, only_delivery):
    driver = opened(gzip=True, subject="VIP Kunden für heute")
    delivery = only_delivery(driver, Operation.ADD, rows)
    outcome = driver.send(delivery)
    assert outcome.sample["response"].startswith("250")
    (mail,) = smtp_server.mails
    assert mail["Message-ID"] == f"<{delivery.id}@example.com>"
    assert mail["Subject"] == "VIP Kunden für heute: 2 x add"
    assert "Rows: 2" in mail.get_body().get_content()
    (attachment,) = mail.iter_attachments()
    assert attachment.get_filename() == f"{delivery.id}.csv.gz"
    assert (
        gzip.decompress(attachment.get_content()).decode()
        == "_operation,_key,city\nadd,a,Zürich\nadd,b,\n"
    )


def test_one_refused_recipient_keeps_the_mail_from_all(opened, smtp_server, rows, only_delivery):
    driver = opened(recipients="team@example.com,refused@example.com")
    outcome = driver.send(only_delivery(driver, Operation.ADD, rows))
    assert "refused@example.com: 550" in outcome.stop
    assert smtp_server.mails == []


def test_a_full_mailbox_is_tried_later(opened, smtp_server, rows, only_delivery):
    driver = opened(recipients="team@example.com,full@example.com")
    outcome = driver.send(only_delivery(driver, Operation.ADD, rows))
    assert set(outcome.results["status"]) == {"retry"}
    assert "mailbox full" in outcome.results["message"][0]
    assert outcome.stop is None
    assert smtp_server.mails == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("552 5.3.4 message too big", "rejected"),
        ("451 4.3.0 later, please", "retry"),
        ("hang up", "in_doubt"),
    ],
)
def test_the_answer_to_the_text_decides(opened, smtp_server, rows, only_delivery, answer, status):
    smtp_server.answer = answer
    driver = opened()
    outcome = driver.send(only_delivery(driver, Operation.ADD, rows))
    assert set(outcome.results["status"]) == {status}
    assert outcome.whole
    assert smtp_server.mails == []
    if status != "in_doubt":
        assert answer in outcome.results["message"][0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"recipients": ""}, "not an address"),
        ({"recipients": []}, "recipients"),
        ({"username": None}, "go together"),
        ({"security": "none", "host": "smtp.example.com"}, "not sent in clear"),
        ({"subject": "a\nBcc: x@y"}, "subject"),
        ({"sender": "nobody"}, "sender"),
    ],
)
def test_settings_that_do_not_fit_are_refused(opened, wrong, words):
    with pytest.raises(ValidationError, match=words):
        opened(**wrong)
