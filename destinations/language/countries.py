"""Countries by ISO 3166 code or English name, as two-letter codes.

Codes and names come from Unicode CLDR (https://cldr.unicode.org) by way of Babel.
"""

from __future__ import annotations

import re
from functools import cache

import polars as pl
from babel import Locale
from babel.core import get_global

_OTHER_NAMES = {
    "unitedstatesofamerica": "US", "america": "US", "greatbritain": "GB", "hongkong": "HK",
    "macau": "MO", "macao": "MO", "czechrepublic": "CZ", "turkey": "TR", "turkiye": "TR",
    "ivorycoast": "CI", "cotedivoire": "CI", "uae": "AE", "holland": "NL", "thenetherlands": "NL",
    "burma": "MM", "macedonia": "MK", "swaziland": "SZ", "capeverde": "CV", "russianfederation": "RU",
    "republicofkorea": "KR", "korea": "KR", "vietnam": "VN", "republicofireland": "IE",
}  # fmt: skip


def country_code(expr: pl.Expr) -> pl.Expr:
    """Two capital letters; null for what is no country.

    Two letters pass as they are, but for those that stand for another code (``UK``).
    """
    letters = expr.str.to_lowercase().str.replace_all(r"[^\p{L}]", "")
    known = _codes()
    found = letters.replace_strict(list(known), list(known.values()), default=None)
    code = expr.str.strip_chars().str.to_uppercase()
    return pl.coalesce(found, pl.when(code.str.contains(r"^[A-Z]{2}$")).then(code))


@cache
def _codes() -> dict[str, str]:
    """Names and codes, of letters alone and in lower case, with the two-letter code."""
    aliases = get_global("territory_aliases")
    # Three letters, and two that are out of use; some stand for several countries of today.
    codes = {
        alias.lower(): codes[0]
        for alias, codes in aliases.items()
        if re.fullmatch(r"[A-Z]{2,3}", alias) and len(codes) == 1
    }
    territories = Locale("en").territories
    names = {
        re.sub(r"[\W\d_]", "", name.lower()): code
        for code, name in territories.items()
        if re.fullmatch(r"[A-Z]{2}", code)
    }
    return {**names, **codes, **_OTHER_NAMES}
