"""requirements.txt, and PEP 751's pylock.toml. Pure.

A requirements file lists what somebody wrote down: what it does not name may be there all the same.
pip does not follow its own grammar of them everywhere; what is not understood is said to be so.
Sources: pip's "Requirements File Format"; the specification of pylock.toml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from envfreeze.diff.foreign.document import (
    ANY,
    Document,
    Entry,
    Table,
    from_toml,
    wrong,
)
from envfreeze.diff.foreign.place import Place, holds
from envfreeze.errors import LockError
from envfreeze.model.identity import normalize

_HASH = re.compile(r"(?:^|\s)--hash[=\s]\s*(\S+)")
_OPTION = re.compile(r"\s--?[A-Za-z].*$")
_COMMENT = re.compile(r"(^|\s)#.*$")
_EXACT = re.compile(r"===?\s*([^\s,*]+)")
_SILENT = (
    "--index-url",
    "-i",
    "--extra-index-url",
    "--no-index",
    "--find-links",
    "-f",
    "--pre",
    "--no-binary",
    "--only-binary",
    "--prefer-binary",
    "--require-hashes",
    "--trusted-host",
    "--use-feature",
    "--process-dependency-links",
)
_LONGEST_SHOWN = 60


def requirements(text: str, place: Place | None) -> Document:
    """Of ``requirements.txt``: pins, ranges, URLs; other files that it names are not read."""
    entries: list[Entry] = []
    unread: dict[str, str] = {}
    for line in _lines(text):
        option = re.split(r"[=\s]", line, maxsplit=1)[0]
        if option in _SILENT:
            continue
        if option in {"-r", "--requirement", "-c", "--constraint"} or line.startswith(("-r", "-c")):
            unread[_shown(line)] = "another file, which is not read"
            continue
        entry = _requirement(line, place)
        if isinstance(entry, str):
            unread[_shown(line)] = entry
        elif entry is not None:
            entries.append(entry)
    return Document(
        entries=entries, reach={"packages": "some"}, unread=unread, names_projects=False
    )


def _lines(text: str) -> Iterator[str]:
    """Each requirement on its own, without comments."""
    held = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            line = ""
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        whole = _COMMENT.sub("", held + line).strip()
        held = ""
        if whole:
            yield whole
    if held.strip():
        yield _COMMENT.sub("", held).strip()


def _shown(line: str) -> str:
    """*line* as the name of what is not known; what may be a login is left out."""
    plain = re.sub(r"//[^/\s]*@", "//", line)
    return plain if len(plain) <= _LONGEST_SHOWN else plain[: _LONGEST_SHOWN - 3] + "..."


def _requirement(line: str, place: Place | None) -> Entry | str | None:
    """An entry; why there is none; None: its marker is false there."""
    from packaging.requirements import InvalidRequirement, Requirement

    hashes = _HASH.findall(line)
    plain = _OPTION.sub("", _HASH.sub("", line)).strip()
    if line.startswith(("-e", "--editable")):
        return _from_url(line.split(maxsplit=1)[-1])
    if line.startswith("-"):
        return "an option that envfreeze does not know"
    try:
        found = Requirement(plain)
    except (InvalidRequirement, RecursionError):
        return _from_url(plain)
    there = holds(str(found.marker) if found.marker else None, place)
    if there is False:
        return None
    doubt = "" if there else f"where {found.marker}"
    digests = [text for text in hashes if text.startswith("sha256:")]
    listed = frozenset(text[7:].lower() for text in digests) if len(digests) == len(hashes) else ()
    if found.url is not None:
        version = _version_in(found.url)
        return Entry(
            layer="packages",
            name=normalize(found.name),
            version=version or "",
            doubt=doubt,
            wanted=None if version else "what its URL has",
            listed=frozenset(listed),
        )
    wanted = str(found.specifier)
    exact = _EXACT.fullmatch(wanted)
    return Entry(
        layer="packages",
        name=normalize(found.name),
        version=exact[1] if exact else "",
        wanted=None if wanted.startswith("===") else wanted or ANY,
        doubt=doubt,
        listed=frozenset(listed),
    )


def _from_url(text: str) -> Entry | str:
    """Of a URL or a path without a name before it."""
    version, name = _version_in(text), _name_in(text)
    if name is None:
        return "names no distribution"
    return Entry(
        layer="packages",
        name=name,
        version=version or "",
        wanted=None if version else "what its URL has",
    )


def _file(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    except ValueError:
        return ""


def _name_in(url: str) -> str | None:
    egg = re.search(r"[#&]egg=([A-Za-z0-9._-]+)", url)
    if egg:
        return normalize(egg[1])
    parts = named(url)
    return parts[0] if parts else None


def _version_in(url: str) -> str | None:
    parts = named(url)
    return parts[1] if parts else None


def named(url: str) -> tuple[str, str] | None:
    """Name and version of a wheel or an sdist, from its URL or path."""
    from packaging.utils import (
        InvalidSdistFilename,
        InvalidWheelFilename,
        parse_sdist_filename,
        parse_wheel_filename,
    )

    name = _file(url)
    try:
        if name.endswith(".whl"):
            found = parse_wheel_filename(name)
            return str(found[0]), str(found[1])
        found_sdist = parse_sdist_filename(name)
    except (InvalidWheelFilename, InvalidSdistFilename, ValueError):
        return None
    return str(found_sdist[0]), str(found_sdist[1])


# --- pylock.toml ---------------------------------------------------------------------------


class _File(Table, frozen=True, kw_only=True):
    hashes: dict[str, str] = {}


class _Locked(Table, frozen=True, kw_only=True):
    name: str
    version: str | None = None
    marker: str | None = None
    wheels: list[_File] = []
    sdist: _File | None = None
    archive: _File | None = None


class _Pylock(Table, frozen=True, kw_only=True):
    lock_version: str
    environments: list[str] = []
    packages: list[_Locked]


def pylock(text: str, source: str, place: Place | None) -> Document:
    """Of a ``pylock.toml``, whoever wrote it.

    :raises LockError: it is none, one of a newer kind, or not for where the other side runs.
    """
    kind = "a pylock.toml"
    found = from_toml(text, _Pylock, source, kind)
    if found.lock_version.split(".")[0] != "1":
        raise wrong(source, kind, f"lock-version {found.lock_version!r}; this envfreeze reads 1")
    if found.environments and all(holds(one, place) is False for one in found.environments):
        raise LockError(
            f"{source} is not for where the other side runs, but where"
            f" {' or where '.join(found.environments[:3])}",
            hint="Lock for that environment as well, or compare with one that it is for.",
        )
    entries = []
    for package in found.packages:
        there = holds(package.marker, place)
        if there is not False:
            entries.append(_of_pylock(package, "" if there else f"where {package.marker}"))
    return Document(entries=entries, reach={"packages": "all"}, names_projects=False)


def _of_pylock(package: _Locked, doubt: str) -> Entry:
    files = [*package.wheels, *(one for one in (package.sdist, package.archive) if one)]
    digests = [one.hashes.get("sha256", "").lower() for one in files]
    return Entry(
        layer="packages",
        name=normalize(package.name),
        version=package.version or "",
        wanted=None if package.version else "what its directory or commit has",
        doubt=doubt,
        listed=frozenset(digests) if all(digests) else frozenset(),
    )
