"""The files of a site directory: one walk for their stats, sha256 in parallel."""

import binascii
import hashlib
import os
import re
import stat
import threading
import time

BATCH = 128
BUFFER = 1 << 20
# A file changed this recently could change again without its time stamps moving (git calls
# such an index entry racy), so its digest is not remembered.
SETTLED = 2_000_000_000

_SHEBANG = re.compile(
    rb"\A#!\s*[\"']?(?P<exe>[^\"'\n]*?/(?:python|pypy)[0-9.a-z]*)[\"']?"
    rb"(?P<rest>(?:[ \t][^\n]*)?\r?\n)"
)
# What distlib and uv write where a path is too long for the kernel or holds a space.
_TRAMPOLINE = re.compile(
    rb"\A#!/bin/sh\n'''exec' [\"']?(?P<exe>[^\n]*?/(?:python|pypy)[0-9.a-z]*)[\"']?"
    rb"(?P<rest>[^\n]*) \"\$0\" \"\$@\"\n' '''\n"
)


def walk(top):
    """``{relative path: lstat}`` of what lies below *top*: no ``__pycache__``, no link followed."""
    found = {}
    pending = [("", top)]
    while pending:
        prefix, directory = pending.pop()
        try:
            entries = os.scandir(directory)
        except OSError:
            continue
        with entries:
            for entry in entries:
                name = prefix + entry.name
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name != "__pycache__":
                            pending.append((name + "/", entry.path))
                    else:
                        found[name] = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
    return found


def stamp(st):
    """What changes when a file changes, as text for a fingerprint."""
    return "%d,%d,%d,%d,%d,%d;" % (
        st.st_dev,
        st.st_ino,
        st.st_size,
        st.st_mtime_ns,
        st.st_ctime_ns,
        st.st_mode,
    )


class Hasher(object):
    """Digests of many files, over as many threads as the process has processors.

    hashlib releases the interpreter lock for buffers above 2047 bytes, so threads help.
    """

    def __init__(self, interpreters):
        # Directories whose python a script's first line may name.
        self.interpreters = interpreters
        self._tasks = []

    def add(self, path, done, script=False):
        """Hash *path* later; ``done(sha256 or None, neutral)`` is called with the result.

        *neutral* is None but for a script whose first line names the interpreter: then it is
        the digest of its :func:`neutral` form.
        """
        self._tasks.append((path, done, script))

    def run(self):
        tasks, self._tasks = self._tasks, []
        batches = [tasks[i : i + BATCH] for i in range(0, len(tasks), BATCH)]
        batches.reverse()
        workers = [
            threading.Thread(target=self._work, args=(batches,), daemon=True)
            for _ in range(min(_processors(), len(batches)) - 1)
        ]
        for worker in workers:
            worker.start()
        self._work(batches)
        for worker in workers:
            worker.join()

    def _work(self, batches):
        buffer = bytearray(BUFFER)
        view = memoryview(buffer)
        while True:
            try:
                batch = batches.pop()
            except IndexError:
                return
            for path, done, script in batch:
                if script:
                    done(*self._script(path))
                else:
                    done(_hash(path, buffer, view), None)

    def _script(self, path):
        try:
            with open(path, "rb") as file:
                data = file.read()
        except (OSError, ValueError):
            return None, None
        plain = hashlib.sha256(data).hexdigest()
        bare = neutral(data, self.interpreters)
        return plain, None if bare is data else hashlib.sha256(bare).hexdigest()


def neutral(data, interpreters):
    """A script's bytes with ``#!python`` in place of an interpreter that lies in *interpreters*.

    That is the form in which wheels carry scripts (packaging.python.org
    "binary-distribution-format"), so installed and packed scripts compare as equal.
    """
    match = _SHEBANG.match(data)
    if match and _directory(match.group("exe")) in interpreters:
        return b"#!python" + match.group("rest") + data[match.end() :]
    match = _TRAMPOLINE.match(data)
    if match and _directory(match.group("exe")) in interpreters:
        return b"#!python" + match.group("rest") + b"\n" + data[match.end() :]
    return data


def _directory(exe):
    return os.path.dirname(os.fsdecode(exe).replace("\\ ", " "))


def _hash(path, buffer, view):
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | _NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        digest = hashlib.sha256()
        while True:
            count = os.readv(descriptor, (buffer,))
            if not count:
                return digest.hexdigest()
            digest.update(view[:count])
            if count < BUFFER:
                # A short read of a regular file is its end, but for a file that grows.
                count = os.readv(descriptor, (buffer,))
                if not count:
                    return digest.hexdigest()
                digest.update(view[:count])
    except OSError:
        return None
    finally:
        os.close(descriptor)


_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # A FIFO in the tree must not hang the probe.


def _processors():
    try:
        return max(1, min(16, len(os.sched_getaffinity(0))))
    except AttributeError:
        return max(1, min(16, os.cpu_count() or 1))


def is_regular(st):
    return stat.S_ISREG(st.st_mode)


def is_link(st):
    return stat.S_ISLNK(st.st_mode)


def is_executable(st):
    return bool(st.st_mode & 0o111)


def settled(stats):
    """Whether all of these files have been left alone long enough to remember their digests."""
    now = time.time_ns() if hasattr(time, "time_ns") else int(time.time() * 1e9)
    return all(now - max(st.st_mtime_ns, st.st_ctime_ns) > SETTLED for st in stats)


def digest_of(claim):
    """``(algorithm, hex)`` of RECORD's ``sha256=urlsafe-base64``; ``(None, None)`` if it is not."""
    algorithm, mark, text = claim.partition("=")
    if not mark:
        return None, None
    try:
        raw = binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "==")
    except (ValueError, binascii.Error):
        return None, None
    return algorithm.lower(), binascii.hexlify(raw).decode("ascii")
