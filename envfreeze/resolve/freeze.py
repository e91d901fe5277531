"""Snapshot to lock: each thing found is proved, packed, or named with the reason why not."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from envfreeze.errors import ArtifactError, printable
from envfreeze.model.identity import (
    environment_id,
    normalize,
    owned_rows,
    system_digest,
    versioned_wrapper,
)
from envfreeze.model.lock import (
    CREATED_BY,
    LOCK_VERSION,
    SCHEMA,
    Artifact,
    BaseImage,
    Edit,
    Lock,
    Loose,
    LooseSite,
    Machine,
    Package,
    PackageFacts,
    PackageTool,
    Proof,
    Scope,
    SourceTree,
    Tool,
    Unproved,
)
from envfreeze.model.snapshot import Dist, Finding, Site, Snapshot
from envfreeze.model.survey import Seen, Survey, as_loose, is_unread, layers_of, survey
from envfreeze.probe import pointers
from envfreeze.progress import Progress
from envfreeze.resolve import conda, origins, pack, patches, sources, trees
from envfreeze.resolve.based import BaseFiles, found_on
from envfreeze.resolve.databases import Database
from envfreeze.resolve.distowners import SystemDists
from envfreeze.resolve.frozen import Frozen
from envfreeze.resolve.http import local_path
from envfreeze.resolve.index import Index
from envfreeze.resolve.machine import MachineLayers, MachineMeans, lock_machine
from envfreeze.resolve.patches import Patched
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.told import told
from envfreeze.resolve.wheels import NotProved, Prover, Verdict, WheelProof, prove_all
from envfreeze.store import Cache, Sidecar, kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What freezing may use."""

    index: Index
    cache: Cache
    sidecar: Sidecar
    progress: Progress
    offline: bool = False
    pack: bool = True
    needs: tuple[str, ...] = ()
    """Programs that packages call, by name or absolute path."""
    scope: Scope = "needed"
    """Which packages of the system are kept."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Of the target: PATH and LD_LIBRARY_PATH tell what it runs and loads."""
    root: Root = field(default_factory=Root)
    """Where the target's files lie."""
    base: BaseFiles | None = None
    """The image that the target stands on: what it has is not packed."""


def freeze(snapshot: Snapshot, means: Means) -> Frozen:
    """Make the lock of *snapshot*. Packed bytes are in the cache; the caller keeps them.

    :raises ArtifactError: a file changed while it was being packed.
    """
    seen = survey(snapshot)
    items = [*seen.seen, *seen.shadowed]
    trees.remember(items, means.cache)
    trees.remember_sources(snapshot.sources, means.cache)
    verdicts = _prove_edited(items, _prove(items, snapshot, means), snapshot, means)
    database = Database(means.root)
    made = _Packages(snapshot, means, SystemDists(snapshot.dists, database))
    with means.progress.task("pack", len(items)) as advance:
        for place, (item, verdict) in enumerate(zip(items, verdicts, strict=True)):
            made.add(item, verdict, shadowed=place >= len(seen.seen))
            advance(1)
    made.findings += made.tracer.findings
    whole = (_loose(site, seen, means, made.layout(site)) for site in seen.sites)
    loose = [site for site in whole if site is not None]
    layers = lock_machine(
        snapshot,
        seen,
        MachineMeans(
            cache=means.cache,
            sidecar=means.sidecar,
            progress=means.progress,
            http=None if means.offline else means.index.http,
            pack=means.pack,
            needs=means.needs,
            scope=means.scope,
            path=means.environ.get("PATH"),
            library_path=means.environ.get("LD_LIBRARY_PATH", ""),
            root=means.root,
            database=database,
            base=means.base,
        ),
    )
    kept_trees = sources.lock_sources(
        snapshot,
        means.cache,
        means.sidecar,
        keep=means.pack,
        place=sources.Place(root=means.root, base=means.base),
    )
    base = found_on(means.base, snapshot) if means.base else None
    lock = _lock(snapshot, seen, made, (loose, kept_trees), layers, base)
    packages = conda.lock_conda(snapshot, _conda_means(means))
    if packages is not None:
        lock = _with_conda(lock, packages)
    return Frozen(
        lock=told(lock, snapshot),
        found=seen.found,
        counts=_count(lock, seen),
        problems=list(means.index.problems) if not means.offline else [],
        watched=layers.watched,
    )


