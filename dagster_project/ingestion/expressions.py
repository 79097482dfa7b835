"""SQL expressions of a mapping: one expression each, that can only compute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import orjson

from dagster_project.ingestion.engine import Connection, literal, open_engine

_CLOCKS = frozenset(
    {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
)


_columns: dict[str, frozenset[str]] = {}


@cache
def _unstable() -> frozenset[str]:
    with open_engine() as engine:
        names = engine.execute(
            "select distinct function_name from duckdb_functions() where stability <> 'CONSISTENT'"
        ).fetchall()
    return frozenset(name for (name,) in names)


def first_problem(expressions: Iterable[tuple[str, str]]) -> str | None:
    """What is wrong with the first bad one of these keys and expressions; None if all are good."""
    with open_engine() as engine:
        for key, text in expressions:
            try:
                check_expression(engine, text)
            except ValueError as error:
                return f"{key}: {error}"
    return None


def check_expression(engine: Connection, text: str) -> None:
    """Refuse what is not one expression over a row.

    Raises:
        ValueError: not SQL, more than one expression, a query, ``*``, or a function whose
            result changes from run to run.
    """
    unstable = _unstable()
    tree = _parse(engine, f"({text}\n)")
    if tree.get("error"):
        raise ValueError(f"`{text}` is not an SQL expression: {tree.get('error_message', '')}")
    statements = tree["statements"]
    node = statements[0]["node"] if len(statements) == 1 else {}
    # In brackets `a, b` is one row value; without them it is what the writer meant.
    bare = _parse(engine, f"{text}\n").get("statements", [{}])[0].get("node", {})
    plain = (
        len(bare.get("select_list", [])) == 1
        and len(node.get("select_list", [])) == 1
        and node.get("from_table", {}).get("type") == "EMPTY"
        and not node.get("modifiers")
        and not any(
            node.get(key) for key in ("where_clause", "group_expressions", "having", "qualify")
        )
    )
    if not plain:
        raise ValueError(f"`{text}` is more than one expression; write a single one")
    for part in _walk(node["select_list"][0]):
        kind = part.get("class")
        if kind == "SUBQUERY":
            raise ValueError(f"`{text}` holds a query; an expression sees its own row only")
        if kind == "STAR":
            raise ValueError(f"`{text}` holds `*`; name the columns")
        name = part.get("function_name")
        if kind == "COLUMN_REF" and len(part["column_names"]) == 1:
            # A function that is written without brackets looks like a column.
            name = next((n.lower() for n in part["column_names"] if n.lower() in _CLOCKS), None)
        if name in unstable or name in _CLOCKS:
            raise ValueError(f"`{text}` calls {name}(), whose result differs from run to run")


def columns_of(engine: Connection, text: str) -> frozenset[str]:
    """Names that the expression looks up in the row, without the parameters of its lambdas."""
    if text not in _columns:
        _columns[text] = _find_columns(_parse(engine, f"({text}\n)"))
    return _columns[text]


def aggregate_arguments(engine: Connection, text: str) -> list[str]:
    """What the aggregates in the expression compute from each row, as SQL that stands alone.

    Bare columns and constants are left out: nothing can go wrong in them.
    """
    tree = _parse(engine, f"({text}\n)")
    found: dict[str, None] = {}
    for part in _walk(tree):
        if part.get("function_name") not in _aggregates():
            continue
        parts = [argument["expression"] for argument in part["arguments"]]
        parts += [order["expression"] for order in part["order_bys"]["orders"]]
        # DuckDB computes the arguments of rows that the filter leaves out, too.
        parts += [part["filter"]] if part["filter"] else []
        for argument in parts:
            inner = any(p.get("function_name") in _aggregates() for p in _walk(argument))
            if argument["class"] not in ("COLUMN_REF", "CONSTANT") and not inner:
                found[_as_text(engine, tree, argument)] = None
    return list(found)


@cache
def _aggregates() -> frozenset[str]:
    with open_engine() as engine:
        names = engine.execute(
            "select distinct function_name from duckdb_functions() where function_type = 'aggregate'"
        ).fetchall()
    return frozenset(name for (name,) in names)


def _as_text(engine: Connection, tree: dict[str, Any], part: dict[str, Any]) -> str:
    (statement,) = tree["statements"]
    node = statement["node"] | {"select_list": [part]}
    lone = orjson.dumps(tree | {"statements": [statement | {"node": node}]}).decode()
    rows = engine.execute(f"select json_deserialize_sql({literal(lone)}::json)").fetchall()
    return str(rows[0][0]).partition(" ")[2]


def _find_columns(tree: dict[str, Any]) -> frozenset[str]:
    found: set[str] = set()
    bound: set[str] = set()
    for part in _walk(tree):
        if part.get("class") == "COLUMN_REF":
            found.add(part["column_names"][0])
        if part.get("class") == "LAMBDA":
            bound |= {
                inner["column_names"][0]
                for inner in _walk(part.get("lhs") or {})
                if inner.get("class") == "COLUMN_REF"
            }
            bound |= set(part.get("named_parameters") or ())
    return frozenset(found - bound)


def _parse(engine: Connection, text: str) -> dict[str, Any]:
    # The newlines of the callers keep a trailing comment from swallowing what follows.
    rows = engine.execute(f"select json_serialize_sql({literal('select ' + text)})").fetchall()
    tree: dict[str, Any] = orjson.loads(rows[0][0])
    return tree


def _walk(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _walk(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _walk(value)
