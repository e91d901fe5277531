"""The system packages that a base lacks, placed as dpkg would leave them, with nothing run.

A package comes in as its files and dpkg's own records of it. That is all that installing it does
if it brings no script that does something and wakes nobody else's; any other one is refused by
name, and an engine can install it. What a script would do is not guessed.

Sources: deb(5), deb-conffiles(5), deb-triggers(5), dpkg.cfg(5) and Debian Policy 6.6 for what an
installation runs: preinst and postinst of the new version, prerm and postrm of the old.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from envfreeze.build import ldcache, sinks
from envfreeze.build.ocibase import BaseTree, Directory
from envfreeze.errors import ArtifactError, LockError, UsageError
from envfreeze.model.lock import Lock, SystemPackage
from envfreeze.resolve import debfile, elf
from envfreeze.resolve.dpkg import ADMIN, Dpkg, Installed, installed, stanzas
from envfreeze.resolve.rootfs import Root

_CACHE = "/etc/ld.so.cache"
_DOCKER = (
    "Build with --to docker: an engine can run what they need. Or choose a base that has them."
)
_LIBRARY = re.compile(r"(lib|ld-)[^/]*\.so(\.[^/]*)?|[^/]*\.so\.[^/]*")
_LIBRARY_LIMIT = 512 << 20
_NOTHING = re.compile(
    r"\s*(#[^\n]*\s*|set -e\s+|exit 0\s*|:\s+"
    r"|if \[ \"\$1\" = \"?configure\"? \]; then\s+ldconfig\s+fi\s*)*"
)
"""A script that does nothing, or what is done here anyway."""
_DPKGS = frozenset({"Status", "Config-Version", "Conffiles"})
"""Fields that dpkg writes, not a package."""
_RECORDS = frozenset({"control", "list"})


class NeedsEngineError(UsageError):
    """What the base lacks can only be brought about by running something in it."""


@dataclass(slots=True, kw_only=True)
class Deb:
    """A package that the base lacks."""

    package: SystemPackage
    path: Path
    control: dict[str, bytes]
    fields: dict[str, str]
    old: Installed | None
    """What the base has in its place, in another version."""
    listed: list[str] = field(default_factory=list)
    """Its paths as dpkg lists them."""
    files: set[str] = field(default_factory=set)
    """Its files and links, the links of the base followed."""
    conffiles: dict[str, str] = field(default_factory=dict)
    """Path to md5."""
    libraries: dict[str, str] = field(default_factory=dict)
    """Path to soname, of what lies in a directory of the loader's."""

    @property
    def stem(self) -> str:
        """How dpkg calls its records."""
        same = self.fields.get("Multi-Arch") == "same"
        return f"{self.package.name}:{self.package.arch}" if same else self.package.name