def _conda_means(means: Means) -> conda.Means:
    return conda.Means(
        cache=means.cache,
        sidecar=means.sidecar,
        progress=means.progress,
        http=None if means.offline else means.index.http,
        pack=means.pack,
        root=means.root,
    )


def _with_conda(lock: Lock, packages: conda.CondaLocked) -> Lock:
    """*lock* with its conda packages."""
    findings = [*lock.machine.findings, *packages.findings]
    return lock.with_machine(
        conda=packages.layer,
        hermetic=lock.machine.hermetic and not packages.layer.lost,
        findings=sorted(findings, key=lambda f: (f.kind, f.place, f.detail)),
    )


def _prove(items: list[Seen], snapshot: Snapshot, means: Means) -> list[Verdict]:
    with means.progress.task("prove", len(items)) as advance:
        return prove_all(
            [_elsewhere(item.dist, means) for item in items],
            means.index,
            means.cache,
            offline=means.offline,
            on_done=lambda _name: advance(1),
            yields=[frozenset(item.yields) for item in items],
            accepts=Accepts(snapshot),
        )


def _elsewhere(dist: Dist, means: Means) -> Dist:
    """*dist* for a proof: a file that a container names is no file of this machine."""
    url = origins.document(dist.direct_url).get("url")
    ours = means.root.host("/") == "/"
    if ours or not isinstance(url, str) or local_path(url) is None:
        return dist
    return msgspec.structs.replace(dist, direct_url=None)


def _prove_edited(
    items: list[Seen], verdicts: list[Verdict], snapshot: Snapshot, means: Means
) -> list[Verdict | Patched]:
    """What is not its wheel as it lies here is tried again without its edited files."""
    done: list[Verdict | Patched] = list(verdicts)
    edited = [
        place
        for place, item in enumerate(items)
        if isinstance(verdicts[place], NotProved) and (item.edited or item.missing)
    ]
    accepts = Accepts(snapshot)
    prover = Prover(index=means.index, cache=means.cache, offline=means.offline, accepts=accepts)
    again = prove_all(
        [_elsewhere(items[place].dist, means) for place in edited],
        means.index,
        means.cache,
        offline=means.offline,
        yields=[patches.by_claim(items[place]) for place in edited],
        accepts=accepts,
    )
    layouts = {
        site.path: pack.layout(site, snapshot.interpreter, root=means.root)
        for site in snapshot.sites
    }
    for place, proof in zip(edited, again, strict=True):
        item = items[place]
        if isinstance(proof, WheelProof):
            with contextlib.suppress(ArtifactError):  # A file changed: packing will tell.
                done[place] = patches.keep(item, proof, prover, layouts[item.dist.site])
    return done


def _with_modes(package: Package, modes: Sequence[Edit]) -> Package:
    """*package*, with the files whose executable bit somebody changed."""
    if not modes:
        return package
    facts = package.facts
    edits = sorted([*facts.edits, *modes], key=lambda edit: edit.path)
    files = f"{len(modes)} file{'s' if len(modes) != 1 else ''}"
    evidence = f"{facts.evidence} (mode of {files} changed: kept)"
    facts = msgspec.structs.replace(facts, edits=edits, evidence=evidence)
    return msgspec.structs.replace(package, tool=PackageTool(envfreeze=facts))


class Accepts:
    """Whether the captured interpreter could take a wheel, judged by its file name."""

    def __init__(self, snapshot: Snapshot) -> None:
        facts = snapshot.interpreter
        major, minor = facts.version.split(".")[:2]
        self._pythons = {
            f"py{major}",
            f"py{major}{minor}",
            f"cp{major}{minor}",
            f"pp{major}{minor}",
        }
        self._minor = int(minor) if minor.isdigit() else 0
        self._machine = facts.machine.lower().replace("amd64", "x86_64")

    def __call__(self, filename: str) -> bool:
        parts = filename.removesuffix(".whl").rsplit("-", 3)
        if len(parts) != 4:
            return False
        _, pythons, abis, platforms = parts
        python = any(tag in self._pythons for tag in pythons.split("."))
        stable = "abi3" in abis.split(".") and any(
            tag.startswith("cp3") and tag[3:].isdigit() and int(tag[3:]) <= self._minor
            for tag in pythons.split(".")
        )
        platform = any(
            tag == "any" or tag.endswith((self._machine, "universal2"))
            for tag in platforms.split(".")
        )
        return (python or stable or pythons.startswith("py")) and platform


