"""The packages of a conda prefix: proved by record and URL, kept as their files, or packed back.

A package whose files are all as its record has them, and whose URL answers with the size that the
record gives, is proved: a rebuild fetches it by its sha256. Any other is kept: as the package file
that lies on this machine, or packed into a ``.conda`` file from what is installed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from envfreeze.errors import ArtifactError, EnvfreezeError, printable
from envfreeze.model.conda import CondaFiles, CondaLayer, CondaPackage, CondaProof, link_order
from envfreeze.model.lock import Artifact, LooseEntry
from envfreeze.model.snapshot import CondaPrefix, CondaRecord, Finding, Snapshot
from envfreeze.model.words import plural
from envfreeze.progress import Progress
from envfreeze.resolve import condapack
from envfreeze.resolve.http import Http, local_path
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache, Sidecar, hash_file, kept, old_digest

WORKERS = 16
_NOTE = "conda-url"
_HARMLESS = frozenset({"pip"})
"""What may be odd about a file without its package being packed: pip's file is placed over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What locking conda packages may use."""

    cache: Cache
    sidecar: Sidecar
    progress: Progress
    http: Http | None
    """None: offline."""
    pack: bool
    root: Root


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaLocked:
    """The layer, and what was noticed on the way."""

    layer: CondaLayer
    findings: list[Finding] = field(default_factory=list)


