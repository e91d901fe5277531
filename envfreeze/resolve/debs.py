"""System packages: each proved to be a .deb of an archive, or packed back into one.

dpkg keeps neither the sha256 nor the origin of what it installed. It does keep ``md5sums``,
and so does the control part of every .deb, in its first kilobytes: where the two agree, and
the files on the disk agree with them, the .deb that the archive lists is what is installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from envfreeze.errors import ArtifactError
from envfreeze.model.lock import Artifact, SystemPackage, Unproved
from envfreeze.model.snapshot import Finding
from envfreeze.resolve import snapshots
from envfreeze.resolve.aptlists import Offer, offers, snapshot_archives
from envfreeze.resolve.debfile import (
    DebError,
    Entry,
    data_archive,
    data_sums,
    parse_md5sums,
    read_control,
    write_deb,
)
from envfreeze.resolve.dpkg import ADMIN, Dpkg, Installed
from envfreeze.resolve.snapshots import Snapshots
from envfreeze.store import BlobWriter, Cache, Sidecar, hash_file, kept

__all__ = ["COMPANIONS", "Dpkg", "Http", "Installed", "Means", "Proofs", "companions", "prove"]

COMPANIONS = ("ca-certificates", "media-types", "netbase", "tzdata")
"""What Python's standard library reads without linking to it: ssl, mimetypes, socket and
zoneinfo (docker-library/python installs the same ones into its slim images)."""

ARCHIVES = "/var/cache/apt/archives"

_THREADS = 8
_EXCUSED = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/")
"""What slim images leave out with dpkg's ``path-exclude``."""
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
_TABLES = ("shlibs", "symbols", "triggers", "templates")
_STATUS_ONLY = ("Status", "Conffiles", "Config-Version", "Triggers-Pending", "Triggers-Awaited")
_PLAIN_VERSION = re.compile(r"[0-9A-Za-z.+:~-]+")
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_PLAIN_ARCH = re.compile(r"[a-z0-9-]+")