@dataclass(slots=True)
class Additions:
    """What a base gets of a lock's system packages."""

    below: BaseTree
    debs: list[Deb]

    @property
    def key(self) -> list[str]:
        return [deb.package.artifact.sha256 for deb in self.debs]

    def put(self, sink: sinks.TarSink) -> None:
        """Write the layer."""
        for deb in self.debs:
            for member, content in _members(deb.path):
                _put_member(sink, self.below, member, content)
        records = self._records()
        heads = self._old_records()
        old = {path for path in self.below.kept if heads and path.startswith(heads)}
        for path in sorted(self._gone_files() | (old - records.keys())):
            sink.delete(path)
        for path, (data, executable) in sorted(records.items()):
            sink.put(path, io.BytesIO(data), executable=executable)

    def _gone_files(self) -> set[str]:
        """Files of the replaced versions that nobody has any more. Directories stay, and so do the
        links that stand for one (merged /usr)."""
        below = self.below
        heads = self._old_records()
        if not heads:
            return set()
        kept = {path for deb in self.debs for path in deb.files}
        for name in below.kept:
            lists = name.startswith(f"{ADMIN}/info/") and name.endswith(".list")
            if lists and not name.startswith(heads):
                kept |= {_real(below, path) for path in _lines(below.text(name))}
        listed = {
            _real(below, path)
            for deb in self.debs
            if deb.old is not None
            for path in _list_of(below, deb.old)
        }
        return {
            path
            for path in listed - kept
            if path in below.files
            or (path in below.links and below.real(path) not in below.directories)
        }

    def _old_records(self) -> tuple[str, ...]:
        """How the names of the base's records of the replaced versions begin."""
        replaced = [deb.old for deb in self.debs if deb.old is not None]
        return tuple(f"{ADMIN}/info/{_stem_in(self.below, old)}." for old in replaced)

    def _records(self) -> dict[str, tuple[bytes, bool]]:
        """What dpkg knows of them, and the loader's cache: path to bytes, and whether it runs."""
        found: dict[str, tuple[bytes, bool]] = {}
        for deb in self.debs:
            head = f"{ADMIN}/info/{deb.stem}"
            text = "".join(f"{path}\n" for path in deb.listed)
            found[f"{head}.list"] = (text.encode("utf-8", "surrogateescape"), False)
            for name, data in deb.control.items():
                if name not in _RECORDS:
                    runs = name in {"preinst", "postinst", "prerm", "postrm", "config"}
                    found[f"{head}.{name}"] = (data, runs)
        status = self._status().encode("utf-8", "surrogateescape")
        found[f"{ADMIN}/status"] = (status, False)
        cache = self._loader_cache()
        if cache is not None:
            found[_CACHE] = (cache, False)
        return found

    def _status(self) -> str:
        new = {(deb.package.name, deb.package.arch): _stanza(deb) for deb in self.debs}
        blocks = []
        for block in re.split(r"\n[ \t]*\n", self.below.text(f"{ADMIN}/status").strip("\n")):
            fields = next(stanzas(block), {})
            key = fields.get("Package", ""), fields.get("Architecture", "")
            blocks.append(new.pop(key, block))
        blocks += [new[key] for key in sorted(new)]
        return "".join(f"{block}\n\n" for block in blocks if block)

    def _loader_cache(self) -> bytes | None:
        data = self.below.data(_CACHE)
        if not data or not any(deb.libraries for deb in self.debs):
            return None
        entries = ldcache.parse(data)
        flags = {entry.flags for entry in entries if entry.name == "libc.so.6"}
        if len(flags) != 1:
            raise ldcache.CacheError("it has not one libc.so.6")
        spelt = {
            self.below.real(posixpath.dirname(e.path)): posixpath.dirname(e.path) for e in entries
        }
        new = set()
        for deb in self.debs:
            for path, soname in deb.libraries.items():
                directory = spelt.get(posixpath.dirname(path))
                if directory is None:
                    continue  # One that no program finds by its name alone.
                if f"{posixpath.dirname(path)}/{soname}" not in deb.files:
                    raise ldcache.CacheError(f"{path} is not there as {soname}, its own name")
                new.add(ldcache.Entry(soname, f"{directory}/{soname}", min(flags)))
        gone = self._gone_files()
        kept = [entry for entry in entries if _real(self.below, entry.path) not in gone]
        return ldcache.render([*kept, *new])


def plan(lock: Lock, below: BaseTree, artifacts: Mapping[str, Path]) -> Additions | None:
    """What *below* lacks of the lock's system packages; None: nothing. *below* learns of the
    directories and links that they bring.

    :raises NeedsEngineError: a package that only an engine can install.
    :raises UsageError: a base that it does not fit.
    """
    wanted = lock.machine.system.packages
    if not wanted:
        return None
    _check_release(lock, below)
    have = {package.key: package for package in installed(below.text(f"{ADMIN}/status"))}
    if not have:
        raise UsageError("the base image has no dpkg", hint="Choose a Debian or Ubuntu base.")
    debs = []
    for package in wanted:
        there = have.get(f"{package.name}:{package.arch}")
        settled = there is not None and there.fields.get("Status") == "install ok installed"
        if there is None or there.version != package.version or not settled:
            debs.append(read(package, artifacts[package.artifact.sha256], there))
    if not debs:
        return None
    problems = [
        f"  {deb.package.name} {deb.package.version}: {why}"
        for deb in debs
        for why in _problems(deb, below)
    ]
    problems += [f"  {line}" for line in (*_shared(debs), *_relations(have, debs))]
    if problems:
        raise NeedsEngineError(
            "the base lacks system packages of the lock that cannot be put in without running"
            " anything:\n" + "\n".join(problems),
            hint=_DOCKER,
        )
    found = Additions(below, debs)
    _check_cache(found)
    _learn(debs, below)
    return found


def _check_release(lock: Lock, below: BaseTree) -> None:
    """Packages of one release do not belong on another."""
    release = dict(
        line.partition("=")[::2]
        for line in (
            below.text("/etc/os-release") or below.text("/usr/lib/os-release")
        ).splitlines()
    )
    for key in ("ID", "VERSION_ID"):
        wanted = lock.machine.system.os_release.get(key)
        found = release.get(key, "").strip("\"'")
        if wanted and found != wanted:
            raise UsageError(
                f"the base image has {key}={found or 'none'}, the environment was captured on"
                f" {wanted}",
                hint="Choose a base of that release.",
            )


