"""The files of a site directory: their stats, and sha256 by all processors."""

import binascii
import collections
import functools
import hashlib
import marshal
import operator
import os
import re
import stat
import time

from . import workers

BUFFER = 1 << 18
# What is handed to a worker at once, in bytes; opening a file takes as long as hashing so many.
BATCH = 4 << 20
OPENING = 1 << 15
# A file changed this recently could change again without its time stamps moving (git calls
# such an index entry racy), so its digest is not remembered.
SETTLED = 2_000_000_000

# A first line longer than this is nobody's; Linux itself reads 256 bytes of it.
HEAD = 1 << 13

# What of a stat is looked at; plain values, so that they may come from another process.
Stat = collections.namedtuple(
    "Stat", ["st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns", "st_mode"]
)
AS_STAT = functools.partial(tuple.__new__, Stat)
STAMP = operator.attrgetter(*Stat._fields)
_CTIME = operator.attrgetter("st_ctime_ns")
_NONBLOCK = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_TRAMPOLINE = b"#!/bin/sh\n'''exec' "
_HEX = re.compile(r"[0-9a-fA-F]{64}\Z")
_PYTHON = re.compile(rb"/(?:python|pypy)[0-9.a-z]*(?=[\s\"']|$)")


def stamps(stats):
    """What changes when one of these files changes, as bytes for a fingerprint.

    By device, inode, size, times of modification and change, and mode. Version 2 of marshal
    has no back references, so equal values are equal bytes.
    """
    return marshal.dumps([st[:] if type(st) is Stat else STAMP(st) for st in stats], 2)


