"""What a lock and a snapshot have in common, so that either can stand on either side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from envfreeze.model.identity import interpreter_facts, normalize
from envfreeze.model.lock import Lock, LooseEntry, LooseSite, Package
from envfreeze.model.snapshot import LooseFile, Site, Snapshot
from envfreeze.model.survey import Seen, digest_of, layers_of, survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One distribution, as far as its side knows it."""

    name: str
    version: str
    tree: str | None
    """None: its files are not known."""
    proof: str | None = None
    """``proved``, ``packed``, ``unproved``; None: the side is live, nothing was proved."""
    artifact: str | None = None
    """sha256 of the file it is placed from."""
    changed: tuple[str, ...] = ()
    """Files that are not what the side's own RECORD says (edited or missing)."""
    origin: str | None = None
    """What it was built from, in a few words that differ where that differs; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One side of a comparison."""

    title: str
    id: str | None
    interpreter: dict[str, str]
    packages: dict[str, Item]
    files: dict[str, str | None]
    """Path below its site directory to a word for its content; None: it could not be read."""
    system: dict[str, str] | None
    """``name:arch`` to version; None: not known."""
    system_whole: bool
    """All installed packages; False: only those that the environment needs."""
    shadowed: dict[str, Item] = field(default_factory=dict)
    """Distributions that are never imported, by name and site directory."""
    sources: dict[str, str] = field(default_factory=dict)
    """Key of each source tree that is kept to its digest."""
    layers: dict[str, str] = field(default_factory=dict)


def _files(sites: Iterable[LooseSite | Site]) -> dict[str, str | None]:
    """The unowned files of all site directories.

    A venv has one site directory for all of them, and there the file of the last one stands
    (:mod:`envfreeze.build.venv` goes through them in this order). Another of the same name
    and with other content is a file of its own, named with its directory.
    """
    found: dict[str, str | None] = {}
    where: dict[str, str] = {}
    for site, head, entries in sorted(map(_loose, sites), key=lambda item: item[0]):
        for entry in entries:
            path, content = head + entry.path, _content(entry)
            if found.get(path, content) != content:
                found[f"{path} in {where[path]}"] = found[path]
            found[path], where[path] = content, site
    return found


def _loose(site: LooseSite | Site) -> tuple[str, str, Sequence[LooseEntry | LooseFile]]:
    """``(directory, what stands before its files' paths, files)``."""
    if isinstance(site, LooseSite):
        return site.site, "bin/" if site.scheme == "scripts" else "", site.files
    return site.path, "bin/" if site.kind == "scripts" else "", site.loose


def _content(entry: LooseEntry | LooseFile) -> str | None:
    if entry.link is not None:
        return f"link to {entry.link}"
    if entry.sha256 is None:
        return None
    return f"{entry.sha256}{' executable' if entry.executable else ''}"


def _words(facts: dict[str, object]) -> dict[str, str]:
    return {key: "none" if value is None else str(value) for key, value in facts.items()}


def _origin(package: Package) -> str | None:
    """The archive with its digest, or the commit; a mere lead is nothing to compare."""
    known = next((origin for origin in package.facts.built_from if not origin.lead), None)
    if known is None or known.kind == "directory":
        return None
    digest = known.hashes.get("sha256")
    return known.title + (f" (sha256 {digest[:12]})" if digest else "")


def of_lock(lock: Lock, title: str) -> View:
    machine = lock.machine
    packages = {package.name: _locked(package) for package in lock.packages}
    shadowed = {_apart(p.name, lock.site_of(p)): _locked(p) for p in machine.shadowed}
    for lost in machine.unproved:
        name = normalize(lost.name)
        item = Item(name=name, version=lost.version, tree=lost.tree, proof="unproved")
        if lost.shadowed:
            shadowed[_apart(name, lost.site)] = item
        else:
            packages.setdefault(name, item)
    for loose in machine.loose_dists:
        name = normalize(loose.name)
        packages.setdefault(name, Item(name=name, version=loose.version, tree=None, proof="packed"))
    return View(
        title=title,
        id=machine.id,
        interpreter=_words(interpreter_facts(machine.interpreter.facts)),
        packages=packages,
        files=_files(machine.loose),
        system={f"{p.name}:{p.arch}": p.version for p in machine.system.packages},
        system_whole=False,
        shadowed=shadowed,
        sources={s.key: s.digest for s in machine.sources if s.digest is not None},
        layers=machine.layers,
    )


def _locked(package: Package) -> Item:
    return Item(
        name=package.name,
        version=package.facts.version or package.version or "",
        tree=package.facts.tree,
        proof=package.facts.proof,
        artifact=package.artifact.sha256,
        origin=_origin(package),
    )


def _live(item: Seen) -> Item:
    return Item(
        name=item.name,
        version=item.dist.version,
        tree=item.tree,
        changed=tuple(sorted({*item.edited, *item.missing})),
    )


def _apart(name: str, site: str) -> str:
    """A shadowed distribution's place in a view: others of its name may lie elsewhere."""
    return f"{name} in {site}"


def of_snapshot(snapshot: Snapshot, title: str) -> View:
    seen = survey(snapshot)
    packages = {item.name: _live(item) for item in seen.seen}
    digests = {source.key: digest_of(source) for source in snapshot.sources}
    for dist in [*seen.loose_dists, *seen.in_sources, *seen.stranded]:
        name = normalize(dist.name)
        packages.setdefault(name, Item(name=name, version=dist.version, tree=None))
    return View(
        title=title,
        id=None,
        interpreter=_words(interpreter_facts(snapshot.interpreter)),
        packages=packages,
        files=_files(seen.sites),
        system=snapshot.system.dpkg,
        system_whole=True,
        shadowed={_apart(item.name, item.dist.site): _live(item) for item in seen.shadowed},
        sources={key: digest for key, digest in digests.items() if digest is not None},
        layers=layers_of(snapshot, seen),
    )