class Http(Protocol):
    """What is asked of :class:`envfreeze.resolve.http.Http`."""

    def read_range(self, url: str, start: int, end: int) -> bytes: ...

    def download(self, url: str, writer: BlobWriter, expect_size: int | None = None) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a proof may use."""

    cache: Cache
    sidecar: Sidecar
    http: Http | None = None
    """None: offline."""
    pack: bool = True
    """False: what cannot be proved is named, its bytes are not kept."""
    snapshot_archive: str | None = None
    """Base URL of an archive that keeps every version; None: what apt's sources name, if any;
    empty: none is asked."""
    snapshot_http: snapshots.Http | None = None
    """For that archive: what it does not say is packed."""


@dataclass(slots=True, kw_only=True)
class Proofs:
    """What came of it, each list by name."""

    packages: list[SystemPackage] = field(default_factory=list)
    unproved: list[Unproved] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def companions(dpkg: Dpkg) -> list[Installed]:
    """Those of :data:`COMPANIONS` that are installed."""
    return [package for name in COMPANIONS if (package := dpkg.get(name)) is not None]


def file_name(package: Installed | SystemPackage) -> str:
    """``name_version_arch.deb`` as apt's cache spells it: the epoch's colon is quoted."""
    return f"{package.name}_{package.version.replace(':', '%3a')}_{package.arch}.deb"


def prove(
    dpkg: Dpkg,
    packages: Sequence[Installed],
    means: Means,
    beside: Iterable[Installed] = (),
) -> Proofs:
    """Prove each of *packages*, and pack what is not proved.

    :param packages: usually ``dpkg.closure(...)``; ``depends`` is restricted to them,
    :param beside: and to what is in the lock besides.
    """
    packages = sorted({package.key: package for package in packages}.values(), key=_order)
    lists = offers(dpkg.root, packages)
    names = {package.key: package.name for package in (*packages, *beside)}
    done = Proofs()
    with ThreadPoolExecutor(_THREADS) as pool:
        prover = _Prover(dpkg, means)
        outcomes = pool.map(lambda p: prover.settle(p, lists.get(p.key, [])), packages)
        for package, outcome in zip(packages, outcomes, strict=True):
            _record(done, dpkg, package, outcome, names)
    return done


def _order(package: Installed) -> tuple[str, str]:
    return package.name, package.arch


@dataclass(slots=True, kw_only=True)
class _Outcome:
    """How it ended for one package."""

    artifact: Artifact | None = None
    proved: bool = False
    origin: str | None = None
    evidence: str = ""
    reason: str = ""
    findings: list[Finding] = field(default_factory=list)


def _record(
    done: Proofs, dpkg: Dpkg, package: Installed, outcome: _Outcome, names: dict[str, str]
) -> None:
    done.findings += outcome.findings
    if outcome.artifact is None:
        done.unproved.append(
            Unproved(
                name=package.name,
                version=package.version,
                site=ADMIN,
                info=package.key,
                reason=outcome.reason,
            )
        )
        return
    depends = {names[p.key] for p in dpkg.depends(package) if p.key in names}
    done.packages.append(
        SystemPackage(
            name=package.name,
            version=package.version,
            arch=package.arch,
            proof="proved" if outcome.proved else "packed",
            evidence=outcome.evidence,
            artifact=outcome.artifact,
            source=package.source,
            origin=outcome.origin,
            depends=sorted(depends - {package.name}),
        )
    )


class _Prover:
    """Settles one package after another; shared by threads."""

    def __init__(self, dpkg: Dpkg, means: Means) -> None:
        self._dpkg = dpkg
        self._means = means
        self._archives = _archives(dpkg)
        self._silent: set[str] = set()
        chosen = means.snapshot_archive
        bases = snapshot_archives(dpkg.root) if chosen is None else [chosen] if chosen else []
        self._snapshots = [Snapshots(base, means.snapshot_http, means.cache) for base in bases]

    def settle(self, package: Installed, candidates: list[Offer]) -> _Outcome:
        """Prove *package*, else pack it, else say why not."""
        if not _is_plain(package):
            return _Outcome(reason="its name, version or architecture is not one that dpkg takes")
        recorded = parse_md5sums(self._dpkg.info(package, "md5sums") or b"")
        edited = list(_edited(self._dpkg, package, recorded))
        if edited:
            reason = f"{len(edited)} of its files were changed after installation"
            outcome = self._pack(package, reason)
            outcome.findings.append(_edited_finding(package, edited))
            return outcome
        reason = "it is in no list of apt"
        for offer in candidates:
            reason = self._objection(package, offer, recorded)
            if not reason:
                return _proved(offer, recorded)
        return (
            self._from_snapshot(package, recorded)
            or self._from_apt_cache(package, recorded)
            or self._pack(package, reason)
        )

    # --- proofs --------------------------------------------------------------------------

    def _objection(self, package: Installed, offer: Offer, recorded: dict[str, str]) -> str:
        """Why *offer* is not what is installed; empty when it is."""
        try:
            same = self._offers_these_files(package, offer, recorded)
        except (DebError, ArtifactError) as error:
            return str(error)
        return "" if same else "the archive's .deb holds other files"

    def _offers_these_files(
        self, package: Installed, offer: Offer, recorded: dict[str, str]
    ) -> bool:
        """Whether the .deb that an archive lists holds the files that dpkg installed.

        Remembered by the .deb's sha256: what it holds never changes.
        """
        note = self._means.cache.read_note("deb-files", offer.sha256)
        if note is None:
            sums = self._sums(package, offer)
            note = _digest(sums).encode()
            self._means.cache.write_note("deb-files", offer.sha256, note)
        return note == _digest(recorded).encode()

    def _sums(self, package: Installed, offer: Offer) -> dict[str, str]:
        """Path to md5 as the .deb itself has it: from apt's cache, else over the network."""
        local = self._archives.get(file_name(package))
        if local is not None and hash_file(local) == (offer.sha256, offer.size):
            return _file_sums(local, offer.size)
        cached = self._means.cache.find(offer.sha256, offer.size)
        if cached is not None:
            return _file_sums(cached, offer.size)
        http = self._means.http
        if http is None:
            raise DebError("offline: its .deb was never seen before")
        host = urlsplit(offer.url).netloc
        if host in self._silent:
            raise DebError(f"{host} does not answer")
        try:
            control = read_control(
                lambda start, end: http.read_range(offer.url, start, end), offer.size
            )
        except ArtifactError as error:
            if type(error).__name__ == "UnreachableError":
                self._silent.add(host)
                raise
            if type(error).__name__ != "RangesUnsupportedError":
                raise
            control = {}
        if "md5sums" in control:
            return parse_md5sums(control["md5sums"])
        return _file_sums(self._download(http, offer), offer.size)

    def _download(self, http: Http, offer: Offer) -> Path:
        """The whole .deb, into the cache: for one without md5sums, or a server without ranges."""
        cached = self._means.cache.find(offer.sha256, offer.size)
        if cached is None:
            with self._means.cache.writing(offer.sha256) as blob:
                http.download(offer.url, blob, offer.size)
            cached = self._means.cache.find(offer.sha256, offer.size)
        if cached is None:
            raise DebError("its .deb did not stay in the cache")
        return cached

    def _from_snapshot(self, package: Installed, recorded: dict[str, str]) -> _Outcome | None:
        """The .deb of exactly this version, from an archive that keeps them all."""
        for archive in self._snapshots:
            offer = archive.offer(package, self._archives.get(file_name(package)))
            if offer is not None and not self._objection(package, offer, recorded):
                return _proved(offer, recorded)
        return None

    def _from_apt_cache(self, package: Installed, recorded: dict[str, str]) -> _Outcome | None:
        """The very .deb that apt installed, where apt still has it: bytes, but no URL."""
        local = self._archives.get(file_name(package))
        if local is None or not self._means.pack:
            return None
        try:
            if _digest(_file_sums(local, local.stat().st_size)) != _digest(recorded):
                return None
            sha256, _ = self._means.cache.add(local)
            artifact = kept(self._means.cache, self._means.sidecar, sha256, file_name(package))
        except (OSError, DebError):
            return None
        return _Outcome(
            artifact=artifact,
            evidence=f"the .deb from apt's cache; its md5sums are dpkg's ({len(recorded)} files)",
        )

    # --- packing -------------------------------------------------------------------------

    def _pack(self, package: Installed, reason: str) -> _Outcome:
        if not self._means.pack:
            return _Outcome(reason=reason)
        try:
            sha256, findings = _packed(self._dpkg, package, self._means.cache)
        except OSError as error:
            return _Outcome(reason=f"{reason}; packing failed: {error.strerror}: {error.filename}")
        artifact = kept(self._means.cache, self._means.sidecar, sha256, file_name(package))
        return _Outcome(
            artifact=artifact,
            evidence=f"rebuilt from the installed files and dpkg's records ({reason})",
            findings=findings,
        )


