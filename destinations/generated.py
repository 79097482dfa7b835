"""Files that are made from others and kept in the repository.

``python -m destinations.generated`` writes them, ``--check`` only says which are old. A package
of specs of its own makes its index with ``python -m destinations.generated FOLDER``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from destinations.catalog_index import FORMAT, INDEX, index_of
from destinations.pages import catalog_page, language_page, schema_text
from destinations.registry import CATALOG

ROOT = Path(__file__).parents[1]


def index_text(folder: Path) -> str:
    """The index of a folder of specs; one line a spec, so that changes merge."""
    specs = sorted(index_of(folder).items(), key=lambda found: str(found[1]["id"]))
    lines = ",\n".join(f"{json.dumps(d)}: {json.dumps(h, ensure_ascii=False)}" for d, h in specs)
    return f'{{"format": {FORMAT}, "specs": {{\n{lines}\n}}}}\n'


FILES: dict[Path, Callable[[], str]] = {
    CATALOG / INDEX: lambda: index_text(CATALOG),
    ROOT / "docs" / "catalog.md": catalog_page,
    ROOT / "docs" / "destination_reference.md": language_page,
    ROOT / "docs" / "destination.schema.json": schema_text,
}
"""File -> what makes its text."""


def stale() -> list[Path]:
    """The files whose text is no longer what they are made from says."""
    return [path for path, text in FILES.items() if not _is(path, text())]


def write() -> list[Path]:
    """Make every file anew; those that changed."""
    changed = stale()
    for path in changed:
        path.write_text(FILES[path](), encoding="utf-8", newline="\n")
    return changed


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] != "--check":
        folder = Path(arguments[0])
        (folder / INDEX).write_text(index_text(folder), encoding="utf-8", newline="\n")
        return 0
    if "--check" in arguments:
        old = stale()
        for path in old:
            sys.stdout.write(f"{path.relative_to(ROOT)} is old: run `make generated`\n")
        return 1 if old else 0
    for path in write():
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
