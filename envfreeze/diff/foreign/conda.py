"""Conda's documents: conda-lock.yml, environment.yml, ``@EXPLICIT`` lists, pixi.lock. Pure.

Sources: CEP 23 and CEP 37; the models of conda-lock; rattler_lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from envfreeze.diff.foreign import pip, yamls
from envfreeze.diff.foreign.document import ANY, Document, Entry, Table, shaped, wrong
from envfreeze.diff.foreign.place import Place
from envfreeze.errors import LockError
from envfreeze.model.identity import normalize
from envfreeze.probe.conda import bare_url

EXPLICIT = "an @EXPLICIT list"
CONDA_LOCK = "a conda-lock.yml"
ENVIRONMENT = "an environment.yml"
PIXI = "a pixi.lock"

_SUFFIX = re.compile(r"\.(conda|tar\.bz2)$")
_SPEC = re.compile(r"(?:[^\s:]+::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)\s*(?P<rest>.*)", re.DOTALL)
_EXACT = re.compile(r"={1,2}\s*(?P<version>[^\s=,|<>!*\[]+)(?:\s*=\s*(?P<build>[^\s=,|<>!*\[]+))?")
_SPACED = re.compile(r"(?P<version>\d[^\s=,|<>!*\[]*)(?:\s+(?P<build>[^\s=,|<>!*\[]+))?")


def _package(url: str) -> tuple[str, str, str] | None:
    """Name, version and build, from a package's URL or path."""
    try:
        file = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    except ValueError:
        return None
    parts = _SUFFIX.sub("", file).rsplit("-", 2)
    whole = _SUFFIX.search(file) and len(parts) == 3 and all(parts)
    return (parts[0], parts[1], parts[2]) if whole else None


def _channel(url: str) -> str | None:
    """The channel of a package's URL, without a login and without the platform."""
    plain: str = bare_url(url)  # type: ignore[no-untyped-call]
    return plain.rsplit("/", 2)[0] if plain.count("/") > 3 else None


def _conda(name: str, version: str, build: str, url: str | None, doubt: str = "") -> Entry:
    return Entry(
        layer="conda",
        name=name.lower(),
        version=f"{version} {build}".strip(),
        doubt=doubt,
        origin=_channel(url) if url else None,
    )


def explicit(text: str, source: str) -> Document:
    """Of ``conda list --explicit``.

    :raises LockError: a line is no package's URL.
    """
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        url = line.strip()
        if not url or url.startswith(("#", "@")):
            continue
        url = url.partition("#")[0]
        found = _package(url)
        if found is None:
            raise wrong(source, EXPLICIT, f"line {number} is not a package of conda's")
        entries.append(_conda(*found, url))
    return Document(entries=entries, reach={"conda": "all"})


# --- environment.yml -----------------------------------------------------------------------


class _Environment(Table, frozen=True, kw_only=True):
    dependencies: list[str | dict[str, list[str]]] = []


def environment(text: str, source: str, place: Place | None) -> Document:
    """Of an ``environment.yml``: what somebody asked for, by conda and by pip.

    :raises LockError: it is none.
    """
    found = shaped(yamls.load(text, source, ENVIRONMENT), _Environment, source, ENVIRONMENT)
    specs = [spec for spec in found.dependencies if isinstance(spec, str)]
    lines = [
        line
        for table in found.dependencies
        if isinstance(table, dict)
        for line in table.get("pip", [])
    ]
    by_pip = pip.requirements("\n".join(lines), place)
    entries, unread = [], dict(by_pip.unread)
    for spec in specs:
        entry = _spec(spec.strip())
        if entry is None:
            unread[spec.strip()] = "not a package and a version"
        else:
            entries.append(entry)
    return Document(
        entries=[*entries, *by_pip.entries],
        reach={"conda": "some", "packages": "some"},
        unread=unread,
        names_projects=False,
    )


def _spec(spec: str) -> Entry | None:
    found = _SPEC.fullmatch(spec)
    if found is None:
        return None
    name, rest = found["name"].lower(), found["rest"].strip()
    exact = _EXACT.fullmatch(rest) or _SPACED.fullmatch(rest)
    if exact is None:
        return Entry(layer="conda", name=name, wanted=rest or ANY)
    version, build = exact["version"], exact["build"]
    fuzzy = build is None and rest.startswith("=") and not rest.startswith("==")
    return Entry(
        layer="conda",
        name=name,
        version=f"{version} {build}" if build else version,
        wanted=f"={version}" if fuzzy else None,
    )


# --- conda-lock.yml ------------------------------------------------------------------------


class _Locked(Table, frozen=True, kw_only=True):
    name: str
    version: str
    manager: str
    platform: str
    url: str = ""
    hash: dict[str, str] = {}
    category: str = "main"
    build: str | None = None


class _CondaLock(Table, frozen=True, kw_only=True):
    version: str
    package: list[_Locked]