def read(package: SystemPackage, path: Path, old: Installed | None) -> Deb:
    """What a .deb says of itself.

    :raises LockError: it is another package than the lock's.
    """
    try:
        with path.open("rb") as file:

            def read(start: int, end: int) -> bytes:
                file.seek(start)
                return file.read(end - start)

            control = debfile.read_control(read, path.stat().st_size)
    except debfile.DebError as error:
        raise ArtifactError(f"{package.name}: {package.artifact.filename}: {error}") from error
    text = control.get("control", b"").decode("utf-8", "surrogateescape")
    fields = next(stanzas(text), {})
    named = tuple(fields.get(key) for key in ("Package", "Version", "Architecture"))
    if named != (package.name, package.version, package.arch):
        raise LockError(
            f"{package.artifact.filename} is not {package.name} {package.version} ({package.arch})",
            hint="Do not build from this lock; capture again.",
        )
    if any("/" in name or not name for name in control):
        raise ArtifactError(f"{package.artifact.filename} has a control file with a directory")
    return Deb(package=package, path=path, control=control, fields=fields, old=old)


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """The members of a .deb's data, each called by its path from ``/``."""
    try:
        with path.open("rb") as file:
            for member, content in debfile.data_members(file, path.stat().st_size):
                member.name = posixpath.normpath("/" + member.name.lstrip("/"))
                if ".." in member.name.split("/"):
                    raise LockError(f"{path.name} holds {member.name!r}")
                yield member, content
    except debfile.DebError as error:
        raise ArtifactError(f"{path.name}: {error}") from error


def _put_member(
    sink: sinks.TarSink, below: BaseTree, member: tarfile.TarInfo, content: IO[bytes] | None
) -> None:
    if member.isdir():
        sink.directory(member.name)
        return
    if _excluded(below, member.name):
        return
    if member.islnk():
        target = posixpath.normpath("/" + member.linkname.lstrip("/"))
        member.linkname = _real(below, target).lstrip("/")
    member.uname = member.gname = ""
    member.pax_headers = {}
    member.mtime = int(member.mtime)
    sink.add(member, content)


def _excluded(below: BaseTree, path: str) -> bool:
    """Whether the base's dpkg is set not to unpack *path* (slim images do without documentation);
    of the patterns that fit, the last one counts."""
    found = False
    for name in sorted(below.kept):
        if name.startswith("/etc/dpkg/dpkg.cfg.d/") or name == "/etc/dpkg/dpkg.cfg":
            for line in below.kept[name].decode("utf-8", "replace").splitlines():
                option, _, pattern = line.strip().partition("=")
                counts = option in {"path-exclude", "path-include"}
                if counts and fnmatch.fnmatchcase(path, pattern.strip()):
                    found = option == "path-exclude"
    return found


# --- what stands in the way ---------------------------------------------------------------


def _problems(deb: Deb, below: BaseTree) -> Iterator[str]:
    """Why *deb* cannot be put in without running anything. Reads its data, and learns its list."""
    for name in ("preinst", "postinst"):
        if not _does_nothing(deb.control.get(name, b"")):
            yield f"its {name} would have to be run"
    if deb.old is not None:
        stem = f"{ADMIN}/info/{_stem_in(below, deb.old)}"
        for name in ("prerm", "postrm"):
            if not _does_nothing(below.data(f"{stem}.{name}")):
                yield f"the {name} of {deb.old.version} in the base would have to be run"
        if "conffiles" in deb.control or below.data(f"{stem}.conffiles"):
            yield f"it replaces {deb.old.version} and has settings that may have been changed"
    yield from _trigger_problems(deb, below)
    yield from _path_problems(deb, below)


def _does_nothing(script: bytes) -> bool:
    return _NOTHING.fullmatch(script.decode("utf-8", "replace")) is not None


def _trigger_problems(deb: Deb, below: BaseTree) -> Iterator[str]:
    for line in deb.control.get("triggers", b"").decode("utf-8", "replace").splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        waits = below.data(f"{ADMIN}/triggers/{words[-1]}") if "/" not in words[-1] else b"x"
        if not words[0].startswith("activate"):
            yield f"it waits for the trigger {words[-1]}"
        elif waits and words[-1] != "ldconfig":
            yield f"it would wake others by the trigger {words[-1]}"


