"""Which archive offers a package: apt's own lists and sources, as they lie on the machine.

Sources: sources.list(5), and apt's ``URItoFileName`` for how a list's name is made from its
URI. No archive is named here: every URL comes from the machine's own configuration.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast
from urllib.parse import quote, urlsplit, urlunsplit

from envfreeze.probe import urls
from envfreeze.resolve.dpkg import Installed, stanzas
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.tars import read, unxz

LISTS = "/var/lib/apt/lists"
SOURCES = "/etc/apt"

_LIST = re.compile(r"(?P<stem>.+_Packages)(?:\.(?P<packing>lz4|gz|xz|bz2|zst))?")
_TOOLS = {"lz4": ["lz4", "-dc"], "zst": ["zstd", "-dc"]}
_UNPACK: dict[str | None, Callable[[IO[bytes]], IO[bytes]]] = {
    None: lambda file: file,
    "gz": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
    "xz": unxz,
    "bz2": lambda file: cast("IO[bytes]", bz2.BZ2File(file)),
}
_APT_HELPER = "/usr/lib/apt/apt-helper"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"[0-9]{1,18}")
_RELEASE_LIMIT, _RELEASE_HEAD = 16 << 20, 4096
_SNAPSHOT = re.compile(r"^\s*#\s*(?:deb\s+)?(https?://\S+)/archive/[^/\s]+/\d{8}T\d{6}Z\b", re.M)
_LIMIT = 512 << 20
"""Bytes of one list, unpacked: the largest of Debian and Ubuntu have some eighty million."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One .deb that an archive lists."""

    url: str
    size: int
    sha256: str
    origin: str | None = None
    """The archive and release, as it calls itself: ``Debian bookworm-security``."""


@dataclass(frozen=True, slots=True)
class _Source:
    """An archive and one of its suites."""

    uri: str
    suite: str

    @property
    def stem(self) -> str:
        """How the names of its lists begin; a suite that ends in ``/`` is a flat archive."""
        if self.suite.endswith("/"):
            return file_name(f"{self.uri}/{self.suite.lstrip('/')}")
        return file_name(f"{self.uri}/dists/{self.suite}/")


def offers(root: Root, packages: Iterable[Installed]) -> dict[str, list[Offer]]:
    """Package key to the .debs of exactly that name, version and architecture."""
    wanted = {(p.name, p.version, p.arch): p.key for p in packages}
    found: dict[str, list[Offer]] = {}
    for base, origin, text in _lists(root):
        for identity, offer in _read_list(text, (base, origin), wanted):
            known = found.setdefault(wanted[identity], [])
            if offer not in known:
                known.append(offer)
    return found


def _read_list(
    text: bytes, archive: tuple[str, str | None], wanted: dict[tuple[str, str, str], str]
) -> Iterator[tuple[tuple[str, str, str], Offer]]:
    names = {name.encode() for name, _, _ in wanted}
    for stanza in text.split(b"\n\n"):
        head = stanza.lstrip(b"\n")
        if not head.startswith(b"Package: ") or head[9:].split(b"\n", 1)[0].strip() not in names:
            continue
        for fields in stanzas(head.decode("utf-8", "replace")):
            identity = (
                fields.get("Package", ""),
                fields.get("Version", ""),
                fields.get("Architecture", ""),
            )
            offer = _offer(fields, *archive)
            if identity in wanted and offer is not None:
                yield identity, offer


def _offer(fields: dict[str, str], base: str, origin: str | None) -> Offer | None:
    path = fields.get("Filename", "").removeprefix("./")
    digest = fields.get("SHA256", "").lower()
    size = fields.get("Size", "")
    if (
        not path
        or ".." in path.split("/")
        or not _SHA256.fullmatch(digest)
        or not _SIZE.fullmatch(size)
    ):
        return None
    url = f"{base}/{quote(path, safe='/+:@,%')}"
    return Offer(url=url, size=int(size), sha256=digest, origin=origin)


def _lists(root: Root) -> Iterator[tuple[str, str | None, bytes]]:
    """Each list that belongs to a source: the archive's base URL, what it calls itself, and the
    text."""
    sources = sorted(set(_sources(root)), key=lambda source: (-len(source.stem), source.stem))
    directory = Path(root.at(LISTS))
    try:
        entries = sorted(entry.name for entry in directory.iterdir())
    except OSError:
        return
    for name in entries:
        match = _LIST.fullmatch(name)
        source = next((s for s in sources if name.startswith(s.stem)), None)
        if match is None or source is None:
            continue
        text = _unpacked(directory / name, match["packing"])
        if text is not None:
            base = source.uri
            if source.suite.endswith("/"):
                base = f"{base}/{source.suite.strip('/')}".rstrip("/")
            yield base, _origin(root, source), text


