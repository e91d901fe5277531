"""What can be *rebuilt*: a PEP 751 lock file with the rest of the machine under
``[tool.envfreeze]``.

Source of the shapes: PEP 751 and the "pylock.toml" specification of packaging.python.org.
A lock is untrusted input: :func:`loads` checks every type, every path and every digest
before anybody acts on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from envfreeze.errors import LockError
from envfreeze.model import conda, toml
from envfreeze.model.artifact import (
    NOT_IN_NAMES,
    artifact_problem,
    is_file_name,
    stays_below,
)
from envfreeze.model.artifact import Artifact as Artifact
from envfreeze.model.artifact import LooseEntry as LooseEntry
from envfreeze.model.artifact import is_inside as is_inside
from envfreeze.model.base import Kebab
from envfreeze.model.conda import CondaLayer
from envfreeze.model.host import Host
from envfreeze.model.origin import Origin, origin_problem
from envfreeze.model.snapshot import Finding, Interpreter, Licence, Repository
from envfreeze.probe import pointers

SCHEMA = 1
LOCK_VERSION = "1.0"
CREATED_BY = "envfreeze"

Proof = Literal["proved", "packed", "base"]
"""``base``: the image that the environment stands on has it, file by file, and it is kept nowhere
else (:attr:`Machine.held`)."""

Scope = Literal["needed", "essential", "manual", "all"]
"""Which of a system's packages, each with the ones before it: what the environment needs; what
every system begins with; what somebody asked for, with what that depends on; every one."""

Kind = Literal[
    "debian",
    "ubuntu",
    "deadsnakes",
    "system",
    "conda",
    "python-build-standalone",
    "docker-image",
    "homebrew",
    "framework",
    "pypy",
    "pyenv",
    "self-built",
    "unknown",
]
"""Who made an interpreter; ``system`` is another distribution's own, ``docker-image`` that of
the official images, ``framework`` one of macOS."""

_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE = re.compile(
    r"[a-z0-9][a-z0-9._/:-]{0,254}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?@sha256:[0-9a-f]{64}"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9]", re.IGNORECASE | re.ASCII)
_DEBIAN_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:_-]*")
_WORD = re.compile(r"[!-~]{1,256}")
_INSTALLED = re.compile(r"[!-~]{1,256} [!-~]{1,256} [!-~]{1,64}( manual| auto)?")
_EDIT_SCHEMES = frozenset({"site", "scripts", "headers", "data"})
_PLAIN_PATH = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Edit(Kebab, frozen=True, kw_only=True):
    """A file that is not as its wheel has it."""

    path: str
    """``scheme/path``, as in a Row."""
    kind: Literal["text", "file", "deleted", "mode"]
    """``text``: a section of the patch; ``file``: kept whole; ``deleted``: not placed; ``mode``:
    the same bytes, made executable or no longer so."""
    before: str | None = None
    """sha256 of the wheel's member, where it was read; a ``text`` always has it."""
    after: str | None = None
    """sha256 of what is placed; a script's with ``#!python`` in its first line. None: deleted, or
    only its mode differs."""
    executable: bool = False


