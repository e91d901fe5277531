"""A gzip file written by all processors, the same bytes however many there are.

Blocks of one size are deflated apart, each from its content alone, and joined in their order: what
comes out is one ordinary member, which any reader of gzip takes (RFC 1951, RFC 1952). A block that
will not get smaller (weights, images, archives) is stored: to find out by deflating it takes
twenty times as long.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

BLOCK = 1 << 20
"""Bytes that are deflated at a time. Another number gives other bytes."""
_PROBES = 4
_PROBE = 16 << 10
_DENSE = 0.97
"""Of its size: what deflating a probe must get below to be worth the time."""

_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""Deflate, no name, no time, no system (RFC 1952 2.3)."""
_END = b"\x03\x00"
"""An empty last block (RFC 1951 3.2.6)."""


class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


def is_dense(block: bytes) -> bool:
    """Whether *block* will hardly get smaller, by what a few parts of it do."""
    step = max(len(block) // _PROBES, _PROBE)
    probe = b"".join(block[at : at + _PROBE] for at in range(0, len(block), step))
    return len(zlib.compress(probe, 1)) > _DENSE * len(probe)


class Writer(io.RawIOBase):
    """Deflates what is written to it, in threads; a bounded number of blocks wait in memory."""

    def __init__(self, out: _Writable, level: int = 6) -> None:
        self._out = out
        self._level = level
        self._buffer = bytearray()
        self._crc = 0
        self._size = 0
        workers = min(8, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(workers)
        self._room = workers + 1
        self._waiting: deque[Future[bytes]] = deque()
        out.write(_HEADER)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._buffer += data
        while len(self._buffer) >= BLOCK:
            self._add(bytes(self._buffer[:BLOCK]))
            del self._buffer[:BLOCK]
        return len(data)

    def _add(self, block: bytes) -> None:
        self._crc = zlib.crc32(block, self._crc)
        self._size += len(block)
        self._waiting.append(self._pool.submit(_deflate, block, self._level))
        while len(self._waiting) > self._room:
            self._out.write(self._waiting.popleft().result())

    def finish(self) -> None:
        """Write what is left, and the end."""
        if self._buffer:
            self._add(bytes(self._buffer))
            self._buffer.clear()
        while self._waiting:
            self._out.write(self._waiting.popleft().result())
        self._out.write(_END + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._pool.shutdown(cancel_futures=True)
            self.close()


def _deflate(block: bytes, level: int) -> bytes:
    packer = zlib.compressobj(0 if is_dense(block) else level, zlib.DEFLATED, -zlib.MAX_WBITS)
    # A sync flush ends on a whole byte, so that another block can follow.
    return packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)
