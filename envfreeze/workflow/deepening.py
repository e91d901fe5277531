"""``envfreeze diff --files``: the bytes behind a difference, from what is at hand.

A live environment of this machine is read from its disk (what no distribution owns by
:mod:`envfreeze.workflow.standing`), a lock from the store beside it and from the cache
(:mod:`envfreeze.workflow.unpacking`). Nothing is fetched: what is not here is said to be not here.
Equal digests are never opened.
"""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import io
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from msgspec.structs import replace

from envfreeze.build.patches import Patches
from envfreeze.diff import below
from envfreeze.diff.compare import Change, Difference
from envfreeze.diff.deep import Content, FileDifference, Library, Place, Readers, compare
from envfreeze.errors import EnvfreezeError
from envfreeze.model.artifact import SHA256, Artifact, is_below, is_inside
from envfreeze.model.identity import INSTALLER_FILES, is_bytecode, owned_rows
from envfreeze.model.lock import Lock, LooseEntry, LooseSite, Package
from envfreeze.model.snapshot import Dist, LooseFile, Row, Site, Snapshot
from envfreeze.model.survey import Seen, Survey, survey
from envfreeze.probe import condafiles
from envfreeze.resolve import elf, pack, patches, sources, trees, zips
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.zipremote import BadZip
from envfreeze.store import Cache, open_artifact
from envfreeze.workflow import standing, unpacking
from envfreeze.workflow.unpacking import LIMIT, Entry, Listing, NotHereError, Unpacked, kept, link

FILES = 2_000
"""Files of one change."""

_LAYERS = {"interpreter", "packages", "shadowed", "files", "sources", "conda", "system"}
_OF_CONDA = "a conda package brings it: its files are among that package's"
_ELSEWHERE = {
    "packed": "the lock does not keep it",
    "unpacked": "it was captured with --no-pack: no bytes of it are here",
    "system": "the system's packages bring it: its files are among theirs",
    "base": "the base image has it, and no bytes of it are here",
    "conda": _OF_CONDA,
}
_OWN = "Python"
"""What the interpreter's files are told under, whatever it is that differs in it."""


class Holder(ABC):
    """One side of a comparison, as far as its files are at hand."""

    def listing(self, change: Change) -> Listing:
        """The files of what *change* is about; empty where this side does not have it.

        :raises NotHereError: they are not known here.
        """
        if change.layer == "files":
            entry = self._unowned().get(change.name)
            return {} if entry is None else {change.name: entry}
        if change.layer == "sources":
            return self._source(change.name)
        if change.layer == "conda":
            return self._conda(change.name)
        if change.layer == "interpreter":
            return self._interpreter()
        if change.layer == "system":
            return self._system(change.name)
        return self._package(change)

    @abstractmethod
    def _unowned(self) -> Listing: ...

    @abstractmethod
    def _source(self, key: str) -> Listing: ...

    @abstractmethod
    def _conda(self, name: str) -> Listing: ...

    @abstractmethod
    def _interpreter(self) -> Listing: ...

    @abstractmethod
    def _system(self, name: str) -> Listing: ...

    @abstractmethod
    def _package(self, change: Change) -> Listing: ...


def deepen(difference: Difference, before: Holder, after: Holder) -> list[FileDifference]:
    """Each file in which what both sides have differs, and each unowned one that only one has."""
    changes = _asked(difference.changes)
    return [found for change in changes for found in _in_change(change, before, after)]


def _in_change(change: Change, before: Holder, after: Holder) -> list[FileDifference]:
    try:
        return list(_files(change, before.listing(change), after.listing(change)))
    except NotHereError as error:
        return [_unknown(change, str(error))]


def _asked(changes: list[Change]) -> Iterator[Change]:
    """The changes that have files; of the interpreter's several facts one."""
    own = False
    for change in changes:
        if change.layer not in _LAYERS or not _is_deep(change):
            continue
        if change.layer != "interpreter":
            yield change
        elif not own:
            own = True
            yield replace(change, name=_OWN)


def _is_deep(change: Change) -> bool:
    if change.layer == "files":
        return change.kind in {"added", "removed", "content"}
    return change.kind in {"changed", "content"}


