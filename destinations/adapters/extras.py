"""Drivers that come with an optional dependency group, imported when first used."""

from __future__ import annotations

import importlib
from typing import Any

from destinations.errors import StoreroomError


def require(module: str, extra: str) -> Any:
    """The imported module, or what to install to have it.

    Raises:
        StoreroomError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise StoreroomError(
            f"This destination needs the Python package '{module.split('.')[0]}' ({error}).",
            f'Install it: pip install "storeroom[{extra}]".',
        ) from None
