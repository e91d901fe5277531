"""What was *seen* on a machine: the probe's JSON document, typed.

The probe (:mod:`envfreeze.probe`) writes these shapes with the standard library alone;
a test holds the two sides together. Everything in here is untrusted text.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from envfreeze.model.base import Kebab
from envfreeze.model.host import Host

SCHEMA = 1

Scheme = Literal["site", "scripts", "headers", "data", "outside"]
"""Where a file of a distribution lies, relative to the site directory that holds it.

``site`` is the site directory itself (purelib or platlib), ``scripts`` its prefix's ``bin``,
``headers`` ``include/.../NAME`` without NAME, ``data`` the prefix; ``outside`` is everything
else: such a row is named and never read.
"""


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One file that a distribution owns, as RECORD names it and as the disk has it."""

    scheme: Scheme
    path: str
    """Relative to the scheme's directory, with ``/``; never absolute, never with ``..``."""
    sha256: str | None
    """Hex digest of what lies on the disk; for scripts that name the environment's interpreter,
    of the content with ``#!python`` in place of that path. None: missing, or not read."""
    size: int | None
    executable: bool
    claim: str | None
    """RECORD's own ``algorithm=digest``, only where the disk differs from it or has no file;
    ``""`` where RECORD gives no hash at all; None where RECORD and disk agree."""


class Licence(Kebab, frozen=True, kw_only=True):
    """What a distribution's metadata says of its licence; it is told, not checked."""

    expression: str | None = None
    """``License-Expression``, raw: an expression of SPDX (PEP 639)."""
    text: str | None = None
    """``License`` where it is one short line, else the classifiers; without an expression."""


class Dist(msgspec.Struct, frozen=True, kw_only=True):
    """One installed distribution, as importlib.metadata would find it."""

    site: str
    """The sys.path entry that holds it."""
    info: str
    """The metadata directory (or file) name in there: ``x-1.0.dist-info``, ``x.egg-info``."""
    name: str
    """``Name`` in the metadata, raw; empty when it cannot be read."""
    version: str
    """``Version`` in the metadata, raw; need not be PEP 440."""
    rows: list[Row] | None
    """None: no RECORD."""
    tags: list[str] = []
    """Each ``Tag`` of WHEEL, in order."""
    purelib: bool | None = None
    """``Root-Is-Purelib`` of WHEEL; None: no WHEEL."""
    build: str | None = None
    installer: str | None = None
    """INSTALLER, raw; None: no such file."""
    requested: bool = False
    direct_url: str | None = None
    """direct_url.json, raw text (PEP 610)."""
    wrappers: list[str] = []
    """Console and gui scripts of entry_points.txt: the installer makes them, not the wheel."""
    requires: list[str] = []
    """Each ``Requires-Dist``, raw; of an egg-info without them, its requires.txt as such lines."""
    licence: Licence | None = None
    """None: the metadata names none."""
    conda: str | None = None
    """The record in ``conda-meta`` that it belongs to: then it is no package of its own."""
    overlaid: list[str] = []
    """``scheme/path`` of files that a conda package put over its own."""