def _files(change: Change, one: Listing, two: Listing) -> Iterator[FileDifference]:
    paths = [path for path in sorted({*one, *two}) if _word(one, path) != _word(two, path)]
    for path in paths[:FILES]:
        place = Place(change.layer, change.name, path)
        old, new = (_content(side.get(path)) for side in (one, two))
        if old is None or new is None or old.data is None or old.data != new.data:
            yield compare(place, old, new, READERS)
    if len(paths) > FILES:
        yield _unknown(change, f"{len(paths) - FILES} more files differ")


def _unknown(change: Change, problem: str) -> FileDifference:
    return FileDifference(
        layer=change.layer, name=change.name, path="", kind="unread", problem=problem
    )


def _word(side: Listing, path: str) -> str | None:
    entry = side.get(path)
    return None if entry is None else entry.word


def _content(entry: Entry | None) -> Content | None:
    return None if entry is None else entry.read()


def _library(data: bytes) -> Library | None:
    needs = elf.needs_of(io.BytesIO(data))
    if needs is None:
        return None
    return Library(
        soname=needs.soname, needed=needs.needed, symbols=elf.symbols_of(io.BytesIO(data))
    )


READERS = Readers(unified=patches.diff, library=_library)


def _key(scheme: str, path: str, info: str) -> str:
    """``scheme/path``; the metadata directory by a name that outlives its version."""
    stem = info.rpartition(".")[0].partition("-")[0]
    if scheme == "site" and stem and path.startswith(f"{info}/"):
        return f"site/{stem}.dist-info{path.removeprefix(info)}"
    return f"{scheme}/{path}"


def _checked(word: str, data: bytes, where: str) -> Content:
    if hashlib.sha256(data).hexdigest() == word:
        return Content(word=word, data=data, size=len(data))
    return Content(word=word, problem=f"{where} is no longer what was looked at")


# --- a live environment --------------------------------------------------------------------


class Live(Holder):
    """An environment, read from the disk of this machine or of what was copied out of an image."""

    def __init__(self, snapshot: Snapshot, root: Root | None = None) -> None:
        """:param root: in which its files lie; None: it is this machine's own."""
        self._snapshot = snapshot
        self._root = root or Root()
        self._survey: Survey = survey(snapshot)
        self._sources = sources.roots(snapshot)

    def _package(self, change: Change) -> Listing:
        if change.layer == "shadowed":
            order = {site.path: place for place, site in enumerate(self._survey.sites)}
            behind = sorted(self._survey.shadowed, key=lambda item: order.get(item.dist.site, -1))
            items = below.numbered((item.name, item) for item in behind)
        else:
            items = {item.name: item for item in self._survey.seen}
        item = items.get(change.name)
        if item is None:
            raise NotHereError(f"{change.name} has no list of its files on one side")
        return self._rows(item)

    def _rows(self, item: Seen) -> Listing:
        site = next(site for site in self._survey.sites if site.path == item.dist.site)
        place = pack.layout(site, self._snapshot.interpreter, self._sources, self._root)
        found = {}
        for row in owned_rows(item.dist):
            if row.sha256 is not None:
                key = _key(row.scheme, row.path, item.dist.info)
                found[key] = Entry(row.sha256, _row_reader(row, item.dist, place))
        return found

    def _unowned(self) -> Listing:
        found = []
        for site in self._survey.sites:
            head = "bin/" if site.kind == "scripts" else ""
            for entry in site.loose:
                apart = (site.path, entry.path) in self._survey.hidden
                found.append((head + entry.path, self._loose(site, entry), apart))
        found.sort(key=lambda one: one[2])
        named = below.numbered((path, entry) for path, entry, _ in found)
        return {path: entry for path, entry in named.items() if entry is not None}

    def _loose(self, site: Site, entry: LooseFile) -> Entry | None:
        if entry.link is not None:
            return link(entry.link)
        if entry.sha256 is None:
            return None
        place = pack.layout(site, self._snapshot.interpreter, self._sources, self._root)
        scheme: Literal["scripts", "site"] = "scripts" if site.kind == "scripts" else "site"
        row = Row(scheme, entry.path, entry.sha256, entry.size, entry.executable, None)
        path = f"{site.path}/{entry.path}"
        return Entry(entry.sha256, _reader(path, row, place, site.path))

    def _source(self, key: str) -> Listing:
        source = next((each for each in self._snapshot.sources if each.key == key), None)
        if source is None:
            return {}
        found = {}
        for file in source.files:
            if file.link is not None:
                found[file.path] = link(file.link)
            elif file.sha256 is not None:
                path, where = f"{source.root}/{file.path}", (self._root, source.root)
                found[file.path] = Entry(
                    file.sha256, functools.partial(_read, path, file.sha256, where, bytes)
                )
        return found

    def _conda(self, name: str) -> Listing:
        conda = self._snapshot.conda
        for entry in conda.loose if conda else ():
            if entry.path == name and entry.sha256 is not None:
                return {name: self._of_prefix(name, entry.sha256)}
        record = conda.packages.get(name) if conda else None
        if conda is None or record is None:
            return {}
        return standing.of_conda(record, conda.prefix, self._root)

    def _of_prefix(self, name: str, word: str) -> Entry:
        """A file of a conda prefix that no package owns: its digest leaves the prefix open."""
        prefix = self._snapshot.interpreter.prefix

        def neutral(data: bytes) -> bytes:
            return cast("bytes", condafiles.unbound(data, prefix, None)[0])  # type: ignore[no-untyped-call]

        path, where = f"{prefix}/{name}", (self._root, prefix)
        return Entry(word, functools.partial(_read, path, word, where, neutral))

    def _interpreter(self) -> Listing:
        if self._snapshot.conda is not None:
            raise NotHereError(f"on one side {_OF_CONDA}")
        return standing.of_interpreter(self._snapshot.interpreter, self._root)

    def _system(self, name: str) -> Listing:
        return standing.of_system(self._dpkg, name)

    @functools.cached_property
    def _dpkg(self) -> Dpkg | None:
        return Dpkg.read(self._root)


