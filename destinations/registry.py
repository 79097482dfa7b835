"""The catalog: which destinations there are, and opening one.

A listing reads an index, one spec loads in milliseconds, code and libraries of a
destination are imported when it is opened: importing this module costs next to
nothing, however many specs there are.

Other packages add destinations by an entry point of the group
``storeroom.destinations`` that names a package folder with YAML specs in it; what
YAML cannot say stands in modules of that package, named by ``adapter:``.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from destinations.catalog_index import LEVELS, Stamps, Summary, stamps_of, summaries_in
from destinations.errors import ConfigurationError

if TYPE_CHECKING:
    from destinations.connections import Connection
    from destinations.driver import Capabilities, Driver, Operation
    from destinations.language.spec import Spec

ENTRY_POINTS = "storeroom.destinations"
FAMILIES = "_families"
CATALOG = Path(__file__).parent / "catalog"
_TUNING = re.compile(r"^(batch_(rows|bytes)|timeout_seconds|format|gzip|.*version)$")
"""Settings that say how rows travel, not where to."""


@dataclass(frozen=True)
class Origin:
    """A folder of specs, and who brought it."""

    folder: Path
    package: str = "storeroom"
    version: str = ""


def list_destinations() -> list[Summary]:
    """Every destination, by id.

    Raises:
        ConfigurationError: two packages bring the same id, or a plugin's folder is missing.
    """
    found: dict[str, Summary] = {}
    for origin in origins():
        for summary in summaries_in(origin.folder, origin.package, origin.version):
            other = found.setdefault(summary.id, summary)
            if other is not summary:
                raise ConfigurationError(
                    f"The destination '{summary.id}' is brought by {other.origin} ({other.path}) "
                    f"and by {summary.origin} ({summary.path}).",
                    "Rename one of them, or uninstall its package.",
                )
    return [found[name] for name in sorted(found)]


def summary_of(destination: str) -> Summary:
    """One entry of the listing.

    Raises:
        ConfigurationError: there is no such destination; names the nearest.
    """
    summaries = {summary.id: summary for summary in list_destinations()}
    if destination not in summaries:
        near = difflib.get_close_matches(destination, summaries, n=1)
        raise ConfigurationError(
            f"There is no destination '{destination}'.",
            f"Did you mean '{near[0]}'?"
            if near
            else "See `storeroom destinations list` for the ids.",
        )
    return summaries[destination]


def search(
    text: str | None = None,
    *,
    category: str | None = None,
    kind: str | None = None,
    evidence: str | None = None,
) -> list[Summary]:
    """The destinations that fit everything asked for, by id.

    Args:
        text: part of the id or the name, in any case.

    Raises:
        ConfigurationError: no destination has this category or kind, or there is no such evidence.
    """
    everything = list_destinations()
    _known("category", category, {row.category for row in everything})
    _known("kind", kind, {row.kind for row in everything})
    _known("evidence", evidence, LEVELS)
    words = (text or "").casefold()
    return [
        row
        for row in everything
        if (words in row.id or words in row.name.casefold())
        and category in (None, row.category)
        and kind in (None, row.kind)
        and evidence in (None, row.evidence)
    ]


def _known(what: str, asked: str | None, known: Collection[str]) -> None:
    if asked is None or asked in known:
        return
    near = difflib.get_close_matches(asked, known, n=1)
    raise ConfigurationError(
        f"No destination has the {what} '{asked}'.",
        f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(sorted(known))}.",
    )


def offered_operations(spec: Spec) -> list[Operation]:
    """What a destination can be asked, in the order of its spec."""
    return list(spec.code_operations if spec.adapter is not None else spec.operations)


def load_spec(destination: str) -> Spec:
    """The spec of one destination.

    Raises:
        ConfigurationError: there is none of that id, or its file cannot be used.
    """
    path = summary_of(destination).path
    families = (path.parent / FAMILIES, path.parents[1] / FAMILIES)
    return _loaded(path, stamps_of(path, *families, depth=1))


@functools.lru_cache(maxsize=64)
def _loaded(path: Path, stamps: Stamps) -> Spec:  # noqa: ARG001 - a file that changed is read again
    from destinations.language.loader import load_spec_file

    return load_spec_file(path)


def origins() -> Iterator[Origin]:
    """The catalog of this package, then every plugin's folder; no plugin's code is run."""
    yield Origin(CATALOG)
    yield from _plugins(stamps_of(*(entry or "." for entry in sys.path)))


@functools.lru_cache(maxsize=1)
def _plugins(stamps: Stamps) -> tuple[Origin, ...]:  # noqa: ARG001 - looked for again after an install
    return tuple(_find_plugins())


def _find_plugins() -> Iterator[Origin]:
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        name = entry.dist.name if entry.dist else entry.name
        try:
            found = importlib.util.find_spec(entry.module)
        except ImportError:
            found = None
        folders = list(found.submodule_search_locations or []) if found else []
        if not folders:
            raise ConfigurationError(
                f"The plugin '{entry.name}' of {name} names '{entry.value}', which is no package.",
                f"Reinstall or uninstall {name}.",
            )
        for folder in folders:
            yield Origin(Path(folder), name, entry.dist.version if entry.dist else "")


def capabilities_of(destination: Connection | str) -> Capabilities:
    """What a destination can do, without opening it; of a connection the settings are checked too.

    Raises:
        ConfigurationError: unknown destination, unknown setting, or a secret in clear.
    """
    from destinations.language.capabilities import capabilities

    if isinstance(destination, str):
        return capabilities(load_spec(destination))
    spec = load_spec(destination.destination)
    _check_names(spec, destination, {})
    return capabilities(spec)


def check_settings(connection: Connection, target: Mapping[str, Any]) -> None:
    """Refuse settings that no run could use; what stands in the environment is not looked at.

    Raises:
        ConfigurationError: one is unknown, missing, misshapen or a secret in clear.
    """
    from destinations.connections import FromEnvironment
    from destinations.language.settings import checked, example_settings

    spec = load_spec(connection.destination)
    _check_names(spec, connection, target)
    given = {**connection.settings, **target}
    hidden = {name for name, value in given.items() if isinstance(value, FromEnvironment)}
    plain = connection.model_copy(
        update={"settings": {n: v for n, v in connection.settings.items() if n not in hidden}}
    )
    known = {**plain.resolved(), **target}
    if spec.adapter is not None:
        given = {**_defaults(spec), **known}
        _settings_of(adapter_module(spec).Settings, given, connection.name, unseen=hidden)
        return
    if connection.sandbox:
        known = {**example_settings(spec), **known}
    checked(spec, {**known, **dict.fromkeys(hidden, "")}, connection.name, unseen=hidden)


def open_driver(
    connection: Connection, target: Mapping[str, Any], sync_key: str, audience: str
) -> Driver:
    """Open a connection for one sync.

    Args:
        target: settings that the sync overrides (a list, a table).
        sync_key: name of the audience's key column.
        audience: its name.

    Raises:
        ConfigurationError: a setting is unknown, missing, misshapen or a secret in clear; an
            environment variable is not set; the destination's optional package is not installed.
    """
    spec = load_spec(connection.destination)
    _check_names(spec, connection, target)
    if spec.adapter is None:
        from destinations.http.opening import open_http

        return open_http(spec, connection, target, audience)
    if connection.sandbox:
        raise ConfigurationError(
            f"Connection '{connection.name}': the sandbox plays HTTP destinations, {spec.name} is none.",
            "Leave `sandbox: true` out and point it at a server or folder of your own.",
        )
    module = adapter_module(spec)
    given = {**_defaults(spec), **connection.resolved(), **target}
    for setting, default in {"key_column": sync_key, "folder": audience}.items():
        if setting in module.Settings.model_fields:
            given.setdefault(setting, default)
    driver: Driver = module.open(_settings_of(module.Settings, given, connection.name))
    return driver


def place_of(connection: Connection, target: Mapping[str, Any]) -> str:
    """Names where a connection puts rows: destination, sandbox or vendor, account, list, table.

    It changes when rows that are held could no longer be found again. Secrets may be renewed
    and tuning changed without moving anything.

    Raises:
        ConfigurationError: an environment variable is not set.
    """
    spec = load_spec(connection.destination)
    known = {**connection.resolved(), **target}
    located = {
        name: value
        for name, value in known.items()
        if name not in _secrets_of(spec) and not _TUNING.search(name)
    }
    document = [spec.id, connection.sandbox, sorted((k, str(v)) for k, v in located.items())]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()[:32]


def describe(destination: str) -> dict[str, Any]:
    """What a person wants to know before connecting: settings, fields, operations, limits."""
    from destinations.language.capabilities import capabilities
    from destinations.language.describe import described

    summary = summary_of(destination)
    spec = load_spec(destination)
    model = adapter_module(spec).Settings if spec.adapter else None
    return {
        **described(spec, capabilities(spec), model),
        "evidence": summary.evidence,
        "extra": spec.extra or "",
        "origin": f"{summary.origin} {summary.version}".strip(),
    }


def adapter_module(spec: Spec) -> Any:
    """The code of an adapter, with ``Settings`` and ``open``."""
    return importlib.import_module(str(spec.adapter))


def _defaults(spec: Spec) -> dict[str, Any]:
    """What a code adapter's spec sets where the connection says nothing: one module may serve
    several destinations that differ in a setting.
    """
    return {name: one.default for name, one in spec.settings.items() if one.default is not None}


def _check_names(spec: Spec, connection: Connection, target: Mapping[str, Any]) -> None:
    from destinations.connections import FromEnvironment
    from destinations.language.settings import refuse_clear_secrets, refuse_unknown

    if spec.adapter is None:
        known = set(spec.settings)
    else:
        known = set(adapter_module(spec).Settings.model_fields)
    secrets = _secrets_of(spec)
    where = f"Connection '{connection.name}'"
    refuse_unknown(connection.settings, known, where, spec.name)
    refuse_unknown(target, known, f"A sync to '{connection.name}'", spec.name)
    refuse_clear_secrets(connection.settings, secrets, FromEnvironment, connection.name)
    refuse_clear_secrets(target, secrets, FromEnvironment, connection.name)


def _secrets_of(spec: Spec) -> set[str]:
    if spec.adapter is None:
        return {name for name, setting in spec.settings.items() if setting.secret}
    fields = adapter_module(spec).Settings.model_fields
    return {name for name, field in fields.items() if "SecretStr" in str(field.annotation)}


def _settings_of(
    model: Any, given: dict[str, Any], connection: str, unseen: Collection[str] = ()
) -> Any:
    from pydantic import ValidationError

    try:
        return model(**given)
    except ValidationError as error:
        # Never the value: it may be a secret.
        details = "; ".join(
            f"{'.'.join(map(str, detail['loc'])) or 'settings'}: {detail['msg']}"
            for detail in error.errors(include_input=False, include_url=False)
            if not unseen or (detail["loc"] and detail["loc"][0] not in unseen)
        )
        if not details:
            return None
        raise ConfigurationError(f"Connection '{connection}': {details}.") from None
