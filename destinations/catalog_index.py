"""What a listing shows of a folder of specs, without parsing them.

Every head is known by the digest of its spec's text: from ``index.json`` in the folder, which
is generated (``python -m destinations.generated``) and ships with it, or from the user's cache
folder. What neither knows is read from the spec, so that an old index costs time and never
says what is no longer so. A cache that cannot be read or written costs time only.
"""

from __future__ import annotations

import functools
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from destinations.errors import ConfigurationError

FORMAT = 5
INDEX = "index.json"
EVIDENCE = "evidence.json"
LEVELS = ("documented", "schema-checked", "vendor-verified")
"""How far a spec has been proved, from least to most."""
_PARTS = re.compile(rb"^(?=[a-z_]+:)", re.MULTILINE)
_UNLISTED = (b"examples:", b"settings:", b"fields:", b"errors:", b"notes:", b"check:", b"auth:")
"""Parts of a spec that no listing shows: half of what there is to parse."""
_EXTENDS = re.compile(rb"^extends:[ \t]*['\"]?([A-Za-z0-9_]+)", re.MULTILINE)

Head = dict[str, Any]
Stamps = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Summary:
    """One line of the listing."""

    id: str
    name: str
    category: str
    kind: str
    docs: str
    operations: tuple[str, ...]
    batch_size: int
    per_row_results: bool
    by_requests: bool
    """Whether it is spoken to by HTTP requests; if not, code speaks its protocol."""
    deprecated: str
    """The day on which the vendor takes the API away (2027-01-31), or empty."""
    evidence: str
    """One of :data:`LEVELS`."""
    path: Path
    origin: str
    version: str

    def as_row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "category": self.category,
            "kind": self.kind,
            "operations": list(self.operations),
            "batch_size": self.batch_size,
            "per_row_results": "yes" if self.per_row_results else "no",
            "evidence": self.evidence,
            "docs": self.docs,
            "deprecated": self.deprecated,
            "origin": f"{self.origin} {self.version}".strip(),
        }


def stamps_of(*paths: str | Path, depth: int = 0) -> Stamps:
    """Path, time of change and size of files: equal as long as nobody wrote to one.

    Args:
        depth: how deep to look into folders.
    """
    stamps = []
    for path in paths:
        with suppress(OSError):
            found = os.stat(path)  # noqa: PTH116 - asked of every file of the catalog, often
            stamps.append((str(path), found.st_mtime_ns, found.st_size))
            if depth and stat.S_ISDIR(found.st_mode):
                inside = [entry.path for entry in os.scandir(path)]
                stamps.extend(stamps_of(*inside, depth=depth - 1))
    return tuple(stamps)


def summaries_in(folder: Path, origin: str, version: str) -> tuple[Summary, ...]:
    """The specs of a folder, ``<category>/<id>.yaml``, or of a flat one.

    Raises:
        ConfigurationError: a file that says neither id nor name is no spec.
    """
    return _summaries(folder, origin, version, stamps_of(folder, depth=2))


@functools.lru_cache(maxsize=16)
def _summaries(
    folder: Path,
    origin: str,
    version: str,
    stamps: Stamps,  # noqa: ARG001 - a folder in which something changed is read again
) -> tuple[Summary, ...]:
    return tuple(_read_summaries(folder, origin, version))


def _read_summaries(folder: Path, origin: str, version: str) -> Iterator[Summary]:
    evidence = _read(folder / EVIDENCE).get("specs", {})
    for path, digest, head in _heads(folder):
        yield Summary(
            **{**head, "operations": tuple(head["operations"])},
            evidence=level(evidence.get(head["id"]), digest),
            path=path,
            origin=origin,
            version=version,
        )


def level(record: Mapping[str, Any] | None, digest: str) -> str:
    """The evidence of a spec whose text has this digest; what was recorded of another text is void."""
    checked = record is not None and record.get("spec") == digest
    return "schema-checked" if checked else "documented"


def digest_of(path: Path) -> str:
    """Names a spec's text, its family's included: 64 hex digits, the same on every system."""
    return _text_and_digest(path, {})[1]


def index_of(folder: Path) -> dict[str, Head]:
    """Digest -> head of every spec, read from the specs themselves."""
    families: dict[str, bytes] = {}
    found = {}
    for path in sorted(_specs(folder)):
        text, digest = _text_and_digest(path, families)
        found[digest] = _head(path, text)
    return found