class PackageFacts(Kebab, frozen=True, kw_only=True):
    """``[packages.tool.envfreeze]``: the proof, and what the rebuild puts back."""

    proof: Proof
    evidence: str
    """One line for a person: what was compared with what."""
    tree: str
    """sha256 over the distribution's files (:func:`envfreeze.model.identity.tree_digest`)."""
    version: str | None = None
    """``Version`` as the metadata spells it, where PEP 440 would not take it."""
    info: str
    site: str | None = None
    """The site directory it was found in, where that is not the interpreter's own ``purelib``
    (recorded, outside the identity)."""
    owner: str | None = None
    """The system package that brought it: ``dpkg python3-yaml 6.0-3+b2``."""
    installer: str | None = None
    requested: bool = False
    direct_url: str | None = None
    built_from: list[Origin] = []
    """What it was built from, the best known first; no proof of the bytes, which are packed."""
    wrapper_copies: dict[str, list[str]] = {}
    """Copies that the installer made of an entry point's script: ``pip = ["pip3.11"]``."""
    no_wrappers: list[str] = []
    """Entry points that have no script: pip under Python 3.7 makes no ``easy_install-3.6`` though
    the wheel names one, and a person may have deleted a script."""
    yields: list[str] = []
    """``scheme/path`` of files that another distribution overwrote: placed by that one. A packed
    wheel does not hold them."""
    edits: list[Edit] = []
    """What somebody changed in the files since they were installed, by path."""
    apart: bool = False
    """Files of it have the paths of other files in an earlier site directory: a venv keeps it in a
    site directory of its own, behind the first."""
    pointers: list[str] = []
    """``scheme/path`` of files that name a source tree; in the packed wheel a placeholder stands
    for it (:mod:`envfreeze.probe.pointers`), as it does in :attr:`direct_url`."""
    patch: Artifact | None = None
    """The archive with the bytes of :attr:`edits`; None: none of them has any."""
    in_base: bool = False
    """The base image (:attr:`Machine.base`) has every file of it: on that base it is not placed."""
    requires: list[str] = []
    """Lines of Requires-Dist (:func:`envfreeze.model.requirement.kept`); no part of the id."""
    licence: Licence | None = None
    """As its metadata names it; no part of the id."""
    behind: bool = False
    """Of a held one: another of its name stands earlier on sys.path, as with those of
    :attr:`Machine.shadowed`."""

    @property
    def editable(self) -> bool:
        """Whether it is an install of a source tree that the lock has."""
        return bool(self.pointers or pointers.keys((self.direct_url or "").encode()))


class PackageTool(Kebab, frozen=True, kw_only=True):
    envfreeze: PackageFacts


class Package(Kebab, frozen=True, kw_only=True):
    """One ``[[packages]]`` block."""

    name: str
    version: str | None = None
    index: str | None = None
    archive: Artifact | None = None
    wheels: list[Artifact] = []
    tool: PackageTool

    @property
    def facts(self) -> PackageFacts:
        return self.tool.envfreeze

    @property
    def artifact(self) -> Artifact:
        """The one file that this package is placed from."""
        return self.archive if self.archive is not None else self.wheels[0]

    @property
    def built_here(self) -> bool:
        """Whether it was built from source: its bytes are packed, and no public wheel's."""
        return any(origin.kind != "wheel" for origin in self.facts.built_from)

    @property
    def artifacts(self) -> list[Artifact]:
        """What a rebuild needs of it: :attr:`artifact`, and the patch over it."""
        patch = self.facts.patch
        return [self.artifact] if patch is None else [self.artifact, patch]


class Unproved(Kebab, frozen=True, kw_only=True):
    """A distribution that is neither proved nor packed: named, with the reason."""

    name: str
    version: str
    site: str
    info: str
    reason: str
    tree: str | None = None
    shadowed: bool = False
    """Another one of its name stands earlier on sys.path."""
    requires: list[str] = []
    """As :attr:`PackageFacts.requires`."""
    licence: Licence | None = None


class LooseSite(Kebab, frozen=True, kw_only=True):
    """The unowned files of one site directory, and the archive that holds their bytes."""

    site: str
    scheme: Literal["site", "scripts"] = "site"
    """``scripts``: it is the directory of an environment's programs."""
    archive: Artifact | None = None
    """None under ``--no-pack``, where the files are named and their bytes are not kept; and where
    the base image has them all."""
    files: list[LooseEntry]

    @property
    def lost(self) -> bool:
        """Whether it names files whose bytes neither the lock nor the base image has."""
        return self.archive is None and not all(entry.in_base for entry in self.files)


class Loose(Kebab, frozen=True, kw_only=True):
    """A distribution that has no RECORD: it comes back with the unowned files."""

    name: str
    version: str
    site: str
    info: str
    owner: str | None = None
    """As :attr:`PackageFacts.owner`."""
    requires: list[str] = []
    """As :attr:`PackageFacts.requires`."""
    licence: Licence | None = None


