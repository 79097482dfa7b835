"""Fields as a vendor wants them: typed, normalised, hashed; whole columns at a time.

A value that its normaliser cannot make sense of (an e-mail address without a
domain, a telephone number without a country code) becomes null. Whether that
stops the row is the spec's matter: a required field or the last identifier does.

Rules and where they stand:

- e-mail: trimmed, lower case
  (https://developers.facebook.com/documentation/ads-commerce/marketing-api/audiences/guides/custom-audiences)
- e-mail for Google: also without the full stops, and without ``+`` and what follows it, before
  gmail.com and googlemail.com
  (https://developers.google.com/data-manager/api/devguides/concepts/formatting)
- e-mail for UID2: the same before gmail.com alone
  (https://unifiedid.com/docs/getting-started/gs-normalization-encoding)
- telephone: E.164 (Google's page and TikTok's,
  https://ads.tiktok.com/help/article/customer-file), or its digits with country code and without
  ``+`` (Meta); a number as written within a country takes the country of the row, if one is mapped
- country: by name or ISO code (Meta's page wants two small letters)
- postal code: of US codes the first five digits (Meta's page)
- names, city, state, postal code, country, birth date, gender: Meta's page above
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from destinations.driver import META_COLUMNS
from destinations.language.countries import country_code
from destinations.language.phones import e164
from destinations.language.spec import DestinationField
from destinations.language.values import Value, md5, sha1, sha256, text, truth_value

_DIGESTS = {
    "sha256": r"^[0-9a-fA-F]{64}$",
    "sha1": r"^[0-9a-fA-F]{40}$",
    "md5": r"^[0-9a-fA-F]{32}$",
}
_BASE64 = {
    "sha256": r"^[A-Za-z0-9+/]{43}=$",
    "sha1": r"^[A-Za-z0-9+/]{27}=$",
    "md5": r"^[A-Za-z0-9+/]{22}==$",
}
_FUNCTIONS = {"sha256": sha256, "sha1": sha1, "md5": md5}


def prepare(
    frame: pl.DataFrame, fields: Mapping[str, DestinationField], *, hashed: bool = True
) -> pl.DataFrame:
    """The frame with every declared field typed, normalised and (unless ``hashed=False``) hashed.

    Columns that ``fields`` does not declare, and ``_key``, ``_hash`` and ``_remote_id``, pass.
    """
    columns = {name: Value(pl.col(name), dtype) for name, dtype in frame.schema.items()}
    return frame.with_columns(
        prepared(
            found, fields[name], hashed=hashed, country=columns.get(fields[name].country_field)
        ).alias(name)
        for name, found in columns.items()
        if name in fields and name not in META_COLUMNS
    )


def prepared(
    found: Value, field: DestinationField, *, hashed: bool = True, country: Value | None = None
) -> pl.Expr:
    """One field's column: typed, normalised, hashed.

    Args:
        country: the column that holds the rows' countries, as it was mapped.
    """
    if field.normalise is None and field.hash is None:
        return _typed(found, field.type)
    plain = text(found)
    where = None if country is None else text(country)
    normal = normalised(plain, field.normalise, where) if field.normalise else plain
    if field.hash is None:
        return normal
    digest = plain.str.strip_chars()
    hexed = digest.str.contains(_DIGESTS[field.hash])
    encoded = digest.str.contains(_BASE64[field.hash])
    if not hashed:
        known = hexed | encoded if field.hash_encoding == "base64" else hexed
        return pl.when(known).then(digest).otherwise(normal)
    if field.hash_encoding == "base64":
        return (
            pl.when(encoded)
            .then(digest)
            .when(hexed)
            .then(_as_base64(digest.str.to_lowercase()))
            .otherwise(_as_base64(_FUNCTIONS[field.hash](normal)))
        )
    return pl.when(hexed).then(digest.str.to_lowercase()).otherwise(_FUNCTIONS[field.hash](normal))


def _as_base64(digest: pl.Expr) -> pl.Expr:
    return digest.str.decode("hex", strict=False).bin.encode("base64")


def normalised(expr: pl.Expr, name: str, country: pl.Expr | None = None) -> pl.Expr:
    """A text column through the normaliser of that name; what stays empty is null."""
    takes_country = NORMALISERS_BY_COUNTRY.get(name)
    result = NORMALISERS[name](expr) if takes_country is None else takes_country(expr, country)
    return pl.when(result.str.len_bytes() > 0).then(result)


def _typed(found: Value, wanted: str) -> pl.Expr:
    dtype = found.dtype
    if wanted == "string":
        return text(found)
    if wanted == "boolean":
        return truth_value(found)
    if wanted == "date" and isinstance(dtype, pl.Datetime):
        return found.expr.dt.date()
    if wanted == "datetime" and dtype == pl.Date:
        return found.expr.cast(pl.Datetime("us"))
    if wanted in ("number", "integer"):
        number = found.expr if dtype.is_numeric() else found.expr.cast(pl.Float64, strict=False)
        if wanted == "integer" and not dtype.is_integer():
            whole = pl.when(number == number.floor()).then(number.cast(pl.Int64, strict=False))
            digits = found.expr.cast(pl.Int64, strict=False)
            # Text of many digits is more exact than the nearest float.
            return pl.coalesce(digits, whole) if dtype == pl.String else whole
        return number
    return found.expr


def _trim(expr: pl.Expr) -> pl.Expr:
    return expr.str.strip_chars()


def _lower(expr: pl.Expr) -> pl.Expr:
    return expr.str.strip_chars().str.to_lowercase()


def _email(expr: pl.Expr) -> pl.Expr:
    address = _lower(expr)
    return pl.when(address.str.contains(r"^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$")).then(address)


def _email_gmail(expr: pl.Expr) -> pl.Expr:
    return _plain_mailbox(expr, r"@(gmail|googlemail)\.com$")


def _uid2(expr: pl.Expr) -> pl.Expr:
    return _plain_mailbox(expr, r"@gmail\.com$")


def _plain_mailbox(expr: pl.Expr, domains: str) -> pl.Expr:
    """Addresses of these domains without full stops, and without ``+`` and what follows it."""
    address = _email(expr)
    local = address.str.extract(r"^([^@+]*)").str.replace_all(".", "", literal=True)
    domain = address.str.extract(r"(@.+)$")
    plain = pl.when(local != "").then(pl.concat_str(local, domain))
    return pl.when(address.str.contains(domains)).then(plain).otherwise(address)


def _phone_digits(expr: pl.Expr, country: pl.Expr | None = None) -> pl.Expr:
    return e164(expr, country).str.strip_prefix("+")


def _name(expr: pl.Expr) -> pl.Expr:
    return _lower(expr).str.replace_all(r"[\p{P}\p{S}]", "")


def _letters(expr: pl.Expr) -> pl.Expr:
    return _lower(expr).str.replace_all(r"[^\p{L}\p{M}\p{N}]", "")


def _postal_code(expr: pl.Expr) -> pl.Expr:
    code = _lower(expr).str.replace_all(r"\s", "")
    return pl.when(code.str.contains(r"^\d{5}-\d{4}$")).then(code.str.slice(0, 5)).otherwise(code)


def _country_2_lower(expr: pl.Expr) -> pl.Expr:
    return country_code(expr).str.to_lowercase()


def _gender(expr: pl.Expr) -> pl.Expr:
    word = _lower(expr)
    return pl.when(word.is_in(["m", "f", "male", "female"])).then(word.str.slice(0, 1))


def _birth_date(expr: pl.Expr) -> pl.Expr:
    digits = expr.str.extract(r"^\s*(\d{4}-\d{2}-\d{2}|\d{8})(?:[T ].*)?\s*$").str.replace_all(
        "-", ""
    )
    real = digits.str.to_date("%Y%m%d", strict=False).is_not_null()
    return pl.when(real).then(digits)


NORMALISERS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "trim": _trim,
    "lower": _lower,
    "email": _email,
    "email_gmail": _email_gmail,
    "phone_e164": e164,
    "phone_digits": _phone_digits,
    "name": _name,
    "city": _letters,
    "state": _letters,
    "postal_code": _postal_code,
    "country_2": country_code,
    "country_2_lower": _country_2_lower,
    "gender": _gender,
    "birth_date": _birth_date,
    "maid": _lower,
    "uid2": _uid2,
}

NORMALISERS_BY_COUNTRY: dict[str, Callable[[pl.Expr, pl.Expr | None], pl.Expr]] = {
    "phone_e164": e164,
    "phone_digits": _phone_digits,
}
"""Those that the row's country helps."""
