"""What every code adapter does alike, each against a real server."""

import importlib
import itertools
import socket
import time
import tomllib
from pathlib import Path

import polars as pl
import pytest

import destinations
from destinations.connections import Connection
from destinations.driver import Operation, Status
from destinations.errors import StoreroomError
from destinations.language.loader import load_spec_file
from destinations.registry import open_driver

UPSERT, ADD, REMOVE = Operation.UPSERT, Operation.ADD, Operation.REMOVE


def test_add_update_remove_and_add_again(driver, people, deliver, frame, held, expected):
    assert "".join(driver.check())
    assert set(deliver(driver, ADD, people)["status"]) == {"accepted"}
    assert held() == expected(people)

    changed = people.with_columns(
        pl.Series("plan", [None, "silver", "gold"]), pl.Series("_hash", ["a", "b", "c"])
    )
    assert set(deliver(driver, UPSERT, changed)["status"]) == {"accepted"}
    assert held() == expected(changed)

    assert set(deliver(driver, REMOVE, changed[1:].select("_key", "_hash"))["status"]) == {
        "accepted"
    }
    assert held() == expected(changed[:1])

    assert set(deliver(driver, UPSERT, people)["status"]) == {"accepted"}
    assert held() == expected(people)


def test_removing_somebody_who_is_not_there_is_accepted(driver, frame, deliver):
    assert deliver(driver, REMOVE, frame(["nobody"]))["status"].to_list() == ["accepted"]


def test_no_rows_make_no_delivery(driver, people):
    for operation in driver.capabilities.operations:
        assert list(driver.deliveries(operation, people[:0])) == []


def test_the_same_delivery_again_leaves_no_duplicate(
    harness, driver, people, only_delivery, held, expected
):
    delivery = only_delivery(driver, UPSERT, people)
    again = only_delivery(driver, UPSERT, people)
    assert delivery.id == again.id
    for item in (delivery, again):
        assert set(driver.send(item).results["status"]) == {"accepted"}
    assert held() == expected(people)
    copies = 2 if not driver.capabilities.idempotent else 1
    assert getattr(harness, "arrived", people.height) == copies * people.height


def test_deliveries_keep_the_limits_and_the_order(harness, people, held, expected):
    many = pl.concat([people.with_columns(_key=pl.col("_key") + f"-{n}") for n in range(40)])
    small = harness.module.open(harness.module.Settings(**harness.works, batch_rows=7))
    sent = list(small.deliveries(UPSERT, many))
    assert max(delivery.rows.height for delivery in sent) == small.capabilities.batch_rows == 7
    assert pl.concat([delivery.rows for delivery in sent]).equals(many)
    assert len({delivery.id for delivery in sent}) == len(sent)
    for delivery in sent:
        assert set(small.send(delivery).results["status"]) == {"accepted"}
    assert held() == expected(many)
    small.close()


def test_what_cannot_work_is_an_outcome_and_a_clear_error(harness, people, only_delivery):
    for why, settings in harness.fails.items():
        driver = harness.module.open(harness.module.Settings(**settings))
        outcome = driver.send(only_delivery(driver, UPSERT, people))
        assert outcome.results["_key"].to_list() == people["_key"].to_list()
        statuses = set(outcome.results["status"])
        assert statuses <= {Status.RETRY.value, Status.IN_DOUBT.value}, why
        assert (outcome.stop is None) == (why == "down"), (why, outcome)
        assert outcome.results["message"].str.len_chars().min() > 5
        if why not in ("recipient",):
            with pytest.raises(StoreroomError) as refusal:
                driver.check()
            assert refusal.value.fix
            assert "wrong" not in str(refusal.value)
        assert "wrong" not in str(outcome)
        driver.close()


def test_secrets_stay_out_of_what_can_be_printed(harness, driver):
    settings = harness.module.Settings(**harness.works)
    assert "right" not in repr(settings) + repr(driver)
    assert "right" not in settings.model_dump_json()


def test_every_setting_is_described(harness):
    for name, setting in harness.module.Settings.model_fields.items():
        assert setting.description, name


def test_operations_it_lacks_are_named(driver, people):
    for operation in Operation:
        problems = driver.problems(operation, people)
        assert problems.len() == people.height
        has = operation in driver.capabilities.operations
        assert problems.null_count() == (people.height if has else 0)


def test_concurrent_deliveries_all_land(driver, people, held, expected):
    from concurrent.futures import ThreadPoolExecutor

    many = pl.concat([people.with_columns(_key=pl.col("_key") + f"-{n}") for n in range(8)])
    parts = [many[start : start + 3] for start in range(0, many.height, 3)]
    sent = list(itertools.chain.from_iterable(driver.deliveries(UPSERT, part) for part in parts))
    with ThreadPoolExecutor(driver.capabilities.concurrency) as threads:
        outcomes = list(threads.map(driver.send, sent))
    assert {status for outcome in outcomes for status in outcome.results["status"]} == {"accepted"}
    assert held() == expected(many)


def test_a_silent_server_is_given_up(harness, people, only_delivery):
    if not hasattr(harness, "silent"):
        pytest.skip("it has no server")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = harness.works | harness.silent(listener.getsockname()[1])
        driver = harness.module.open(harness.module.Settings(**settings))
        started = time.monotonic()
        outcome = driver.send(only_delivery(driver, UPSERT, people))
        assert set(outcome.results["status"]) == {"retry"}
        assert outcome.stop is None
        assert time.monotonic() - started < 12
        driver.close()


def test_the_catalog_says_what_the_driver_does(harness, driver):
    (path,) = (Path(destinations.__file__).parent / "catalog").glob(f"*/{harness.id}.yaml")
    entry = load_spec_file(path)
    assert (entry.id, entry.category) == (harness.id, path.parent.name)
    assert importlib.import_module(entry.adapter) is harness.module
    assert set(entry.code_operations) == driver.capabilities.operations
    assert entry.batch_rows == driver.capabilities.batch_rows
    assert entry.per_row_results == driver.capabilities.per_row_results
    assert entry.idempotent == driver.capabilities.idempotent
    assert (
        entry.extra is None
        or entry.extra
        in tomllib.loads((Path(destinations.__file__).parents[1] / "pyproject.toml").read_text())[
            "project"
        ]["optional-dependencies"]
    )


def test_a_connection_opens_it_and_keeps_its_secrets_in_the_environment(
    harness, people, deliver, monkeypatch, held, expected
):
    fields = harness.module.Settings.model_fields
    secrets = {name for name in harness.works if "SecretStr" in str(fields[name].annotation)}
    for name in secrets:
        monkeypatch.setenv(f"TEST_{name.upper()}", harness.works[name])
    settings = {
        name: {"env": f"TEST_{name.upper()}"} if name in secrets else value
        for name, value in harness.works.items()
    }
    connection = Connection(
        name="c", destination=harness.id, consent="not_required", settings=settings
    )
    # By default files go to a folder of the audience's name; here they go where `held` looks.
    unset = "folder" in fields and "folder" not in harness.works
    target = {"batch_rows": 2} | ({"folder": ""} if unset else {})
    driver = open_driver(connection, target, sync_key="profile_id", audience="people")
    assert set(deliver(driver, UPSERT, people)["status"]) == {"accepted"}
    assert held() == expected(people)
    driver.close()