class SourceTree(Kebab, frozen=True, kw_only=True):
    """A directory outside the environment that it imports from, kept whole.

    It comes back at :attr:`root` in an image, and at ``src/KEY`` in a venv.
    """

    key: str
    root: str
    spellings: list[str] = []
    """Other paths that led to :attr:`root`."""
    imports: list[str] = []
    """Directories below the root (``""``: itself) that modules are imported from."""
    dists: list[str] = []
    """The distributions that are installed from it, editable."""
    digest: str | None = None
    """sha256 over its files (:func:`envfreeze.model.identity.source_digest`); None: not kept."""
    count: int = 0
    """Of its files and links."""
    repository: Repository | None = None
    archive: Artifact | None = None
    """A tar.gz of its files."""
    problem: str | None = None
    """Why it is not kept."""
    in_base: bool = False
    """The base image has all of it; no archive of the lock does."""


class SystemPackage(Kebab, frozen=True, kw_only=True):
    """A package of the operating system that the environment needs."""

    name: str
    version: str
    arch: str
    proof: Proof
    evidence: str
    artifact: Artifact
    source: str | None = None
    """The source package, ``gcc-12 (12.2.0-14)``; None: it has the same name and version."""
    origin: str | None = None
    """The archive and release that offers it, as it calls itself: ``Debian bookworm``."""
    depends: list[str] = []
    """Names, within this list, that must be there before it is configured."""


class NamedPackage(Kebab, frozen=True, kw_only=True):
    """A package that the environment needs, of a system whose packages are identified and not
    kept (rpm, apk): a rebuild takes a base image that has it."""

    name: str
    version: str
    """``1:2.0-3.el9``, ``1.2.4-r2``."""
    arch: str
    identity: str | None = None
    """What tells this build from every other: ``sha256:HEX`` of rpm's header, apk's ``Q1...``."""
    source: str | None = None
    origin: str | None = None
    licence: str | None = None


class Need(Kebab, frozen=True, kw_only=True):
    """A program that packages call, as a person named it, and where it was found."""

    name: str
    path: str
    package: str | None = None
    """The system package that owns it; None: none does, so it is among the unowned files."""


class UnownedFiles(Kebab, frozen=True, kw_only=True):
    """Libraries and programs outside the environment that no system package owns, and the links
    that lead to them."""

    archive: Artifact | None = None
    """A tar.gz of them; None under ``--no-pack``, and where the base image has them all."""
    files: list[LooseEntry]
    """Relative to ``/``."""

    @property
    def lost(self) -> bool:
        """As :attr:`LooseSite.lost`."""
        return self.archive is None and not all(entry.in_base for entry in self.files)


class SystemLayer(Kebab, frozen=True, kw_only=True):
    kernel: str
    machine: str
    os_release: dict[str, str] = {}
    manager: Literal["dpkg", "rpm", "apk"] | None = None
    """Whose database the packages are from; None: there is none, or it cannot be read."""
    installed: list[str] = []
    """Everything that is installed, needed or not, no part of the id: ``name version arch``, and
    ``manual`` or ``auto`` where the database knows who asked for it."""
    needs: list[Need] = []
    named: list[NamedPackage] = []
    unowned: UnownedFiles | None = None
    library_path: list[str] = []
    """Directories of LD_LIBRARY_PATH by which the environment's libraries were found, in order."""
    packages: list[SystemPackage] = []
    held: list[NamedPackage] = []
    """Packages of dpkg that the environment needs, and that the base image has, file by file."""
    unproved: list[Unproved] = []
    essential: list[str] = []
    """``name:arch`` of what every system of its kind begins with: the packages that dpkg calls
    essential, and what they depend on. No part of the id, as the next two."""
    scope: Scope = "needed"
    """What the capture kept; more than ``needed`` is in :attr:`others`."""
    others: list[SystemPackage] = []
    """What is kept though the environment does not need it; no build installs it unasked."""