def _path_problems(deb: Deb, below: BaseTree) -> Iterator[str]:
    own = {_real(below, path) for path in _list_of(below, deb.old)} if deb.old else set()
    guarded = _guarded(below)
    conffiles = deb.control.get("conffiles", b"").decode("utf-8", "surrogateescape").splitlines()
    for member, content in _members(deb.path):
        path = member.name
        deb.listed.append("/." if path == "/" else path)
        if member.isdir():
            continue
        real = _real(below, path)
        deb.files.add(real)
        if not (member.isreg() or member.issym() or member.islnk()):
            yield f"{path} is no file and no link"
        if real not in own and (
            real in below.files or real in below.links or real in below.directories
        ):
            yield f"the base has {path} already"
        if path in guarded or any(path.startswith(f"{one}/") for one in guarded):
            yield f"the base's dpkg has something to do when {path} comes"
        if "/glibc-hwcaps/" in path or path.startswith("/etc/ld.so.conf"):
            yield f"{path} changes how libraries are found"
        data = _data(member, content, real, path in conffiles)
        if path in conffiles:
            deb.conffiles[path] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if data.startswith(b"\x7fELF"):
            needs = elf.needs_of(io.BytesIO(data))
            if needs is not None and needs.soname:
                deb.libraries[real] = needs.soname
    if any(line and line not in deb.conffiles for line in conffiles):
        yield "it names settings that it does not bring"


def _data(member: tarfile.TarInfo, content: IO[bytes] | None, real: str, setting: bool) -> bytes:
    """The bytes of what has to be looked into: settings and libraries."""
    library = _LIBRARY.fullmatch(posixpath.basename(real)) is not None
    if content is None or not (setting or library) or member.size > _LIBRARY_LIMIT:
        return b""
    return content.read()


def _shared(debs: list[Deb]) -> list[str]:
    """Files that two packages bring: dpkg takes the second one only if it says that it may."""
    owner: dict[str, str] = {}
    found: list[str] = []
    for deb in debs:
        found += [
            f"{deb.package.name} and {owner[path]} both bring {path}"
            for path in sorted(deb.files & owner.keys())
        ]
        owner |= dict.fromkeys(deb.files, deb.package.name)
    return found


def _guarded(below: BaseTree) -> set[str]:
    """Paths at which the base's dpkg does more than to unpack."""
    found = set(below.text(f"{ADMIN}/diversions").splitlines())
    found |= {line.split()[-1] for line in below.text(f"{ADMIN}/statoverride").splitlines() if line}
    found |= {line.split()[0] for line in below.text(f"{ADMIN}/triggers/File").splitlines() if line}
    return {path for path in found if path.startswith("/")}


def _relations(have: Mapping[str, Installed], debs: list[Deb]) -> list[str]:
    """What would not be satisfied afterwards, and was before."""
    new = [
        Installed(
            name=deb.package.name,
            version=deb.package.version,
            arch=deb.package.arch,
            fields=deb.fields,
        )
        for deb in debs
    ]
    nowhere = Root("/nonexistent")
    before = Dpkg(nowhere, have.values())
    after = Dpkg(nowhere, ({**have} | {package.key: package for package in new}).values())
    found = []
    fresh = {package.key for package in new}
    for package in after.packages.values():
        known = set() if package.key in fresh else set(before.unmet(package))
        found += [f"{package.name}: {why}" for why in after.unmet(package) if why not in known]
    return found


def _check_cache(additions: Additions) -> None:
    try:
        additions._loader_cache()
    except ldcache.CacheError as error:
        raise NeedsEngineError(
            f"the base image's {_CACHE} cannot be brought up to date: {error}", hint=_DOCKER
        ) from error


# --- the base's records -------------------------------------------------------------------


def _real(below: BaseTree, path: str) -> str:
    """*path* with the links of its directories followed, but not its own."""
    directory, _, name = path.rpartition("/")
    return f"{below.real(directory or '/').rstrip('/')}/{name}"


def _stem_in(below: BaseTree, package: Installed) -> str:
    stem = package.key
    return stem if f"{ADMIN}/info/{stem}.list" in below.kept else package.name


def _list_of(below: BaseTree, package: Installed) -> list[str]:
    text = below.text(f"{ADMIN}/info/{_stem_in(below, package)}.list")
    return _lines(text)


def _lines(text: str) -> list[str]:
    """The paths of a list of dpkg's."""
    return [line for line in text.split("\n") if line.startswith("/") and line != "/."]


def _stanza(deb: Deb) -> str:
    """The package's entry in dpkg's status, its fields as it names them."""
    lines = []
    kept = {name: value for name, value in deb.fields.items() if name not in _DPKGS}
    for name, value in kept.items():
        lines.append(f"{name}: {value}")
        if name == "Package":
            lines.append("Status: install ok installed")
    if deb.conffiles:
        lines.append("Conffiles:")
        lines += [f" {path} {md5}" for path, md5 in sorted(deb.conffiles.items())]
    return "\n".join(lines)


def _learn(debs: list[Deb], below: BaseTree) -> None:
    for deb in debs:
        for member, _ in _members(deb.path):
            real = _real(below, member.name)
            if member.isdir() and below.real(member.name) not in below.directories:
                mode = Directory(member.mode, member.uid, member.gid)
                below.directories[below.real(member.name)] = mode
            elif member.issym():
                below.links[real] = member.linkname