def _heads(folder: Path) -> Iterator[tuple[Path, str, Head]]:
    shipped = _read(folder / INDEX)
    known: dict[str, Head] = shipped.get("specs", {}) if shipped.get("format") == FORMAT else {}
    families: dict[str, bytes] = {}
    cached: dict[str, Head] | None = None
    met: dict[str, Head] = {}
    new = False
    for path in sorted(_specs(folder)):
        text, digest = _text_and_digest(path, families)
        head = known.get(digest)
        if head is None:
            if cached is None:
                cached = _read(_cache_file(folder))
            head = cached.get(digest)
            if head is None:
                head, new = _head(path, text), True
            met[digest] = head
        yield path, digest, head
    if new:
        _write_cache(_cache_file(folder), met)


def _specs(folder: Path) -> Iterator[Path]:
    for entry in os.scandir(folder):
        if entry.is_dir() and not entry.name.startswith("_"):
            yield from (Path(e.path) for e in os.scandir(entry) if e.name.endswith(".yaml"))
        elif entry.name.endswith(".yaml"):
            yield Path(entry.path)


def _text_and_digest(path: Path, families: dict[str, bytes]) -> tuple[bytes, str]:
    try:
        text = path.read_bytes().replace(b"\r\n", b"\n")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    digest = sha256(text)
    extends = _EXTENDS.search(text)
    if extends is not None:
        from destinations.language.families import family_file

        family = family_file(path, extends[1].decode())
        if family.name not in families:
            found = family.read_bytes() if family.is_file() else b""
            families[family.name] = found.replace(b"\r\n", b"\n")
        digest.update(b"\0" + families[family.name])
    return text, digest.hexdigest()


def _head(path: Path, text: bytes) -> Head:
    """What the listing shows of one spec. The loader alone judges it; this only reads."""
    document = _mapping(path, text)
    if isinstance(document.get("extends"), str):
        from destinations.language.families import extended, family_file

        family = family_file(path, document["extends"])
        if family.is_file():
            document = extended(document, _mapping(family, family.read_bytes()))
    if not isinstance(document.get("id"), str):
        raise ConfigurationError(
            f"{path} is no spec: it has no `id:`.", "Take it out of the folder."
        )
    deprecated = document.get("deprecated")
    operations = document.get("operations")
    declared: dict[str, Any] = operations if isinstance(operations, dict) else {}
    parts = [part for part in declared.values() if isinstance(part, dict)]
    batches = [part for part in parts if isinstance(part.get("batch"), dict)]
    names = [*declared, *(document.get("code_operations") or [])]
    return {
        "id": document["id"],
        "name": str(document.get("name", document["id"])),
        "category": str(document.get("category", path.parent.name)),
        "kind": str(document.get("kind", "http_api")),
        "docs": str(document.get("docs", "")),
        "deprecated": str(deprecated.get("date", "")) if isinstance(deprecated, dict) else "",
        "by_requests": not document.get("adapter"),
        "operations": [str(name) for name in names],
        "batch_size": max(
            [_number(part["batch"].get("rows")) for part in batches]
            or [_number(document.get("batch_rows"))]
        ),
        "per_row_results": document.get("per_row_results") is not False
        and all(map(_names_rows, batches)),
    }


def _mapping(path: Path, text: bytes) -> dict[str, Any]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    listed = b"".join(part for part in _PARTS.split(text) if not part.startswith(_UNLISTED))
    try:
        try:
            document = yaml.load(listed, loader)  # noqa: S506 - a safe loader
        except yaml.YAMLError:
            # What is listed refers to an anchor in what is not.
            document = yaml.load(text, loader)  # noqa: S506 - a safe loader
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    return document if isinstance(document, dict) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 1


def _names_rows(operation: dict[str, Any]) -> bool:
    steps = operation.get("steps")
    answers = [step.get("answer") for step in (operation, *(steps or ())) if isinstance(step, dict)]
    return any(isinstance(a, dict) and ("accepted" in a or "rejected" in a) for a in answers)


def _cache_file(folder: Path) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    digest = sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(base) / "storeroom" / f"catalog-{FORMAT}-{digest}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_cache(path: Path, entries: dict[str, Head]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(entries, file)
        Path(name).replace(path)
    except OSError:
        return