class InterpreterLayer(Kebab, frozen=True, kw_only=True):
    facts: Interpreter
    origin: Literal["packed", "system", "unpacked", "base", "conda"]
    """``packed``: :attr:`archive` holds it; ``system``: the system packages bring it; ``base``: the
    base image has it; ``conda``: a package of :attr:`Machine.conda` brings it; ``unpacked``:
    captured with ``--no-pack``, so only a machine that has it can rebuild."""
    archive: Artifact | None = None
    """A tar of the files below ``/``, without site-packages and .pyc."""
    kind: Kind = "unknown"
    evidence: str = ""
    """One line for a person: what :attr:`kind` was told by."""
    lead: str | None = None
    """Where it may be had, by what it says of itself: a URL, an image, a formula. Not proved."""
    files: str | None = None
    """sha256 over its own files: executable, libpython, standard library
    (:func:`envfreeze.model.identity.tree_digest`); None: not all of them could be read."""
    compared: str | None = None
    """What its own files were compared with: ``dpkg's md5sums of 8 packages``; None: it came
    with no list of its files."""
    edited: list[str] = []
    """Its own files that are not as they came: ``edited PATH``, ``missing PATH``, ``added PATH``;
    empty where :attr:`compared` is None."""


class BaseImage(Kebab, frozen=True, kw_only=True):
    """The image that the environment was found on. What it has is not kept anywhere else."""

    image_id: str
    """``sha256:HEX`` of its configuration."""
    reference: str | None = None
    """``NAME[:TAG]@sha256:HEX``, by which a registry gives it out; None: it is known to one engine
    alone, as one that was built there and not pushed."""
    venv: bool = False
    """What makes the environment a virtual one is in it."""
    removed: list[str] = []
    """Absolute paths of what it has, and the environment no longer had."""

    @property
    def pinned(self) -> str:
        """What a Dockerfile is to name."""
        return self.reference or self.image_id


class Machine(Kebab, frozen=True, kw_only=True):
    """``[tool.envfreeze]``."""

    schema: int
    id: str
    hermetic: bool
    layers: dict[str, str]
    """Layer name to its digest: interpreter, packages, files, system."""
    interpreter: InterpreterLayer
    system: SystemLayer
    environment: dict[str, str] = {}
    base: BaseImage | None = None
    """None: it was found on no image, or keeps what it needs of one (``--pack-base``)."""
    held: list[Package] = []
    """Distributions that :attr:`base` has whole and no index offers; they have no artifact."""
    host: Host | None = None
    """The machine that it was captured on; no part of the id."""
    loose_dists: list[Loose] = []
    loose: list[LooseSite] = []
    sites: list[str] = []
    """The site directories in the order of sys.path, where something of them lies apart."""
    shadowed: list[Package] = []
    """Distributions of which another one of the same name stands earlier on sys.path: importlib
    lists them, and imports from them only what the other does not have."""
    sources: list[SourceTree] = []
    pythonpath: list[str] = []
    """PYTHONPATH, its entries with placeholders for the source trees."""
    unproved: list[Unproved] = []
    findings: list[Finding] = []
    conda: CondaLayer | None = None
    """The conda packages below; None: it is no conda environment."""


class Tool(Kebab, frozen=True, kw_only=True):
    envfreeze: Machine