class LooseFile(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A file in a site directory that no distribution's RECORD owns."""

    path: str
    sha256: str | None
    size: int
    executable: bool
    link: str | None
    """The text of a symbolic link; then sha256 is None."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One directory on sys.path that can hold distributions, or where their scripts lie."""

    path: str
    kind: Literal["site", "user", "pythonpath", "pth", "system", "scripts"]
    """``scripts``: the ``bin`` of a venv; its files are scripts, hashed as those of a Row."""
    prefix: str | None = None
    """What ``bin``, ``share`` and ``include`` of its distributions are relative to."""
    loose: list[LooseFile] = []


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something a person should know, with its place and what to do about it."""

    kind: str
    place: str
    detail: str = ""
    advice: str = ""


class Signs(Kebab, frozen=True, kw_only=True):
    """What tells who made an interpreter (:mod:`envfreeze.resolve.pythonkind` reads it)."""

    schemes: list[str] = []
    """Install schemes that CPython itself does not have: ``deb_system``, ``rpm_prefix``,
    ``osx_framework_library``."""
    built_prefix: str | None = None
    """The prefix that it was built for, by its build-time configuration: ``/install``."""
    triplet: str | None = None
    """``HOST_GNU_TYPE``: ``x86_64-pc-linux-gnu``."""
    libpython: str | None = None
    """The shared library of its build; None: it has none, or it is not where it should be.
    The executable need not use it: Debian's does not."""
    framework: str | None = None
    """``PYTHONFRAMEWORK`` of macOS: ``Python``."""
    revision: str | None = None
    """``sys._git``: tag and commit; None: built from a tarball."""
    implementation_version: str | None = None
    """PyPy's own, ``7.3.17``; None: it is the language's."""
    standalone: bool = False
    """``PYTHON_BUILD_STANDALONE`` is set, as uv's patch does."""
    standalone_build: str | None = None
    """The file ``BUILD`` in its prefix: the day of the release, ``20240107``."""
    externally_managed: str | None = None
    """First line of the message in ``EXTERNALLY-MANAGED`` (PEP 668)."""
    conda_record: str | None = None
    """Name of its record in conda-meta: ``python-3.11.7-hab00c5b_1_cpython``."""
    packaged_by: str | None = None
    """What ``sys.version`` says after ``packaged by``."""
    image_version: str | None = None
    """The variable ``PYTHON_VERSION``, which the official images set."""
    image_sha256: str | None = None
    """The variable ``PYTHON_SHA256``: of the source archive that the image was built from."""


class Interpreter(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """The target's Python."""

    implementation: str
    """``sys.implementation.name``."""
    version: str
    """``3.11.7``, ``3.13.0rc1``."""
    cache_tag: str | None = None
    soabi: str | None = None
    ext_suffix: str | None = None
    abiflags: str
    free_threaded: bool
    debug: bool
    platform: str
    """``sysconfig.get_platform()``: ``linux-x86_64``."""
    machine: str
    bits: int
    compiler: str
    build: str
    config_args: str | None = None
    executable: str
    base_executable: str
    """The real file behind it, links resolved."""
    prefix: str
    base_prefix: str
    stdlib: str
    purelib: str
    platlib: str
    scripts: str
    venv: bool
    system_site: bool
    """A venv that also sees the base interpreter's packages."""
    libc: str | None = None
    """``glibc 2.36``, ``musl 1.2``; None: could not be told."""
    signs: Signs = Signs()


class System(msgspec.Struct, frozen=True, kw_only=True):
    """The machine below the interpreter."""

    kernel: str
    """``Linux``, ``Darwin``, ``Windows``."""
    machine: str
    os_release: dict[str, str] = {}
    """ID, VERSION_ID, VERSION_CODENAME, PRETTY_NAME of /etc/os-release, where given."""
    dpkg: dict[str, str] | None = None
    """``name:arch`` to version of every installed Debian package; None: no dpkg database."""


class SourceFile(msgspec.Struct, frozen=True, array_like=True):
    """A file of a source tree."""

    path: str
    """Relative to the tree's root, with ``/``."""
    sha256: str | None
    """None: a link, or not readable."""
    size: int
    executable: bool
    link: str | None
    """The text of a symbolic link."""


class Submodule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    path: str
    commit: str | None = None
    url: str | None = None
    """Without credentials."""


class Repository(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The git repository that holds a source tree, and how the tree differs from its commit."""

    commit: str | None = None
    """None: there is no commit yet."""
    branch: str | None = None
    url: str | None = None
    """The remote that the branch follows, else ``origin``; without credentials."""
    pushed: bool = False
    """A remote-tracking branch or tag of a remote holds the commit, as far as is known here."""
    subdirectory: str = ""
    """Of the tree's root within the repository."""
    modified: list[str] = []
    """Files (relative to the tree's root) that are not as the commit has them, deleted ones too."""
    untracked: list[str] = []
    """Files that are kept and that the commit does not have."""
    submodules: list[Submodule] = []


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A directory outside the environment that it imports from: an editable install's tree."""

    key: str
    """Names the tree: ``VENV/src/KEY`` in a rebuilt venv."""
    root: str
    """Its path, links resolved."""
    spellings: list[str]
    """:attr:`root` and other ways in which pointers spell it."""
    via: list[str]
    """The files that point here, as full paths; ``PYTHONPATH`` for that variable."""
    imports: list[str]
    """Directories below the root (``""``: itself) that modules are imported from."""
    dists: list[str] = []
    """Normalised names of the distributions whose metadata points here."""
    files: list[SourceFile] = []
    repository: Repository | None = None
    problem: str | None = None
    """Why the tree is not kept; then :attr:`files` is empty."""


class CondaRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A package as ``conda-meta`` has it; all of it but the names may be missing."""

    file: str
    name: str
    version: str
    build: str
    build_number: int = 0
    subdir: str | None = None
    noarch: str | None = None
    channel: str | None = None
    """Without credentials."""
    url: str | None = None
    """Without credentials."""
    fn: str | None = None
    md5: str | None = None
    sha256: str | None = None
    size: int | None = None
    timestamp: int | None = None
    license: str | None = None
    depends: list[str] = []
    constrains: list[str] = []
    tarball: str | None = None
    """Where the package file may lie on the machine."""
    requested: list[str] = []
    """What a person asked for."""
    count: int
    """Of files that are there."""
    tree: str
    """sha256 over its files as they are in a package: the prefix undone."""
    odd: list[tuple[str, str]] = []
    """Path and what is odd: ``changed``, ``missing``, ``pip`` (overwritten by it), ``another``
    (package has it), ``unchecked`` (the record gives no digest), ``unreadable``."""

    @property
    def missing(self) -> int:
        """How many of its files are not there."""
        return sum(state == "missing" for _, state in self.odd)


class CondaPrefix(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The conda environment that an interpreter lies in."""

    prefix: str
    records: list[CondaRecord]
    loose: list[LooseFile] = []
    """Files of the prefix outside the site directories that nobody owns; the digest is that of the
    file with a placeholder for the prefix."""
    channels: list[str] = []
    """Of ``.condarc``, in order; without credentials."""
    virtual: list[str] = []
    """``__glibc=2.36=0``: what conda would say of the machine."""
    pinned: list[str] = []
    frozen: bool = False
    """Marked against changes (``conda-meta/frozen``)."""
    variables: dict[str, str] = {}
    """Those of ``conda env config vars set``."""

    @property
    def packages(self) -> dict[str, CondaRecord]:
        """By name; of two records of one name that with more of its files on the disk."""
        found: dict[str, CondaRecord] = {}
        for record in self.records:
            other = found.get(record.name)
            if other is None or record.missing < other.missing:
                found[record.name] = record
        return found


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One environment as it was seen."""

    schema: int
    interpreter: Interpreter
    system: System
    sites: list[Site]
    dists: list[Dist]
    findings: list[Finding]
    environment: dict[str, str] = {}
    """Environment variables of the allow-list that were set."""
    sources: list[Source] = []
    """Directories outside the site directories that modules are imported from."""
    host: Host | None = None
    """The machine below; None: not looked at."""
    conda: CondaPrefix | None = None
    """None: the interpreter is in no conda environment of its own."""
