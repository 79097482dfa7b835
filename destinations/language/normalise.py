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
- telephone: E.164 (Google), or its digits with country code and without ``+`` (Meta)
- names, city, state, postal code, country, birth date, gender: Meta's page above
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import phonenumbers
import polars as pl

from destinations.driver import META_COLUMNS
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
    return frame.with_columns(
        prepared(Value(pl.col(name), dtype), fields[name], hashed=hashed).alias(name)
        for name, dtype in frame.schema.items()
        if name in fields and name not in META_COLUMNS
    )


def prepared(found: Value, field: DestinationField, *, hashed: bool = True) -> pl.Expr:
    """One field's column: typed, normalised, hashed."""
    if field.normalise is None and field.hash is None:
        return _typed(found, field.type)
    plain = text(found)
    normal = normalised(plain, field.normalise) if field.normalise else plain
    if field.hash is None:
        return normal
    digest = plain.str.strip_chars()
    hexed = digest.str.contains(_DIGESTS[field.hash])
    encoded = digest.str.contains(_BASE64[field.hash])
    if not hashed:
        return pl.when(hexed | encoded).then(digest).otherwise(normal)
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


def normalised(expr: pl.Expr, name: str) -> pl.Expr:
    """A text column through the normaliser of that name; what stays empty is null."""
    result = NORMALISERS[name](expr)
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
            return pl.when(number == number.floor()).then(number.cast(pl.Int64, strict=False))
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


def _phone_e164(expr: pl.Expr) -> pl.Expr:
    return expr.map_batches(_e164, return_dtype=pl.String, is_elementwise=True)


def _phone_digits(expr: pl.Expr) -> pl.Expr:
    return _phone_e164(expr).str.strip_prefix("+")


def _e164(numbers: pl.Series) -> pl.Series:
    """Each different number is parsed once; a number without country code is nobody's."""
    different = numbers.drop_nulls().unique()
    parsed = pl.Series([_parse_number(number) for number in different], dtype=pl.String)
    return numbers.replace_strict(different, parsed, default=None, return_dtype=pl.String)


def _parse_number(number: str) -> str | None:
    written = number.strip()
    international = f"+{written[2:]}" if written.startswith("00") else written
    try:
        parsed = phonenumbers.parse(international)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def _name(expr: pl.Expr) -> pl.Expr:
    return _lower(expr).str.replace_all(r"[\p{P}\p{S}]", "")


def _letters(expr: pl.Expr) -> pl.Expr:
    return _lower(expr).str.replace_all(r"[^\p{L}\p{M}\p{N}]", "")


def _postal_code(expr: pl.Expr) -> pl.Expr:
    code = _lower(expr).str.replace_all(r"\s", "")
    return pl.when(code.str.contains(r"^\d{5}-\d{4}$")).then(code.str.slice(0, 5)).otherwise(code)


def _country_2(expr: pl.Expr) -> pl.Expr:
    code = expr.str.strip_chars().str.to_uppercase()
    return pl.when(code.str.contains(r"^[A-Z]{2}$")).then(code)


def _country_2_lower(expr: pl.Expr) -> pl.Expr:
    return _country_2(expr).str.to_lowercase()


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
    "phone_e164": _phone_e164,
    "phone_digits": _phone_digits,
    "name": _name,
    "city": _letters,
    "state": _letters,
    "postal_code": _postal_code,
    "country_2": _country_2,
    "country_2_lower": _country_2_lower,
    "gender": _gender,
    "birth_date": _birth_date,
    "maid": _lower,
    "uid2": _uid2,
}
