"""Directories of a machine, each listed once, and links followed below its root."""

import os

if False:  # For type checkers; the probe has no time to import it.
    from typing import Any  # noqa: F401

LINKS = 40  # As many as Linux follows.
LISTED = 1 << 16  # Names of one directory that are looked at.

CONF = "/etc/ld.so.conf.d"
LINE = 1 << 16  # Bytes of a file in there.
WSL = "/usr/lib/wsl/lib"
# Where loaders look without being told (ld.so(8)), on the machines that accelerators are in.
SYSTEM = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/lib64",
    "/lib",
)


class Places(object):
    """What lies where on *machine*; paths are the machine's own."""

    def __init__(self, machine):
        self.machine = machine
        self._names = {}  # type: dict
        self._real = {}  # type: dict
        self._loaded = None  # type: Any

    def names(self, directory):
        """The names in *directory*, as a set; empty where it cannot be listed."""
        found = self._names.get(directory)
        if found is None:
            try:
                listed = os.listdir(self.here(directory))
            except (OSError, ValueError):
                listed = []
            found = {name for name in listed[:LISTED] if name.isprintable()}
            self._names[directory] = found
        return found

    def matching(self, directory, begin, end=""):
        """``directory/NAME`` for the names that begin and end so, sorted."""
        return [
            directory.rstrip("/") + "/" + name
            for name in sorted(self.names(directory))
            if name.startswith(begin) and name.endswith(end)
        ]

    def exists(self, path):
        try:
            return os.path.lexists(self.here(path))
        except (OSError, ValueError):
            return False

    def is_file(self, path):
        try:
            return os.path.isfile(self.here(path))
        except (OSError, ValueError):
            return False

    def is_dir(self, path):
        try:
            return os.path.isdir(self.here(path))
        except (OSError, ValueError):
            return False

    def text(self, path, limit):
        """Text of a file, or None; a link in a recorded root stays in it."""
        return self.machine.text(self._below(path), limit)

    def here(self, path):
        """Where *path* is to be opened: the system follows its links, but not out of a root."""
        return self.machine.path(self._below(path))

    def _below(self, path):
        return path if self.machine.root == "/" else self.real(path)

    def real(self, path):
        """*path* without links, below this machine's root."""
        directory, _, name = path.rstrip("/").rpartition("/")
        if not directory or name in ("", ".", ".."):
            return self._resolved(path)
        if directory not in self._real:
            self._real[directory] = self._resolved(directory)
        path = self._real[directory].rstrip("/") + "/" + name
        return path if self._link(path) is None else self._resolved(path)

    def _resolved(self, path):
        if self.machine.root == "/":
            try:
                return os.path.realpath(path)
            except (OSError, ValueError):
                return path
        done, pending, links = [], path.split("/")[::-1], 0  # type: list, list, int
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            target = self._link("/" + "/".join([*done, part]))
            if target is None:
                done.append(part)
                continue
            links += 1
            if links > LINKS:
                return path
            if target.startswith("/"):
                done = []
            pending.extend(target.split("/")[::-1])
        return "/" + "/".join(done)

    def _link(self, path):
        try:
            return os.readlink(self.machine.path(path))
        except (OSError, ValueError):
            return None

    def variable(self, name):
        """The absolute directory that an environment variable names, or None."""
        value = self.machine.environ.get(name, "")
        return value.rstrip("/") or "/" if absolute(value) else None

    def variables(self, name):
        """The absolute directories of a variable that is a search path."""
        return [part for part in self.machine.environ.get(name, "").split(":") if absolute(part)]

    def program(self, name, more=()):
        """The first *name* on PATH, then in *more*; None: there is none."""
        for directory in self.variables("PATH") + list(more):
            path = directory.rstrip("/") + "/" + name
            if self.is_file(path) and os.access(self.here(path), os.X_OK):
                return path
        return None

    def loaded_from(self):
        """The directories that the loader searches for shared libraries, each once, in order."""
        if self._loaded is None:
            self._loaded = self._searched()
        return self._loaded

    def _searched(self):
        found = [*self.variables("LD_LIBRARY_PATH"), WSL]
        for path in self.matching(CONF, "", ".conf"):
            lines = (self.text(path, LINE) or "").split("\n")
            found += [line.strip() for line in lines if absolute(line.strip())]
        found += SYSTEM
        return self.once([path for path in found if self.names(path)])

    def once(self, paths):
        """*paths* without those that lead where an earlier one did."""
        seen, kept = set(), []
        for path in paths:
            real = self.real(path)
            if real not in seen:
                seen.add(real)
                kept.append(path)
        return kept


def absolute(path):
    return path.startswith("/") and path.isprintable()
