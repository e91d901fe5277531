"""What no input may make the code do, whichever parser meets it.

CPython's audit events (PEP 578) tell of each file that is opened, each process and each
connection, from C code too. A hook cannot be taken away again, so it sleeps between inputs.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RUNS = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"}
    | {"os.startfile", "pty.spawn", "socket.connect", "socket.getaddrinfo", "ctypes.dlopen"}
)
_CHANGES = {  # How many of the first arguments are paths.
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.chmod": 1,
    "os.chown": 1,
    "os.truncate": 1,
    "os.utime": 1,
    "os.rename": 2,
    "os.link": 2,
    "shutil.rmtree": 1,
}
_TOOLS = frozenset({"zstd"})
"""Programs that may be given the bytes, on their standard input."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_OURS = Path(__file__).parents[2]


class Forbidden(BaseException):
    """The input led to something that it must not. No ``except`` of the code may take it."""


@dataclass(slots=True)
class Cost:
    """Of one input: seconds of this thread's processor time, and bytes at the peak."""

    seconds: float
    memory: int | None


class Guard:
    """Runs each input in a directory of its own below *scratch*, all that it may touch."""

    def __init__(self, scratch: Path) -> None:
        self._top = self._place = os.path.realpath(scratch)
        self._armed = False
        self._seen: list[str] = []
        readable = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *sys.path}
        readable |= {str(_OURS), "/usr/share/zoneinfo", "/etc/localtime"}
        self._readable = tuple(os.path.realpath(path) for path in readable if path)
        sys.addaudithook(self._hook)

    def run(
        self, check: Callable[[bytes, Path], None], data: bytes, *, measure: bool = True
    ) -> Cost:
        """
        :param measure: the memory too, which takes some time.
        :raises Forbidden: *data* made the code reach out.
        """
        self._seen = []
        self._place = tempfile.mkdtemp(dir=self._top)
        if measure:
            tracemalloc.start()
        before = tempfile.tempdir
        begin = time.thread_time()
        tempfile.tempdir = self._place
        self._armed = True
        try:
            check(data, Path(self._place))
        finally:
            self._armed = False
            tempfile.tempdir = before
            seconds = time.thread_time() - begin
            memory = tracemalloc.get_traced_memory()[1] if measure else None
            if measure:
                tracemalloc.stop()
            shutil.rmtree(self._place)
        if self._seen:
            raise Forbidden(self._seen[0])
        return Cost(seconds, memory)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event == "subprocess.Popen" and os.path.basename(arguments[0]) in _TOOLS:
            return
        if event in _RUNS:
            self._forbid(f"{event} {arguments!r:.200}")
        elif event == "open":
            path, _, flags = arguments
            self._path(event, path, writes=bool(flags & _WRITING))
        elif event in _CHANGES:
            for path in arguments[: _CHANGES[event]]:
                self._path(event, path, writes=True)
        elif event == "os.symlink":
            self._path(event, arguments[1], writes=True)

    def _path(self, event: str, path: Any, *, writes: bool) -> None:
        if path is None or isinstance(path, int):
            return
        # The last component of what is made, moved or removed is not followed.
        text = os.path.abspath(os.fsdecode(path))
        head, name = os.path.split(text)
        real = os.path.realpath(text) if event == "open" else f"{os.path.realpath(head)}/{name}"
        if (
            real == os.devnull
            or _below(real, self._place)
            or (not writes and self._is_readable(real))
        ):
            return
        self._forbid(f"{event} {'writing' if writes else 'reading'} {text!r}")

    def _is_readable(self, real: str) -> bool:
        return any(_below(real, place) for place in self._readable)

    def _forbid(self, what: str) -> None:
        self._seen.append(what)
        raise Forbidden(what)


def _below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
