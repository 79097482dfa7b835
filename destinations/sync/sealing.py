"""Encryption of state that names people: AES-256-GCM, in chunks, with the key from the environment.

::

    b"SRX1"  key id (8 bytes)  salt (16 random bytes)  chunk, chunk, …

Each file has a key of its own, HMAC-SHA-256 of the key and the salt, so that no nonce ever
meets a key twice however many files there are. Each chunk is up to ``CHUNK`` bytes of content
and a tag of 16 bytes. Its nonce is the chunk's number and whether it is the last, and the
header is authenticated with it: chunks that are cut off, exchanged or changed are refused
(the construction is STREAM, https://eprint.iacr.org/2015/189). The key id is a digest of the
key, so that a wrong or missing key is told as what it is. Keys are rotated by putting a new
one first: what is written anew uses it, what stands is read with the old one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import os
import struct
from binascii import Error as NotBase64
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from destinations.errors import ConfigurationError, LedgerError
from destinations.paths import state_keys

MAGIC = b"SRX1"
CHUNK = 1 << 20
TAG = 16
_HEAD = struct.Struct("<4s8s16s")
HOW = "Make one with `openssl rand -base64 32`."


@dataclass(frozen=True)
class Key:
    """One key; ``id`` tells which one sealed a file and nothing about the key."""

    id: bytes
    secret: bytes

    def cipher(self, head: bytes) -> AESGCM:
        """The cipher of the one file with this header."""
        return AESGCM(hmac.digest(self.secret, b"storeroom state file\0" + head, "sha256"))


def keys() -> tuple[Key, ...]:
    """The keys of the environment, the one that encrypts first; none where none is set.

    Raises:
        ConfigurationError: one of them is no key.
    """
    return _keys(tuple(state_keys()))


@lru_cache(maxsize=8)
def _keys(texts: tuple[str, ...]) -> tuple[Key, ...]:
    found = []
    for number, text in enumerate(texts, start=1):
        try:
            key = base64.b64decode(text, validate=True)
        except (NotBase64, ValueError):
            key = b""
        if len(key) != 32:
            raise ConfigurationError(
                f"Key {number} of STOREROOM_STATE_KEY is not 32 bytes in base64.", HOW
            )
        name = hashlib.sha256(b"storeroom state key\0" + key).digest()[:8]
        found.append(Key(name, key))
    return tuple(found)


class SealedWriter(io.RawIOBase):
    """Seals what is written to it and passes it on, one chunk at a time."""

    def __init__(self, target: BinaryIO, key: Key) -> None:
        self._target = target
        self._head = _HEAD.pack(MAGIC, key.id, os.urandom(16))
        self._cipher = key.cipher(self._head)
        self._waiting = bytearray()
        self._chunks = 0
        self._written = 0
        target.write(self._head)

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._waiting += view
        self._written += len(view)
        while len(self._waiting) > CHUNK:
            self._pass_on(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]
        return len(view)

    def finish(self) -> None:
        """Write the last chunk; without it the file is refused as cut off."""
        self._pass_on(bytes(self._waiting), last=True)

    def _pass_on(self, chunk: bytes, *, last: bool) -> None:
        nonce = _nonce(self._chunks, last)
        self._target.write(self._cipher.encrypt(nonce, chunk, self._head))
        self._chunks += 1


def sealed(data: bytes) -> bytes:
    """``data`` under the first key; as it is where no key is set."""
    found = keys()
    if not found:
        return data
    target = io.BytesIO()
    writer = SealedWriter(target, found[0])
    writer.write(data)
    writer.finish()
    return target.getvalue()


def is_sealed(start: bytes) -> bool:
    return start.startswith(MAGIC)


def key_of(start: bytes) -> bytes | None:
    """Id of the key that a file's first bytes name; None where it is in clear."""
    return _HEAD.unpack_from(start)[1] if is_sealed(start) and len(start) >= _HEAD.size else None


def unsealed(data: bytes, name: str) -> bytes:
    """What was sealed; ``data`` as it is where it is in clear.

    Args:
        name: of the file, for messages.

    Raises:
        LedgerError: its key is not set, or it was changed.
    """
    if not is_sealed(data):
        return data
    damaged = LedgerError(
        f"{name} is damaged: it cannot be decrypted.", "Restore it from a backup of the state."
    )
    if len(data) < _HEAD.size + TAG:
        raise damaged
    head = data[: _HEAD.size]
    key = next((key for key in keys() if key.id == key_of(head)), None)
    if key is None:
        wanted = head[4:12].hex()
        raise LedgerError(
            f"{name} is encrypted with key {wanted}, which STOREROOM_STATE_KEY "
            + ("does not hold." if keys() else "should hold: it is not set."),
            "Set STOREROOM_STATE_KEY to that key, or add it behind the new one: `new,old`.",
        )
    cipher = key.cipher(head)
    view, result = memoryview(data)[_HEAD.size :], bytearray()
    step = CHUNK + TAG
    count = -(-len(view) // step)
    try:
        for number in range(count):
            chunk = view[number * step : (number + 1) * step]
            nonce = _nonce(number, last=number == count - 1)
            result += cipher.decrypt(nonce, chunk, head)
    except InvalidTag:
        raise damaged from None
    return bytes(result)


def _nonce(number: int, last: bool) -> bytes:
    return struct.pack(">7xIB", number, last)