class _Packages:
    """Collects the packages of a lock and what had to be left out."""

    def __init__(self, snapshot: Snapshot, means: Means, system: SystemDists) -> None:
        self._means = means
        self.system = system
        self._facts = snapshot.interpreter
        spelt = sources.roots(snapshot)
        self.tracer = origins.Tracer(means.index.settings, means.cache, Accepts(snapshot))
        self._layouts = {
            site.path: pack.layout(site, snapshot.interpreter, spelt, means.root)
            for site in snapshot.sites
        }
        self.packages: list[Package] = []
        self.shadowed: list[Package] = []
        self.held: list[Package] = []
        self.unproved: list[Unproved] = []
        self.findings: list[Finding] = []

    def layout(self, site: Site) -> pack.Layout:
        return self._layouts[site.path]

    def add(self, item: Seen, verdict: Verdict | Patched, *, shadowed: bool = False) -> None:
        """:param shadowed: another one of its name is imported."""
        self._report(item)
        base = self._means.base
        in_base = base is not None and base.has_dist(item, self._layouts[item.dist.site])
        if in_base and not _is_public(verdict):
            self.held.append(self._held(item, verdict, shadowed))
            return
        made = self._made(item, verdict)
        if isinstance(made, Package):
            if in_base:
                facts = msgspec.structs.replace(made.facts, in_base=True)
                made = msgspec.structs.replace(made, tool=PackageTool(envfreeze=facts))
            (self.shadowed if shadowed else self.packages).append(made)
        else:
            self.unproved.append(msgspec.structs.replace(made, shadowed=shadowed))

    def _held(self, item: Seen, verdict: Verdict | Patched, shadowed: bool) -> Package:
        """A distribution that the base image has and no index offers: not kept again."""
        reason = verdict.reason if isinstance(verdict, NotProved) else "its wheel is a local file"
        evidence = f"every file is as the base image has it; {printable(reason)}"
        facts = self._package_facts(item, "base", evidence)
        facts = msgspec.structs.replace(facts, in_base=True, behind=shadowed)
        return self._package(item, facts)

    def _made(self, item: Seen, verdict: Verdict | Patched) -> Package | Unproved:
        patched: Patched | None = None
        if isinstance(verdict, Patched):
            if verdict.archive is not None and not self._means.pack:
                verdict = NotProved(reason="some of its files were edited")
            else:
                patched = verdict
                verdict = patched.proof
        if isinstance(verdict, WheelProof):
            if verdict.candidate.local and not self._means.pack:
                return self._unproved(item, "its wheel is a file of this machine")
            package = self._with_edits(self._proved(item, verdict), patched)
            return _with_modes(
                package, patches.modes(item, verdict.executable, package.facts.edits)
            )
        packed = self._packed(item, verdict) if self._means.pack else None
        return packed or self._unproved(item, verdict.reason)

    def _with_edits(self, package: Package, patched: Patched | None) -> Package:
        if patched is None:
            return package
        archive = None
        if patched.archive is not None:
            archive = kept(self._means.cache, self._means.sidecar, patched.archive, "edits.zip")
        facts = msgspec.structs.replace(package.facts, edits=list(patched.edits), patch=archive)
        return msgspec.structs.replace(package, tool=PackageTool(envfreeze=facts))

    def _proved(self, item: Seen, proof: WheelProof) -> Package:
        candidate = proof.candidate
        if candidate.local:
            # A wheel that lies on this machine: its own bytes are kept, a path proves nothing
            # to another machine.
            return self._local(item, proof)
        artifact = Artifact(
            name=candidate.filename,
            url=candidate.url,
            size=proof.size,
            hashes={"sha256": proof.sha256},
        )
        facts = self._package_facts(item, "proved", proof.evidence)
        if proof.direct:
            return self._package(item, facts, archive=artifact)
        return self._package(item, facts, wheel=artifact, index=candidate.index)

    def _local(self, item: Seen, proof: WheelProof) -> Package:
        from envfreeze.resolve.http import local_path

        path = local_path(proof.candidate.url)
        if path is None:
            raise ArtifactError(f"{proof.candidate.filename} is local, but not a file")
        cache = self._means.cache
        try:
            known = cache.find(proof.sha256, proof.size) is not None
            sha256 = proof.sha256 if known else cache.add(path)[0]
        except OSError as error:
            raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
        if sha256 != proof.sha256:
            raise ArtifactError(
                f"{path} changed while it was being captured",
                hint="Let it settle and capture again.",
            )
        artifact = kept(cache, self._means.sidecar, proof.sha256, proof.candidate.filename)
        evidence = f"kept: {proof.evidence}"
        return self._package(item, self._package_facts(item, "packed", evidence), wheel=artifact)

    def _packed(self, item: Seen, verdict: NotProved) -> Package | None:
        traced = self.tracer.trace(item.dist, item.yields, verdict.offered)
        package = None
        if traced.wheel is not None:
            with contextlib.suppress(ArtifactError):  # A cache is cleaned at any time.
                package = self._local(item, traced.wheel)
                package = _with_modes(package, patches.modes(item, traced.wheel.executable))
        package = package or self._rebuilt(item, _reason(verdict, traced))
        if package is None or not traced.origins:
            return package
        facts = msgspec.structs.replace(package.facts, built_from=traced.origins)
        return msgspec.structs.replace(package, tool=PackageTool(envfreeze=facts))

    def _rebuilt(self, item: Seen, reason: str) -> Package | None:
        dist = item.dist
        try:
            sha256 = self._pack(item)
        except ArtifactError as error:
            self.findings.append(
                Finding(
                    kind="not-packed",
                    place=f"{dist.site}/{dist.info}",
                    detail=str(error),
                    advice="capture again when nothing changes it",
                )
            )
            return None
        name = pack.wheel_name(dist, self._facts)
        artifact = kept(self._means.cache, self._means.sidecar, sha256, name)
        evidence = f"rebuilt from the installed files: {printable(reason)}"
        if owner := self.system.owner(dist):
            evidence = f"brought by the system's {owner}: its installed files are kept"
        pointing = pack.pointing(dist, self._layouts[dist.site])
        if pointing or _is_editable(dist):
            evidence = "an editable install: its metadata, and what points at its source tree"
        facts = self._package_facts(item, "packed", evidence)
        facts = msgspec.structs.replace(facts, pointers=pointing)
        package = self._package(item, facts, wheel=artifact)
        return _with_modes(package, patches.modes(item, patches.packed_bits(item)))

    def _pack(self, item: Seen) -> str:
        """The packed wheel's sha256; one that was packed before from the same bytes is reused."""
        dist = item.dist
        modes = [f"{row.scheme}/{row.path}" for row in dist.rows or () if row.executable]
        key = pack.pack_key(dist.info, item.tree, dist.tags, item.yields, modes)
        place = self._layouts[dist.site]
        return pack.packed_once(
            self._means.cache,
            key,
            lambda: pack.pack_wheel(dist, place, self._means.cache, item.yields),
        )

    def _package(
        self,
        item: Seen,
        facts: PackageFacts,
        *,
        wheel: Artifact | None = None,
        archive: Artifact | None = None,
        index: str | None = None,
    ) -> Package:
        if wheel is not None and not pack.is_wheel_name(wheel.filename):
            # PEP 751 takes no such wheel: ``odd-2004d-py3-none-any.whl``, as old pips installed it.
            wheel, archive = None, wheel
        return Package(
            name=item.name,
            version=item.dist.version if facts.version is None else None,
            index=index,
            archive=archive,
            wheels=[wheel] if wheel is not None else [],
            tool=PackageTool(envfreeze=facts),
        )

    def _package_facts(self, item: Seen, proof: Proof, evidence: str) -> PackageFacts:
        dist = item.dist
        return PackageFacts(
            proof=proof,
            evidence=evidence,
            tree=item.tree,
            version=None if pack.is_version(dist.version) else dist.version,
            info=dist.info,
            site=None if dist.site == self._facts.purelib else dist.site,
            owner=self.system.owner(dist),
            installer=dist.installer,
            requested=dist.requested,
            direct_url=self._direct_url(dist),
            wrapper_copies=_wrapper_copies(dist),
            no_wrappers=_no_wrappers(dist),
            yields=list(item.yields),
            apart=item.apart,
        )

    def _direct_url(self, dist: Dist) -> str | None:
        stripped = _without_credentials(dist.direct_url)
        if stripped != dist.direct_url:
            self.findings.append(
                Finding(
                    kind="credentials",
                    place=f"{dist.site}/{dist.info}/direct_url.json",
                    detail="it held a password or token, which is not in this lock",
                    advice="change that secret if others can read this environment",
                )
            )
        return stripped

    def _unproved(self, item: Seen, reason: str) -> Unproved:
        return Unproved(
            name=item.dist.name,
            version=item.dist.version,
            site=item.dist.site,
            info=item.dist.info,
            reason=printable(reason),
            tree=item.tree,
        )

    def _report(self, item: Seen) -> None:
        place = f"{item.dist.site}/{item.dist.info}"
        unread = _unreadable(item.dist)
        edited, missing = list(item.edited), sorted(set(item.missing).difference(unread))
        other = "not as its RECORD says"
        if owner := self.system.owner(item.dist):
            # Its RECORD is upstream's: what the system's packagers changed, they list themselves.
            edited, missing = self.system.changed(item.dist, edited), []
            other = f"not as {owner} has it"
        for kind, files, said in (
            ("edited-files", edited, other),
            ("missing-files", missing, "in its RECORD but not on the disk"),
        ):
            if files:
                self.findings.append(
                    Finding(
                        kind=kind,
                        place=place,
                        detail=f"{_files(len(files))} {said}: {_some(files)}",
                        advice="kept as they are on the disk",
                    )
                )
        if unread:
            self.findings.append(
                Finding(
                    kind="unreadable",
                    place=place,
                    detail=f"{_files(len(unread))} could not be read: {_some(unread)}",
                    advice="capture as a user who may read them",
                )
            )
        if _is_editable(item.dist) and not pointers.keys((item.dist.direct_url or "").encode()):
            self.findings.append(
                Finding(
                    kind="editable",
                    place=place,
                    detail="an editable install: its source tree is not in this lock",
                    advice="install it as a wheel, or keep its repository beside the lock",
                )
            )


