"""Programs in a venv's ``bin`` that no RECORD owns.

A ``setup.py develop`` or an egg leaves its commands there and writes their names nowhere; people
put their own beside them.
"""

import os
import re

from . import files
from .machine import is_utf8

# What makes a venv comes with the venv; nothing else than its base's own files is in these.
_OWN = re.compile(
    r"(python|pypy)[0-9.]*t?|[Aa]ctivate(\.\w+|_this\.py)?|deactivate(\.\w+)?|[^/]*\.bat"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_made_with_venv(name):
    """Whether what is called so in ``bin`` comes with any venv."""
    return _OWN.fullmatch(name) is not None


class Scripts(object):
    """The unowned files of *directory*; *owned*: full paths that RECORDs name."""

    def __init__(self, machine, hasher, directory):
        self.machine = machine
        self.hasher = hasher
        self.directory = directory
        self.outside = [directory]  # What an earlier answer rests on, besides.
        self._rows = []

    def loose(self, owned):
        """Rows as those of a site's unowned files; complete after the hasher has run."""
        rows = []  # type: list
        try:
            names = sorted(os.listdir(self.directory))
        except OSError as error:
            self.machine.find("unreadable", self.directory, str(error.strerror))
            return rows
        for name in names:
            full = self.directory + "/" + name
            if full not in owned and not is_made_with_venv(name):
                row = self._row(name, full)
                if row is not None:
                    rows.append(row)
        return rows

    def _row(self, name, full):
        try:
            st = os.lstat(full)
        except OSError:
            return None
        if os.path.isdir(full):
            return None
        if not is_utf8(name) or _CONTROL.search(name) or "\\" in name:
            self.machine.find("not-utf8", full, "its name cannot be written down")
            return None
        if files.is_link(st):
            return self._link(name, full)
        if not os.path.isfile(full):
            detail = "a FIFO, socket or device: it has no content to keep"
            self.machine.find("unreadable", full, detail, "delete it")
            return None
        row = [name, None, st.st_size, files.is_executable(st), None]
        self._rows.append((row, full))
        self.outside.append(full)
        self.hasher.add(full, _setter(row), script=True, size=st.st_size)
        return row

    def _link(self, name, full):
        try:
            link = os.readlink(full)
        except OSError as error:
            self.machine.find("unreadable", full, str(error.strerror))
            return None
        if not os.path.exists(full):
            self.machine.find("dangling-link", full, "points at %s" % link, "delete it")
        elif is_utf8(link):
            return [name, None, 0, False, files.portable(link, full, self.directory)]
        else:
            self.machine.find("not-utf8", full, "what it points at cannot be written down")
        return None

    def finish(self):
        """After the hasher has run. Returns what to remember: nothing, they are few."""
        for row, full in self._rows:
            if row[1] is None:
                self.machine.find("unreadable", full, "its content could not be read")
        return {}


def _setter(row):
    def done(sha256, neutral):
        row[1] = neutral or sha256

    return done
