"""One round trip: look at everything, print one JSON document."""

import json
import os
import sys

from . import dists, files, interpreter, sitepath, system
from .machine import Machine

SCHEMA = 1


def observe(request, initial):
    """The Snapshot as plain values. *initial* is sys.path as the interpreter started with it."""
    machine = Machine(
        environ=request.get("environ"),
        known=request.get("known"),
        rehash=request.get("rehash", False),
    )
    base_executable = getattr(sys, "_base_executable", None) or os.path.realpath(sys.executable)
    venv = sitepath.find_venv(sys.executable)
    sitepath.enter_venv(venv)
    entries = sitepath.build(machine, initial, venv)
    facts = interpreter.facts(venv, base_executable)
    sites, found, remember = _sites(machine, entries, facts)
    return {
        "schema": SCHEMA,
        "interpreter": facts,
        "system": system.facts(machine),
        "sites": sites,
        "dists": found,
        "findings": machine.findings,
        "environment": system.environment(machine),
        "remember": remember,
    }


def _sites(machine, entries, facts):
    hasher = files.Hasher(_interpreter_directories(facts))
    sites, found, remember, probes = [], [], {}, []
    for path, kind in entries:
        if kind == "stdlib" or not os.path.isdir(path):
            continue
        prefix = sitepath.prefix_of(path, None)
        probe = dists.SiteProbe(machine, hasher, dists.Roots(path, prefix, _headers(prefix, facts)))
        owns_files = kind in ("site", "user", "system")
        found.extend(probe.dists(owns_files))
        site = {"path": path, "kind": kind, "loose": probe.loose() if owns_files else []}
        if prefix:
            site["prefix"] = prefix
        sites.append(site)
        probes.append(probe)
    hasher.run()
    for probe in probes:
        probe.finish()
        remember.update(probe.remember)
    return sites, found, remember


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


def run(request, initial):
    """Observe and print, framed by the request's marker: other output cannot pass for it."""
    try:
        document = observe(request, initial)
    except Exception as error:  # whatever happens, the caller gets an answer
        import traceback

        document = {
            "error": "%s: %s" % (type(error).__name__, error),
            "traceback": traceback.format_exc(),
        }
    emit(request["marker"], document)


def emit(marker, document):
    data = json.dumps(document, separators=(",", ":")).encode("ascii")
    frame = marker.encode("ascii")
    view = memoryview(b"\n" + frame + data + frame + b"\n")
    while view:
        view = view[os.write(1, view) :]