class Lock(Kebab, frozen=True, kw_only=True):
    """The whole document."""

    lock_version: str
    created_by: str
    requires_python: str | None = None
    extras: list[str] = []
    packages: list[Package]
    tool: Tool

    @property
    def machine(self) -> Machine:
        return self.tool.envfreeze

    def with_machine(self, **changes: object) -> Lock:
        """The same document, these fields of :attr:`machine` changed; its digests stay."""
        machine = msgspec.structs.replace(self.machine, **changes)
        return msgspec.structs.replace(self, tool=Tool(envfreeze=machine))

    def python_path(self, places: Mapping[str, str]) -> str:
        """PYTHONPATH, the source trees at *places* (by key); empty: it was not set."""
        return ":".join(pointers.placed_link(entry, places) for entry in self.machine.pythonpath)

    @property
    def of_the_system(self) -> int:
        """How many distributions system packages brought."""
        packages = [*self.packages, *self.machine.shadowed, *self.machine.held]
        return sum(p.facts.owner is not None for p in packages) + sum(
            loose.owner is not None for loose in self.machine.loose_dists
        )

    @property
    def rests_on_base(self) -> bool:
        """Whether something of it is nowhere but in the base image."""
        machine = self.machine
        system = machine.system
        entries = [entry for site in machine.loose for entry in site.files]
        entries += system.unowned.files if system.unowned else []
        return bool(
            machine.held
            or system.held
            or machine.interpreter.origin == "base"
            or any(entry.in_base for entry in entries)
            or any(source.in_base for source in machine.sources)
        )

    def site_of(self, package: Package) -> str:
        """The site directory that *package* was found in."""
        return package.facts.site or self.machine.interpreter.facts.purelib


def _is_pointer(key: str) -> bool:
    scheme, _, path = key.partition("/")
    return scheme == "site" and pointers.is_pointer(path)


def edit_problem(edit: Edit) -> str | None:
    """Why *edit* must not be used, or None."""
    scheme, _, path = edit.path.partition("/")
    if scheme not in _EDIT_SCHEMES or not is_inside(path) or not _PLAIN_PATH.fullmatch(edit.path):
        return "it leads out of its directory"
    if any(d is not None and not _SHA256.fullmatch(d) for d in (edit.before, edit.after)):
        return "its sha256 is not 64 hexadecimal digits"
    if (edit.after is None) != (edit.kind in {"deleted", "mode"}):
        return "only a deleted file, or another mode, has no content"
    if edit.kind == "text" and edit.before is None:
        return "a patch needs the sha256 that it is made for"
    return None


def artifacts(lock: Lock) -> list[Artifact]:
    """Every artifact that the lock names, in its order: what a rebuild needs, and what of
    :attr:`SystemLayer.others` it may be asked for."""
    found = [artifact for package in lock.packages for artifact in package.artifacts]
    found += [artifact for package in lock.machine.shadowed for artifact in package.artifacts]
    found += [site.archive for site in lock.machine.loose if site.archive]
    found += [source.archive for source in lock.machine.sources if source.archive]
    system = lock.machine.system
    found += [package.artifact for package in (*system.packages, *system.others)]
    unowned = system.unowned
    found += [unowned.archive] if unowned and unowned.archive else []
    if lock.machine.interpreter.archive:
        found.append(lock.machine.interpreter.archive)
    if lock.machine.conda is not None:
        found += lock.machine.conda.artifacts
    return found


INLINE = frozenset(
    {
        "archive",
        "artifact",
        "built-from",
        "edits",
        "files",
        "hashes",
        "licence",
        "named",
        "needs",
        "patch",
        "submodules",
        "wheels",
        "wrapper-copies",
    }
)
"""Tables that are written on one line, so that a package is one short block."""

LINES = frozenset({"essential", "installed", "removed"})
"""Arrays of texts with a line for each."""


def dumps(lock: Lock) -> str:
    """*lock* as TOML. Equal locks give equal bytes: nothing in it depends on clock or order."""
    return toml.dump(msgspec.to_builtins(lock), INLINE, LINES)


def parse(text: str) -> dict[str, Any]:
    """The TOML document as plain values.

    :raises ValueError: it is not TOML, or holds a number of thousands of digits.
    :raises RecursionError: it is nested without end.
    """
    return toml.load(text)


