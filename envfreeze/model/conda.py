"""The part of a lock that is a conda environment: ``[tool.envfreeze.conda]``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Literal, get_args

from envfreeze.model.artifact import Artifact, LooseEntry, artifact_problem, is_inside
from envfreeze.model.base import Kebab

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_WORD = re.compile(r"[A-Za-z0-9_.!+~-]{1,200}")
_SUBDIR = re.compile(r"[a-z0-9]+(-[a-z0-9_]+)?")
_HEX = re.compile(r"[0-9a-f]{64}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r"[^\x00-\x1f\x7f]*")


CondaProof = Literal["proved", "packed", "unproved"]


class CondaPackage(Kebab, frozen=True, kw_only=True):
    """One package; they stand in the order in which they can be linked."""

    name: str
    version: str
    build: str
    build_number: int = 0
    subdir: str
    noarch: str | None = None
    channel: str | None = None
    url: str | None = None
    """Where its record says it came from; it need not answer any more."""
    fn: str
    """What its record calls the file."""
    md5: str | None = None
    """Of that file, by its record."""
    license: str | None = None
    timestamp: int | None = None
    depends: list[str] = []
    constrains: list[str] = []
    dists: list[str] = []
    """Names of the distributions in it, normalised; left out where that is its own name alone."""
    requested: list[str] = []
    """What a person asked for; empty: it came as a dependency."""
    proof: CondaProof
    evidence: str
    """One line for a person."""
    count: int
    tree: str
    """sha256 over its files, the prefix undone."""
    artifact: Artifact | None = None
    """None: neither proved nor packed."""


class CondaFiles(Kebab, frozen=True, kw_only=True):
    """Files of the prefix that no package owns."""

    archive: Artifact | None = None
    """A ``.conda`` file that holds them, so that the prefix in them can be replaced."""
    files: list[LooseEntry]


class CondaLayer(Kebab, frozen=True, kw_only=True):
    """``[tool.envfreeze.conda]``."""

    prefix: str
    """Where it was captured, and where an image has it."""
    platform: str
    """``linux-64``."""
    channels: list[str] = []
    virtual: list[str] = []
    """The virtual packages of the captured machine; nothing to install."""
    pinned: list[str] = []
    frozen: bool = False
    variables: dict[str, str] = {}
    packages: list[CondaPackage]
    loose: CondaFiles | None = None

    @property
    def artifacts(self) -> list[Artifact]:
        found = [package.artifact for package in self.packages]
        found += [self.loose.archive] if self.loose else []
        return [artifact for artifact in found if artifact is not None]

    @property
    def unproved(self) -> list[CondaPackage]:
        """The packages that a rebuild cannot have."""
        return [package for package in self.packages if package.artifact is None]

    @property
    def lost(self) -> bool:
        """Whether it names what the lock has no bytes of."""
        return bool(self.unproved) or (self.loose is not None and self.loose.archive is None)

    @property
    def counts(self) -> dict[str, int]:
        """How many packages are proved, packed and unproved."""
        found = Counter(package.proof for package in self.packages)
        return {proof: found[proof] for proof in get_args(CondaProof)}


def link_order(names: dict[str, list[str]]) -> list[str]:
    """*names* (each with its ``depends``) so that what a package needs stands before it."""
    done: dict[str, bool] = {}
    order: list[str] = []

    def needs(name: str) -> Iterator[str]:
        return iter(sorted({spec.split()[0] for spec in names[name] if spec.split()}))

    for first in sorted(names):
        stack = [(first, needs(first))] if first not in done else []
        done.setdefault(first, False)
        while stack:
            name, rest = stack[-1]
            following = next((n for n in rest if n in names and n not in done), None)
            if following is None:
                stack.pop()
                order.append(name)
            else:
                done[following] = False
                stack.append((following, needs(following)))
    return order


def problems(layer: CondaLayer, place: str) -> Iterator[tuple[str, str]]:
    """``(path in the document, what is wrong there)``."""
    if not layer.prefix.startswith("/") or not is_inside(layer.prefix.lstrip("/")):
        yield f"{place}.prefix", "it is not an absolute path"
    if not _SUBDIR.fullmatch(layer.platform):
        yield f"{place}.platform", f"{layer.platform!r} is not a platform of conda"
    seen: set[str] = set()
    for index, package in enumerate(layer.packages):
        problem = "it is there twice" if package.name in seen else _package_problem(package)
        seen.add(package.name)
        if problem:
            yield f"{place}.packages[{index}] ({package.fn})", problem
    for name, value in layer.variables.items():
        if not _VARIABLE.fullmatch(name) or not _LINE.fullmatch(value):
            yield f"{place}.variables", "one of them cannot be a variable"
    yield from _loose_problems(layer.loose, f"{place}.loose")


def _loose_problems(loose: CondaFiles | None, place: str) -> Iterator[tuple[str, str]]:
    if loose is None:
        return
    problem = artifact_problem(loose.archive) if loose.archive else None
    if problem:
        yield f"{place}.archive", problem
    for index, entry in enumerate(loose.files):
        if not is_inside(entry.path) or entry.path.startswith("conda-meta/"):
            yield f"{place}.files[{index}]", "it leads out of the prefix"


def _package_problem(package: CondaPackage) -> str | None:
    words = (package.version, package.build)
    if not _NAME.fullmatch(package.name) or not all(map(_WORD.fullmatch, words)):
        return "its name, version or build is none that a package can have"
    if not _SUBDIR.fullmatch(package.subdir) or package.noarch not in {None, "python", "generic"}:
        return "its platform is none that a package can have"
    stem = f"{package.name}-{package.version}-{package.build}"
    if package.fn not in {f"{stem}.conda", f"{stem}.tar.bz2"}:
        return "its file is not called like the package"
    if not _HEX.fullmatch(package.tree) or not (package.md5 is None or _MD5.fullmatch(package.md5)):
        return "its digest is not hexadecimal digits"
    specs = [*package.depends, *package.constrains, *package.requested, *package.dists]
    if not all(map(_LINE.fullmatch, specs)):
        return "one of its specs is no line"
    if not all(_LINE.fullmatch(text or "") for text in (package.url, package.channel)):
        return "its URL is no line"
    if (package.proof == "unproved") != (package.artifact is None):
        return "a package has a file unless it is unproved"
    return artifact_problem(package.artifact) if package.artifact else None
