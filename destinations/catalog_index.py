"""An index of a folder of specs, so that listing a thousand of them reads one file.

It is kept in the user's cache folder, by path, time and size of each spec; whatever
changed is read again. A cache that cannot be read or written costs time only.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from destinations.errors import ConfigurationError

FORMAT = 3


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
    deprecated: str
    """The day on which the vendor takes the API away (2027-01-31), or empty."""
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
            "docs": self.docs,
            "deprecated": self.deprecated,
            "origin": f"{self.origin} {self.version}".strip(),
        }


def summaries_in(folder: Path, origin: str, version: str) -> Iterator[Summary]:
    """The specs of a folder, ``<category>/<id>.yaml``, or of a flat one.

    Raises:
        ConfigurationError: a file that says neither id nor name is no spec.
    """
    cache = _cache_file(folder)
    known = _read_cache(cache)
    entries: dict[str, list[Any]] = {}
    families = _families(folder)
    for path in sorted(_specs(folder)):
        stat = path.stat()
        # A family may be of any of them: when one changes all are read again.
        stamp = [stat.st_mtime_ns, [stat.st_size, families]]
        name = str(path)
        before = known.get(name)
        entries[name] = before if before and before[:2] == stamp else [*stamp, _head(path)]
        head = entries[name][2]
        yield Summary(
            **{**head, "operations": tuple(head["operations"])},
            path=path,
            origin=origin,
            version=version,
        )
    if entries != known:
        _write_cache(cache, entries)


def _specs(folder: Path) -> Iterator[Path]:
    for entry in os.scandir(folder):
        if entry.name.startswith("_"):
            continue  # families, which are no destinations
        if entry.is_dir():
            yield from (Path(e.path) for e in os.scandir(entry) if e.name.endswith(".yaml"))
        elif entry.name.endswith(".yaml"):
            yield Path(entry.path)


def _families(folder: Path) -> int:
    """When a family last changed (ns), and 0 where there are none."""
    return max(
        (path.stat().st_mtime_ns for path in (folder / "_families").glob("*.yaml")), default=0
    )


def _head(path: Path) -> dict[str, Any]:
    """What the listing shows of one spec. The loader alone judges it; this only reads."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), loader)  # noqa: S506 - a safe loader
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        raise ConfigurationError(
            f"{path} is no spec: it has no `id:`.", "Take it out of the folder."
        )
    if isinstance(document.get("extends"), str):
        document = _extended(document, path)
    deprecated = document.get("deprecated")
    operations = document.get("operations")
    declared: dict[str, Any] = operations if isinstance(operations, dict) else {}
    parts = [part for part in declared.values() if isinstance(part, dict)]
    batches = [part for part in parts if isinstance(part.get("batch"), dict)]
    answers = [part.get("answer") or {} for part in batches]
    names = [*declared, *(document.get("code_operations") or [])]
    return {
        "id": document["id"],
        "name": str(document.get("name", document["id"])),
        "category": str(document.get("category", "")),
        "kind": str(document.get("kind", "")),
        "docs": str(document.get("docs", "")),
        "deprecated": str(deprecated.get("date", "")) if isinstance(deprecated, dict) else "",
        "operations": [str(name) for name in names],
        "batch_size": max(
            [int(part["batch"].get("rows") or 1) for part in batches]
            or [int(document.get("batch_rows") or 1)]
        ),
        "per_row_results": document.get("per_row_results") is not False
        and all(
            isinstance(answer, dict) and ("accepted" in answer or "rejected" in answer)
            for answer in answers
        ),
    }


def _extended(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """With what the family says, if it can be read; the loader alone judges that too."""
    from destinations.language.families import FamilyError, extended, family_file, load_family

    try:
        family = load_family(family_file(path, document["extends"]))
    except FamilyError:
        return document
    return extended(document, family.value)


def _cache_file(folder: Path) -> Path:
    import hashlib

    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(base) / "storeroom" / f"catalog-{FORMAT}-{digest}.json"


def _read_cache(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_cache(path: Path, entries: dict[str, list[Any]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(entries, file)
        Path(name).replace(path)
    except OSError:
        return
