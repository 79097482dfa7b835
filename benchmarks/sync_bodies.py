"""Rows to bodies in every encoding: the product's templates, and a plain loop beside them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree

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


ROW = '{email: "{email}", "...": "{custom}"}'
BATCH = 'batch: {rows: 1000, docs: "https://www.rfc-editor.org/rfc/rfc9110"}'
TEMPLATES = {
    "json": (BATCH, '{contacts: {each: {email: "{email}", properties: {"...": "{custom}"}}}}'),
    "ndjson": (BATCH, f"{{each: {ROW}}}"),
    "csv": (BATCH, f"{{each: {ROW}}}"),
    "xml": (BATCH, f"{{contacts: {{contact: {{each: {ROW}}}}}}}"),
    "form": ("", ROW),
    "multipart": ("", ROW),
}
"""Forms carry one person a request, as the vendors that take them want it."""


def bodies(folder: Path, rows: int, encoding: str = "json") -> dict[str, Any]:  # noqa: ARG001
    """Rendered by the product's own templates."""
    from destinations.driver import Operation
    from destinations.language.compile import Compiled
    from destinations.language.loader import load_spec_text

    batch, body = TEMPLATES[encoding]
    text = SPEC.format(
        concurrency=1, batch=f"{batch}\n    encoding: {encoding}\n    nulls: drop", body=body
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
    wanted = LOOPS[encoding](few)
    read = READERS[encoding]
    for made, peer in zip(compiled.requests(few), wanted, strict=True):
        wrong += read(made.request.body or b"") != read(peer)
    return {"cpu": used, "bytes": size, "wrong": wrong}


def loop_bodies(folder: Path, rows: int, encoding: str) -> dict[str, Any]:  # noqa: ARG001
    """The same bodies by a loop over the rows."""
    frame = _bodies_frame(rows)
    begun = cpu()
    size = sum(map(len, LOOPS[encoding](frame)))
    return {"cpu": cpu() - begun, "bytes": size}


def _rows(frame: Any) -> Iterator[dict[str, Any]]:
    for row in frame.drop("_key", "_hash", "_remote_id", "_id").iter_rows(named=True):
        if row["seen"] is not None:
            row["seen"] = row["seen"].isoformat() + "Z"
        yield row


def _known(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _json_loop(frame: Any) -> Iterator[bytes]:
    import orjson

    for part in frame.iter_slices(1000):
        contacts = []
        for row in _rows(part):
            email = row.pop("email")
            contacts.append({"email": email, "properties": _known(row)})
        yield orjson.dumps({"contacts": contacts})


def _ndjson_loop(frame: Any) -> Iterator[bytes]:
    import orjson

    for part in frame.iter_slices(1000):
        yield b"".join(orjson.dumps(_known(row)) + b"\n" for row in _rows(part))


def _csv_loop(frame: Any) -> Iterator[bytes]:
    for part in frame.iter_slices(1000):
        text = io.StringIO()
        writer = csv.writer(text)
        for number, row in enumerate(_rows(part)):
            if number == 0:
                writer.writerow(row)
            writer.writerow("" if value is None else _text(value) for value in row.values())
        yield text.getvalue().encode()


def _xml_loop(frame: Any) -> Iterator[bytes]:
    for part in frame.iter_slices(1000):
        root = ElementTree.Element("contacts")
        for row in _rows(part):
            contact = ElementTree.SubElement(root, "contact")
            for name, value in _known(row).items():
                text = _text(value).replace("\x00", "").replace("\x01", "").replace("\x1f", "")
                ElementTree.SubElement(contact, name).text = text
        yield ElementTree.tostring(root, encoding="utf-8")


def _form_loop(frame: Any) -> Iterator[bytes]:
    for row in _rows(frame):
        yield urlencode({name: _text(value) for name, value in _known(row).items()}).encode()


def _multipart_loop(frame: Any) -> Iterator[bytes]:
    from urllib3.filepost import encode_multipart_formdata

    for row in _rows(frame):
        fields = {name: _text(value) for name, value in _known(row).items()}
        yield encode_multipart_formdata(fields)[0]


LOOPS: dict[str, Callable[[Any], Iterator[bytes]]] = {
    "json": _json_loop, "ndjson": _ndjson_loop, "csv": _csv_loop, "xml": _xml_loop,
    "form": _form_loop, "multipart": _multipart_loop,
}  # fmt: skip


def _read_csv(body: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(body.decode(), newline="")))


def _read_xml(body: bytes) -> list[dict[str, str | None]]:
    root = ElementTree.fromstring(body)
    # A carriage return is no line feed here, and the loop writes it bare.
    return [{one.tag: (one.text or "").replace("\r", "\n") for one in contact} for contact in root]


def _read_multipart(body: bytes) -> dict[str, bytes]:
    boundary = body[2 : body.index(b"\r\n")]
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: multipart/form-data; boundary=" + boundary + b"\r\n\r\n" + body
    )
    return {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
        for part in message.iter_parts()
    }


READERS: dict[str, Callable[[bytes], Any]] = {
    "json": json.loads, "ndjson": lambda body: [json.loads(line) for line in body.split(b"\n")[:-1]],
    "csv": _read_csv, "xml": _read_xml,
    "form": lambda body: dict(parse_qsl(body.decode(), keep_blank_values=True)),
    "multipart": _read_multipart,
}  # fmt: skip