def _is_plain(package: Installed) -> bool:
    return bool(
        _PLAIN_NAME.fullmatch(package.name)
        and _PLAIN_VERSION.fullmatch(package.version)
        and _PLAIN_ARCH.fullmatch(package.arch)
    )


def _proved(offer: Offer, recorded: dict[str, str]) -> _Outcome:
    return _Outcome(
        artifact=Artifact(url=offer.url, size=offer.size, hashes={"sha256": offer.sha256}),
        proved=True,
        origin=offer.origin,
        evidence=f"md5sums of {len(recorded)} files in the .deb are dpkg's own",
    )


def _digest(sums: dict[str, str]) -> str:
    text = "".join(f"{digest}  {path}\n" for path, digest in sorted(sums.items()))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _file_sums(path: Path, size: int) -> dict[str, str]:
    """Path to md5 as a .deb on the disk has it."""
    with path.open("rb") as file:

        def read(start: int, end: int) -> bytes:
            file.seek(start)
            return file.read(end - start)

        control = read_control(read, size)
        if "md5sums" in control:
            return parse_md5sums(control["md5sums"])
        conffiles = {
            line.decode("utf-8", "surrogateescape").lstrip("/")
            for line in control.get("conffiles", b"").split(b"\n")
        }
        sums = data_sums(file, size)
        return {name: digest for name, digest in sums.items() if name not in conffiles}


def _archives(dpkg: Dpkg) -> dict[str, Path]:
    try:
        entries = list(Path(dpkg.root.at(ARCHIVES)).iterdir())
    except OSError:
        return {}
    return {entry.name: entry for entry in entries if entry.name.endswith(".deb")}


def _edited(dpkg: Dpkg, package: Installed, recorded: dict[str, str]) -> Iterator[str]:
    """Files on the disk that are not what dpkg installed; a missing one comes back anyhow."""
    for name, digest in recorded.items():
        path = dpkg.on_disk(package, f"/{name}")
        try:
            with open(dpkg.root.at(path), "rb") as file:  # noqa: PTH123
                actual = hashlib.md5(usedforsecurity=False)
                while block := file.read(1 << 20):
                    actual.update(block)
        except OSError:
            continue
        if actual.hexdigest() != digest and not name.startswith(_EXCUSED):
            yield path


def _edited_finding(package: Installed, edited: list[str]) -> Finding:
    shown = ", ".join(edited[:3]) + (", ..." if len(edited) > 3 else "")
    return Finding(
        kind="edited-system-file",
        place=package.key,
        detail=f"{len(edited)} files differ from what dpkg installed: {shown}",
        advice="The package is packed as it is; reinstall it to get the distribution's own.",
    )


