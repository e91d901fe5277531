"""Which channels a ``.condarc`` names, and where they are.

Of its many keys these matter to a lock, which solves nothing: the order of channels, and what
makes an address of a name (``channel_alias``, ``custom_channels``, ``default_channels``,
``custom_multichannels``). Priorities, pins and mirrors are for solving and fetching: each record
has its own URL.
"""

import os
import re

from .machine import is_utf8

LIMIT = 1 << 20
_TOP = re.compile(r"([A-Za-z_]+)\s*:\s*(.*)$")
_ITEM = re.compile(r"\s*-\s+(\S.*)$")
_ENTRY = re.compile(r"\s+([^\s:\-][^:]*?)\s*:(?:\s+(.*))?$")


class Settings(object):
    """What one file says, or several, the first one first."""

    def __init__(self):
        self.lists = {"channels": [], "default_channels": []}  # type: dict
        self.alias = None
        self.custom = {}  # type: dict
        self.multiple = {}  # type: dict

    def under(self, other):
        """Add what *other* says, where this one does not."""
        for key, values in other.lists.items():
            self.lists[key] += values
        self.alias = self.alias or other.alias
        self.custom = dict(other.custom, **self.custom)
        self.multiple = dict(other.multiple, **self.multiple)

    def channels(self):
        """Addresses, and names that these files give none."""
        return [place for name in self.lists["channels"] for place in self._places(name)]

    def _places(self, name):
        if name == "defaults" and self.lists["default_channels"]:
            return [self._place(each) for each in self.lists["default_channels"]]
        return [self._place(each) for each in self.multiple.get(name, [name])]

    def _place(self, name):
        if "://" in name or name == "defaults" or name.startswith((".", "/", "~")):
            return name
        base = self.custom.get(name) or self.custom.get(name.partition("/")[0]) or self.alias
        return base.rstrip("/") + "/" + name if base else name


def parse(text):
    """The :class:`Settings` of a file; this much YAML is read, and no more."""
    found = Settings()
    key = inner = None
    for line in text.splitlines():
        bare = line.split(" #")[0].rstrip()
        if not bare or bare.lstrip().startswith("#"):
            continue
        top = _TOP.match(bare)
        if top is not None:
            key, inner = top.group(1), None
            _take(found, key, top.group(2))
            continue
        entry = None if _ITEM.match(bare) else _ENTRY.match(bare)
        if entry is not None:
            inner = _plain(entry.group(1))
        _below(found, key, inner, bare)
    return found


def _take(found, key, value):
    """A key at the left, with what stands on its line."""
    if key == "channel_alias" and value:
        found.alias = _plain(value)
    elif key in found.lists and value.startswith("["):
        found.lists[key] += [_plain(each) for each in value.strip("[]").split(",") if each.strip()]


def _below(found, key, inner, line):
    """A line further right."""
    item, entry = _ITEM.match(line), _ENTRY.match(line)
    if item is not None and key in found.lists:
        found.lists[key].append(_plain(item.group(1)))
    elif item is not None and key == "custom_multichannels" and inner:
        found.multiple.setdefault(inner, []).append(_plain(item.group(1)))
    elif item is None and entry is not None and key == "custom_channels" and entry.group(2):
        found.custom[inner] = _plain(entry.group(2))


def _plain(text):
    text = text.strip().strip("\"'")
    return text if is_utf8(text) else ""


def channels(machine, prefix):
    """The channels that hold in *prefix*, those of the closest file first (conda's order)."""
    found = Settings()
    for place in places(machine.environ, prefix):
        text = machine.text(place, LIMIT)
        if text is not None:
            found.under(parse(text))
    return [each for each in found.channels() if each]


def places(environ, prefix):
    """Where such files lie, as conda looks for them."""
    found = [environ["CONDARC"]] if environ.get("CONDARC", "").startswith("/") else []
    found.append(prefix + "/.condarc")
    home = environ.get("HOME")
    if home:
        found += [
            home + each for each in ("/.condarc", "/.conda/.condarc", "/.config/conda/.condarc")
        ]
    base, mark, _name = prefix.rpartition("/envs/")
    if mark and os.path.isdir(base + "/conda-meta"):
        found.append(base + "/.condarc")
    return [*found, "/var/lib/conda/.condarc", "/etc/conda/.condarc"]
