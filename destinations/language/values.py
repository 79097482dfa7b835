"""Values as Polars expressions: placeholders, the functions behind them, and their text.

Every value carries its dtype, so that a template is compiled for the columns
that a mapping really has, and nothing is decided row by row in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import polars as pl
import polars_hash  # noqa: F401  (registers the chash and nchash namespaces)

from destinations.driver import ID, KEY, META_COLUMNS, REMOTE_ID
from destinations.language.template import Function, Placeholder

_LINE_ENDS = ["\x7f", "\x85", "\u2028", "\u2029"]
_CONTROLS = [*map(chr, range(32)), *_LINE_ENDS]
ESCAPED = [*_CONTROLS, '"', "\\"]
ESCAPES = [*(f"\\u{ord(character):04x}" for character in _CONTROLS), '\\"', "\\\\"]
"""What JSON text escapes, and how; also the ends of lines that only some readers know."""

_TO_ESCAPE = "[" + "".join(f"\\x{{{ord(character):x}}}" for character in ESCAPED) + "]"

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_RESERVED = [character for character in map(chr, range(128)) if character not in _UNRESERVED]
_PERCENT = [quote(character, safe="") for character in _RESERVED]
_FOREIGN = r"[^\x00-\x7f]"

_HARMLESS = frozenset({"md5", "sha1", "sha256", "base64", "url"})


@dataclass(frozen=True)
class Value:
    expr: pl.Expr
    dtype: pl.DataType
    harmless: bool = False
    """Its text holds nothing that JSON would escape: digests, numbers, times."""


@dataclass(frozen=True)
class Scope:
    """What placeholders may name: the row's columns, and values that hold for a whole request."""

    columns: Mapping[str, pl.DataType]
    """The mapped fields of the frame, by name, prepared as their declarations say."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """``settings.x``, ``meta.audience``, captured values; a Polars expression for one per row."""
    declared: frozenset[str] = frozenset()
    """Fields that the spec declares: ``{custom}`` is what remains."""
    hashed: frozenset[str] = frozenset()
    """Fields that hold digests."""

    def is_constant(self, name: str) -> bool:
        """Whether a placeholder's value is the same for every row."""
        return name in self.constants and not isinstance(self.constants[name], pl.Expr)

    @property
    def fields(self) -> list[str]:
        return [name for name in self.columns if name not in META_COLUMNS]

    @property
    def custom(self) -> list[str]:
        return [name for name in self.fields if name not in self.declared]


def column(name: str, scope: Scope) -> Value:
    return Value(pl.col(name), scope.columns[name], harmless=name in scope.hashed)


def value(placeholder: Placeholder, scope: Scope) -> Value:
    """A placeholder of one value; a field that is not mapped is null."""
    name = placeholder.name
    if name in scope.constants:
        found = _constant(scope.constants[name])
    elif name == "meta.key":
        found = Value(pl.col(KEY), pl.String())
    elif name == "meta.id":
        found = Value(pl.col(ID), pl.String())
    elif name == "remote_id":
        known = REMOTE_ID in scope.columns
        found = Value(pl.col(REMOTE_ID) if known else _null(), pl.String())
    elif name in scope.columns:
        found = column(name, scope)
    else:
        found = Value(_null(), pl.String())
    for function in placeholder.functions:
        found = _applied(function, found)
    return found


def text(found: Value) -> pl.Expr:
    """A value as plain text: times in ISO 8601 with ``T`` and ``Z``, truth as true and false."""
    expr, dtype = found.expr, found.dtype
    if dtype == pl.String:
        return expr
    if dtype == pl.Binary:
        return expr.bin.encode("base64")
    if isinstance(dtype, pl.Datetime):
        utc = expr.dt.convert_time_zone("UTC") if dtype.time_zone else expr
        return utc.dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ")
    if dtype == pl.Date:
        return expr.dt.to_string("%Y-%m-%d")
    if dtype == pl.Time:
        return expr.dt.to_string("%H:%M:%S%.f")
    if dtype == pl.Duration:
        return expr.dt.total_seconds().cast(pl.String)
    if dtype.is_float():
        return pl.when(expr.is_finite()).then(expr.cast(pl.String))
    if dtype.is_nested():
        return _nested(found)
    return expr.cast(pl.String)


