"""What a lock and a snapshot have in common, so that either can stand on either side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from envfreeze.diff import below
from envfreeze.model.artifact import is_below
from envfreeze.model.conda import CondaPackage
from envfreeze.model.identity import interpreter_facts, normalize
from envfreeze.model.lock import Lock, LooseEntry, Package
from envfreeze.model.snapshot import CondaRecord, LooseFile, Snapshot
from envfreeze.model.survey import Seen, Survey, digest_of, layers_of, survey

Reach = Literal["all", "some", "none"]
"""How much of a layer a side knows: what it does not name is not there, or need not be missing, or
it says nothing of the layer."""


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
    listed: frozenset[str] = frozenset()
    """sha256 of every file that it may be placed from, where its side lists them."""
    project: bool = False
    """Installed from a directory: somebody's own project, which its lock need not name."""
    installer: str | None = None
    """What INSTALLER says: ``pip``, ``uv``; None: nothing."""
    asked: bool = False
    """Its version is what a document asks for, and not met by what the other side has."""


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
    """Distributions behind another one of their name, by name and how manieth of it they are."""
    sources: dict[str, str] = field(default_factory=dict)
    """Key of each source tree that is kept to its digest."""
    conda: dict[str, Item] = field(default_factory=dict)
    """Conda's packages; their version is that and the build, their origin the channel."""
    prefix: dict[str, str | None] = field(default_factory=dict)
    """Files of a conda prefix that nobody owns, to a word for the content."""
    layers: dict[str, str] = field(default_factory=dict)
    below: dict[str, dict[str, str]] | None = None
    """``platform``, ``accelerator``, ``numerics``: each fact of the machine below; a part that is
    missing, or all where it is None, was not looked at."""
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Layer to name to the bytes of the file that a lock places it from."""
    reach: Mapping[str, Reach] = field(default_factory=dict)
    """Of each layer, and of ``prefix``; one that is missing is known whole. A lock and a look know
    all of theirs; a document of another tool does not."""
    open: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By layer: what is named and not known for certain, and in words what is known of it."""
    beside: frozenset[str] = frozenset()
    """Packages that may be there unnamed, though it knows the layer whole: installers."""
    trees: bool = True
    """Whether it knows the files of distributions at all."""

    def reaches(self, layer: str) -> Reach:
        return self.reach.get(layer, "all")

    def lacks(self, layer: str, name: str) -> bool:
        """Whether *name*, which it does not have, is known not to be there."""
        aside = layer == "packages" and name in self.beside
        return self.reaches(layer) == "all" and not aside


def _files(found: Iterable[tuple[str, str | None, bool]]) -> dict[str, str | None]:
    """The unowned files, ``(path, content, apart)`` of each in the order of sys.path."""
    first = sorted(found, key=lambda entry: entry[2])
    return below.numbered((path, content) for path, content, _ in first)


def _locked_files(lock: Lock) -> Iterator[tuple[str, str | None, bool]]:
    order = _order(lock)
    for site in sorted(lock.machine.loose, key=lambda site: order(site.site)):
        head = "bin/" if site.scheme == "scripts" else ""
        yield from ((head + entry.path, _content(entry), entry.apart) for entry in site.files)


def _live_files(seen: Survey) -> Iterator[tuple[str, str | None, bool]]:
    for site in seen.sites:
        head = "bin/" if site.kind == "scripts" else ""
        for entry in site.loose:
            apart = (site.path, entry.path) in seen.hidden
            yield head + entry.path, _content(entry), apart


def _order(lock: Lock) -> Callable[[str], tuple[int, str]]:
    """A key that sorts site directories as sys.path has them, where the lock tells."""
    known = {site: place for place, site in enumerate(lock.machine.sites)}
    return lambda site: (known.get(site, -1), site)


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
    held = {
        behind: [p for p in machine.held if p.facts.behind is behind] for behind in (False, True)
    }
    packages = {package.name: _locked(package) for package in [*lock.packages, *held[False]]}
    behind = [*machine.shadowed, *held[True]]
    shadowed = [(p.name, lock.site_of(p), _locked(p)) for p in behind]
    for lost in machine.unproved:
        name = normalize(lost.name)
        item = Item(name=name, version=lost.version, tree=lost.tree, proof="unproved")
        if lost.shadowed:
            shadowed.append((name, lost.site, item))
        else:
            packages.setdefault(name, item)
    order = _order(lock)

    def in_order(one: tuple[str, str, Item]) -> tuple[int, str]:
        return order(one[1])

    for loose in machine.loose_dists:
        name = normalize(loose.name)
        item = Item(
            name=name,
            version=loose.version,
            tree=None,
            proof="packed",
            project=any(is_below(loose.site, source.root) for source in machine.sources),
        )
        packages.setdefault(name, item)
    return View(
        title=title,
        id=machine.id,
        interpreter=_words(interpreter_facts(machine.interpreter.facts)),
        packages=packages,
        files=_files(_locked_files(lock)),
        system={f"{p.name}:{p.arch}": p.version for p in machine.system.packages}
        | {f"{p.name}:{p.arch}": p.version for p in machine.system.held},
        system_whole=False,
        shadowed=below.numbered((name, item) for name, _, item in sorted(shadowed, key=in_order)),
        sources={s.key: s.digest for s in machine.sources if s.digest is not None},
        conda={
            p.name: _conda(p, p.proof) for p in (machine.conda.packages if machine.conda else ())
        },
        prefix=_prefix(machine.conda.loose.files if machine.conda and machine.conda.loose else ()),
        layers=machine.layers,
        below=below.words(machine.host),
        sizes=_sizes(lock),
    )


