"""Telephone numbers in E.164 (https://www.itu.int/rec/T-REC-E.164), by way of phonenumbers.

A number that is written in E.164 already is told by its country code and length; any other is
parsed, each different one once. A number without a country code needs the row's country.
"""

from __future__ import annotations

from functools import cache

import phonenumbers
import polars as pl

from destinations.language.countries import country_code


def e164(number: pl.Expr, country: pl.Expr | None = None) -> pl.Expr:
    """``+`` and digits; null for what is no possible number, or lacks its country code.

    Args:
        country: code or name of the row's country, for numbers written as within it.
    """
    region = pl.lit(None, dtype=pl.String) if country is None else country_code(country)
    # A struct has the name of its first part, which is the column's.
    pairs = pl.struct(number, region.alias("region of a number"))
    return pairs.map_batches(_numbers, return_dtype=pl.String, is_elementwise=True)


def _numbers(pairs: pl.Series) -> pl.Series:
    frame = pairs.struct.unnest()
    frame.columns = ["number", "region"]
    frame = frame.with_columns(pl.col("number").str.strip_chars())
    codes, plain = _plain_numbers()
    digits = pl.col("number").str.replace_all(r"^\+?[ ().-]*|[ ().-]", "")
    code = digits.str.extract(f"^({codes})")
    shape = pl.concat_str(code, pl.lit(":"), digits.str.len_bytes().cast(pl.String))
    shape = pl.concat_str(shape, pl.lit(":"), digits.str.slice(code.str.len_bytes(), 1))
    written = pl.col("number").str.contains(r"^\+[1-9][0-9 ().-]*$")
    frame = frame.with_columns(
        pl.when(written & shape.is_in(plain)).then(pl.concat_str(pl.lit("+"), digits)).alias("told")
    )
    left = pl.col("told").is_null() & pl.col("number").is_not_null()
    different = frame.filter(left).select("number", "region").unique()
    parsed = [_parsed(number, region) for number, region in different.iter_rows()]
    known = different.with_columns(pl.Series("parsed", parsed, dtype=pl.String))
    joined = frame.join(
        known, on=["number", "region"], how="left", nulls_equal=True, maintain_order="left"
    )
    return joined.select(pl.coalesce("told", "parsed").alias("number"))["number"]


def _parsed(number: str, region: str | None) -> str | None:
    international = f"+{number[2:]}" if number.startswith("00") else number
    try:
        parsed = phonenumbers.parse(international, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


@cache
def _plain_numbers() -> tuple[str, frozenset[str]]:
    """Country codes as a pattern; ``code:length:digit`` of numbers that E.164 changes nothing in.

    ``digit`` is the first after the country code. One that may be a prefix for calls within the
    country (the 0 in ``+44 (0)20``) is not among them.
    """
    codes = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
    shapes = set()
    for code in codes:
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]
        if regions[0] == "001":
            metadata = phonenumbers.PhoneMetadata.metadata_for_nongeo_region(code, None)
        else:
            metadata = phonenumbers.PhoneMetadata.metadata_for_region(regions[0], None)
        if metadata is None or metadata.general_desc is None:
            continue
        prefix = (metadata.national_prefix_for_parsing or metadata.national_prefix or "")[:1]
        digits = {*"123456789"} - {prefix}
        if metadata.national_prefix_for_parsing and not prefix.isdigit():
            continue
        for length in metadata.general_desc.possible_length:
            shapes |= {f"{code}:{len(str(code)) + length}:{digit}" for digit in digits}
    return "|".join(map(str, codes)), frozenset(shapes)
