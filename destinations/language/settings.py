"""A connection's settings against what a spec declares."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from destinations.errors import ConfigurationError
from destinations.language.spec import Setting, Spec


def checked(
    spec: Spec, given: Mapping[str, Any], connection: str, unseen: Collection[str] = ()
) -> dict[str, Any]:
    """The settings with defaults filled in; every declared one has an entry.

    Args:
        unseen: settings whose values stand in the environment and are not looked at now.

    Raises:
        ConfigurationError: one is unknown, missing, of no allowed value, or misshapen.
    """
    refuse_unknown(given, spec.settings, f"Connection '{connection}'", spec.name)
    values: dict[str, Any] = {}
    for name, setting in spec.settings.items():
        value = given.get(name, setting.default)
        if name in unseen:
            continue
        if value in (None, ""):
            if setting.required and not is_found(spec, name):
                raise ConfigurationError(
                    f"Connection '{connection}': setting '{name}' is missing ({setting.description}).",
                    f"Add `{name}: {_example(setting)}`.",
                )
            value = None
        else:
            _check_value(name, value, setting, connection)
        # Ids are digits that YAML reads as numbers; a vendor wants the text.
        values[name] = value if value is None or isinstance(value, bool | str) else str(value)
    return values


def is_found(spec: Spec, setting: str) -> bool:
    """Whether the setting's value is found at the vendor where the connection gives none."""
    return spec.audience is not None and spec.audience.setting == setting


def refuse_unknown(
    given: Iterable[str], known: Iterable[str], where: str, destination: str
) -> None:
    """Raises: ConfigurationError: a setting that the destination does not have."""
    names = sorted(known)
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise ConfigurationError(
                f"{where}: {destination} has no setting '{name}'.",
                f"Did you mean '{near[0]}'?" if near else f"It has: {', '.join(names)}.",
            )


def refuse_clear_secrets(
    settings: Mapping[str, Any], secrets: Iterable[str], from_environment: type, connection: str
) -> None:
    """Raises: ConfigurationError: a secret stands in the connections file itself."""
    for name in secrets:
        if name in settings and not isinstance(settings[name], from_environment):
            raise ConfigurationError(
                f"Connection '{connection}': '{name}' is a secret and stands in clear.",
                f"Write `{name}: {{env: {connection.upper()}_{name.upper()}}}` and export that variable.",
            )


def for_sandbox(
    spec: Spec, given: Mapping[str, Any], from_environment: Iterable[str]
) -> dict[str, Any]:
    """Settings for the sandbox, which is sent nothing that stands in the environment.

    Every secret is ``sandbox-<name>``; another setting that is not given in the file itself has
    its example.
    """
    hidden = set(from_environment)
    secrets = {name: f"sandbox-{name}" for name, s in spec.settings.items() if s.secret}
    plain = {name: value for name, value in given.items() if name not in hidden}
    examples = {n: value for n, value in example_settings(spec).items() if not is_found(spec, n)}
    return {**examples, **plain, **secrets}


def example_settings(spec: Spec) -> dict[str, Any]:
    """Every setting's example or default; for a secret ``<name>``, never a real value."""
    examples: dict[str, Any] = {}
    for name, setting in spec.settings.items():
        if setting.secret:
            examples[name] = f"<{name}>"
        elif setting.example is not None:
            examples[name] = setting.example
        elif setting.default is not None:
            examples[name] = setting.default
    return examples


def _example(setting: Setting) -> str:
    if setting.secret:
        return "{env: NAME_OF_A_VARIABLE}"
    return str(setting.example if setting.example is not None else "...")


def _check_value(name: str, value: Any, setting: Setting, connection: str) -> None:
    shown = "its value" if setting.secret else f"'{value}'"
    if setting.choices and str(value) not in setting.choices:
        raise ConfigurationError(
            f"Connection '{connection}': setting '{name}' cannot be {shown}.",
            f"Choose one of: {', '.join(setting.choices)}.",
        )
    if setting.pattern and not re.fullmatch(setting.pattern, str(value)):
        raise ConfigurationError(
            f"Connection '{connection}': setting '{name}' does not have the right form: {shown}.",
            f"It must match {setting.pattern}"
            + (f", for example {setting.example}." if setting.example is not None else "."),
        )