def fragment(found: Value) -> pl.Expr:
    """A value as JSON text; null where the value is null."""
    dtype = found.dtype
    if dtype == pl.Null:
        return _null()
    if dtype == pl.Boolean or dtype.is_numeric() or dtype.is_nested():
        return text(found)
    if found.harmless or dtype.is_temporal():
        return pl.concat_str(pl.lit('"'), text(found), pl.lit('"'))
    return quoted(text(found))


def quoted(expr: pl.Expr) -> pl.Expr:
    """Text as a JSON string."""
    escaped = expr.map_batches(_escaped, return_dtype=pl.String, is_elementwise=True)
    return pl.concat_str(pl.lit('"'), escaped, pl.lit('"'))


def _escaped(texts: pl.Series) -> pl.Series:
    """Most columns hold nothing to escape, and looking costs far less than replacing."""
    if texts.dtype != pl.String or not texts.str.contains(_TO_ESCAPE).any():
        return texts
    return texts.str.replace_many(ESCAPED, ESCAPES)


def url_escaped(expr: pl.Expr) -> pl.Expr:
    """Percent-encoded UTF-8, all but the unreserved characters of RFC 3986."""
    return expr.map_batches(_percent_encoded, return_dtype=pl.String, is_elementwise=True)


def _percent_encoded(texts: pl.Series) -> pl.Series:
    """Whole columns: what differs from column to column is only which foreign letters occur."""
    escaped = texts.str.replace_many(_RESERVED, _PERCENT)
    foreign = escaped.filter(escaped.str.contains(_FOREIGN))
    if foreign.is_empty():
        return escaped
    letters = foreign.str.extract_all(_FOREIGN).explode().unique().to_list()
    return escaped.str.replace_many(letters, [quote(letter, safe="") for letter in letters])


def sha256(expr: pl.Expr) -> pl.Expr:
    namespaces: Any = expr
    hashed: pl.Expr = namespaces.chash.sha2_256()
    return hashed


def md5(expr: pl.Expr) -> pl.Expr:
    namespaces: Any = expr
    hashed: pl.Expr = namespaces.nchash.md5()
    return hashed


def sha1(expr: pl.Expr) -> pl.Expr:
    namespaces: Any = expr
    hashed: pl.Expr = namespaces.nchash.sha1()
    return hashed


def _null() -> pl.Expr:
    return pl.lit(None, dtype=pl.String)


def _constant(constant: Any) -> Value:
    if isinstance(constant, pl.Expr):
        return Value(constant, pl.String())
    if isinstance(constant, bool):
        return Value(pl.lit(constant), pl.Boolean())
    if isinstance(constant, int):
        return Value(pl.lit(constant, dtype=pl.Int64), pl.Int64())
    if isinstance(constant, float):
        return Value(pl.lit(constant, dtype=pl.Float64), pl.Float64())
    return Value(pl.lit(None if constant is None else str(constant), dtype=pl.String), pl.String())


def _nested(found: Value) -> pl.Expr:
    """A list or struct as JSON text."""
    plain = pl.struct(_plain(found.expr, found.dtype).alias("v")).struct.json_encode()
    inner = plain.str.slice(len('{"v":')).str.head(-1)
    inner = inner.str.replace_many(_LINE_ENDS, [f"\\u{ord(end):04x}" for end in _LINE_ENDS])
    return pl.when(found.expr.is_not_null()).then(inner)


