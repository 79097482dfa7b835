"""sources.yaml: which files of the landing zone hold events, and how tables become calls."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from dagster_project.ingestion.expressions import first_problem
from dagster_project.ingestion.streams import without_compression
from destinations.errors import ConfigurationError

Format = Literal["jsonl", "csv", "parquet"]
_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
UNFINISHED_PREFIXES = (".", "_")
UNFINISHED_SUFFIXES = (".tmp", ".part")


_EXPRESSIONS = (
    "where", "message_id", "user_id", "anonymous_id", "previous_id", "group_id", "timestamp",
)  # fmt: skip


def _as_sql(value: Any) -> Any:
    # `quantity: 1` and `gift: true` are SQL as they stand.
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Expression = Annotated[str, BeforeValidator(_as_sql), Field(min_length=1)]
"""One DuckDB SQL expression over the columns of a row; a bare column name is one."""


class Call(BaseModel):
    """How rows become calls of one kind; every value is an SQL expression over the row.

    With ``group_by`` the rows that share those values become one call, and the other
    expressions (not ``where``) are aggregates. ``_line`` is the row's number in its file: write
    ``list({...} order by _line)`` to keep the order of the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["track", "identify", "page", "screen", "group", "alias"]
    event: str | None = Field(default=None, min_length=1)
    """Literal name: of the event of a track, of the page or screen otherwise."""
    where: Expression | None = None
    group_by: tuple[Expression, ...] = ()
    message_id: Expression | None = None
    """Must be the same whenever the row is seen again; without it, a hash of the call."""
    user_id: Expression | None = None
    anonymous_id: Expression | None = None
    previous_id: Expression | None = None
    group_id: Expression | None = None
    timestamp: Expression
    require_identity: bool = True
    """False keeps calls without user and visitor as events without a profile."""
    properties: dict[str, Expression] = {}
    traits: dict[str, Expression] = {}
    context: dict[str, Expression] = {}

    @model_validator(mode="after")
    def _complete(self) -> Call:
        if self.type == "track" and not self.event:
            raise ValueError("a track call needs `event: <name>`")
        if self.type in ("identify", "group", "alias") and self.event:
            raise ValueError(f"`event` has no meaning in {self.type}; take it out")
        if self.type == "group" and not self.group_id:
            raise ValueError("a group call needs `group_id: <expression>`")
        if self.type == "alias" and not self.previous_id:
            raise ValueError("an alias call needs `previous_id: <expression>`")
        if self.require_identity and not (self.user_id or self.anonymous_id):
            raise ValueError(
                "give `user_id` or `anonymous_id`, or write `require_identity: false` "
                "to keep these rows as events without a profile"
            )
        if problem := first_problem(self.expressions()):
            raise ValueError(problem)
        return self

    def expressions(self) -> list[tuple[str, str]]:
        """Every expression with the key under which it stands."""
        found = [(f"group_by[{i}]", text) for i, text in enumerate(self.group_by)]
        found.extend(
            (key, text) for key in _EXPRESSIONS if (text := getattr(self, key)) is not None
        )
        for key in ("properties", "traits", "context"):
            found.extend((f"{key}.{name}", text) for name, text in getattr(self, key).items())
        return found


class Source(BaseModel):
    """Files of one kind: a glob relative to the landing zone, and what they hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    path: str = Field(min_length=1)
    """Glob relative to the landing zone; ``**`` crosses folders."""
    format: Literal["auto"] | Format = "auto"
    description: str = ""
    calls: tuple[Call, ...] = ()
    """Empty: the files hold Segment-spec calls as they are."""

    @model_validator(mode="after")
    def _inside_landing(self) -> Source:
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"path '{self.path}' leaves the landing zone; write it relative to it")
        return self

    def format_of(self, name: str) -> Format | None:
        """Format of a file by its name, unless the source states one; None where unknown."""
        if self.format != "auto":
            return self.format
        return _SUFFIXES.get(PurePosixPath(without_compression(name)).suffix.lower())


class Sources(BaseModel):
    """The whole of sources.yaml. A file that two sources match belongs to the first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[Source, ...]

    @model_validator(mode="after")
    def _names_differ(self) -> Sources:
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are named '{name}'; give each its own name")
        return self

    def named(self, name: str) -> Source | None:
        return next((source for source in self.sources if source.name == name), None)


def load_sources(path: Path) -> Sources:
    """Read sources.yaml.

    Raises:
        ConfigurationError: the file is missing, is no YAML, or has an entry that does not fit;
            the message names file, source and key, and what to write instead.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} does not exist.",
            "Create it with `sources: [{name: events, path: 'events/**/*.jsonl'}]`.",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("sources"), list):
        raise ConfigurationError(
            f"{path}: the top-level key `sources:` with a list under it is missing.",
            "Write `sources: [{name: events, path: 'events/**/*.jsonl'}]`.",
        )
    try:
        return Sources.model_validate(document)
    except ValidationError as error:
        problems = [_explain(document, problem) for problem in error.errors()]
        raise ConfigurationError(f"{path}: " + "; ".join(problems) + ".") from None


def discover(sources: Sources, landing: Path) -> tuple[dict[str, Source], list[str]]:
    """Finished files of the landing zone with their source, and those that no source matches.

    A name that begins with ``.`` or ``_`` or ends in ``.tmp`` or ``.part``, of the file or of a
    folder on the way, means: still being written.
    """
    files = {
        path.relative_to(landing).as_posix()
        for path in landing.rglob("*")
        if path.is_file() and not _unfinished(path.relative_to(landing).parts)
    }
    owners: dict[str, Source] = {}
    for source in sources.sources:
        for path in landing.glob(source.path):
            name = path.relative_to(landing).as_posix()
            if name in files:
                owners.setdefault(name, source)
    order = {source.name: index for index, source in enumerate(sources.sources)}
    ordered = sorted(owners.items(), key=lambda item: (order[item[1].name], item[0]))
    return dict(ordered), sorted(files - owners.keys())


def _unfinished(parts: Iterable[str]) -> bool:
    return any(
        part.startswith(UNFINISHED_PREFIXES) or part.lower().endswith(UNFINISHED_SUFFIXES)
        for part in parts
    )


def _explain(document: dict[str, Any], problem: Any) -> str:
    """One pydantic problem as a sentence that names the source and the key."""
    where, place = problem["loc"], ""
    if len(where) > 1 and where[0] == "sources" and isinstance(where[1], int):
        entry = document["sources"][where[1]]
        name = entry.get("name", where[1] + 1) if isinstance(entry, dict) else where[1] + 1
        place, where = f"source '{name}': ", where[2:]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    text = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        known = Call.model_fields if "calls" in where[:1] else Source.model_fields
        near = difflib.get_close_matches(str(where[-1]), known, n=1)
        text = "unknown key" + (
            f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(known)}"
        )
    elif problem["type"] == "missing":
        text = "is missing"
    return f"{place}{key.lstrip('.') + ': ' if key else ''}{text}"
