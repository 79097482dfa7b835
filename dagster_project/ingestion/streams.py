"""Bytes of a landing file: compression by name, damage told apart from the end."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import zstandard

BLOCK = 1 << 20
ZSTD_BLOCK = 1 << 12
"""Compressed bytes fed at a time: a block of 4 KiB can swell to 128 MiB at most."""

GZIP_SUFFIXES = (".gz", ".gzip")
ZSTD_SUFFIXES = (".zst", ".zstd")


class DamagedError(Exception):
    """The compressed stream breaks off or is corrupt; what came before it is good."""


def without_compression(name: str) -> str:
    """The file name with ``.gz`` or ``.zst`` taken off."""
    lowered = name.lower()
    for suffix in (*GZIP_SUFFIXES, *ZSTD_SUFFIXES):
        if lowered.endswith(suffix):
            return name[: -len(suffix)]
    return name


def read_blocks(path: Path) -> Iterator[bytes]:
    """Decompressed bytes in blocks, none empty.

    Raises:
        DamagedError: after the last good block, where the stream is cut or corrupt.
    """
    name = path.name.lower()
    with path.open("rb") as file:
        if name.endswith(GZIP_SUFFIXES):
            yield from _gunzip(file)
        elif name.endswith(ZSTD_SUFFIXES):
            yield from _unzstd(file)
        else:
            while block := file.read(BLOCK):
                yield block


def _gunzip(file: io.BufferedReader) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as stream:
        try:
            # read1, not read: read drops what it had gathered when the stream breaks off.
            while block := stream.read1(BLOCK):
                yield block
        except EOFError:
            raise DamagedError("the gzip stream breaks off before its end") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DamagedError(f"the gzip stream is corrupt: {error}") from None


def _unzstd(file: io.BufferedReader) -> Iterator[bytes]:
    # The library's own stream reader takes a cut stream for an ended one.
    frame = None
    while data := file.read(ZSTD_BLOCK):
        while data:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            try:
                block = frame.decompress(data)
            except zstandard.ZstdError as error:
                raise DamagedError(f"the zstd stream is corrupt: {error}") from None
            if block:
                yield block
            data = b""
            if frame.eof:
                data, frame = frame.unused_data, None
    if frame is not None:
        raise DamagedError("the zstd stream breaks off before its end")