def _is_public(verdict: Verdict | Patched) -> bool:
    """Whether what was proved can be had by anybody, but for a small patch."""
    proof = verdict.proof if isinstance(verdict, Patched) else verdict
    return isinstance(proof, WheelProof) and not proof.candidate.local


def _reason(verdict: NotProved, traced: origins.Traced) -> str:
    """Why no public wheel is it; what the installer wrote down says more than "not offered"."""
    recorded = traced.recorded
    if recorded is None or recorded.kind == "wheel":
        return verdict.reason
    return f"it was built here from {recorded.title} (direct_url.json)"


def _unreadable(dist: Dist) -> list[str]:
    return sorted(f"{row.scheme}/{row.path}" for row in owned_rows(dist) if is_unread(row))


def _some(files: Sequence[str]) -> str:
    return ", ".join(files[:5]) + (", ..." if len(files) > 5 else "")


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"


def _wrapper_copies(dist: Dist) -> dict[str, list[str]]:
    copies: dict[str, list[str]] = {}
    for row in dist.rows or ():
        if row.scheme == "scripts" and row.sha256 and row.path not in dist.wrappers:
            original = versioned_wrapper(row.path, dist.wrappers)
            if original is not None:
                copies.setdefault(original, []).append(row.path)
    return {name: sorted(copies[name]) for name in sorted(copies)}