def _packed(dpkg: Dpkg, package: Installed, cache: Cache) -> tuple[str, list[Finding]]:
    """Rebuild *package* into a .deb in the cache: its sha256, and what was left out.

    Remembered by a fingerprint of its files, so that a second capture does not pack again.
    """
    conffiles = (dpkg.info(package, "conffiles") or b"").decode("utf-8", "surrogateescape")
    kept_back: list[str] = []
    entries = list(_entries(dpkg, package, set(conffiles.split("\n")), kept_back))
    findings = [_private_finding(package, path) for path in kept_back]
    key = _fingerprint(dpkg, package, entries)
    note = cache.read_note("deb-packed", key)
    if note is not None and cache.find(note.decode("ascii", "replace")) is not None:
        return note.decode("ascii"), findings
    data, sums = data_archive(entries)
    present = {entry.info.name for entry in entries}
    configured = [line for line in conffiles.splitlines() if f".{line}" in present]
    with cache.writing() as blob:
        write_deb(blob, _control(dpkg, package, sums, configured), data)
    cache.write_note("deb-packed", key, blob.sha256.encode())
    return blob.sha256, findings


def _private_finding(package: Installed, path: str) -> Finding:
    return Finding(
        kind="private-system-file",
        place=path,
        detail=f"a configuration file of {package.key} that not everybody may read",
        advice="It may hold a secret, so it is not packed; the package's default comes back.",
    )


def _entries(
    dpkg: Dpkg, package: Installed, conffiles: set[str], kept_back: list[str]
) -> Iterator[Entry]:
    listed = [path for path in dpkg.files(package) if path != "/."]
    parents = {path.rpartition("/")[0] for path in listed}
    yield Entry(info=_directory("./"))
    for path in sorted(set(listed)):
        place = dpkg.root.host(dpkg.root.entry(dpkg.on_disk(package, path)))
        try:
            status = os.lstat(place)
        except OSError:
            continue
        if path in parents:
            # Where /usr is merged, a directory of the package is a link on the disk.
            yield Entry(info=_directory(f".{path}/", status))
        elif path in conffiles and not status.st_mode & stat.S_IROTH:
            kept_back.append(path)
        else:
            entry = _entry(f".{path}", place, status)
            if entry is not None:
                yield entry


def _directory(name: str, status: os.stat_result | None = None) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    info.mode = 0o755
    info.uname = info.gname = "root"
    if status is not None and stat.S_ISDIR(status.st_mode):
        _owned(info, status)
    return info


def _entry(name: str, place: str, status: os.stat_result) -> Entry | None:
    info = tarfile.TarInfo(name)
    _owned(info, status)
    if stat.S_ISDIR(status.st_mode):
        info.name += "/"
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        info.type = tarfile.SYMTYPE
        info.mode = 0o777
        info.linkname = os.readlink(place)  # noqa: PTH115
    elif not stat.S_ISREG(status.st_mode):
        return None
    else:
        info.size = status.st_size
        return Entry(info=info, source=place)
    return Entry(info=info)


def _owned(info: tarfile.TarInfo, status: os.stat_result) -> None:
    info.mode = stat.S_IMODE(status.st_mode)
    # A directory changes with every other package that has files in it.
    info.mtime = 0 if stat.S_ISDIR(status.st_mode) else int(status.st_mtime)
    info.uid, info.gid = status.st_uid, status.st_gid
    info.uname = "root" if info.uid == 0 else ""
    info.gname = "root" if info.gid == 0 else ""


def _control(
    dpkg: Dpkg, package: Installed, sums: dict[str, str], conffiles: list[str]
) -> list[tuple[str, bytes, int]]:
    """The control part: the status stanza without what only the database has, and the scripts."""
    lines = [
        f"{name}: {value}" for name, value in package.fields.items() if name not in _STATUS_ONLY
    ]
    found = [("control", ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"), 0o644)]
    if conffiles:
        text = "".join(f"{path}\n" for path in conffiles)
        found.append(("conffiles", text.encode("utf-8", "surrogateescape"), 0o644))
    plain = {name: digest for name, digest in sums.items() if f"/{name}" not in conffiles}
    md5sums = "".join(f"{digest}  {name}\n" for name, digest in sorted(plain.items()))
    found.append(("md5sums", md5sums.encode("utf-8", "surrogateescape"), 0o644))
    for suffix, mode in [(name, 0o755) for name in _SCRIPTS] + [(t, 0o644) for t in _TABLES]:
        content = dpkg.info(package, suffix)
        if content is not None:
            found.append((suffix, content, mode))
    return found


def _fingerprint(dpkg: Dpkg, package: Installed, entries: Iterable[Entry]) -> str:
    """Changes when a file, its mode or time, or one of dpkg's records changes."""
    records = [dpkg.info(package, name) or b"" for name in (*_SCRIPTS, *_TABLES, "conffiles")]
    rows: list[object] = [package.fields, [hashlib.sha256(text).hexdigest() for text in records]]
    for entry in entries:
        info = entry.info
        changed = os.lstat(entry.source).st_ctime_ns if entry.source else 0
        rows.append([info.name, info.mode, info.size, info.mtime, info.linkname, changed])
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
