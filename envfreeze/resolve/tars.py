"""The members of a tar that an enemy may have written, one after the other, forwards only.

:mod:`tarfile` reads a header as large as the archive says it is, follows headers upon headers,
keeps every member and makes a terabyte of zeros out of a sparse file of a few bytes; a size below
zero leads it back to where it was. All of that is cut off here.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

HEADERS = 64 << 10
"""Bytes of one member's headers, its extended ones among them: names have up to 4096."""
_STEP = 1 << 20
_XZ = 128 << 20
"""Bytes of memory: the largest preset of xz needs 65 MB to unpack."""

DAMAGE = (
    tarfile.TarError,
    EOFError,
    OverflowError,
    RecursionError,
    ValueError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
)
"""What reading an archive raises that is none."""


def read(stream: IO[bytes], limit: int) -> bytes:
    """All of *stream*, or a little more than *limit* bytes of it.

    Step by step: asked for that many, a buffered file would set them aside for a small one, too.
    """
    blocks = []
    while limit >= 0 and (block := stream.read(min(_STEP, limit + 1))):
        blocks.append(block)
        limit -= len(block)
    return b"".join(blocks)


def unxz(packed: IO[bytes]) -> IO[bytes]:
    """What *packed* holds, as a stream; :class:`lzma.LZMAError` where it wants much memory."""
    return cast("IO[bytes]", io.BufferedReader(_Xz(packed), _STEP))


class _Xz(io.RawIOBase):
    """:mod:`lzma`'s own file knows no bound for the dictionary, which the data chooses."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._inflater = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        inflater = self._inflater
        while not inflater.eof:
            more = self._packed.read(_STEP) if inflater.needs_input else b""
            if inflater.needs_input and not more:
                raise EOFError("it is cut short")
            plain = inflater.decompress(more, len(buffer))
            if plain:
                buffer[: len(plain)] = plain
                return len(plain)
        return 0


class _Forward:
    """What tarfile needs of a file, for a stream that cannot go back."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._position = 0
        self.allowance: int | None = HEADERS
        """How many bytes may still be read; None: content is, by whoever asked for it."""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise tarfile.ReadError("a member that leads back")
        while position > self._position:
            skipped = self._stream.read(min(_STEP, position - self._position))
            if not skipped:
                break
            self._position += len(skipped)
        return self._position

    def read(self, size: int) -> bytes:
        if self.allowance is not None:
            self.allowance -= size
        if size < 0 or (self.allowance is not None and self.allowance < 0):
            raise tarfile.ReadError("a header without measure")
        data = self._stream.read(size)
        self._position += len(data)
        return data


def members(stream: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Each member, with its content where it is a plain file: to be read before the next.

    :raises tarfile.TarError: it is no tar, or holds what an honest one does not.
    """
    source = _Forward(stream)
    with tarfile.open(fileobj=cast("Any", source), mode="r:") as archive:
        while True:
            source.allowance = HEADERS
            member = archive.next()
            if member is None:
                return
            archive.members = []  # type: ignore[attr-defined] # Or it keeps every one.
            if member.size < 0 or member.issparse():
                raise tarfile.ReadError(f"{member.name!r} is not as large as it says")
            source.allowance = None
            yield member, archive.extractfile(member) if member.isreg() else None