def _plain(expr: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A nested value with its times as ISO text, which Polars' own JSON does not write."""
    if isinstance(dtype, pl.List | pl.Array):
        as_list = expr.arr.to_list() if isinstance(dtype, pl.Array) else expr
        return as_list.list.eval(_plain(pl.element(), _instance(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        parts = [
            _plain(expr.struct.field(part.name), _instance(part.dtype)).alias(part.name)
            for part in dtype.fields
        ]
        return pl.when(expr.is_not_null()).then(pl.struct(parts))
    if dtype.is_temporal() or dtype == pl.Binary:
        return text(Value(expr, dtype))
    if dtype.is_decimal():
        return expr.cast(pl.Float64)
    return expr


def _instance(dtype: Any) -> pl.DataType:
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made


def _applied(function: Function, found: Value) -> Value:
    argument = function.argument or ""
    dtype = found.dtype
    match function.name:
        case "number":
            return Value(_number(found), dtype if dtype.is_numeric() else pl.Float64())
        case "integer":
            return Value(integer(found), pl.Int64())
        case "epoch" | "epoch_ms":
            unit: Any = "s" if function.name == "epoch" else "ms"
            return Value(_time(found).dt.epoch(unit), pl.Int64())
        case "date":
            return Value(_time(found).dt.to_string("%Y-%m-%d"), pl.String(), harmless=True)
        case "format":
            return Value(_time(found).dt.to_string(argument), pl.String())
        case "yes_no":
            yes, no = (argument or "yes,no").split(",")
            truth = truth_value(found)
            return Value(
                pl.when(truth).then(pl.lit(yes)).when(~truth).then(pl.lit(no)), pl.String()
            )
        case "or":
            return Value(text(found).fill_null(argument), pl.String())
        case "json":
            return Value(fragment(found), pl.String())
        case name:
            harmless = name in _HARMLESS or (found.harmless and name != "first")
            return Value(_text_function(name, argument, text(found)), pl.String(), harmless)


def _text_function(name: str, argument: str, expr: pl.Expr) -> pl.Expr:
    match name:
        case "trim":
            return expr.str.strip_chars()
        case "lower":
            return expr.str.to_lowercase()
        case "upper":
            return expr.str.to_uppercase()
        case "md5":
            return md5(expr)
        case "sha1":
            return sha1(expr)
        case "sha256":
            return sha256(expr)
        case "base64":
            return expr.str.encode("base64")
        case "url":
            return url_escaped(expr)
        case "first":
            return expr.str.slice(0, int(argument))
        case "last_part":
            return expr.str.split("/").list.last()
        case _:  # "string"; the parser lets no other name through
            return expr


def _number(found: Value) -> pl.Expr:
    if found.dtype.is_numeric():
        return found.expr
    return found.expr.cast(pl.Float64, strict=False)


def integer(found: Value) -> pl.Expr:
    """A whole number, also from text; an id beyond 2**53 keeps all its digits."""
    number = _number(found).cast(pl.Int64, strict=False)
    if found.dtype == pl.String:
        return pl.coalesce(found.expr.cast(pl.Int64, strict=False), number)
    return number


def truth_value(found: Value) -> pl.Expr:
    """A truth value from one, from a number, or from the words true, false, yes, no, 1, 0."""
    if found.dtype == pl.Boolean:
        return found.expr
    if found.dtype.is_numeric():
        return found.expr != 0
    word = text(found).str.strip_chars().str.to_lowercase()
    return (
        pl.when(word.is_in(["true", "yes", "1"]))
        .then(pl.lit(True))
        .when(word.is_in(["false", "no", "0"]))
        .then(pl.lit(False))
    )


def _time(found: Value) -> pl.Expr:
    """A time without zone, in UTC."""
    expr, dtype = found.expr, found.dtype
    if isinstance(dtype, pl.Datetime):
        return (
            expr.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else expr
        )
    if dtype == pl.Date:
        return expr.cast(pl.Datetime("us"))
    as_text = text(found).str.replace(r"(Z|[+-]00:?00)$", "").str.replace("T", " ", literal=True)
    return pl.coalesce(
        as_text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False),
        as_text.str.to_datetime("%Y-%m-%d", time_unit="us", strict=False),
    )