def _no_wrappers(dist: Dist) -> list[str]:
    """The entry points whose script is not there."""
    there = {
        row.path for row in dist.rows or () if row.scheme == "scripts" and row.size is not None
    }
    return sorted(set(dist.wrappers) - there)


def _is_editable(dist: Dist) -> bool:
    about = origins.document(dist.direct_url).get("dir_info")
    return isinstance(about, dict) and about.get("editable") is True


def _without_credentials(direct_url: str | None) -> str | None:
    """direct_url.json as it was, but for a password or token in its URL."""
    if direct_url is None:
        return None
    import json

    document = origins.document(direct_url)
    with contextlib.suppress(RecursionError):
        stripped = origins.bare(document)
        if isinstance(document.get("url"), str):
            return direct_url if stripped == document else json.dumps(stripped, sort_keys=True)
    # Not what PEP 610 says: whatever it is, it carries no secret on.
    bare = re.sub(r"(?<=:)(\\?/){2}[^\s\"']*@", "//", direct_url)
    bare = re.sub(r"(//[^\s\"'?]*)\?[^\s\"']*", r"\1", bare)
    # Without that it may be what PEP 610 says.
    return bare if bare == direct_url else _without_credentials(bare)


def _loose(site: Site, seen: Survey, means: Means, place: pack.Layout) -> LooseSite | None:
    entry = as_loose(site, seen.hidden)
    if not entry.files:
        return None
    base = means.base
    if base is not None:
        own = [base.has(f"{site.path}/{one.path}") for one in entry.files]
        files = [
            msgspec.structs.replace(one, in_base=in_base)
            for one, in_base in zip(entry.files, own, strict=True)
        ]
        entry = msgspec.structs.replace(entry, files=files)
        rest = {one.path for one in files if not one.in_base}
        site = msgspec.structs.replace(site, loose=[f for f in site.loose if f.path in rest])
        if not rest:
            return entry
    if not means.pack:
        return entry
    kept_files = [f for f in entry.files if not f.in_base]
    key = pack.pack_key([(f.path, f.sha256, f.link, f.executable) for f in kept_files])
    sha256 = pack.packed_once(means.cache, key, lambda: pack.pack_loose(site, place, means.cache))
    archive = kept(means.cache, means.sidecar, sha256, "unowned-files.tar.gz")
    return msgspec.structs.replace(entry, archive=archive)