def _origin(root: Root, source: _Source) -> str | None:
    """``Origin`` and ``Codename`` of the source's Release file, which is signed with the lists.
    A codename stays, where ``Suite`` goes on from ``stable`` to ``oldstable``."""
    for name in ("InRelease", "Release"):
        data = root.read(f"{LISTS}/{source.stem}{name}", _RELEASE_LIMIT)
        if data is not None:
            return release_name(data[:_RELEASE_HEAD].decode("utf-8", "replace"))
    return None


def release_name(text: str) -> str | None:
    """Of the head of a Release file, signed or not."""
    fields = dict(re.findall(r"^(Origin|Codename|Suite): *([ -~]{1,100}?) *$", text, re.MULTILINE))
    words = [fields.get("Origin"), fields.get("Codename") or fields.get("Suite")]
    return " ".join(word for word in words if word) or None


def _unpacked(path: Path, packing: str | None) -> bytes | None:
    """The text of a list; None when nothing here can unpack it, or it is larger than any list."""
    try:
        if packing in _UNPACK:
            with path.open("rb") as file:
                data = read(_UNPACK[packing](file), _LIMIT)
        else:
            data = _by_tool(path, str(packing))
    except (OSError, EOFError, lzma.LZMAError, zlib.error, subprocess.CalledProcessError):
        return None
    return data if len(data) <= _LIMIT else None


def _by_tool(path: Path, packing: str) -> bytes:
    """What a program makes of it, up to a little more than the limit.

    :raises subprocess.CalledProcessError: the program is not content.
    """
    command = [*_TOOLS[packing]]
    if shutil.which(command[0]) is None:
        command = [_APT_HELPER, "cat-file"]
    command.append(str(path))
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        data = read(cast("IO[bytes]", process.stdout), _LIMIT)
        if len(data) > _LIMIT:
            process.kill()
        elif process.wait():
            raise subprocess.CalledProcessError(process.returncode, command)
    return data


# --- sources -----------------------------------------------------------------------------


def file_name(uri: str) -> str:
    """The name that apt gives to a list (apt-pkg/contrib/strutl.cc, ``URItoFileName``):
    no scheme, no userinfo, some characters quoted, ``/`` as ``_``."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    quoted = "".join(
        f"%{ord(char):02x}" if char in '\\|{}[]<>"^~_=!@#$%^&*' else char
        for char in host + parts.path
    )
    return quoted.replace("/", "_")


def snapshot_archives(root: Root) -> list[str]:
    """Archives that keep every version, as comments of apt's sources name them: images of
    debuerreotype say so which moment they are of
    (``# http://snapshot.example/archive/debian/20250520T000000Z``)."""
    found = [
        _without_credentials(match[1])
        for _, text in _source_files(root)
        for match in _SNAPSHOT.finditer(text)
    ]
    return list(dict.fromkeys(base for base in found if base is not None))


def _sources(root: Root) -> Iterator[_Source]:
    for name, text in _source_files(root):
        rows = _deb822(text) if name.endswith(".sources") else _one_line(text)
        for uri, suite in rows:
            bare = _without_credentials(uri)
            if bare is not None:
                yield _Source(bare, suite)


def _source_files(root: Root) -> Iterator[tuple[str, str]]:
    """The files in which apt's sources are written, and their text."""
    files = [f"{SOURCES}/sources.list"]
    directory = Path(root.at(f"{SOURCES}/sources.list.d"))
    if directory.is_dir():
        files += sorted(f"{SOURCES}/sources.list.d/{entry.name}" for entry in directory.iterdir())
    for name in files:
        data = root.read(name, _RELEASE_LIMIT) if name.endswith((".list", ".sources")) else None
        if data is not None:
            yield name, data.decode("utf-8", "replace")


def _one_line(text: str) -> Iterator[tuple[str, str]]:
    """``deb [options] uri suite component...``"""
    for raw in text.splitlines():
        line = re.sub(r"\[[^]]*\]", " ", raw.partition("#")[0])
        words = line.split()
        if len(words) >= 3 and words[0] == "deb":
            yield words[1], words[2]


def _deb822(text: str) -> Iterator[tuple[str, str]]:
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for fields in stanzas(kept):
        lower = {name.lower(): value for name, value in fields.items()}
        if lower.get("enabled", "yes").lower() in {"no", "false", "0", "off"}:
            continue
        if "deb" in lower.get("types", "").split():
            for uri in lower.get("uris", "").split():
                for suite in lower.get("suites", "").split():
                    yield uri, suite


def _without_credentials(uri: str) -> str | None:
    """The archive's URL as a lock may hold it; None for what cannot be fetched over HTTP."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, urls.bare_path(parts.path).rstrip("/"), "", ""))
