"""Leave distributions out of a snapshot, with what only they needed. Pure.

Who needs whom is told by Requires-Dist, its markers judged for the target's interpreter and
machine. A requirement of an extra counts only where another distribution asks for that extra:
which extras a person asked for is written down nowhere.
"""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

import msgspec

from envfreeze.errors import UsageError
from envfreeze.model.identity import normalize
from envfreeze.model.requirement import asked_for, holds, marker_terms, parse
from envfreeze.model.snapshot import Dist, Finding, Site, Snapshot, Source

Node = tuple[str, str]
"""A distribution's normalised name and one extra of it; ``""``: the distribution itself."""


def without(snapshot: Snapshot, names: Iterable[str]) -> tuple[Snapshot, list[str]]:
    """*snapshot* without the distributions *names*, and the names of all that was left out.

    Left out besides: what can be reached from them by requirements, was not asked for itself
    (REQUESTED), and that nothing which stays needs.

    :raises UsageError: there is no distribution of such a name, or conda's package brings it.
    """
    groups: dict[str, list[Dist]] = defaultdict(list)
    for dist in snapshot.dists:
        groups[normalize(dist.name) or dist.info].append(dist)
    named = {normalize(name) for name in names}
    for name in sorted(named - groups.keys()):
        raise _unknown(name, groups)
    for name in sorted(named):
        if any(dist.conda is not None for dist in groups[name]):
            raise UsageError(
                f"--without {name}: a conda package brings it, and those are kept as a whole",
                hint="Remove it from the prefix with the tool that installed it.",
            )
    dropped = _dropped(groups, named, _Needs(groups, snapshot))
    gone = [dist for name in sorted(dropped) for dist in groups[name]]
    return _reduced(snapshot, gone), sorted(dropped)


def _unknown(name: str, known: Collection[str]) -> UsageError:
    near = difflib.get_close_matches(name, sorted(known), n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "Names are as pip list shows them."
    return UsageError(f"--without {name}: the environment has no such distribution", hint=hint)


def _dropped(groups: Mapping[str, list[Dist]], named: set[str], needs: _Needs) -> set[str]:
    everything = needs.reach((name, "") for name in groups)
    below = {name for name, _ in needs.reach(node for node in everything if node[0] in named)}
    candidates = {name for name in below - named if not any(map(_stays, groups[name]))}
    roots = [(name, "") for name in groups if name not in named and name not in candidates]
    needed = {name for name, _ in needs.reach(roots, barred=named)}
    return named | (candidates - needed)


def _stays(dist: Dist) -> bool:
    """Whether it was asked for itself, or conda's package brings it."""
    if dist.conda is not None:
        return True
    return asked_for(dist.requested, dist.installer)


class _Needs:
    """Which distributions need which others."""

    def __init__(self, groups: Mapping[str, list[Dist]], snapshot: Snapshot) -> None:
        self._groups = groups
        self._terms = marker_terms(snapshot.interpreter, snapshot.system.kernel)
        self._known: dict[Node, list[Node]] = {}

    def reach(self, start: Iterable[Node], barred: Collection[str] = ()) -> set[Node]:
        """All that *start* needs, itself included; through *barred* goes no way."""
        pending = list(start)
        found: set[Node] = set()
        while pending:
            node = pending.pop()
            if node not in found and node[0] not in barred:
                found.add(node)
                pending += self._of(node)
        return found

    def _of(self, node: Node) -> list[Node]:
        if node not in self._known:
            name, extra = node
            self._known[node] = [
                wanted
                for dist in self._groups.get(name, ())
                for text in dist.requires
                for wanted in self._requirement(text, extra)
                if wanted[0] in self._groups
            ]
        return self._known[node]

    def _requirement(self, text: str, extra: str) -> list[Node]:
        """What one line of Requires-Dist asks for, under *extra*."""
        name, extras, marker = parse(text)
        if name is None or not holds(marker, {**self._terms, "extra": extra}):
            return []
        return [(name, ""), *((name, wanted) for wanted in extras)]


def _reduced(snapshot: Snapshot, gone: list[Dist]) -> Snapshot:
    """*snapshot* without *gone*. The files that their RECORDs own are no site's unowned files,
    and what else lies in their metadata directories goes with those."""
    ids = set(map(id, gone))
    names = {normalize(dist.name) for dist in gone}
    trees = [source for source in snapshot.sources if _is_only_of(source, names)]
    heads = {f"{dist.site}/{dist.info}" for dist in gone}
    findings = [found for found in snapshot.findings if not _is_in(found.place, heads)]
    roots = {tree.root for tree in trees}
    findings += [
        _modules_stay(dist) for dist in gone if dist.rows is None and not _is_in(dist.site, roots)
    ]
    return msgspec.structs.replace(
        snapshot,
        dists=[dist for dist in snapshot.dists if id(dist) not in ids],
        findings=findings,
        sites=[
            _without_heads(site, heads)
            for site in snapshot.sites
            if site.kind != "pth" or not _is_in(site.path, roots)
        ],
        sources=[source for source in snapshot.sources if source not in trees],
    )


def _is_only_of(source: Source, names: set[str]) -> bool:
    """Whether the tree is an editable install of *names*, and of nothing that stays."""
    return bool(source.dists) and names.issuperset(source.dists)


def _modules_stay(dist: Dist) -> Finding:
    return Finding(
        kind="without",
        place=f"{dist.site}/{dist.info}",
        detail=f"{dist.name} has no RECORD: its metadata is left out, its modules are not known "
        "and stay",
        advice="uninstall it and capture again",
    )


def _without_heads(site: Site, heads: set[str]) -> Site:
    loose = [entry for entry in site.loose if not _is_in(f"{site.path}/{entry.path}", heads)]
    return msgspec.structs.replace(site, loose=loose)


def _is_in(place: str, heads: set[str]) -> bool:
    while place and place != os.sep:
        if place in heads:
            return True
        place = place.rpartition("/")[0]
    return False