def _lost(seen: Survey) -> Iterator[Finding]:
    """Unowned files that are there, and whose bytes nobody could read."""
    for site in seen.sites:
        for entry in site.loose:
            if entry.sha256 is None and entry.link is None:
                yield Finding(
                    kind="unreadable",
                    place=f"{site.path}/{entry.path}",
                    detail="it could not be read: it is not in this lock",
                    advice="capture as a user who may read it",
                )


def _outside(snapshot: Snapshot, seen: Survey) -> Iterator[Finding]:
    """Directories that sys.path has from elsewhere: whatever is imported from them is not kept."""
    owned = [site.path.rstrip("/") + "/" for site in seen.sites]
    for site in snapshot.sites:
        if site.kind not in {"pth", "pythonpath"} or sources.is_covered(site.path, snapshot):
            continue
        if not (site.path + "/").startswith(tuple(owned)):
            source = "a .pth file" if site.kind == "pth" else "PYTHONPATH"
            yield Finding(
                kind="outside-path",
                place=site.path,
                detail=f"sys.path has it through {source}: what lies there is not in this lock",
                advice="install what is needed from there as a wheel",
            )


def _stranded(seen: Survey) -> Iterable[Unproved]:
    for dist in seen.stranded:
        yield Unproved(
            name=dist.name,
            version=dist.version,
            site=dist.site,
            info=dist.info,
            reason="it is on sys.path through PYTHONPATH or a .pth file, outside the environment",
        )


def _shadowed(seen: Survey) -> Iterable[Finding]:
    for item in seen.shadowed:
        yield Finding(
            kind="shadowed",
            place=f"{item.dist.site}/{item.dist.info}",
            detail=f"another {item.dist.name} stands earlier on sys.path: never imported",
            advice="kept, behind the other one",
        )


def _homeless(seen: Survey) -> Iterable[Finding]:
    """Files of stale distributions outside the site directories: no package brings them."""
    for (site, info), files in seen.homeless.items():
        yield Finding(
            kind="stale-files",
            place=f"{site}/{info}",
            detail=f"{_files(len(files))} outside the site directory, not kept: {_some(files)}",
            advice="uninstall it if nothing needs them; else reinstall it alone",
        )


def _beside_trees(snapshot: Snapshot, seen: Survey) -> Iterator[Finding]:
    """Files of distributions in source trees that lie outside of each: ``pip install --prefix``
    puts programs beside the directory that PYTHONPATH then names."""
    prefixes = {site.path: site.prefix for site in snapshot.sites}
    for dist in seen.in_sources:
        homes = {"scripts": f"{prefixes.get(dist.site)}/bin", "data": prefixes.get(dist.site)}
        files = [
            f"{row.scheme}/{row.path}"
            for row in dist.rows or ()
            if row.scheme not in {"site", "outside"}
            and row.sha256 is not None
            and not sources.is_covered(f"{homes.get(row.scheme)}/{row.path}", snapshot)
        ]
        if files:
            yield Finding(
                kind="outside-row",
                place=f"{dist.site}/{dist.info}",
                detail=f"{_files(len(files))} outside the source tree, not kept: {_some(files)}",
                advice="install it into the environment, if they are needed",
            )


