"""One round trip: look at everything, print one JSON document."""

import gc
import json
import os
import sys

from . import dists, files, interpreter, scripts, sitepath, system, unchanged
from .machine import Machine, is_utf8, utf8

SCHEMA = 1


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
    walks = {path: files.walk(path) for path, kind in chosen if kind in sitepath.SITE_KINDS}
    below = _host(request, chosen, walks) if request.get("host") else None
    last = request.get("last") or {}
    if last:
        now = unchanged.fingerprint(machine, entries, facts, walks, last["outside"])
        if now is not None and now == last["fingerprint"]:
            return {"same": now}, below
    outside = []  # type: list
    sites, found, remember, trees = _sites(machine, entries, chosen, (facts, walks, outside))
    fingerprint = None  # What lies in source trees is not part of it.
    if trees is None:
        fingerprint = unchanged.fingerprint(machine, entries, facts, walks, outside)
    document = {
        "schema": SCHEMA,
        "fingerprint": fingerprint,
        "outside": outside,
        "interpreter": facts,
        "system": system.facts(machine),
        "sites": sites,
        "dists": found,
        "findings": machine.findings,
        "environment": machine.allowed(),
        "sources": trees or [],
        "remember": remember,
    }
    return document, below


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
    sites = [(path, walks[path][0]) for path, _ in chosen if path in walks]
    return {"host": host.facts(machine, sites), "findings": machine.findings}


def _sites(machine, entries, chosen, seen):
    facts, walks, outside = seen
    hasher = files.Hasher(_interpreter_directories(facts))
    sites, found, remember, probes = [], [], {}, []
    for path, kind in chosen:
        if not is_utf8(path):
            machine.find("not-utf8", path, "this entry of sys.path cannot be written down")
            continue
        if os.path.isfile(path):
            zipped = dists.zipped(machine, path)
            if zipped is not None:
                found.append(zipped)
            continue
        prefix = sitepath.prefix_of(path, None)
        probe = dists.SiteProbe(machine, hasher, dists.Roots(path, prefix, _headers(prefix, facts)))
        owns_files = kind in sitepath.SITE_KINDS
        found.extend(probe.dists(walks.get(path)))
        site = {"path": path, "kind": kind, "loose": probe.loose() if owns_files else []}
        if prefix:
            site["prefix"] = prefix
        sites.append(site)
        probes.append(probe)
    trees = _trees(machine, (facts, entries, hasher), (sites, found, probes))
    programs = _programs(machine, hasher, facts, probes)
    if programs is not None:
        sites.append(programs)
    hasher.run()
    for probe in probes:
        remember.update(probe.finish())
        outside.extend(probe.outside)
    return sites, found, remember, _finished(trees, sites, found, remember)


def _trees(machine, known, seen):
    """The source trees outside, their files being hashed; None where nothing points at any."""
    facts, entries, hasher = known
    sites, found, probes = seen
    walked = [
        (probe, [row[0] for row in site["loose"] if row[4] is not None])
        for probe, site in zip(probes, sites)  # noqa: B905
        if probe.names
    ]
    inside = tuple(probe.path + "/" for probe, _ in walked)
    if not (
        any(
            kind in ("pth", "pythonpath") and not (p + "/").startswith(inside)
            for p, kind in entries
        )
        or any("editable" in dist.get("direct_url", "") for dist in found)
        or any(links or _may_point(machine, probe) for probe, links in walked)
    ):
        return None
    from . import roots, sources  # Only now: most environments do without.

    places = [roots.Site(probe.path, probe.names, links) for probe, links in walked]
    finder = roots.Finder(machine, facts, places)
    trees = sources.Trees(machine, hasher, finder)
    trees.look(entries, found)
    return trees if trees.roots else None


def _may_point(machine, probe):
    """Whether a file directly in a site directory may name a source tree: a first, cheap look."""
    for name in probe.names:
        if name.endswith(".egg-link") or "editable" in name:
            return True
        if name.endswith(".pth"):
            text = machine.read(probe.path + "/" + name, 1 << 20) or b""
            if b"/" in text or b"import _" in text:
                return True
    return False


def _finished(trees, sites, found, remember):
    if trees is None:
        return None
    documents, more = trees.finish()
    trees.neutralize(sites, found)
    remember.update(more)
    return documents


def _programs(machine, hasher, facts, probes):
    """The unowned files of a venv's ``bin``, as a site; another prefix's are not its own."""
    if not facts["venv"] or not is_utf8(facts["scripts"]):
        return None
    owned = set()  # type: set
    for probe in probes:
        owned.update(probe.outside)
    found = scripts.Scripts(machine, hasher, facts["scripts"])
    probes.append(found)
    loose = found.loose(owned)
    return {"path": facts["scripts"], "kind": "scripts", "loose": loose} if loose else None


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


def _interpreter_directories(facts):
    """Where the python that a script's first line names may lie, as spelt and as resolved."""
    spelt = [
        os.path.dirname(facts["executable"]),
        facts["scripts"],
        os.path.dirname(facts["base-executable"]),
    ]
    return frozenset(spelt + [os.path.realpath(path) for path in spelt])


def _headers(prefix, facts):
    """Where installers put headers: pip's and uv's rule for a venv, sysconfig's elsewhere."""
    if not prefix:
        return None
    tag = "python" + ".".join(facts["version"].split(".")[:2])
    if facts["venv"] and prefix == facts["prefix"]:
        return prefix + "/include/site/" + tag
    return prefix + "/include/" + tag + facts["abiflags"]


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
