"""The Snapshot of an environment that is new, or has changed since an earlier look at it."""

import os

from . import dists, files, scripts, sitepath, system, unchanged
from .machine import is_utf8

SCHEMA = 1


def document(machine, entries, chosen, seen):
    """The Snapshot as plain values.

    *entries*: ``[(path, kind)]`` of sys.path; *chosen*: those that may hold distributions;
    *seen*: the interpreter's facts, and ``{site directory: its Walk}``.
    """
    facts, walks = seen
    outside = []  # type: list
    sites, found, remember, rest = _sites(machine, entries, chosen, (facts, walks, outside))
    trees, documents, prefix = rest
    fingerprint = None
    if trees is None:
        fingerprint = unchanged.fingerprint(machine, entries, facts, walks, (outside, None))
    elif trees.state is not None and all(map(is_utf8, trees.finder.looked_at)):
        outside.extend(sorted(trees.finder.looked_at))
        state = trees.state if trees.roots else None
        fingerprint = unchanged.fingerprint(machine, entries, facts, walks, (outside, state))
    document = {
        "schema": SCHEMA,
        "fingerprint": fingerprint,
        "outside": outside,
        "trees": trees.real() if trees is not None else [],
        "interpreter": facts,
        "system": system.facts(machine),
        "sites": sites,
        "dists": found,
        "findings": machine.findings,
        "environment": machine.allowed(),
        "sources": documents,
        "remember": remember,
    }
    if prefix is not None:
        document["conda"] = prefix
    return document


def _sites(machine, entries, chosen, seen):
    facts, walks, outside = seen
    hasher = files.Hasher(_interpreter_directories(facts))
    prefix = _conda(machine, facts, hasher)
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
        home = sitepath.prefix_of(path, None)
        roots = dists.Roots(path, home, _headers(home, facts))
        probe = dists.SiteProbe(machine, hasher, roots, prefix)
        owns_files = kind in sitepath.SITE_KINDS
        found.extend(probe.dists(walks.get(path)))
        site = {"path": path, "kind": kind, "loose": probe.loose() if owns_files else []}
        if home:
            site["prefix"] = home
        sites.append(site)
        probes.append(probe)
    trees = _trees(machine, (facts, entries, hasher), (sites, found, probes))
    programs = _programs(machine, hasher, facts, probes)
    if programs is not None:
        sites.append(programs)
    if prefix is not None:
        prefix.start()
    hasher.run()
    for probe in probes:
        remember.update(probe.finish())
        outside.extend(probe.outside)
    outside.extend(_inner_links(machine, facts, sites, outside))
    documents, about = _finished(trees, sites, found, remember), None
    if prefix is not None:
        kept = [each["root"] for each in documents] + list(walks)
        about, more = prefix.finish(found, outside, kept)
        remember.update(more)
    return sites, found, remember, (trees, documents, about)


def _conda(machine, facts, hasher):
    """The conda prefix that the environment is; a venv on one is none."""
    prefix = facts["prefix"]
    if facts["venv"] or not os.path.isdir(prefix + "/conda-meta"):
        return None
    from . import conda  # Most environments are none.

    return conda.Prefix(machine, prefix, hasher) if conda.at(prefix) else None


def _trees(machine, known, seen):
    """The source trees outside, their files being hashed; None where nothing may point at any."""
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
    return trees


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
        return []
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


def _inner_links(machine, facts, sites, outside):
    """Sort out the unowned links of a venv to elsewhere in it. Returns what that rests on."""
    linked = any(row[4] is not None for site in sites for row in site["loose"])
    if not facts["venv"] or not linked:
        return []
    from . import links  # Few environments have any.

    found = links.Links(machine, facts["prefix"], sites, outside)
    found.sort_out()
    return found.looked_at


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
