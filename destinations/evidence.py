"""How far each spec is proved, and the file that carries the proof.

``documented``
    every fact of the spec names the vendor's page, and it loads: the loader asks for both.
``schema-checked``
    besides, the requests of all its operations are ones that an OpenAPI description of the vendor
    knows. ``evidence.json`` beside the specs says which description (file, digest, origin) passed
    which text of the spec (digest): it is written by comparing, never by hand, and counts only
    while the spec's text is the one that was compared.
``vendor-verified``
    recorded from a real account. No recordings are read yet: no spec reaches this level.
"""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from destinations.catalog_index import EVIDENCE, digest_of
from destinations.errors import ConfigurationError
from destinations.http.check import Finding, check, compare
from destinations.http.openapi import Description, read_description
from destinations.language.loader import SpecError
from destinations.previews import example_model, previews
from destinations.registry import CATALOG, load_spec, offered_operations, summary_of

FORMAT = 1


@dataclass(frozen=True)
class Source:
    """One OpenAPI file and where it is from."""

    path: Path
    origin: str = ""
    official: bool = True
    """Whether the vendor itself wrote it."""

    @functools.cached_property
    def description(self) -> Description:
        return read_description(self.path, official=self.official)

    def as_record(self) -> dict[str, Any]:
        return {
            "file": self.path.name,
            "sha256": sha256(self.path.read_bytes()).hexdigest(),
            "origin": self.origin,
            "official": self.official,
        }


def sources_in(folder: Path) -> dict[str, list[Source]]:
    """Destination id -> its OpenAPI files, by the folder's ``index.csv``.

    The columns ``destination_id`` and ``file`` are needed; ``origin`` and ``vendor_official`` are
    kept where they are given. By ``server_url``, descriptions given for another destination of the
    same host count too.

    Raises:
        ConfigurationError: there is no such folder or index.
    """
    try:
        rows = list(csv.DictReader((folder / "index.csv").read_text("utf-8").splitlines()))
    except OSError as error:
        raise ConfigurationError(
            f"{folder} has no index.csv: {error.strerror}.",
            "Name a folder of OpenAPI files, or one file together with a destination.",
        ) from None
    found: dict[str, list[Source]] = {}
    on_host: dict[str, list[Source]] = {}
    hosts: dict[str, set[str]] = {}
    for row in rows:
        source = Source(
            folder / row["file"], row.get("origin", ""), row.get("vendor_official") != "no"
        )
        host = urlsplit(row.get("server_url") or "").netloc
        found.setdefault(row["destination_id"], []).append(source)
        on_host.setdefault(host, []).append(source)
        hosts.setdefault(row["destination_id"], set()).add(host)
    for name, own in found.items():
        for host in sorted(hosts[name] - {""}):
            own += [source for source in on_host[host] if source not in own]
    return found


def check_spec(destination: str, sources: Sequence[Source] = ()) -> list[Finding]:
    """Everything that can be found out about a spec without an account.

    Args:
        sources: the vendor's OpenAPI files, where some are at hand.

    Raises:
        ConfigurationError: no such destination, or an OpenAPI file that cannot be read.
    """
    try:
        spec = load_spec(destination)
    except SpecError as error:
        return [Finding("problem", line) for line in error.message.splitlines()]
    loads = Finding("ok", "It loads.")
    if spec.adapter is None:
        return [loads, *check(spec, [source.description for source in sources])]
    try:
        example_model(spec)
        made = [found for one in offered_operations(spec) for found in previews(spec.id, one, 2)]
    except ConfigurationError as error:
        return [loads, Finding("problem", error.message)]
    return [
        loads,
        *(
            Finding("ok", f"{found['operation']}: {len(found['requests'])} requests for 2 rows.")
            for found in made
        ),
    ]


def compared(sources: Mapping[str, Sequence[Source]]) -> dict[str, dict[str, Any]]:
    """The record of each destination all of whose requests the descriptions given for it know."""
    passed = {}
    for name, given in sources.items():
        if given and _agrees(name, given):
            passed[name] = {
                "spec": digest_of(summary_of(name).path),
                "descriptions": [source.as_record() for source in given],
            }
    return passed


def _agrees(destination: str, sources: Sequence[Source]) -> bool:
    try:
        made = list(previews(destination, None, 2))
    except ConfigurationError:
        return False
    requests = [request for found in made for request in found["requests"]]
    descriptions = [source.description for source in sources]
    return not any(compare(requests, descriptions))


def write_record(sources: Mapping[str, Sequence[Source]], catalog: Path = CATALOG) -> None:
    """Say in the catalog's file which of these destinations agree; others keep what it says.

    Args:
        sources: destination -> the OpenAPI files to compare its requests with; none takes the
            destination out of the file.
    """
    kept = {name: one for name, one in recorded(catalog).items() if name not in sources}
    document = {"format": FORMAT, "specs": dict(sorted((kept | compared(sources)).items()))}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (catalog / EVIDENCE).write_text(text, encoding="utf-8")


def recorded(catalog: Path = CATALOG) -> dict[str, dict[str, Any]]:
    """What the evidence file says, by id."""
    path = catalog / EVIDENCE
    if not path.is_file():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(path.read_bytes())["specs"]
    return found
