"""Every way to fail: one root, one exit code for each kind, the next step in the message.

Library code raises; only :mod:`envfreeze.cli` turns an error into an exit.
"""

from __future__ import annotations

import re
from enum import IntEnum

_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Exit(IntEnum):
    """What the process says to a script that called it."""

    OK = 0
    NO = 1
    USAGE = 2
    TARGET = 3
    NOT_HERMETIC = 4
    BAD_LOCK = 5
    ENGINE = 6
    MISSING_EXTRA = 7
    ARTIFACT = 8
    DISK = 9
    INTERRUPTED = 130


class EnvfreezeError(Exception):
    """A failure that a user can act on: what, why, and what to do next.

    ``str(error)`` is the thing and the cause; :attr:`hint` is the next step.
    """

    exit_code: Exit = Exit.NO

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(printable(message))
        self.hint = printable(hint)


class UsageError(EnvfreezeError):
    """The call itself cannot be carried out as written."""

    exit_code = Exit.USAGE


class TargetError(EnvfreezeError):
    """The target could not be observed."""

    exit_code = Exit.TARGET


class NotHermeticError(EnvfreezeError):
    """Something is neither proved nor packed, and ``--strict`` was asked for."""

    exit_code = Exit.NOT_HERMETIC


class LockError(EnvfreezeError):
    """A lock that cannot be read, or that contradicts itself."""

    exit_code = Exit.BAD_LOCK


class EngineError(EnvfreezeError):
    """The container engine is absent, or refused."""

    exit_code = Exit.ENGINE


class MissingExtraError(EnvfreezeError):
    """A feature whose optional dependency is not installed."""

    exit_code = Exit.MISSING_EXTRA


class ArtifactError(EnvfreezeError):
    """An artifact could not be had, or is not the bytes that the lock names."""

    exit_code = Exit.ARTIFACT


class DamagedEntryError(ArtifactError):
    """An entry of the cache had other bytes than its name says; it was removed."""


class IndexUnavailableError(ArtifactError):
    """A package index that did not answer, or answered with something else."""


class DiskError(EnvfreezeError):
    """The file system refused: full, read-only, no permission."""

    exit_code = Exit.DISK


class CacheError(DiskError):
    """The cache cannot be written: what is to be done can be done without it."""


def printable(text: str) -> str:
    """*text* with control and direction-changing characters, and lone surrogates, as escapes.

    Names, versions and paths of a target are untrusted; printed raw they could move the
    cursor, recolour the terminal or forge a line of our own output.
    """
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