def _row_reader(row: Row, dist: Dist, place: pack.Layout) -> Callable[[], Content]:
    def read() -> Content:
        try:
            path = place.full(row, dist.name)
        except EnvfreezeError as error:
            return Content(word=str(row.sha256), problem=str(error))
        return _reader(path, row, place, str(place.prefix or place.site))()

    return read


def _reader(path: str, row: Row, place: pack.Layout, inside: str) -> Callable[[], Content]:
    """As a wheel or an archive carries the file: what is particular to this place is neutral."""

    def neutral(data: bytes) -> bytes:
        chunks = pack.installed_chunks(io.BytesIO(data), row, place)
        return b"".join(chunks)

    return lambda: _read(path, str(row.sha256), (place.root, inside), neutral)


_Where = tuple[Root, str]
"""A root, and the directory in it that a file has to be in."""


def _read(path: str, word: str, where: _Where, neutral: Callable[[bytes], bytes]) -> Content:
    """A plain file that lies, links followed, inside."""
    root, inside = where
    real = root.real(path)
    if not is_below(real, root.real(inside)):
        return Content(word=word, problem="a link that leads out of the environment: not read")
    data, size = _bytes(root.host(real))
    if data is None:
        said = "it cannot be read" if size is None else f"{size} bytes: too large to compare"
        return Content(word=word, size=size, problem=said)
    return _checked(word, neutral(data), "it")


def _bytes(path: str) -> tuple[bytes | None, int | None]:
    """The content of a plain file and its size; None where it is none, or too large."""
    import stat

    try:
        # O_NONBLOCK: to open a FIFO would wait for whoever writes into it.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return None, None
            if found.st_size > LIMIT:
                return None, found.st_size
            return file.read(LIMIT), found.st_size
    except OSError:
        return None, None


# --- a lock --------------------------------------------------------------------------------