def lock_conda(snapshot: Snapshot, means: Means) -> CondaLocked | None:
    """Lock the conda packages of *snapshot*; None: it is no conda environment.

    :raises ArtifactError: a file changed while it was being packed.
    """
    prefix = snapshot.conda
    if prefix is None:
        return None
    platform = _platform(snapshot, prefix)
    records = prefix.packages
    order = link_order({name: record.depends for name, record in records.items()})
    locker = _Locker(prefix, platform, means)
    with (
        means.progress.task("conda", len(order)) as advance,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        answers = list(pool.map(locker.look, [records[name] for name in order]))
        packages = []
        for name, known in zip(order, answers, strict=True):
            packages.append(locker.package(records[name], known))
            advance(1)
    layer = CondaLayer(
        prefix=prefix.prefix,
        platform=platform,
        channels=_channels(prefix),
        virtual=[*prefix.virtual, *_cuda(snapshot)],
        pinned=prefix.pinned,
        frozen=prefix.frozen,
        variables=dict(sorted(prefix.variables.items())),
        packages=packages,
        loose=locker.loose(),
    )
    return CondaLocked(layer=layer, findings=[*locker.findings, *_twice(prefix)])


@dataclass(frozen=True, slots=True)
class _Known:
    """A package that need not be packed, or why it has to be."""

    evidence: str = ""
    artifact: Artifact | None = None
    file: tuple[Path, str] | None = None
    """A package file of this machine, and its sha256."""
    reason: str = ""


class _Locker:
    def __init__(self, prefix: CondaPrefix, platform: str, means: Means) -> None:
        self._prefix = prefix
        self._platform = platform
        self._means = means
        self.findings: list[Finding] = []

    def look(self, record: CondaRecord) -> _Known:
        """What is known of a package without packing it; runs in a thread."""
        odd = Counter(state for _, state in record.odd if state not in _HARMLESS)
        if odd:
            return _Known(reason=_odd(odd))
        files = f"{plural(record.count, 'file')} as its record has them"
        remote = self._remote(record)
        if remote.artifact is not None:
            return replace(remote, evidence=f"{files}; {remote.evidence}")
        local = self._local(record)
        if local is not None:
            return _Known(
                file=(local, record.sha256 or ""),
                evidence=f"kept: {files}, and so has the package file here ({remote.reason})",
            )
        return remote

    def _remote(self, record: CondaRecord) -> _Known:
        url = record.url or ""
        if not url.startswith(("https://", "http://")):
            return _Known(reason="its record names no URL" if not url else "its URL is a file here")
        if record.sha256 is None:
            return self._by_md5(record, url)
        note = hashlib.sha256(f"{url} {record.sha256} {record.size}".encode()).hexdigest()
        cached = self._means.cache.find(record.sha256, record.size)
        if self._means.http is None:
            known = self._means.cache.read_note(_NOTE, note)
            size = int(known) if known and known.isdigit() else None
            said = "its URL answered before (--offline)"
            if size is None and cached is not None:
                size, said = cached.stat().st_size, "the cache has it (--offline)"
            if size is None:
                return _Known(reason="its URL was not asked (--offline)")
        else:
            try:
                size = self._means.http.size(url)
            except EnvfreezeError as error:
                return _Known(reason=f"its URL does not answer: {printable(str(error))}")
            said = "its URL answers, with that size"
        if record.size is not None and size != record.size:
            return _Known(reason=f"its URL has {size} bytes, and its record says {record.size}")
        self._means.cache.write_note(_NOTE, note, str(size).encode())
        artifact = Artifact(name=_fn(record), url=url, size=size, hashes={"sha256": record.sha256})
        return _Known(evidence=said, artifact=artifact)

    def _by_md5(self, record: CondaRecord, url: str) -> _Known:
        """An old record has no sha256: the file tells it, if its md5 is right."""
        if record.md5 is None:
            return _Known(reason="its record has no digest of the package")
        if self._means.http is None:
            return _Known(reason="its record has no sha256 (--offline)")
        cache = self._means.cache
        try:
            with cache.writing() as blob:
                self._means.http.download(url, blob, record.size)
        except EnvfreezeError as error:
            return _Known(reason=f"its URL does not answer: {printable(str(error))}")
        path = cache.find(blob.sha256)
        if path is None or old_digest(path, "md5") != record.md5:
            return _Known(reason="its URL has other bytes than its record says (md5)")
        artifact = Artifact(
            name=_fn(record), url=url, size=blob.size, hashes={"sha256": blob.sha256}
        )
        return _Known(evidence="its URL has it, by md5", artifact=artifact)

    def _local(self, record: CondaRecord) -> Path | None:
        """The very package file, where it still lies on this machine."""
        if record.sha256 is None:
            return None
        cached = self._means.cache.find_whole(record.sha256, record.size)
        named = local_path(record.url) if record.url else None
        places = [str(named)] if named is not None else []
        places += [record.tarball] if record.tarball and record.tarball.startswith("/") else []
        found = [Path(self._means.root.host(place)) for place in places]
        whole = [path for path in found if _is_whole(path, record.sha256)]
        return cached or next(iter(whole), None)

    def package(self, record: CondaRecord, known: _Known) -> CondaPackage:
        """The package as a lock has it."""
        self._report(record)
        if known.artifact is not None:
            return self._described(record, "proved", known.evidence, known.artifact)
        if not self._means.pack:
            reason = known.reason or "its package file is one of this machine"
            return self._described(record, "unproved", reason, None)
        cache, sidecar = self._means.cache, self._means.sidecar
        if known.file is not None:
            path, sha256 = known.file
            if cache.find(sha256) is None and cache.add(path)[0] != sha256:
                raise ArtifactError(
                    f"{path} changed while it was being captured",
                    hint="Let it settle and capture again.",
                )
            artifact = kept(cache, sidecar, sha256, _fn(record))
            return self._described(record, "packed", known.evidence, artifact)
        sha256 = condapack.pack_record(self._place(), record, self._platform, cache)
        artifact = kept(cache, sidecar, sha256, f"{_stem(record)}.conda")
        evidence = f"packed from the installed files: {known.reason}"
        return self._described(record, "packed", evidence, artifact)

    def _place(self) -> condapack.Place:
        return condapack.Place(prefix=self._prefix.prefix, root=self._means.root)

    def _described(
        self, record: CondaRecord, proof: CondaProof, evidence: str, artifact: Artifact | None
    ) -> CondaPackage:
        return CondaPackage(
            name=record.name,
            version=record.version,
            build=record.build,
            build_number=record.build_number,
            subdir=subdir(record, self._platform),
            noarch=record.noarch if record.noarch in {"python", "generic"} else None,
            channel=record.channel,
            url=record.url,
            fn=_fn(record),
            md5=record.md5,
            license=record.license,
            timestamp=record.timestamp,
            depends=_lines(record.depends),
            constrains=_lines(record.constrains),
            requested=_lines(record.requested),
            proof=proof,
            evidence=evidence,
            count=record.count,
            tree=record.tree,
            artifact=artifact,
        )

    def loose(self) -> CondaFiles | None:
        """The files that no package owns."""
        files = self._prefix.loose
        if not files:
            return None
        entries = [
            LooseEntry(path=f.path, sha256=f.sha256, link=f.link, executable=f.executable)
            for f in files
        ]
        if not self._means.pack:
            return CondaFiles(files=entries)
        sha256 = condapack.pack_loose(self._place(), files, self._platform, self._means.cache)
        name = f"{'-'.join(condapack.LOOSE)}.conda"
        archive = kept(self._means.cache, self._means.sidecar, sha256, name)
        return CondaFiles(archive=archive, files=entries)

    def _report(self, record: CondaRecord) -> None:
        words = {
            "changed": ("edited-files", "not as its record says", "kept as they are on the disk"),
            "missing": ("missing-files", "in its record but not on the disk", "left out"),
            "pip": ("overwritten", "overwritten by what pip installed", "kept as pip has them"),
            "another": ("overwritten", "overwritten by another conda package", "kept as they are"),
        }
        for state, (kind, said, advice) in words.items():
            files = [path for path, each in record.odd if each == state]
            if files:
                more = ", ..." if len(files) > 5 else ""
                count = plural(len(files), "file")
                self.findings.append(
                    Finding(
                        kind=kind,
                        place=f"{self._prefix.prefix}/conda-meta/{record.file}",
                        detail=f"{count} {said}: {', '.join(files[:5])}{more}",
                        advice=advice,
                    )
                )


def _lines(texts: list[str]) -> list[str]:
    return [text for text in texts if text.isprintable()]


def _odd(odd: Counter[str]) -> str:
    words = {
        "changed": ("that was changed", "that were changed"),
        "missing": ("that is missing", "that are missing"),
        "another": ("that another package overwrote",) * 2,
        "unchecked": ("of which its record has no digest",) * 2,
        "unreadable": ("that cannot be read",) * 2,
    }
    return ", ".join(
        f"{plural(count, 'file')} {words[state][count != 1]}"
        for state, count in sorted(odd.items())
    )


def _stem(record: CondaRecord) -> str:
    return f"{record.name}-{record.version}-{record.build}"


def _fn(record: CondaRecord) -> str:
    kind = ".tar.bz2" if (record.fn or record.url or "").endswith(".tar.bz2") else ".conda"
    return _stem(record) + kind


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return path.is_file() and hash_file(path)[0] == sha256
    except OSError:
        return False


def subdir(record: CondaRecord, platform: str) -> str:
    """``linux-64``, ``noarch``; of an old record told by its URL."""
    if record.subdir:
        return record.subdir
    above = (record.url or "").rpartition("/")[0].rpartition("/")[2]
    return above if above in {"noarch", platform} else "noarch" if record.noarch else platform


def _platform(snapshot: Snapshot, prefix: CondaPrefix) -> str:
    named = Counter(r.subdir for r in prefix.records if r.subdir and r.subdir != "noarch")
    if named:
        return str(named.most_common(1)[0][0])
    machine = {"x86_64": "64", "aarch64": "aarch64", "arm64": "arm64", "ppc64le": "ppc64le"}
    kernel = {"Linux": "linux", "Darwin": "osx", "Windows": "win"}
    system = snapshot.system
    return f"{kernel.get(system.kernel, 'linux')}-{machine.get(system.machine, '64')}"


def _twice(prefix: CondaPrefix) -> list[Finding]:
    live = prefix.packages
    return [
        Finding(
            kind="damaged-record",
            place=f"{prefix.prefix}/conda-meta/{record.file}",
            detail=f"there is another record of {record.name}, with more of its files on the disk",
            advice="left out; delete it",
        )
        for record in prefix.records
        if live[record.name] is not record
    ]


def _channels(prefix: CondaPrefix) -> list[str]:
    """Those of the configuration, then those that packages are from."""
    used = list(dict.fromkeys(r.channel.rstrip("/") for r in prefix.records if r.channel))
    return list(dict.fromkeys([*(_address(name, used) for name in prefix.channels), *used]))


def _address(name: str, used: list[str]) -> str:
    """``conda-forge`` as the one channel of that name that packages are from, if there is one."""
    found = [channel for channel in used if channel.endswith(f"/{name}")]
    return found[0] if len(found) == 1 and "://" not in name else name


def _cuda(snapshot: Snapshot) -> list[str]:
    """``__cuda``: what the driver supports, where there is one."""
    accelerator = snapshot.host.accelerator if snapshot.host else None
    version = accelerator.driver.cuda if accelerator else None
    return [f"__cuda={version}=0"] if version else []
