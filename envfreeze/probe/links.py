"""Unowned links of a venv that lead elsewhere in it: to ``share``, to a program, to a header.

What lies there comes back only where a distribution, a site directory or ``bin`` brings it.
"""

import os

from .roots import is_below
from .scripts import is_made_with_venv

_KIND = "link-unkept"
_ADVICE = "put the content there in place of the link, or install it with a distribution"
_MADE = ("pyvenv.cfg", "lib64")  # Comes with any venv.


class Links(object):
    """Judges the links of one venv. *sites*: as in a snapshot; *outside*: full paths of the files
    that RECORDs name beyond their site directory."""

    def __init__(self, machine, prefix, sites, outside):
        self.machine = machine
        self.prefix = prefix.rstrip("/")
        self.real = os.path.realpath(prefix)
        self.sites = [site for site in sites if self._is_here(site["path"])]
        self.outside = outside
        self.looked_at = []  # Full paths that the judgement rests on.
        self._kept = None

    def _is_here(self, path):
        return (os.path.realpath(path) + "/").startswith(self.real + "/")

    def sort_out(self):
        """Make links within the venv relative; take out, and report, those to what is not kept."""
        for site in self.sites:
            if any(row[4] is not None for row in site["loose"]):
                site["loose"][:] = [row for row in site["loose"] if self._stays(site["path"], row)]

    def _stays(self, directory, row):
        if row[4] is None:
            return True
        full = directory + "/" + row[0]
        target = self._target(full, row[4])
        if target is None:
            return True
        self.looked_at.append(target)
        if not self._will_be_there(target):
            detail = "a link to %s, which is not in this lock: neither is the link" % row[4]
            self.machine.find(_KIND, full, detail, _ADVICE)
            return False
        if os.path.isabs(row[4]):
            row[4] = os.path.relpath(target, os.path.realpath(os.path.dirname(full)))
        return True

    def _target(self, full, link):
        """Where *link* leads to, if that is in the venv; its ``src`` is for source trees."""
        path = os.path.join(os.path.realpath(os.path.dirname(full)), link)
        directory, name = os.path.split(path.rstrip("/"))
        real = os.path.normpath(os.path.join(os.path.realpath(directory), name))
        if name in ("", ".", ".."):
            real = os.path.realpath(path)
        inside = (real + "/").startswith(self.real + "/")
        return real if inside and not (real + "/").startswith(self.real + "/src/") else None

    def _will_be_there(self, target):
        for site in self.sites:
            if site["kind"] != "scripts" and is_below(target, os.path.realpath(site["path"])):
                return True
        head, name = os.path.split(target)
        if head == self.real + "/bin" and is_made_with_venv(name):
            return True
        return target == self.real or target in self._places()

    def _places(self):
        """All that comes back in the venv, directories too, but for what site directories hold."""
        if self._kept is None:
            files = {self.real + "/" + name for name in _MADE} | {self.real + "/bin/python"}
            for path in self.outside:
                directory, name = os.path.split(path)
                files.add(os.path.realpath(directory) + "/" + name)
            for site in self.sites:
                files.add(os.path.realpath(site["path"]))
                if site["kind"] == "scripts":
                    head = os.path.realpath(site["path"]) + "/"
                    files.update(head + row[0] for row in site["loose"])
            self._kept = set(files)
            for path in files:
                self._kept.update(_above(path, self.real))
        return self._kept


def _above(path, top):
    while len(path) > len(top):
        path = os.path.dirname(path)
        yield path