@dataclass(slots=True)
class Locked(Holder):
    """A lock, with the store beside it and the cache."""

    lock: Lock
    path: Path
    cache: Cache
    _tars: dict[str, Unpacked] = field(default_factory=dict)

    def _package(self, change: Change) -> Listing:
        package = self._packages(change.layer).get(change.name)
        if package is None:
            raise NotHereError(f"{change.name} is not kept by the lock: no bytes of it are here")
        try:
            return _wheel(package, self._file(package.artifact), self._patch(package))
        except NotHereError as error:
            return self._remembered(package, error)

    def _remembered(self, package: Package, error: NotHereError) -> Listing:
        """The files of a package that was seen here, without their bytes.

        :raises NotHereError: it was not seen here.
        """
        known = trees.recall(package.facts.tree, self.cache)
        if known is None:
            raise error
        found = {}
        for path, described in known.items():
            word = described.partition(" ")[0]
            if SHA256.fullmatch(word):  # Of a script that the installer made, only the mode.
                key = _key(*_split(path), package.facts.info)
                found[key] = Entry(word, kept(Content(word=word, problem=str(error))))
        return found

    def _packages(self, layer: str) -> Mapping[str, Package]:
        if layer != "shadowed":
            return {package.name: package for package in self.lock.packages}
        sites = self.lock.machine.sites
        order = {site: place for place, site in enumerate(sites)}

        def rank(package: Package) -> tuple[int, str]:
            site = self.lock.site_of(package)
            return order.get(site, -1), site

        behind = sorted(self.lock.machine.shadowed, key=rank)
        return below.numbered((package.name, package) for package in behind)

    def _file(self, artifact: Artifact) -> Path:
        """:raises NotHereError: the file is neither beside the lock nor in the cache."""
        if artifact.path is not None:
            try:
                return open_artifact(self.path, artifact)
            except (EnvfreezeError, OSError) as error:
                raise NotHereError(f"bytes not here: {error}") from error
        found = self.cache.find_whole(artifact.sha256, artifact.size)
        if found is None:
            raise NotHereError(
                f"bytes not here: {artifact.filename} is not in the cache (a build fetches it)"
            )
        return found

    def _patch(self, package: Package) -> Path | None:
        return None if package.facts.patch is None else self._file(package.facts.patch)

    def _unowned(self) -> Listing:
        found: list[tuple[str, Entry, bool]] = []
        order = {site: place for place, site in enumerate(self.lock.machine.sites)}
        loose = self.lock.machine.loose
        for site in sorted(loose, key=lambda site: (order.get(site.site, -1), site.site)):
            head = "bin/" if site.scheme == "scripts" else ""
            found += [(head + e.path, self._loose(site, e), e.apart) for e in site.files]
        found.sort(key=lambda one: one[2])
        return below.numbered((path, entry) for path, entry, _ in found)

    def _loose(self, site: LooseSite, entry: LooseEntry) -> Entry:
        if entry.link is not None:
            return link(entry.link)
        word = entry.sha256 or ""
        return Entry(word, lambda: self._member(site.archive, entry.path, word))

    def _member(self, archive: Artifact | None, path: str, word: str) -> Content:
        if archive is None:
            return Content(word=word, problem="bytes not here: the lock does not keep them")
        try:
            return self._tar(archive).read(path, word)
        except NotHereError as error:
            return Content(word=word, problem=str(error))

    def _tar(self, archive: Artifact) -> Unpacked:
        if archive.sha256 not in self._tars:
            self._tars[archive.sha256] = unpacking.archive(self._file(archive))
        return self._tars[archive.sha256]

    def _source(self, key: str) -> Listing:
        source = next((each for each in self.lock.machine.sources if each.key == key), None)
        if source is None:
            return {}
        if source.archive is None:
            raise NotHereError("bytes not here: the lock does not keep the tree")
        return self._tar(source.archive).listing()

    def _conda(self, name: str) -> Listing:
        conda = self.lock.machine.conda
        loose = conda.loose if conda else None
        for entry in loose.files if loose else ():
            if loose is not None and entry.path == name and entry.sha256 is not None:
                archive, word = loose.archive, entry.sha256
                return {name: Entry(word, functools.partial(self._member, archive, name, word))}
        package = next((p for p in (conda.packages if conda else ()) if p.name == name), None)
        if package is None:
            return {}
        if package.artifact is None:
            raise NotHereError(f"{name} is not kept by the lock: no bytes of it are here")
        return unpacking.conda(self._file(package.artifact)).listing()

    def _interpreter(self) -> Listing:
        layer = self.lock.machine.interpreter
        if layer.archive is None:
            raise NotHereError(f"on one side {_ELSEWHERE[layer.origin]}")
        return unpacking.interpreter(self._file(layer.archive), layer.facts.stdlib).listing()

    def _system(self, name: str) -> Listing:
        system = self.lock.machine.system
        package = next((p for p in system.packages if f"{p.name}:{p.arch}" == name), None)
        if package is None:
            raise NotHereError(f"{name} is not kept by the lock: the base image has it")
        return unpacking.deb(self._file(package.artifact)).listing()


