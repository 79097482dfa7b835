"""Object storage in particular: names, keys that are refused, settings that do not fit."""

import urllib.request

import polars as pl
import pytest
from pydantic import ValidationError

from destinations.adapters import object_storage
from destinations.driver import Operation
from destinations.errors import StoreroomError

KEYS = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}


def test_files_are_named_by_the_delivery_and_say_the_operation(tmp_path, frame, only_delivery):
    settings = object_storage.Settings(url=f"file://{tmp_path}/drop")
    driver = object_storage.open(settings)
    rows = frame(["a"], city=["Bern"])
    sent = [
        only_delivery(driver, operation, rows) for operation in (Operation.ADD, Operation.REMOVE)
    ]
    for delivery in sent:
        driver.send(delivery)
    assert {path.name for path in (tmp_path / "drop").iterdir()} == {
        f"{delivery.id}.parquet" for delivery in sent
    }
    read = pl.read_parquet(tmp_path / "drop" / f"{sent[1].id}.parquet")
    assert read.to_dicts() == [{"_operation": "remove", "_key": "a", "city": "Bern"}]


def test_a_folder_may_be_named_from_the_working_directory(
    tmp_path, monkeypatch, frame, only_delivery
):
    monkeypatch.chdir(tmp_path)
    driver = object_storage.open(object_storage.Settings(url="file://./my%20drop"))
    delivery = only_delivery(driver, Operation.ADD, frame(["a"]))
    assert driver.send(delivery).results["status"].to_list() == ["accepted"]
    assert (tmp_path / "my drop" / f"{delivery.id}.parquet").exists()


def test_files_keep_the_limit_of_bytes(tmp_path, frame):
    settings = object_storage.Settings(url=f"file://{tmp_path}", format="csv", batch_bytes=2000)
    rows = frame([str(number) for number in range(100)], text=["x" * 100] * 100)
    sent = list(object_storage.open(settings).deliveries(Operation.ADD, rows))
    assert len(sent) > 5
    assert max(delivery.size for delivery in sent) <= 2000
    assert pl.concat([delivery.rows for delivery in sent]).equals(rows)


def test_a_refused_key_stops_the_connection(s3_server, frame, only_delivery):
    endpoint, _ = s3_server
    settings = object_storage.Settings(url="s3://drops/x", endpoint=endpoint, **KEYS)
    driver = object_storage.open(settings)

    def allowed_calls(count):
        request = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", count.encode())
        request.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(request).close()

    allowed_calls("0")
    try:
        outcome = driver.send(only_delivery(driver, Operation.ADD, frame(["a"])))
        with pytest.raises(StoreroomError, match="InvalidAccessKeyId"):
            driver.check()
    finally:
        allowed_calls("1000000000")
    assert "InvalidAccessKeyId" in outcome.stop
    assert outcome.results["status"].to_list() == ["retry"]
    assert "secret" not in str(outcome)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"gzip": True}, "parquet files are compressed already"),
        ({"access_key_id": "key"}, "go together"),
        ({"endpoint": "http://storage.example.com"}, "endpoint"),
        ({"url": "ftp://host/folder"}, "url"),
        ({"url": "file://host/folder"}, "url"),
        ({"url": "s3://drops?x=1"}, "url"),
        ({"bucket": "drops"}, "bucket"),
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong, words):
    with pytest.raises(ValidationError, match=words):
        object_storage.Settings(**({"url": "s3://drops"} | wrong))


def test_google_and_azure_stores_open_without_a_request(frame, only_delivery):
    az = object_storage.Settings(
        url="az://container/folder", account_name="account", account_key="a2V5"
    )
    gs = object_storage.Settings(url="gs://bucket/folder", service_account_key="not json")
    assert "AzureStore" in repr(object_storage._store(az))
    driver = object_storage.open(gs)
    assert driver.send(only_delivery(driver, Operation.ADD, frame(["a"]))).stop
