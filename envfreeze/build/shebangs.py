"""The first line of a script: the interpreter of the finished environment."""

from __future__ import annotations

import io
import os
import re
import shlex
from typing import Any, BinaryIO

from envfreeze.build.streams import Joined

_SHEBANG = b"#!python"
LINE = 1 << 13


def with_shebang(stream: BinaryIO, python: str, *, keep: bool) -> Any:
    """A wheel's script with *python* in the place of ``#!python``.

    :param keep: with the arguments that follow it.
    """
    line = stream.readline(LINE)
    if not line.startswith(_SHEBANG) or not (line.endswith(b"\n") or len(line) < LINE):
        stream.seek(0)
        return stream
    rest = line[len(_SHEBANG) :].removeprefix(b"w")
    arguments = rest.strip() if keep and rest[:1].isspace() else b""
    end = b"\r\n" if keep and rest.endswith(b"\r\n") else b"\n" if b"\n" in rest else b""
    return Joined(io.BytesIO(shebang(python, arguments) + end), stream)


def shebang(python: str, arguments: bytes = b"") -> bytes:
    """The first line of a script; three lines of shell where the kernel would not take the path.

    Source: distlib's ``scripts.py``, as ``installer`` and uv have it too.
    """
    path = os.fsencode(python)
    tail = b" " + arguments if arguments else b""
    if not re.search(rb"\s", path) and len(path) + len(tail) + 3 <= 127:
        return b"#!" + path + tail
    quoted = os.fsencode(shlex.quote(python))
    return b"#!/bin/sh\n'''exec' " + quoted + tail + b' "$0" "$@"\n' + b"' '''"