# --- a wheel and its patch -----------------------------------------------------------------


def _wheel(package: Package, wheel: Path, patch: Path | None) -> Listing:
    """The files of a package as they are placed: its wheel's, and what was edited in them."""
    try:
        archive = zips.open_zip(wheel)  # Closed when nothing of the listing is left.
        found = _members(package, archive)
        with Patches(package.facts.edits, patch) as edits:
            _lay(package, edits, found)
    except (EnvfreezeError, BadZip, OSError, *zips.DAMAGE) as error:
        raise NotHereError(f"{package.artifact.filename} cannot be read: {error}") from error
    return found


def _members(package: Package, archive: zipfile.ZipFile) -> dict[str, Entry]:
    info = next(
        (n.partition("/")[0] for n in archive.namelist() if n.endswith(".dist-info/RECORD")), ""
    )
    claims = _claims(archive, info)
    found = {}
    for member in archive.infolist():
        place = _placed(member.filename, info)
        if member.is_dir() or place is None:
            continue
        word = claims.get(member.filename) or _hash(archive, member)
        key = _key(*place, info)
        found[key] = Entry(word, _member_reader(archive, member, word))
    return {key: entry for key, entry in found.items() if key not in package.facts.yields}


def _placed(name: str, info: str) -> tuple[str, str] | None:
    """``(scheme, path)`` of a member; None: installers write it, or place it nowhere."""
    head, _, rest = name.partition("/")
    if head == info and (rest in INSTALLER_FILES):
        return None
    if head == f"{info.removesuffix('.dist-info')}.data":
        scheme, _, path = rest.partition("/")
        scheme = "site" if scheme in {"purelib", "platlib"} else scheme
        return (scheme, path) if scheme in {"site", "scripts", "headers", "data"} else None
    return None if is_bytecode(name) or not is_inside(name) else ("site", name)


def _claims(archive: zipfile.ZipFile, info: str) -> dict[str, str]:
    """The sha256 of each member, by RECORD: whoever reads a member holds it to that."""
    try:
        text = zips.read(archive, f"{info}/RECORD", LIMIT).decode("utf-8", "surrogateescape")
    except BadZip:
        return {}
    found = {}
    for row in csv.reader(io.StringIO(text)):
        if len(row) == 3 and row[1].startswith("sha256="):
            digits = row[1].removeprefix("sha256=")
            padded = digits + "=" * (-len(digits) % 4)
            try:
                found[row[0]] = base64.urlsafe_b64decode(padded).hex()
            except ValueError:
                continue
    return found


def _hash(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    digest = hashlib.sha256()
    with archive.open(member) as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _member_reader(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, word: str
) -> Callable[[], Content]:
    name, size = member.filename, member.file_size

    def read() -> Content:
        if size > LIMIT:
            return Content(word=word, size=size, problem=f"{size} bytes: too large to compare")
        try:
            data = zips.read(archive, name, LIMIT)
        except BadZip as error:
            return Content(word=word, problem=f"it cannot be read: {error}")
        return _checked(word, data, f"{name} of the wheel")

    return read


def _lay(package: Package, edits: Patches, found: dict[str, Entry]) -> None:
    """Put what was edited in the place of the wheel's own files."""
    for edit in package.facts.edits:
        key = _key(*_split(edit.path), package.facts.info)
        entry = found.get(key)
        if edit.kind == "mode":
            edits.mode(edit.path)
            continue
        original = entry.read() if entry is not None else Content(word="")
        if original.problem is not None:
            raise NotHereError(f"{edit.path}: {original.problem}")
        stream = edits.patched(edit.path, io.BytesIO(original.data or b""))
        if stream is None:
            found.pop(key, None)
            continue
        data = stream.read(LIMIT)
        word = hashlib.sha256(data).hexdigest()
        found[key] = Entry(word, kept(Content(word=word, data=data, size=len(data))))


def _split(path: str) -> tuple[str, str]:
    scheme, _, rest = path.partition("/")
    return scheme, rest
