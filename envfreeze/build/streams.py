"""Streams of bytes on their way into a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import IO, Any, cast

from envfreeze.store import CHUNK


def blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(CHUNK):
        yield block


def copy_hashed(stream: IO[bytes], out: Any) -> tuple[str, int]:
    """Copy to *out* (None: nowhere); the sha256 and size of what went by."""
    digest = hashlib.sha256()
    size = 0
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
        if out is not None:
            out.write(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


class Joined:
    """Streams, read one after the other."""

    def __init__(self, *parts: Any) -> None:
        self._parts = list(parts)

    def read(self, size: int) -> bytes:
        while self._parts:
            if data := self._parts[0].read(size):
                return cast("bytes", data)
            del self._parts[0]
        return b""


class Hashed:
    """A stream, and the digest of what was read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        return data

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()
