"""One walk over a site directory: the lstat of each file, by all processors.

Most walks only end in a comparison with an earlier one. So what they find stays packed, as it
came from the copies of this process that helped, until somebody wants to look at a file.
"""

import array
import marshal
import os

from . import workers
from .files import AS_STAT, STAMP, Stat

# Directories: fewer are walked as fast alone.
FORKED_FROM = 32
# Files after which the rest is shared out anew: by one process of several, or by one alone.
ROUND = 8000
ALONE = 500
_FIELDS = len(Stat._fields)
_CTIME = Stat._fields.index("st_ctime_ns")
_BY_DESCRIPTOR = os.scandir in os.supports_fd  # From Python 3.7 on.
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


class Walk(object):
    """What lies below a directory: the regular files, and what is neither file nor directory.

    No ``__pycache__``, no link followed. The order is the same each time, whether copies of this
    process help or not.
    """

    def __init__(self, parts):
        self._parts = parts  # [(names, stats, other)] as _below gives them
        self._names = None  # type: object
        self._regular = None  # type: object
        self._other = None  # type: object

    @property
    def names(self):
        """The relative paths of the regular files, as the keys of a dictionary."""
        if self._names is None:
            self._names = {}
            for joined, _, _ in self._parts:
                if joined:
                    self._names.update(dict.fromkeys(joined.split("\0")))
        return self._names

    @property
    def regular(self):
        """``{relative path: Stat}`` of the regular files."""
        if self._regular is None:
            found = {}  # type: dict
            for joined, stats, _ in self._parts:
                if joined:
                    rows = zip(*[iter(_unpacked(stats))] * _FIELDS)  # noqa: B905
                    found.update(zip(joined.split("\0"), map(AS_STAT, rows)))  # noqa: B905
            self._regular = found
        return self._regular

    @property
    def other(self):
        """``{relative path: Stat}`` of links, FIFOs, sockets, devices, and of directories that
        cannot be read."""
        if self._other is None:
            found = {}  # type: dict
            for _, _, other in self._parts:
                found.update((path, AS_STAT(row)) for path, row in other.items())
            self._other = found
        return self._other

    def feed(self, digest):
        """Add to *digest* what changes when one of the files changes, or its name."""
        for joined, stats, other in self._parts:
            digest.update(b"%d " % len(joined))
            digest.update(joined.encode("utf-8", "surrogatepass"))
            # Version 2 of marshal has no back references, so equal values are equal bytes.
            digest.update(marshal.dumps([stats, sorted(other.items())], 2))

    def newest(self):
        """The latest time of change of a file, in nanoseconds; 0 where there is none."""
        found = [0]
        for _, stats, other in self._parts:
            found.extend(row[_CTIME] for row in other.values())
            found.append(max(_unpacked(stats)[_CTIME::_FIELDS], default=0))
        return max(found)


def walk(top):
    """The :class:`Walk` of *top*; an empty one where there is no directory."""
    parts = []
    pending = [""]
    while pending:
        several = 1 + 2 * len(pending) // workers.MOST
        batches = [pending[i : i + several] for i in range(0, len(pending), several)]
        pending = []
        for names, stats, other, left in _walked(top, batches):
            parts.append((names, stats, other))
            pending.extend(left)
    return Walk(parts)


def _walked(top, batches):
    """What :func:`_below` says to each batch of directories, in their order."""

    many = len(batches) >= FORKED_FROM

    def work(number):
        return _below(top, batches[number], ROUND if many else ALONE)

    shared = workers.share(len(batches), work, workers.processors() if many else 1)
    return [shared.get(number) or work(number) for number in range(len(batches))]


def _below(top, pending, enough):
    """``(names, stats, other, left)`` of what lies below these directories of *top*.

    *names*: the regular files, a NUL between two. *stats*: theirs, see :func:`_packed`. *other*:
    ``{name: stat as a plain tuple}``. *left*: the directories that were not entered, where there
    are *enough* files: they are for all to share.
    """
    names, stats, other = [], [], {}  # type: list, list, dict
    pending = list(pending)
    while pending and len(names) < enough:
        _enter(top, pending.pop(), pending, (names, stats, other))
    return "\0".join(names), _packed(stats), other, pending


def _enter(top, prefix, pending, found):
    """Add what lies in one directory to *found*, and the directories in it to *pending*."""
    names, stats, other = found
    place = top + "/" + prefix
    descriptor = None
    try:
        try:
            if _BY_DESCRIPTOR:  # The kernel then looks up a name for each file, not a path.
                place = descriptor = os.open(place, _DIRECTORY)
            entries = os.scandir(place)
        except (OSError, ValueError) as error:
            _refused(top, prefix, other, error)
            return
        with entries:
            for entry in entries:
                name = entry.name
                try:
                    if entry.is_file(follow_symlinks=False):
                        stats += STAMP(entry.stat(follow_symlinks=False))
                        names.append(prefix + name)
                    elif not entry.is_dir(follow_symlinks=False):
                        other[prefix + name] = STAMP(entry.stat(follow_symlinks=False))
                    elif name != "__pycache__":
                        pending.append(prefix + name + "/")
                except OSError as error:
                    _refused(top, prefix, other, error)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _refused(top, prefix, other, error):
    """Note the directory that could not be read; one that is gone by now was not there."""
    if prefix and not isinstance(error, FileNotFoundError):
        try:
            other[prefix[:-1]] = STAMP(os.lstat(top + "/" + prefix[:-1]))
        except (OSError, ValueError):
            pass


def _packed(values):
    """Integers as bytes, eight for each; as they are where one does not fit (inodes may)."""
    try:
        return array.array("q", values).tobytes()
    except OverflowError:
        return values


def _unpacked(packed):
    if isinstance(packed, list):
        return packed
    values = array.array("q")
    values.frombytes(packed)
    return values