def loads(text: str, *, source: str = "lock") -> Lock:
    """Read a lock.

    :raises LockError: not TOML, a newer schema, a missing or wrong field (its path is named),
        or a path or digest that could lead out of the store.
    """
    try:
        document = parse(text)
    except (ValueError, RecursionError) as error:
        raise LockError(
            f"{source} is not TOML: {error}",
            hint="It may have been cut short; restore it from version control or capture again.",
        ) from error
    _check_version(document, source)
    try:
        lock = msgspec.convert(document, Lock)
    except msgspec.ValidationError as error:
        raise LockError(
            f"{source} is not a lock of envfreeze: {error}",
            hint="Capture again, or restore the file from version control.",
        ) from error
    _check_content(lock, source)
    return lock


def _check_version(document: dict[str, Any], source: str) -> None:
    version = document.get("lock-version")
    if not isinstance(version, str) or version.split(".")[0] != LOCK_VERSION.split(".")[0]:
        raise LockError(
            f"{source} has lock-version {version!r}; this envfreeze reads {LOCK_VERSION!r}",
            hint="A newer envfreeze may read it: pip install --upgrade envfreeze",
        )
    tool = document.get("tool")
    ours = tool.get("envfreeze") if isinstance(tool, dict) else None
    if not isinstance(ours, dict):
        if document.get("created-by") == CREATED_BY:
            raise LockError(
                f"{source} has no [tool.envfreeze]: it was cut short",
                hint="Restore it from version control or capture again.",
            )
        raise LockError(
            f"{source} is a PEP 751 lock without [tool.envfreeze]: another tool wrote it",
            hint="envfreeze capture writes a lock that envfreeze can rebuild.",
        )
    schema = ours.get("schema")
    if schema != SCHEMA:
        raise LockError(
            f"{source} has tool.envfreeze.schema {schema!r}; this envfreeze reads {SCHEMA}",
            hint="A newer envfreeze may read it: pip install --upgrade envfreeze",
        )


def _check_content(lock: Lock, source: str) -> None:
    for place, problem in _problems(lock):
        raise LockError(
            f"{source}: {place}: {problem}",
            hint="Do not build from this lock; capture again or ask where it came from.",
        )


def _problems(lock: Lock) -> Iterator[tuple[str, str]]:
    """``(path in the document, what is wrong there)``, as it is found."""
    machine = lock.machine
    ours = "tool.envfreeze"
    packages = [(f"packages[{index}]", package) for index, package in enumerate(lock.packages)]
    packages += [(f"{ours}.shadowed[{index}]", one) for index, one in enumerate(machine.shadowed)]
    for place, package in packages:
        if (package.archive is None) == (not package.wheels):
            yield place, "it must have either wheels or an archive"
        yield from _package_problems(package, place)
    yield from _held_problems(lock, ours)
    yield from _sources_problems(machine, ours)
    files = machine.interpreter.files
    if files is not None and not _SHA256.fullmatch(files):
        yield f"{ours}.interpreter.files", "it is not 64 hexadecimal digits"
    archive = machine.interpreter.archive
    if archive is not None:
        yield from _artifact_problems(archive, f"{ours}.interpreter.archive")
    yield from _system_problems(machine.system, f"{ours}.system")
    if machine.conda is not None:
        yield from conda.problems(machine.conda, f"{ours}.conda")
    if (machine.interpreter.origin == "conda") and machine.conda is None:
        yield f"{ours}.interpreter.origin", "there are no conda packages"
    for index, site in enumerate(machine.loose):
        if site.archive is not None:
            yield from _artifact_problems(site.archive, f"{ours}.loose[{index}].archive")
        for position, entry in enumerate(site.files):
            if not stays_below(entry.path):
                place = f"{ours}.loose[{index}].files[{position}].path"
                yield place, "it leads out of its site directory"


