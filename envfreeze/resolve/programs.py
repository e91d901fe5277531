"""Programs that packages call (ffmpeg, git, dot), as a person names them.

No file of a distribution says that it starts them, so they are asked for by name.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from envfreeze.errors import UsageError
from envfreeze.resolve.rootfs import Root

_HEAD = 256
"""Bytes of a script's first line: the kernel reads no more (``BINPRM_BUF_SIZE``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that was found."""

    name: str
    path: str
    """Where PATH leads, links not followed."""
    real: str


def find(root: Root, names: tuple[str, ...], path: str) -> list[Program]:
    """The programs *names* on *path*, and the interpreters of those that are scripts.

    :param path: PATH of the target; entries that are not absolute do not count.
    :raises UsageError: one of them is not there, or is no name.
    """
    found: dict[str, Program] = {}
    queue = [(name, "") for name in dict.fromkeys(names)]
    while queue:
        name, script = queue.pop(0)
        program = _on_path(root, name, path)
        if program is None:
            raise _absent(name, script, path)
        if program.path not in found:
            found[program.path] = program
            queue += [(word, name) for word in interpreters(_head(root, program.real))]
    return list(found.values())


def _absent(name: str, script: str, path: str) -> UsageError:
    whose = f", which {script!r} is a script for" if script else ""
    return UsageError(
        f"--needs {name!r}{whose}: there is no such program on PATH ({path})",
        hint="Install it, write its whole path, or leave it out.",
    )


def _on_path(root: Root, name: str, path: str) -> Program | None:
    if not re.fullmatch(r"[^\x00-\x1f\x7f]{1,255}", name) or name in {".", ".."}:
        return None
    places = [name] if name.startswith("/") else []
    if "/" not in name:
        places = [f"{entry.rstrip('/')}/{name}" for entry in path.split(":") if entry[:1] == "/"]
    for place in places:
        if _is_program(root.at(place)):
            real = root.real(os.path.normpath(place))
            return Program(name=name.rpartition("/")[2], path=os.path.normpath(place), real=real)
    return None


def _is_program(host: str) -> bool:
    try:
        mode = os.stat(host).st_mode  # noqa: PTH116 - PATH may hold files, and be long
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def _head(root: Root, path: str) -> bytes:
    try:
        with open(root.at(path), "rb", buffering=0) as file:  # noqa: PTH123
            return file.read(_HEAD)
    except OSError:
        return b""


def interpreters(head: bytes) -> Iterator[str]:
    """The programs that the first line of a script names: ``env``'s argument too."""
    line = head.partition(b"\n")[0]
    words = os.fsdecode(line[2:]).split() if line.startswith(b"#!") else []
    if words and words[0].startswith("/"):
        yield words[0]
        if words[0].rpartition("/")[2] == "env":
            plain = (word for word in words[1:] if word[:1] != "-" and "=" not in word)
            yield from list(plain)[:1]
