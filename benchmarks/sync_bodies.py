"""Rows to JSON bodies: the product's templates, and an orjson loop beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sync_shared import AUDIENCE, SPEC, cpu

NASTY = ["plain", 'a "quoted" \\ back\\slash', "tab\tnew\nline\r", "\x00\x01\x1f\x7f\x85", "\u2028\u2029",
         "Grüße, 東京 🏬 \U0010ffff", "", None]  # fmt: skip


def _bodies_frame(rows: int) -> Any:
    """Rows as drivers get them: two declared fields, four custom ones, a third of them null."""
    import polars as pl

    n = pl.int_range(rows, dtype=pl.Int64)
    texts = pl.lit(pl.Series(NASTY)).gather(n % len(NASTY))
    return pl.select(
        _key=pl.format("p{}", n), _hash=pl.lit("0" * 32), _remote_id=pl.lit(None, pl.String),
        _id=pl.format("i{}", n), email=pl.format("person{}@example.com", n),
        name=pl.when(n % 100 == 0).then(texts).otherwise(pl.format("Name {}", n % 1000)),
        score=pl.when(n % 3 > 0).then(n % 100 / 4), orders=pl.when(n % 3 != 1).then(n % 17),
        vip=n % 2 == 0,
        seen=pl.when(n % 3 != 2).then(pl.datetime(2026, 1, 1) + pl.duration(seconds=n % 100_000)),
    )  # fmt: skip


def bodies(folder: Path, rows: int) -> dict[str, Any]:  # noqa: ARG001
    """Rendered by the product's own templates."""
    import orjson

    from destinations.driver import Operation
    from destinations.language.compile import Compiled
    from destinations.language.loader import load_spec_text

    text = SPEC.format(
        concurrency=1,
        batch='batch: {rows: 1000, docs: "https://www.rfc-editor.org/rfc/rfc9110"}\n    nulls: drop',
        body='{contacts: {each: {email: "{email}", properties: {"...": "{custom}"}}}}',
    )
    spec = load_spec_text(
        text + "fields: {email: {description: E-mail address, type: string}}\n", "benchmark.yaml"
    )
    frame = _bodies_frame(rows)
    compiled = Compiled(spec, Operation.UPSERT, {"url": ""}, AUDIENCE)
    begun = cpu()
    size = sum(len(made.request.body or b"") for made in compiled.requests(frame))
    used = cpu() - begun
    wrong = 0
    few = frame.head(10_000)
    for made, part in zip(compiled.requests(few), few.iter_slices(1000), strict=True):
        wanted = orjson.loads(_orjson_body(part))
        wrong += json.loads(made.request.body or b"") != wanted
    return {"cpu": used, "bytes": size, "wrong": wrong}


def _orjson_body(part: Any) -> bytes:
    import orjson

    contacts = []
    for row in part.drop("_key", "_hash", "_remote_id", "_id").iter_rows(named=True):
        email = row.pop("email")
        seen = row["seen"]
        if seen is not None:
            row["seen"] = seen.isoformat() + "Z"
        custom = {name: value for name, value in row.items() if value is not None}
        contacts.append({"email": email, "properties": custom})
    return orjson.dumps({"contacts": contacts})


def orjson_bodies(folder: Path, rows: int) -> dict[str, Any]:  # noqa: ARG001
    """The same bodies by a loop over the rows."""
    frame = _bodies_frame(rows)
    begun = cpu()
    size = sum(len(_orjson_body(part)) for part in frame.iter_slices(1000))
    return {"cpu": cpu() - begun, "bytes": size}
