"""A root directory, and the paths in it as programs of that system see them.

A container's or another machine's root holds absolute links (``/etc/alternatives/...``); the
kernel would follow them within that root, so must we: never onto the machine we run on.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_MAX_LINKS = 40
"""What Linux follows before it gives up (path_resolution(7))."""
_MAX_PATH = 4096


class Root:
    """Resolve absolute POSIX paths inside one root directory."""

    def __init__(self, path: Path | str = "/") -> None:
        self.path = Path(path)
        self._prefix = "" if str(path) == "/" else str(path).rstrip("/")
        self._directories: dict[str, str] = {"/": "/"}

    def real(self, path: str) -> str:
        """*path* with every link followed, still as seen from inside the root."""
        return self._follow(path, _MAX_LINKS)

    def entry(self, path: str) -> str:
        """*path* with the links of its directories followed, but not its own."""
        head, _, name = path.rstrip("/").rpartition("/")
        directory = self._directory(head or "/", _MAX_LINKS)
        return f"{directory.rstrip('/')}/{name}"

    def host(self, path: str) -> str:
        """Where a resolved *path* lies for us who stand outside."""
        return (self._prefix + path) or "/"

    def at(self, path: str) -> str:
        """The file that *path* means, links followed, as we can open it."""
        return self.host(self.real(path)) if self._prefix else path

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.at(path))

    def read(self, path: str, limit: int) -> bytes | None:
        """The content of a plain file; None where there is none, or more than *limit* bytes."""
        try:
            # O_NONBLOCK: to open a FIFO would wait for whoever writes into it.
            descriptor = os.open(self.at(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
                return None
            with os.fdopen(os.dup(descriptor), "rb") as file:
                data = file.read(limit + 1)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return data if len(data) <= limit else None

    def _directory(self, path: str, budget: int) -> str:
        """*path* resolved; from the top down, as a long one would exhaust the stack."""
        unknown = []
        while path not in self._directories:
            unknown.append(path)
            path = path.rpartition("/")[0] or "/"
        for each in reversed(unknown):
            self._directories[each] = self._follow(each, budget)
        return self._directories[unknown[0] if unknown else path]

    def _follow(self, path: str, budget: int) -> str:
        if len(path) > _MAX_PATH or "\0" in path:
            return path  # No file is called so: to open it will fail.
        normal = os.path.normpath("/" + path.lstrip("/")) if ".." not in path else path
        head, _, name = normal.rstrip("/").rpartition("/")
        if not name:
            return "/"
        parent = self._directory(head or "/", budget)
        if name == ".":
            return parent
        if name == "..":
            return parent.rpartition("/")[0] or "/"
        here = f"{parent.rstrip('/')}/{name}"
        try:
            target = os.readlink(self._prefix + here)  # noqa: PTH115 - the fast path
        except OSError:
            return here
        if budget <= 0:
            return here
        if not target.startswith("/"):
            target = f"{parent}/{target}"
        return self._follow(target, budget - 1)
