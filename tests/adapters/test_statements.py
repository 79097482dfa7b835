"""Databases that no test can start: their statements are read in their own dialect, and those that
another database understands are run there.
"""

import json
import re

import polars as pl
import pytest
import sqlglot

from destinations.adapters import mongodb, mssql, oracle
from destinations.adapters.table_driver import Batch, Fault
from destinations.driver import Operation
from destinations.previews import code_rows, example_model
from destinations.registry import adapter_module, load_spec

UPSERT, ADD, REMOVE = Operation.UPSERT, Operation.ADD, Operation.REMOVE
DIALECTS = {"mssql": "tsql", "oracle": "oracle"}


def statements(destination, operation):
    spec = load_spec(destination)
    module = adapter_module(spec)
    shown = module.preview(example_model(spec), operation, code_rows(spec, 2))
    return [one["body"] for one in shown]


@pytest.mark.parametrize("destination", DIALECTS)
@pytest.mark.parametrize("operation", [UPSERT, ADD, REMOVE])
def test_every_statement_is_of_its_dialect(destination, operation):
    found = statements(destination, operation)
    assert len(found) == (1 if operation is REMOVE else 2)
    for one in found:
        text = one["statement"].replace("openjson(%s)", "openjson('[]')").replace("%%", "%")
        text = re.sub(r":(\d+)", r":b\1", text)  # the parser knows no numbered marks
        (tree,) = sqlglot.parse(text, dialect=DIALECTS[destination])
        kinds = (sqlglot.exp.Create, sqlglot.exp.Merge, sqlglot.exp.Delete)
        assert isinstance(tree, kinds), text


def test_sql_server_compares_keys_exactly_whatever_the_columns_collation():
    (merge,) = (one["statement"] for one in statements("mssql", UPSERT)[1:])
    assert '"profile_id" = s."profile_id" collate Latin1_General_100_BIN2' in merge
    assert merge.endswith(";")
    server = mssql.SqlServer(example_model(load_spec("mssql")))
    server._collation = "Latin1_General_CI_AS"
    batch = Batch(pl.DataFrame({"profile_id": ["a"], "50%": ["x"]}), {})
    ((sql, bound),) = server.writing(batch)
    assert "collate Latin1_General_CI_AS and" in sql
    assert sql % ("N'[]'",) == sql.replace("%s", "N'[]'").replace("%%", "%")
    assert json.loads(bound[0]) == [{"c0": "a", "c1": "x"}]


@pytest.mark.parametrize(
    ("code", "fault"),
    [(2628, Fault.DATA), (2627, Fault.DATA), (1205, Fault.PASSING), (208, Fault.STALE),
     (229, Fault.CLOSED), (18456, Fault.CLOSED), (20009, Fault.PASSING), (20006, Fault.LOST)],
)  # fmt: skip
def test_errors_of_sql_server(code, fault):
    import pymssql

    server = mssql.SqlServer(example_model(load_spec("mssql")))
    assert server.fault(pymssql.OperationalError(code, b"text")) is fault
    assert server.fault(pymssql.OperationalError((code, b"text"))) is fault
    assert server.fault(ValueError()) is None


@pytest.mark.parametrize(
    ("code", "fault"),
    [(12899, Fault.DATA), (60, Fault.PASSING), (942, Fault.STALE), (1017, Fault.CLOSED),
     (3113, Fault.LOST)],
)  # fmt: skip
def test_errors_of_oracle(code, fault):
    import oracledb

    class Said:
        def __init__(self):
            self.code, self.full_code = code, f"ORA-{code:05}"

    server = oracle.OracleServer(example_model(load_spec("oracle")))
    assert server.fault(oracledb.DatabaseError(Said())) is fault


def test_oracle_nobody_listens_is_for_later(free_port, frame, only_delivery):
    driver = oracle.open(
        oracle.Settings(dsn=f"127.0.0.1:{free_port()}/x", username="u", password="p", table="t")
    )
    outcome = driver.send(only_delivery(driver, UPSERT, frame(["a"], n=[1])))
    assert (outcome.results["status"].to_list(), outcome.stop) == (["retry"], None)


def test_sql_server_nobody_listens_is_for_later(free_port, frame, only_delivery):
    driver = mssql.open(
        mssql.Settings(
            host="127.0.0.1",
            port=free_port(),
            username="u",
            password="p",
            database="d",
            table="t",
            connect_timeout_seconds=2,
        )
    )
    outcome = driver.send(only_delivery(driver, UPSERT, frame(["a"], n=[1])))
    assert (outcome.results["status"].to_list(), outcome.stop) == (["retry"], None)


@pytest.fixture
def documents(monkeypatch):
    """A MongoDB driver over an imitation of the server in memory, and its collection."""
    import mongomock
    from mongomock.collection import BulkOperationBuilder

    add_update = BulkOperationBuilder.add_update
    monkeypatch.setattr(  # the client has an argument `sort` that the imitation does not know
        BulkOperationBuilder,
        "add_update",
        lambda self, *given, sort=None, **named: add_update(self, *given, **named),
    )
    monkeypatch.setattr("pymongo.MongoClient", lambda *_, **__: client)
    client = mongomock.MongoClient()
    driver = mongodb.open(mongodb.Settings(uri="mongodb://h", database="d", collection="c"))
    yield driver, client["d"]["c"]
    driver.close()


def test_documents_are_written_changed_and_taken_out(documents, frame, deliver):
    driver, collection = documents
    rows = frame(["a", "b"], name=["Ada", None], tags=[["x"], []], n=[1, None])
    assert set(deliver(driver, UPSERT, rows)["status"]) == {"accepted"}
    collection.update_one({"_id": "a"}, {"$set": {"other": "kept"}})
    changed = frame(["a", "c"], name=[None, "Cy"], tags=[["y"], None], n=[2, 3])
    assert set(deliver(driver, ADD, changed)["status"]) == {"accepted"}
    assert set(deliver(driver, REMOVE, frame(["b", "nobody"]))["status"]) == {"accepted"}
    held = {one.pop("_id"): one for one in collection.find()}
    assert held == {
        "a": {"tags": ["y"], "n": 2, "other": "kept"},
        "c": {"name": "Cy", "n": 3},
    }


def test_a_document_that_is_refused_is_named_alone(documents, frame, deliver):
    driver, collection = documents
    collection.create_index("email", unique=True)
    rows = frame(["a", "b", "c"], email=["x@example.com", "x@example.com", "c@example.com"])
    results = deliver(driver, UPSERT, rows)
    assert results["status"].to_list() == ["accepted", "rejected", "accepted"]


def test_fields_that_mongodb_has_no_names_for_are_named_before(documents, frame):
    driver, _ = documents
    for name in ("a.b", "$a"):
        assert driver.problems(UPSERT, frame(["k"], **{name: [1]})).null_count() == 0
    wide = frame(["k", "l"], n=pl.Series([1, 2**63], dtype=pl.UInt64))
    assert driver.problems(UPSERT, wide).is_null().to_list() == [True, False]