def conda_lock(text: str, source: str, place: Place | None) -> Document:
    """Of a ``conda-lock.yml``.

    :raises LockError: it is none, of a newer kind, or not for the other side's platform.
    """
    found = shaped(yamls.load(text, source, CONDA_LOCK), _CondaLock, source, CONDA_LOCK)
    if found.version != "1":
        raise wrong(source, CONDA_LOCK, f"version {found.version!r}; this envfreeze reads 1")
    chosen = _platforms({one.platform for one in found.package}, place, source)
    alone = len(chosen) == 1
    entries = [_of_conda_lock(one, alone) for one in found.package if one.platform in chosen]
    return Document(
        entries=entries, reach={"conda": "all", "packages": "all"}, names_projects=False
    )


def _of_conda_lock(one: _Locked, alone: bool) -> Entry:
    doubts = [] if one.category == "main" else [f"in category {one.category}"]
    doubt = " ".join([*doubts, *([] if alone else [f"on {one.platform}"])])
    if one.manager == "pip":
        digest = one.hash.get("sha256", "").lower()
        return Entry(
            layer="packages",
            name=normalize(one.name),
            version=one.version,
            doubt=doubt,
            listed=frozenset({digest} - {""}),
        )
    named = _package(one.url)
    build = one.build or (named[2] if named else "")
    return _conda(one.name, one.version, build, one.url, doubt)


def _platforms(there: set[str], place: Place | None, source: str) -> set[str]:
    """Those of *there* that the other side may be; one that is known has to be among them."""
    if place is None or place.subdir is None or not there:
        return there
    if place.subdir not in there:
        raise LockError(
            f"{source} has nothing for {place.subdir}, where the other side runs:"
            f" it is for {', '.join(sorted(there))}",
            hint="Lock for that platform as well, or compare with an environment there.",
        )
    return {place.subdir}


# --- pixi.lock -----------------------------------------------------------------------------


class _Named(Table, frozen=True, kw_only=True):
    conda: str | None = None
    pypi: str | None = None
    name: str | None = None
    version: str | None = None
    build: str | None = None
    sha256: str | None = None

    @property
    def url(self) -> str:
        return self.conda or self.pypi or ""


class _PixiEnvironment(Table, frozen=True, kw_only=True):
    packages: dict[str, list[dict[str, str]]] = {}


class _PixiPlatform(Table, frozen=True, kw_only=True):
    name: str
    subdir: str | None = None


class _Pixi(Table, frozen=True, kw_only=True):
    version: str
    environments: dict[str, _PixiEnvironment]
    packages: list[_Named]
    platforms: list[_PixiPlatform] = []


_PIXI_VERSIONS = frozenset({"5", "6", "7"})
_DEFAULT = "default"


def pixi(text: str, source: str, place: Place | None) -> Document:
    """Of a ``pixi.lock``: its default environment, and what others of it may have.

    :raises LockError: it is none, of a newer kind, or not for the other side's platform.
    """
    found = shaped(yamls.load(text, source, PIXI), _Pixi, source, PIXI)
    if found.version not in _PIXI_VERSIONS:
        raise wrong(source, PIXI, f"version {found.version!r}; this envfreeze reads 5 to 7")
    subdirs = {one.name: one.subdir or one.name for one in found.platforms}
    there = {
        subdirs.get(name, name) for one in found.environments.values() for name in one.packages
    }
    chosen = _platforms(there, place, source)
    known = {one.url: one for one in found.packages}
    entries = []
    for title, platform, url in _references(found):
        subdir = subdirs.get(platform, platform)
        if subdir not in chosen:
            continue
        doubts = [] if title == _DEFAULT or len(found.environments) == 1 else [f"in {title}"]
        doubts += [] if len(chosen) == 1 else [f"on {subdir}"]
        if url not in known:
            raise wrong(source, PIXI, f"environment {title} names a package that it does not have")
        entries.append(_of_pixi(known[url], " ".join(doubts), source))
    return Document(entries=entries, reach={"conda": "all", "packages": "all"})


def _references(found: _Pixi) -> Iterator[tuple[str, str, str]]:
    """Environment, platform and URL of each package."""
    for title, one in found.environments.items():
        for platform, packages in one.packages.items():
            for package in packages:
                yield title, platform, package.get("conda") or package.get("pypi") or ""


def _of_pixi(one: _Named, doubt: str, source: str) -> Entry:
    if one.pypi is not None:
        named = pip.named(one.pypi)
        name = one.name or (named[0] if named else None)
        if name is None:
            raise wrong(source, PIXI, "a package of pip's without a name")
        version = one.version or (named[1] if named else None)
        return Entry(
            layer="packages",
            name=normalize(name),
            version=version or "",
            wanted=None if version else "what its directory or commit has",
            doubt=doubt,
            listed=frozenset({one.sha256.lower()} if one.sha256 else ()),
        )
    told = (one.name, one.version, one.build)
    from_url = _package(one.url) or (None, None, None)
    name, version, build = (mine or theirs for mine, theirs in zip(told, from_url, strict=True))
    if name is None:
        raise wrong(source, PIXI, "a package of conda's without a name")
    if version is None:
        return Entry(layer="conda", name=name.lower(), wanted=ANY, doubt=doubt)
    return _conda(name, version, build or "", one.url, doubt)
