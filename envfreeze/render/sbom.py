"""What a bill of materials says of a lock, before it is CycloneDX or SPDX. Pure.

Nothing is added to what the lock knows: what it does not record is left out, or is NOASSERTION.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from envfreeze.model.artifact import Artifact
from envfreeze.model.conda import CondaPackage
from envfreeze.model.graph import Graph, Key, graph
from envfreeze.model.identity import normalize
from envfreeze.model.lines import utf8
from envfreeze.model.lock import (
    BaseImage,
    InterpreterLayer,
    Lock,
    Loose,
    NamedPackage,
    Package,
    SourceTree,
    SystemPackage,
    Unproved,
)
from envfreeze.model.snapshot import Licence
from envfreeze.model.words import plural
from envfreeze.render import purl

_NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?", re.IGNORECASE | re.ASCII)
_SPACE = uuid.UUID("6c0f1a52-3d6b-5c67-9a4e-0a2f4b7f2b11")
"""Any: of it and an environment's id a serial number is made, the same one each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One thing that the environment is made of."""

    key: tuple[str, str]
    """A kind and a name, as a :data:`~envfreeze.model.graph.Key`; also ``interpreter``, ``os``,
    ``base`` and ``source``."""
    version: str = ""
    purl: str | None = None
    cpe: str | None = None
    artifact: Artifact | None = None
    md5: str | None = None
    """Of the same file, where its record has one."""
    url: str | None = None
    """Where the artifact is fetched; without credentials."""
    vcs: str | None = None
    """What it was built from, ``git+https://...@COMMIT``."""
    expression: str | None = None
    """Of its licence, in SPDX's words."""
    licence: str | None = None
    """Its licence in other words."""
    proof: str
    evidence: str = ""
    patched: tuple[str, ...] = ()
    """Files that are not as its artifact has them."""
    facts: tuple[tuple[str, str], ...] = ()
    """What else is known, by name."""
    ref: str = ""
    """What it is called in the document; unique."""

    @property
    def name(self) -> str:
        return self.key[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bom:
    """A whole bill."""

    name: str
    environment: str
    """The environment's id."""
    components: list[Component]
    depends: dict[str, list[str]] = field(default_factory=dict)
    """By ref; what is not in it has no known dependencies."""
    roots: list[str]
    """What of it nothing else needs."""
    epoch: int | None
    """SOURCE_DATE_EPOCH of the captured environment."""

    @property
    def serial(self) -> str:
        return str(uuid.uuid5(_SPACE, self.environment))

    @property
    def created(self) -> str:
        """What is written where a format wants a time: no clock is looked at."""
        moment = datetime.fromtimestamp(self.epoch or 0, timezone.utc)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def bom(lock: Lock, name: str, default_index: str | None = None) -> Bom:
    """The bill of *lock*.

    :param name: what the environment is called.
    :param default_index: the index that a purl of PyPI's type means without saying so.
    """
    components = _with_refs(_components(lock, default_index))
    depends, roots = _dependencies(graph(lock), components)
    epoch = lock.machine.environment.get("SOURCE_DATE_EPOCH", "")
    return Bom(
        name=utf8(name),
        environment=lock.machine.id,
        components=components,
        depends=depends,
        roots=roots,
        epoch=int(epoch) if epoch.isascii() and epoch.isdigit() and len(epoch) <= 11 else None,
    )


def _with_refs(components: Iterable[Component]) -> list[Component]:
    """*components* with a name each that no other has: ``python/numpy``, ``python/numpy~2``."""
    used: set[str] = set()
    counts: Counter[str] = Counter()
    found = []
    for one in components:
        plain = ref = "/".join(map(utf8, one.key))
        while ref in used:
            counts[plain] += 1
            ref = f"{plain}~{counts[plain] + 1}"
        used.add(ref)
        found.append(replace(one, ref=ref))
    return found


def _dependencies(
    known: Graph, components: list[Component]
) -> tuple[dict[str, list[str]], list[str]]:
    refs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in components:
        if ("shadowed", "true") not in one.facts:
            refs[one.key].append(one.ref)
    told: set[Key] = {key for key in known.nodes if refs[key]}
    depends = {
        ref: sorted({other for edge in known.nodes[key].needs for other in refs[edge.to]} - {ref})
        for key in told
        for ref in refs[key]
    }
    needed = {ref for below in depends.values() for ref in below}
    starts = {ref for key in known.roots for ref in refs[key]}
    starts |= {one.ref for one in components if one.ref not in needed}
    return dict(sorted(depends.items())), sorted(starts)


def _components(lock: Lock, default_index: str | None) -> Iterator[Component]:
    machine = lock.machine
    system = machine.system
    yield _interpreter(machine.interpreter)
    yield from _os(lock)
    if machine.base is not None:
        yield _base(machine.base)
    for package in (*lock.packages, *machine.held):
        yield _distribution(package, default_index, package.facts.behind)
    for package in machine.shadowed:
        yield _distribution(package, default_index, True)
    yield from map(_unwheeled, machine.loose_dists)
    yield from map(_unwheeled, machine.unproved)
    yield from map(_conda, machine.conda.packages if machine.conda else [])
    for kept in system.packages:
        yield _debian(lock, kept, needed=True)
    for kept in system.others:
        yield _debian(lock, kept, needed=False)
    for named in system.held:
        yield _named(lock, named, "base")
    for named in system.named:
        yield _named(lock, named, "named")
    yield from map(_source, machine.sources)


def _interpreter(layer: InterpreterLayer) -> Component:
    facts = layer.facts
    name = {"cpython": "python"}.get(facts.implementation, facts.implementation)
    number = facts.version if facts.version.replace(".", "").isdecimal() else ""
    cpe = f"cpe:2.3:a:python:python:{number}:*:*:*:*:*:*:*"
    return Component(
        key=("interpreter", name),
        version=facts.version,
        purl=purl.purl("generic", name, facts.version) if _NAME.fullmatch(name) else None,
        cpe=cpe if name == "python" and number and number.isascii() else None,
        artifact=layer.archive,
        proof=layer.origin,
        evidence=layer.evidence,
        patched=tuple(layer.edited),
        facts=_facts(kind=layer.kind, soabi=facts.soabi, files_sha256=layer.files),
    )


def _os(lock: Lock) -> Iterator[Component]:
    release = lock.machine.system.os_release
    if release.get("ID"):
        version = release.get("VERSION_ID", "")
        yield Component(
            key=("os", release["ID"]),
            version=version,
            proof="named",
            facts=_facts(pretty_name=release.get("PRETTY_NAME")),
        )


def _base(base: BaseImage) -> Component:
    digest = base.pinned.rpartition("@")[2]
    name = base.reference.partition("@")[0] if base.reference else base.image_id
    return Component(
        key=("base", name),
        version=digest,
        purl=purl.oci(base.reference) if base.reference else None,
        proof="named",
        facts=_facts(image_id=base.image_id),
    )


def _facts(**found: str | None) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", "-"), value) for name, value in found.items() if value)


def _distribution(package: Package, default_index: str | None, shadowed: bool) -> Component:
    facts = package.facts
    version = facts.version or package.version or ""
    artifact = None if facts.proof == "base" else package.artifact
    url = public(artifact)
    index = public_index(package.index, default_index)
    vcs = next(filter(None, map(purl.vcs_url, facts.built_from)), None)
    # A file that no index gave out, named by its URL (PEP 610).
    direct = url if package.index is None else None
    expression, licence = licence_of(facts.licence)
    return Component(
        key=("python", package.name),
        version=version,
        purl=purl.pypi(
            package.name, version, repository_url=index, vcs_url=vcs, download_url=direct
        ),
        artifact=artifact,
        url=url,
        vcs=vcs,
        expression=expression,
        licence=licence,
        proof=facts.proof,
        evidence=facts.evidence,
        patched=tuple(edit.path for edit in facts.edits),
        facts=_facts(
            tree_sha256=facts.tree,
            owner=facts.owner,
            patch_sha256=facts.patch.sha256 if facts.patch else None,
            editable="true" if facts.editable else None,
            built_from=", ".join(o.title for o in facts.built_from) or None,
            shadowed="true" if shadowed else None,
        ),
    )


def public(artifact: Artifact | None) -> str | None:
    """Where *artifact* is fetched, without credentials."""
    return purl.public_url(artifact.url) if artifact is not None else None


def public_index(index: str | None, default: str | None) -> str | None:
    """An index as a purl names it; None: it is the one that needs no name, or is not known."""
    found = purl.public_url(index)
    if found is None or (default is not None and found.rstrip("/") == default.rstrip("/")):
        return None
    return found


def _unwheeled(one: Loose | Unproved) -> Component:
    """A distribution that the lock has no wheel of."""
    expression, licence = licence_of(one.licence)
    kept = isinstance(one, Loose)
    evidence = "it has no RECORD: kept with the unowned files" if kept else ""
    return Component(
        key=("python", normalize(one.name)),
        version=one.version,
        purl=purl.pypi(one.name, one.version) if _NAME.fullmatch(one.name) else None,
        expression=expression,
        licence=licence,
        proof="packed" if kept else "unproved",
        evidence=one.reason if isinstance(one, Unproved) else evidence,
        facts=_facts(
            owner=one.owner if isinstance(one, Loose) else None,
            shadowed="true" if isinstance(one, Unproved) and one.shadowed else None,
        ),
    )


def _conda(package: CondaPackage) -> Component:
    artifact = package.artifact
    expression, licence = licence_of(Licence(expression=package.license))
    fetched = artifact is not None and artifact.url is not None
    return Component(
        key=("conda", package.name),
        version=package.version,
        purl=purl.conda(package),
        artifact=artifact,
        md5=package.md5 if fetched else None,
        url=public(artifact),
        expression=expression,
        licence=licence,
        proof=package.proof,
        evidence=package.evidence,
        facts=_facts(tree_sha256=package.tree, build=package.build),
    )


def _debian(lock: Lock, package: SystemPackage, *, needed: bool) -> Component:
    system = lock.machine.system
    identity = (package.name, package.version, package.arch)
    return Component(
        key=("system", package.name),
        version=package.version,
        purl=purl.system(system.manager or "dpkg", system.os_release, identity),
        artifact=package.artifact,
        url=public(package.artifact),
        proof=package.proof,
        evidence=package.evidence,
        facts=_facts(
            arch=package.arch,
            source=package.source,
            origin=package.origin,
            needed=None if needed else "false",
        ),
    )


def _named(lock: Lock, package: NamedPackage, proof: str) -> Component:
    """A package that is identified, and whose file the lock does not have."""
    system = lock.machine.system
    identity = (package.name, package.version, package.arch)
    expression, licence = licence_of(Licence(expression=package.licence))
    return Component(
        key=("system", package.name),
        version=package.version,
        purl=purl.system(system.manager, system.os_release, identity),
        expression=expression,
        licence=licence,
        proof=proof,
        facts=_facts(
            arch=package.arch,
            source=package.source,
            origin=package.origin,
            identity=package.identity,
        ),
    )


def _source(tree: SourceTree) -> Component:
    repository = tree.repository
    url = purl.public_url(repository.url) if repository else None
    commit = repository.commit if repository else None
    changed = len(repository.modified) + len(repository.untracked) if repository else 0
    vcs = None
    if url is not None:
        vcs = f"git+{url.removeprefix('git+')}" + (f"@{utf8(commit)}" if commit else "")
    return Component(
        key=("source", tree.key),
        version=commit or "",
        artifact=tree.archive,
        vcs=vcs,
        proof="packed" if tree.archive else "base" if tree.in_base else "unproved",
        evidence=f"{plural(changed, 'file')} not as the commit has them" if changed else "",
        facts=_facts(tree_sha256=tree.digest),
    )


def licence_of(licence: Licence | None) -> tuple[str | None, str | None]:
    """``(expression in SPDX's words, other words)``; either or both None.

    What a package says is an expression where SPDX's list has every name in it, and it is never
    translated into one.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    said = (licence.expression or licence.text or "").strip() if licence else ""
    if not said:
        return None, None
    try:
        return str(canonicalize_license_expression(said)), None
    except InvalidLicenseExpression:
        return None, utf8(said)


def tool() -> tuple[str, str]:
    """Name and version of what wrote the document."""
    from envfreeze import __version__

    return "envfreeze", __version__
