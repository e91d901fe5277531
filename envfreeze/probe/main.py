"""One round trip: look at everything, print one JSON document."""

import gc
import json
import os
import sys

from . import interpreter, sitepath, unchanged, walk
from .machine import Machine, is_utf8, utf8


def observe(request, initial):
    """``(Snapshot, machine below it or None)`` as plain values.

    *initial* is sys.path as the interpreter started with it.
    """
    machine = Machine(
        environ=_environ(request),
        known=request.get("known"),
        rehash=request.get("rehash", False),
    )
    base_executable = getattr(sys, "_base_executable", None) or os.path.realpath(sys.executable)
    for path in (sys.executable, sys.prefix):
        if not is_utf8(path):
            return {"refused": "its path is not UTF-8: " + utf8(path)}, None
    venv = sitepath.find_venv(sys.executable)
    sitepath.enter_venv(venv)
    entries = sitepath.build(machine, initial, venv)
    facts = interpreter.facts(venv, base_executable)
    chosen = _by_identity(entries)
    walks = {path: walk.walk(path) for path, kind in chosen if kind in sitepath.SITE_KINDS}
    below = _host(request, chosen, walks) if request.get("host") else None
    last = request.get("last") or {}
    if last:
        now = _now(machine, (entries, facts, walks), last)
        if now is not None and now == last["fingerprint"]:
            return {"same": now}, below
    from . import whole  # Only now: most times nothing has changed.

    document = whole.document(machine, entries, chosen, (facts, walks))
    return document, below


def _now(machine, seen, last):
    """The fingerprint of what there is, if the answer can rest on the same things as the last."""
    entries, facts, walks = seen
    state, trees = None, last.get("trees")
    if trees:
        from . import git, treestate  # Most environments import from no source tree.

        state = treestate.of(trees, git.program(os.environ), os.environ)
        if state is None:
            return None
    return unchanged.fingerprint(machine, entries, facts, walks, (last["outside"], state))


def _environ(request):
    """The variables of the environment; None: those of this process.

    Of a container: those that its first process was started with, which may have more than its
    configuration says, and else that with the home directory that the engine gives to a process.
    """
    environ = request.get("environ")
    if "first-process" not in request:
        return environ
    try:
        with open(request["first-process"], "rb") as file:
            pairs = [line.partition(b"=") for line in file.read(1 << 24).split(b"\0")]
    except (OSError, TypeError):
        home = os.environ.get("HOME")
        return dict({"HOME": home} if home else {}, **environ)
    return {os.fsdecode(name): os.fsdecode(value) for name, mark, value in pairs if mark}


def _host(request, chosen, walks):
    from . import host  # A comparison of packages does without.

    machine = Machine(environ=_environ(request))  # With findings of its own.
    sites = [(path, walks[path].names) for path, _ in chosen if path in walks]
    return {"host": host.facts(machine, sites), "findings": machine.findings}


def _by_identity(entries):
    """The entries that may hold distributions, each place once: lib64 may be a link to lib."""
    seen = set()
    chosen = []
    for path, kind in sorted(entries, key=lambda entry: entry[1] not in sitepath.SITE_KINDS):
        try:
            st = os.stat(path)
        except (OSError, ValueError):
            continue
        if kind != "stdlib" and (st.st_dev, st.st_ino) not in seen:
            seen.add((st.st_dev, st.st_ino))
            chosen.append((path, kind))
    return [entry for entry in entries if entry in chosen]


def run(request, initial, compiled):
    """Observe and print, framed by the request's marker: other output cannot pass for it.

    *compiled*: gives what was made of the text of these modules, where anything new was.
    """
    gc.disable()  # All that is made is printed: there is nothing to collect on the way.
    below = None
    try:
        document, below = observe(request, initial)
    except Exception as error:  # whatever happens, the caller gets an answer
        import traceback

        document = {
            "error": "%s: %s" % (type(error).__name__, error),
            "traceback": traceback.format_exc(),
        }
    more = [below, compiled() if request.get("keep-code") else None]
    emit(request["marker"], [document] + [each for each in more if each is not None])


def emit(marker, documents):
    frame = marker.encode("ascii")
    framed = [
        b"\n" + frame + json.dumps(each, separators=(",", ":")).encode("ascii") + frame + b"\n"
        for each in documents
    ]
    view = memoryview(b"".join(framed))
    while view:
        view = view[os.write(1, view) :]
    os._exit(0)  # Taking the document apart again would take time, and do nothing.