def _held_problems(lock: Lock, ours: str) -> Iterator[tuple[str, str]]:
    machine = lock.machine
    for index, package in enumerate(machine.held):
        place = f"{ours}.held[{index}]"
        if package.archive is not None or package.wheels:
            yield place, "what a base image holds has no file of its own"
        yield from _package_problems(package, place)
    for index, one in enumerate(machine.system.held):
        if not all(map(_DEBIAN_WORD.fullmatch, (one.name, one.version, one.arch))):
            yield f"{ours}.system.held[{index}]", "it cannot be a package of Debian"
    if machine.base is not None:
        yield from _base_problems(machine.base, f"{ours}.base")
    elif lock.rests_on_base or any(package.facts.in_base for package in lock.packages):
        yield ours, "it rests on a base image that it does not name"


def _base_problems(base: BaseImage, place: str) -> Iterator[tuple[str, str]]:
    if not _IMAGE_ID.fullmatch(base.image_id):
        yield f"{place}.image-id", "it is not sha256: and 64 hexadecimal digits"
    if base.reference is not None and not _IMAGE.fullmatch(base.reference):
        yield f"{place}.reference", f"{base.reference!r} is not an image by digest"
    for index, path in enumerate(base.removed):
        # Nothing that every system has: a lock must not empty an image.
        deep = path.count("/") > 2 and is_inside(path.lstrip("/"))
        if not path.startswith("/") or not deep or not _PLAIN_PATH.fullmatch(path):
            yield f"{place}.removed[{index}]", f"{path!r} is no path that may be removed"


def _system_problems(system: SystemLayer, ours: str) -> Iterator[tuple[str, str]]:
    yield from _debian_problems(system, ours)
    for index, line in enumerate(system.installed):
        if not _INSTALLED.fullmatch(line):
            yield f"{ours}.installed[{index}]", f"{line!r} is not a name, version and architecture"
    for index, named in enumerate(system.named):
        if not all(map(_WORD.fullmatch, (named.name, named.version, named.arch))):
            yield f"{ours}.named[{index}]", "its name, version or architecture is not one word"
    for index, need in enumerate(system.needs):
        if not is_file_name(need.name) or not _is_absolute(need.path):
            yield f"{ours}.needs[{index}]", "it is not a program and an absolute path"
    if system.unowned is not None:
        yield from _unowned_problems(system.unowned, f"{ours}.unowned")
    for index, directory in enumerate(system.library_path):
        yield from _entry_problems(directory, f"{ours}.library-path[{index}]")


def _debian_problems(system: SystemLayer, ours: str) -> Iterator[tuple[str, str]]:
    kept = [(f"{ours}.packages[{index}]", one) for index, one in enumerate(system.packages)]
    kept += [(f"{ours}.others[{index}]", one) for index, one in enumerate(system.others)]
    for place, package in kept:
        yield from _artifact_problems(package.artifact, f"{place}.artifact")
        for text in (package.name, package.arch, package.version, *package.depends):
            if not _DEBIAN_WORD.fullmatch(text):
                yield place, f"{text!r} cannot be part of a Debian package's name or version"
    for index, key in enumerate(system.essential):
        if not _DEBIAN_WORD.fullmatch(key):
            yield f"{ours}.essential[{index}]", f"{key!r} is not a package of Debian"


def _entry_problems(directory: str, place: str) -> Iterator[tuple[str, str]]:
    if not _is_absolute(directory) or set(directory) & set(":;$"):
        yield place, "it cannot be one entry of LD_LIBRARY_PATH"


def _unowned_problems(unowned: UnownedFiles, place: str) -> Iterator[tuple[str, str]]:
    if unowned.archive is not None:
        yield from _artifact_problems(unowned.archive, f"{place}.archive")
    for position, entry in enumerate(unowned.files):
        if not is_inside(entry.path) or not _PLAIN_PATH.fullmatch(entry.path):
            yield f"{place}.files[{position}].path", "it leads out of the root directory"
        if entry.sha256 is not None and not _SHA256.fullmatch(entry.sha256):
            yield f"{place}.files[{position}].sha256", "it is not 64 hexadecimal digits"
        if (entry.sha256 is None) == (entry.link is None):
            yield f"{place}.files[{position}]", "it must be either a file or a link"


