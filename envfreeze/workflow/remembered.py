"""What was worked out before and is asked for again, from the cache.

Everything here follows from bytes that its key is a digest of, and from this program: a key has
both, so that a new version of either is worked out anew. What is damaged is no memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

import msgspec

from envfreeze.model.lock import Lock
from envfreeze.program import program_stamp
from envfreeze.store import Cache

_Kept = TypeVar("_Kept")

_LARGE = 64 * 1024
"""Bytes of a lock that takes longer to read and check than to look up."""


def lock(data: bytes, read: Callable[[], Lock], cache: Cache) -> Lock:
    """The lock that *data* is, as *read* reads it."""
    if len(data) < _LARGE:
        return read()
    return remembered("locks", hashlib.sha256(data).hexdigest(), Lock, read, cache)


def remembered(
    kind: str, key: str, sort: type[_Kept], make: Callable[[], _Kept], cache: Cache
) -> _Kept:
    """What *make* makes, of an earlier run if that had the same *key* and program.

    :param sort: what it makes: msgspec can write it, and read it back equal.
    """
    key = hashlib.sha256(f"{program_stamp()} {key}".encode("ascii")).hexdigest()
    note = cache.read_note(kind, key)
    if note is not None:
        try:
            return msgspec.msgpack.decode(note, type=sort)
        except msgspec.MsgspecError:
            pass
    made = make()
    cache.write_note(kind, key, msgspec.msgpack.encode(made))
    return made
