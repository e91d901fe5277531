"""How a target that is not a path is named; what looks at one is a module of its own.

``pid:N``; ``docker:NAME``, ``image:REF`` and ``root:DIR``, each with ``:/PATH`` behind it where
somebody names the interpreter, the venv or the prefix in there.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from envfreeze.errors import UsageError

PID = "pid:"
DOCKER, IMAGE, ROOT = "docker:", "image:", "root:"
KINDS = (DOCKER, IMAGE, ROOT)
"""Whose files are not this machine's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A target as it was named."""

    kind: str
    """One of :data:`KINDS`."""
    name: str
    """A container's name or id, an image's reference, a directory."""
    python: str | None = None
    """The interpreter, venv or prefix in there; None: the usual one."""

    @property
    def shown(self) -> str:
        return f"{self.kind}{self.name}"


def is_inside(target: str) -> bool:
    """Whether *target* is one of :data:`KINDS`."""
    return target.startswith(KINDS)


def named(target: str) -> Named:
    """Take *target* apart.

    :raises UsageError: nothing is named.
    """
    kind = next(kind for kind in KINDS if target.startswith(kind))
    name = target.removeprefix(kind)
    python = None
    # No name of a container or an image has ":/" in it; a directory with it can end in "/".
    head, mark, tail = name.rpartition(":/")
    if mark and head:
        name, python = head, posixpath.normpath("/" + tail)
    if not name or name.startswith("-"):
        thing = {DOCKER: "container", IMAGE: "image", ROOT: "directory"}[kind]
        raise UsageError(f"{target}: no {thing} is named", hint=f"Write {kind}{thing.upper()}")
    return Named(kind=kind, name=name, python=python)
