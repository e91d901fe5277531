"""Whether anything has changed since an earlier run: then its answer still holds.

What the answer was made of is the files of the site directories, the few that RECORDs name
elsewhere, and the facts of the interpreter and the system. Their stamps make one fingerprint.
"""

import hashlib
import json
import os

from . import files, sitepath

VERSION = 8
# Read besides the site directories; see system.py.
SYSTEM_FILES = ("/etc/os-release", "/var/lib/dpkg/status")


def fingerprint(machine, entries, facts, walks, beyond):
    """A digest over all that an answer depends on, or None where that cannot be told.

    *walks*: ``{site directory: its Walk}``. *beyond*: the files beyond them, and the
    :class:`treestate.State` of the source trees; None: there are none.
    """
    outside, state = beyond
    if machine.rehash or any(_is_unwatched(path, kind, state) for path, kind in entries):
        return None
    environ = sorted((k, v) for k, v in machine.environ.items() if k.startswith("PYTHON"))
    digest = hashlib.sha256()
    known = [VERSION, entries, facts, environ, machine.allowed()]
    digest.update(json.dumps(known, sort_keys=True).encode("ascii"))
    stats, newest = [], 0
    if state is not None:
        digest.update(state.digest.digest())
        newest = state.newest
    for path, _ in entries:
        if path in walks:
            walks[path].feed(digest)
            newest = max(newest, walks[path].newest())
    if not facts["venv"] and os.path.isdir(facts["prefix"] + "/conda-meta"):
        from . import conda

        newest = max(newest, conda.feed(facts["prefix"], digest, machine.environ))
    for path in outside + [machine.path(path) for path in SYSTEM_FILES]:
        try:
            stats.append(os.stat(path))
            digest.update(b"+")
        except (OSError, ValueError):
            digest.update(b"-")
    if not files.is_past(newest) or not files.settled(stats):
        return None
    digest.update(files.stamps(stats))
    return digest.hexdigest()


def _is_unwatched(path, kind, state):
    """An entry that can hold distributions and is not walked whole."""
    if kind in sitepath.SITE_KINDS or kind == "stdlib" or not os.path.exists(path):
        return False
    return state is None or not state.covers(os.path.realpath(path))
