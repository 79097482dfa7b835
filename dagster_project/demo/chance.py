"""Chance without state: every draw is a pure function of a key and the name of the decision.

A generator with a running state would make day 9 depend on days 1 to 8 having been
drawn. Here a decision hashes its key (a person, a visit) together with its own name,
so any day, and any slice of the people, comes out the same on its own.
"""

from __future__ import annotations

import hashlib

import polars as pl

_WORD = 2**64


def _name_bits(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _u64(value: int) -> pl.Expr:
    return pl.lit(value % _WORD, dtype=pl.UInt64)


def _finalise(bits: pl.Series) -> pl.Series:
    # The finaliser of SplitMix64: a bijection of 64-bit words whose output bits look
    # independent. Division by a power of two stands for the right shift.
    bits = (bits ^ (bits // 2**30)) * 0xBF58476D1CE4E5B9
    bits = (bits ^ (bits // 2**27)) * 0x94D049BB133111EB
    return bits ^ (bits // 2**31)


def _mix(bits: pl.Expr) -> pl.Expr:
    # On the column, not as an expression: each line names its input twice, and draws that
    # build on draws would grow into trees of thousands of nodes.
    return bits.map_batches(_finalise, return_dtype=pl.UInt64, is_elementwise=True)


def key_of(number: pl.Expr, seed: int, name: str) -> pl.Expr:
    """UInt64 keys for whole numbers: distinct for distinct numbers of one seed and name."""
    scattered = number.cast(pl.UInt64) * _u64(0x9E3779B97F4A7C15)
    return _mix(scattered ^ _u64(_name_bits(f"{name}/{seed}")))


def combine(key: pl.Expr, number: pl.Expr) -> pl.Expr:
    """A UInt64 key for each pair of a key and a whole number (negative ones too)."""
    shifted = (number.cast(pl.Int64) + 2**32).cast(pl.UInt64)
    return _mix(key ^ (shifted * _u64(0x9E3779B97F4A7C15)))


def draw(key: pl.Expr, name: str) -> pl.Expr:
    """64 random bits (UInt64) for the decision ``name`` of each key."""
    return _mix(key ^ _u64(_name_bits(name)))


def below(key: pl.Expr, name: str, limit: int | pl.Expr) -> pl.Expr:
    """A whole number (Int64) from 0 up to, not including, ``limit``."""
    bound = _u64(limit) if isinstance(limit, int) else limit.cast(pl.UInt64)
    return (draw(key, name) % bound).cast(pl.Int64)


def unit(key: pl.Expr, name: str) -> pl.Expr:
    """A number (Float64) of [0, 1)."""
    return (draw(key, name) // _u64(2**11)).cast(pl.Float64) / 2.0**53


def chance(key: pl.Expr, name: str, share: float) -> pl.Expr:
    """True (Boolean) for about ``share`` of the keys."""
    return unit(key, name) < share


def at_index(values: list[str] | list[int] | pl.Series, index: pl.Expr) -> pl.Expr:
    """The value that stands at each index."""
    series = values if isinstance(values, pl.Series) else pl.Series(values)
    return pl.lit(series).gather(index.cast(pl.UInt32))


def pick(key: pl.Expr, name: str, values: list[str]) -> pl.Expr:
    """One of ``values`` (String), each as likely as the others; repeat a value to weigh it."""
    return at_index(values, below(key, name, len(values)))