class Hasher(object):
    """Digests of many files, shared out to copies of this process."""

    def __init__(self, interpreters):
        # Directories whose python a script's first line may name.
        self.interpreters = interpreters
        self._tasks = []

    def add(self, path, done, script=False, size=0, blob=None):
        """Hash *path* later; ``done(sha256 or None, second)`` is called with the result.

        *second* is None but for a script whose first line names the interpreter: then it is
        the digest of its :func:`neutral` form; and with *blob*, the name of a hash: then it is
        the name that git gives to such content. *size*: in bytes, to share the work out by.
        """
        self._tasks.append((path, done, size, script, blob))

    def run(self):
        tasks, self._tasks = self._tasks, []
        batches = _batches(tasks)
        copies = min(workers.processors(), len(batches) // 2)
        buffer = bytearray(BUFFER)  # Each copy gets one of its own by writing to it.

        def work(number):
            return self._work(batches[number], buffer)

        shared = workers.share(len(batches), work, copies)
        for number, batch in enumerate(batches):
            results = shared.get(number) or work(number)
            for (_, done, _, _, _), result in zip(batch, results):  # noqa: B905
                done(*result)

    def _work(self, batch, buffer):
        return [
            digests(path, buffer, self.interpreters if script else None, blob)
            for path, _, _, script, blob in batch
        ]


def _batches(tasks):
    """The tasks in batches of like cost, in their order: neighbours lie in one directory.

    But the costliest come first: who begins last should not have most to do.
    """
    cost = sum(task[2] for task in tasks) + OPENING * len(tasks)
    enough = max(BATCH, 2 * cost // workers.MOST)
    batches, costs = [], []  # type: list, list
    current = enough
    for task in tasks:
        if current >= enough:
            batches.append([])
            costs.append(0)
            current = 0
        batches[-1].append(task)
        current += task[2] + OPENING
        costs[-1] = current
    order = sorted(range(len(batches)), key=costs.__getitem__, reverse=True)
    return [batches[number] for number in order]


def digests(path, buffer, interpreters=None, blob=None):
    """``(sha256, neutral sha256 or name of the blob)`` of a regular file, read through *buffer*.

    The first is None where it cannot be read, the second where it is the same, or neither
    *interpreters* nor *blob* are given.
    """
    try:
        # Not to hang at a FIFO that took the file's place since it was looked at.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | _NONBLOCK)
    except (OSError, ValueError):
        return None, None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None, None
        size = status.st_size
        return _digests(descriptor, size, buffer, interpreters, blob and blob_hash(blob, size))
    except OSError:
        return None, None
    finally:
        os.close(descriptor)


def blob_hash(algorithm, size):
    """The beginning of the name that git gives to *size* bytes; None: no such algorithm here."""
    try:
        digest = hashlib.new(algorithm)
    except ValueError:  # SHA-1 is not to be had where FIPS rules.
        return None
    digest.update(b"blob %d\0" % size)
    return digest


def _digests(descriptor, size, buffer, interpreters, bare=None):
    view = memoryview(buffer)
    count = os.readv(descriptor, (buffer,))
    plain = hashlib.sha256(view[:count])
    if bare is not None:
        bare.update(view[:count])
    if interpreters:
        head = bytes(view[: min(count, HEAD)])
        changed = neutral(head, interpreters)
        if changed is not head:
            bare = hashlib.sha256(changed)
            bare.update(view[len(head) : count])
    # A short read is not the end for certain: an empty one is, or all that the file has.
    done = count
    while count and done != size:
        count = os.readv(descriptor, (buffer,))
        done += count
        plain.update(view[:count])
        if bare is not None:
            bare.update(view[:count])
    return plain.hexdigest(), bare and bare.hexdigest()


def neutral(data, interpreters):
    """A script's bytes with ``#!python`` in place of an interpreter that lies in *interpreters*.

    That is the form in which wheels carry scripts (packaging.python.org
    "binary-distribution-format"), so installed and packed scripts compare as equal.
    """
    rest = None
    if data.startswith(_TRAMPOLINE):
        rest = _after_trampoline(data, interpreters)
    elif data.startswith(b"#!"):
        rest = _after_shebang(data, interpreters)
    return data if rest is None else b"#!python" + rest


def _after_shebang(data, interpreters):
    """What follows ``#!/there/bin/python``; spaces in it, quoted or not, are part of the path."""
    start = 2
    while data[start : start + 1] in (b" ", b"\t"):
        start += 1
    quote = data[start : start + 1] if data[start : start + 1] in (b'"', b"'") else b""
    start += len(quote)
    for directory in interpreters:
        head = os.fsencode(directory)
        if not data.startswith(head, start):
            continue
        match = _PYTHON.match(data, start + len(head))
        if match and data.startswith(quote, match.end()):
            rest = data[match.end() + len(quote) :]
            if rest[:1] in (b" ", b"\t", b"\r", b"\n"):
                return rest
    return None


def _after_trampoline(data, interpreters):
    """What follows the lines that distlib, installer and uv write where the kernel would not
    take the path (too long, or with a space)::

        #!/bin/sh
        '''exec' '/a path/bin/python' "$0" "$@"
        ' '''
    """
    command, closed, rest = data[len(_TRAMPOLINE) :].partition(b"\n' '''")
    if not closed or b"\n" in command:
        return None
    import shlex

    try:
        words = shlex.split(os.fsdecode(command))
    except ValueError:
        return None
    if (
        len(words) < 3
        or words[-2:] != ["$0", "$@"]
        or os.path.dirname(words[0]) not in interpreters
    ):
        return None
    if not _PYTHON.match(os.fsencode("/" + os.path.basename(words[0]))):
        return None
    return b"".join(b" " + os.fsencode(word) for word in words[1:-2]) + rest


def is_link(st):
    return stat.S_ISLNK(st.st_mode)


def portable(link, full, directory):
    """The text of the link at *full*, relative where it leads to below *directory*: that is
    elsewhere in a rebuild, and an absolute path would lead back to what was captured."""
    if not os.path.normpath(link).startswith(directory.rstrip("/") + "/"):
        return link
    return os.path.relpath(link, os.path.dirname(full))


def is_executable(st):
    return bool(st.st_mode & 0o111)


def settled(stats):
    """Whether all of these files have been left alone long enough to remember their digests.

    By the time of change, which nobody can set: that of modification may lie in the future.
    """
    return is_past(max(map(_CTIME, stats), default=0))


def is_past(moment):
    """Whether *moment*, in nanoseconds, is so long ago that time stamps move with a change."""
    now = time.time_ns() if hasattr(time, "time_ns") else int(time.time() * 1e9)
    return now - moment > SETTLED


def digest_of(claim):
    """``(algorithm, hex)`` of RECORD's ``sha256=urlsafe-base64``; ``(None, None)`` if it is not."""
    algorithm, mark, text = claim.partition("=")
    if not mark:
        return None, None
    if algorithm.lower() == "sha256" and _HEX.match(text):
        return "sha256", text.lower()  # As flit writes what it installs itself.
    try:
        raw = binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "==")
    except ValueError:  # binascii.Error is one
        return None, None
    return algorithm.lower(), binascii.hexlify(raw).decode("ascii")


_URLSAFE = str.maketrans("-_", "+/")
_CLAIM = len("sha256=") + 43


def digests_of(claims):
    """The hex digest of each of *claims* that says ``sha256=``; of others anything.

    Decoded in one go: 43 characters and an ``A`` are the 32 bytes and one more.
    """
    blank = "A" * 44
    text = "".join([c[7:] + "A" if len(c) == _CLAIM else blank for c in claims])
    try:
        raw = binascii.a2b_base64(text.translate(_URLSAFE))
    except ValueError:
        raw = b""
    if len(raw) != 33 * len(claims):
        return [digest_of(claim)[1] for claim in claims]
    digests = binascii.hexlify(raw).decode("ascii")
    found = [digests[i : i + 64] for i in range(0, len(digests), 66)]
    for index, claim in enumerate(claims):
        if len(claim) != _CLAIM:
            found[index] = digest_of(claim)[1]
    return found


def digest_with(algorithm, path):
    """The hex digest of *path* by another of hashlib's algorithms; None: no such, or unreadable."""
    if algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
        return None
    digest = hashlib.new(algorithm)
    try:
        with open(path, "rb") as file:
            for chunk in iter(lambda: file.read(BUFFER), b""):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()