def _is_absolute(path: str) -> bool:
    return path.startswith("/") and stays_below(path.lstrip("/"))


def _package_problems(package: Package, place: str) -> Iterator[tuple[str, str]]:
    if not _NAME.fullmatch(package.name):
        yield f"{place}.name", f"{package.name!r} is not a name that a distribution can have"
    if package.archive is not None:
        yield from _artifact_problems(package.archive, f"{place}.archive")
    for index, wheel in enumerate(package.wheels):
        yield from _artifact_problems(wheel, f"{place}.wheels[{index}]")
    yield from _facts_problems(package.facts, place)


def _facts_problems(facts: PackageFacts, place: str) -> Iterator[tuple[str, str]]:
    if not is_file_name(facts.info):
        yield f"{place}.tool.envfreeze.info", "it is not a file name"
    if facts.patch is not None:
        yield from _artifact_problems(facts.patch, f"{place}.tool.envfreeze.patch")
    if (facts.patch is None) != all(edit.kind in {"deleted", "mode"} for edit in facts.edits):
        yield f"{place}.tool.envfreeze.patch", "it must be there for edits that bring bytes"
    seen: set[str] = set()
    for position, edit in enumerate(facts.edits):
        problem = "it is edited twice" if edit.path in seen else edit_problem(edit)
        seen.add(edit.path)
        if problem:
            yield f"{place}.tool.envfreeze.edits[{position}] ({edit.path})", problem
    if not all(_is_pointer(key) for key in facts.pointers):
        yield f"{place}.tool.envfreeze.pointers", "one of them cannot name a source tree"
    for position, origin in enumerate(facts.built_from):
        problem = origin_problem(origin)
        if problem:
            yield f"{place}.tool.envfreeze.built-from[{position}]", problem
    for original, copies in facts.wrapper_copies.items():
        if not all(map(is_file_name, (original, *copies))):
            yield f"{place}.tool.envfreeze.wrapper-copies", "one of them is not a file name"


def _without_marks(text: str) -> str:
    return re.sub(r"\{envfreeze:source:[A-Za-z0-9._-]+\}", "", text)


def _sources_problems(machine: Machine, ours: str) -> Iterator[tuple[str, str]]:
    for index, source in enumerate(machine.sources):
        yield from _source_problems(source, f"{ours}.sources[{index}]")
    if len({source.key for source in machine.sources}) < len(machine.sources):
        yield f"{ours}.sources", "two of them have the same key"
    for index, text in enumerate(machine.pythonpath):
        if ":" in _without_marks(text) or NOT_IN_NAMES.search(text.replace("/", "")):
            yield f"{ours}.pythonpath[{index}]", "it cannot be one entry of PYTHONPATH"


def _source_problems(source: SourceTree, place: str) -> Iterator[tuple[str, str]]:
    if not _KEY.fullmatch(source.key):
        yield f"{place}.key", f"{source.key!r} is not a file name made of plain letters"
    for name, path in [("root", source.root), *(("spellings", p) for p in source.spellings)]:
        # A .pth line may name the whole file system, which nobody keeps.
        named_only = path == "/" and source.archive is None
        if not path.startswith("/") or not (named_only or stays_below(path.lstrip("/"))):
            yield f"{place}.{name}", "it is not an absolute path"
    if not all(path == "" or is_inside(path) for path in source.imports):
        yield f"{place}.imports", "one of them leads out of the tree"
    if source.digest is not None and not _SHA256.fullmatch(source.digest):
        yield f"{place}.digest", "it is not 64 hexadecimal digits"
    if source.archive is not None:
        yield from _artifact_problems(source.archive, f"{place}.archive")
        if source.digest is None:
            yield f"{place}.digest", "it must be there for a tree that is kept"


def _artifact_problems(artifact: Artifact, place: str) -> Iterator[tuple[str, str]]:
    problem = artifact_problem(artifact)
    if problem:
        yield f"{place} ({artifact.filename})", problem