def _lock(
    snapshot: Snapshot,
    seen: Survey,
    made: _Packages,
    files: tuple[list[LooseSite], list[SourceTree]],
    machine: MachineLayers,
    base: BaseImage | None,
) -> Lock:
    loose, kept_trees = files
    unproved = sorted([*made.unproved, *_stranded(seen)], key=lambda u: (normalize(u.name), u.site))
    findings = [*snapshot.findings, *made.findings, *_shadowed(seen), *_homeless(seen)]
    findings += machine.findings
    findings += [*_beside_trees(snapshot, seen), *_lost(seen)]
    findings += [*_outside(snapshot, seen), *sources.findings(snapshot)]
    layers = {
        **layers_of(snapshot, seen),
        "system": system_digest(machine.system),
    }
    hermetic = (
        not unproved
        and not machine.system.unproved
        and machine.interpreter.origin != "unpacked"
        and not any(site.lost for site in loose)
        and all(tree.archive or tree.in_base for tree in kept_trees if tree.problem is None)
        and not any(finding.kind in OPEN for finding in findings)
    )
    loose_dists = [
        Loose(
            name=d.name,
            version=d.version,
            site=d.site,
            info=d.info,
            owner=made.system.owner(d),
        )
        for d in [*seen.loose_dists, *seen.in_sources]
    ]
    version = snapshot.interpreter.version.split(".")
    lock = Lock(
        lock_version=LOCK_VERSION,
        created_by=CREATED_BY,
        requires_python=f"=={version[0]}.{version[1]}.*",
        packages=sorted(made.packages, key=lambda package: package.name),
        tool=Tool(
            envfreeze=Machine(
                schema=SCHEMA,
                id=environment_id(layers),
                hermetic=hermetic,
                layers=dict(sorted(layers.items())),
                interpreter=machine.interpreter,
                system=machine.system,
                environment=dict(sorted(snapshot.environment.items())),
                base=base,
                held=sorted(made.held, key=lambda p: (p.name, p.facts.site or "")),
                host=machine.host,
                loose_dists=sorted(loose_dists, key=lambda d: (normalize(d.name), d.site, d.info)),
                loose=sorted(loose, key=lambda site: site.site),
                sites=_order(seen),
                shadowed=sorted(made.shadowed, key=lambda p: (p.name, p.facts.site or "")),
                sources=kept_trees,
                pythonpath=sources.pythonpath(snapshot),
                unproved=unproved,
                findings=sorted(findings, key=lambda f: (f.kind, f.place, f.detail)),
            )
        ),
    )
    return _on_local_base(lock) if base is not None and base.reference is None else lock


def _on_local_base(lock: Lock) -> Lock:
    """A lock whose base image no registry gives out: said, and not hermetic if it rests on it."""
    machine = lock.machine
    base = machine.base
    if base is None or not lock.rests_on_base:
        return lock
    finding = Finding(
        kind="local-base",
        place=base.image_id,
        detail="the base image has no digest of a registry: it is known to one engine alone",
        advice="push the image and capture it again, or capture with --pack-base",
    )
    findings = sorted([*machine.findings, finding], key=lambda f: (f.kind, f.place, f.detail))
    return lock.with_machine(hermetic=False, findings=findings)


def _order(seen: Survey) -> list[str]:
    """The site directories in the order of sys.path, where something has to lie apart."""
    if not seen.hidden and not any(item.apart for item in [*seen.seen, *seen.shadowed]):
        return []
    return [site.path for site in seen.sites if site.kind != "scripts"]


OPEN = frozenset(
    {
        "editable",
        "link-outside",
        "link-unkept",
        "local-base",
        "no-system-packages",
        "not-utf8",
        "outside-path",
        "source",
        "source-ignored",
        "source-large",
        "source-lfs",
        "source-missing",
        "source-outside",
        "source-relative",
        "stale-files",
        "unowned-library",
        "unreadable",
    }
)
"""Findings that leave something of the environment outside the lock."""


def _word(package: Package) -> str:
    facts = package.facts
    return "editable" if facts.editable else "patched" if facts.edits else facts.proof


def _count(lock: Lock, seen: Survey) -> Counter[str]:
    counts: Counter[str] = Counter(map(_word, lock.packages))
    counts["kept as files"] = len(seen.loose_dists)
    counts["unproved"] = len(lock.machine.unproved)
    counts["shadowed"] = len(lock.machine.shadowed)
    if lock.machine.held:
        counts["in the base image"] = len(lock.machine.held)
    if seen.in_sources:
        counts["in source trees"] = len(seen.in_sources)
    return counts