def _sizes(lock: Lock) -> dict[str, dict[str, int]]:
    machine = lock.machine
    archive = machine.interpreter.archive
    conda = machine.conda.packages if machine.conda else []
    return {
        "interpreter": {"its own files": archive.size} if archive else {},
        "packages": {p.name: p.artifact.size for p in lock.packages if p.facts.proof != "base"},
        "sources": {s.key: s.archive.size for s in machine.sources if s.archive},
        "conda": {p.name: p.artifact.size for p in conda if p.artifact},
        "system": {f"{p.name}:{p.arch}": p.artifact.size for p in machine.system.packages},
    }


def _locked(package: Package) -> Item:
    return Item(
        name=package.name,
        version=package.facts.version or package.version or "",
        tree=package.facts.tree,
        proof=package.facts.proof,
        artifact=None if package.facts.proof == "base" else package.artifact.sha256,
        origin=_origin(package),
        project=_from_directory(package.facts.direct_url),
        installer=_installer(package.facts.installer),
    )


def _installer(text: str | None) -> str | None:
    """The first word of an INSTALLER file (PEP 376: "one line"), which is anybody's text."""
    words = (text or "").split(maxsplit=1)
    return words[0][:40] if words else None


def _from_directory(direct_url: str | None) -> bool:
    """Whether direct_url.json, of a target, names a directory (PEP 610)."""
    return direct_url is not None and '"dir_info"' in direct_url


def _live(item: Seen) -> Item:
    return Item(
        name=item.name,
        version=item.dist.version,
        tree=item.tree,
        changed=tuple(sorted({*item.edited, *item.missing})),
        project=_from_directory(item.dist.direct_url),
        installer=_installer(item.dist.installer),
    )


def of_snapshot(snapshot: Snapshot, title: str, seen: Survey | None = None) -> View:
    """:param seen: its survey, where that is made already."""
    seen = seen or survey(snapshot)
    packages = {item.name: _live(item) for item in seen.seen}
    digests = {source.key: digest_of(source) for source in snapshot.sources}
    for dist in [*seen.loose_dists, *seen.in_sources, *seen.stranded]:
        name = normalize(dist.name)
        project = dist in seen.in_sources or _from_directory(dist.direct_url)
        packages.setdefault(name, Item(name=name, version=dist.version, tree=None, project=project))
    return View(
        title=title,
        id=None,
        interpreter=_words(interpreter_facts(snapshot.interpreter)),
        packages=packages,
        files=_files(_live_files(seen)),
        system=snapshot.system.dpkg,
        system_whole=True,
        shadowed=below.numbered((item.name, _live(item)) for item in _by_site(seen)),
        sources={key: digest for key, digest in digests.items() if digest is not None},
        conda={
            n: _conda(r) for n, r in (snapshot.conda.packages if snapshot.conda else {}).items()
        },
        prefix=_prefix(snapshot.conda.loose if snapshot.conda else ()),
        layers=layers_of(snapshot, seen),
        below=below.words(snapshot.host),
    )


def _conda(package: CondaPackage | CondaRecord, proof: str | None = None) -> Item:
    odd = package.odd if isinstance(package, CondaRecord) else []
    return Item(
        name=package.name,
        version=f"{package.version} {package.build}",
        tree=package.tree,
        proof=proof,
        changed=tuple(path for path, state in odd if state in {"changed", "missing"}),
        origin=(package.channel or "").rstrip("/") or None,
    )


def _prefix(files: Iterable[LooseEntry | LooseFile]) -> dict[str, str | None]:
    return {file.path: _content(file) for file in files}


def _by_site(seen: Survey) -> list[Seen]:
    """The shadowed distributions in the order of sys.path."""
    order = {site.path: place for place, site in enumerate(seen.sites)}
    return sorted(seen.shadowed, key=lambda item: order.get(item.dist.site, -1))
