"""What the indexes and ``find-links`` offer for one release.

Source: the "simple repository API" specification of packaging.python.org (PEP 503, 592, 629,
691, 700). Pages are hostile: nothing in them becomes a path, and a bad entry costs only itself.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

import msgspec

from envfreeze.errors import ArtifactError, IndexUnavailableError
from envfreeze.model.identity import normalize
from envfreeze.resolve.http import (
    Http,
    Page,
    UnreachableError,
    is_secure,
    local_path,
    redact,
)
from envfreeze.resolve.pipconf import IndexSettings, without_userinfo

SDISTS = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tar.Z", ".tar")
_JSON = frozenset({"application/vnd.pypi.simple.v1+json", "application/json"})
_HTML = frozenset({"application/vnd.pypi.simple.v1+html", "text/html", "application/xhtml+xml"})
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FRAGMENT = re.compile(r"(?:^|&)sha256=([0-9a-fA-F]{64})(?:&|$)")
_ENOUGH_FAILURES = 3
"""Failures one after the other, after which a place that answers counts as down, too."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_RELEASE = re.compile(r"[\sv]*(?:[0-9]+!)?([0-9]+(?:\.[0-9]+)*)", re.IGNORECASE)
_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]")
_LONGEST = 255
"""Characters of a file name: no file system of ours takes more, and nobody could save it."""
_MOST_TAGS = 1000
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises at JSON that is none, or is nested without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One file that an index offers. *url* is to fetch from: a lock needs it stripped."""

    filename: str
    url: str
    sha256: str | None
    size: int | None
    index: str | None
    """The index's base URL, or the find-links location, without credentials; None: a direct
    URL."""
    yanked: bool = False
    local: bool = False
    """It lies on this machine: a lock cannot name it, only keep it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The files of one release."""

    wheels: tuple[Candidate, ...] = ()
    sdists: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class WheelName:
    """A wheel's file name taken apart, leniently (no check of the parts)."""

    name: str
    version: str
    build: str | None
    python: str
    abi: str
    platform: str

    @property
    def tags(self) -> frozenset[str]:
        """Each tag that the compressed set stands for (PEP 425); none for a set without measure."""
        parts = (self.python, self.abi, self.platform)
        if math.prod(part.count(".") + 1 for part in parts) > _MOST_TAGS:
            return frozenset()
        return frozenset(
            f"{python}-{abi}-{platform}"
            for python in self.python.split(".")
            for abi in self.abi.split(".")
            for platform in self.platform.split(".")
        )


def split_wheel_name(filename: str) -> WheelName | None:
    """``NAME-VERSION(-BUILD)?-PYTHON-ABI-PLATFORM.whl``; a build tag begins with a digit."""
    parts = filename[:-4].split("-") if filename.endswith(".whl") else []
    if len(parts) < 5:
        return None
    head, (python, abi, platform) = parts[:-3], parts[-3:]
    build = None
    if len(head) > 2 and head[-1][:1].isdigit() and head[-2][:1].isdigit():
        build = head.pop()
    return WheelName("-".join(head[:-1]), head[-1], build, python, abi, platform)


class _File(msgspec.Struct, gc=False):
    # Untracked: a page has thousands, none in a cycle, and the collector looked at each often.
    filename: str
    url: str
    hashes: dict[str, str] = {}
    size: int | None = None
    yanked: bool | str | None = False


class _Page(msgspec.Struct):
    files: list[_File]


class _RawPage(msgspec.Struct):
    files: list[msgspec.Raw]


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_raw = msgspec.json.Decoder(_RawPage).decode
_decode_file = msgspec.json.Decoder(_File).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """One file that a page names, before anything of it is believed."""

    filename: str
    url: str
    sha256: str | None = None
    size: int | None = None
    yanked: bool = False


class Index:
    """Every place that pip would look in, asked as one. Safe to share between threads."""

    def __init__(self, settings: IndexSettings, http: Http) -> None:
        self.settings = settings
        self.http = http
        self._sources: list[_Source] = [
            _SimpleIndex(url, http) for url in dict.fromkeys(map(_as_url, settings.index_urls))
        ]
        self._sources += [
            _FindLinks(url, http) for url in dict.fromkeys(map(_as_url, settings.find_links))
        ]
        self._problems: dict[str, None] = {}
        self._lock = threading.Lock()
        for source in self._sources:
            if not is_secure(source.location, settings.trusted_hosts):
                self._problems[
                    f"{redact(source.location)} is not looked at, as by pip: it is neither https"
                    " nor in trusted-host"
                ] = None
        self._sources = [
            source for source in self._sources if is_secure(source.location, settings.trusted_hosts)
        ]

    @property
    def problems(self) -> list[str]:
        """What did not answer, one line each, in the order seen."""
        with self._lock:
            return list(self._problems)

    def candidates(self, name: str, version: str) -> Candidates:
        """Every wheel and sdist of this release, those on a network first.

        :raises IndexUnavailableError: no place answered.
        """
        if not _NAME.fullmatch(name):
            return Candidates()
        wanted = _Wanted(normalize(name), version)
        found: list[Candidate] = []
        failure: IndexUnavailableError | None = None
        answered = not self._sources
        for source in self._sources:
            try:
                found += source.find(wanted)
                answered = True
            except IndexUnavailableError as error:  # noqa: PERF203
                failure = failure or error
                with self._lock:
                    self._problems[str(error)] = None
        if not answered and failure is not None:
            raise failure
        return _sorted(found)


def _as_url(location: str) -> str:
    """pip takes a path wherever it takes a URL (``build_source``)."""
    if urlsplit(location).scheme in {"http", "https", "file"}:
        return location
    return Path(location).absolute().as_uri()


def _sorted(found: Iterable[Candidate]) -> Candidates:
    """Each file once, from a network rather than from this machine, with a hash if any has."""
    ranked = sorted(found, key=lambda c: (c.local, c.sha256 is None))
    chosen: dict[tuple[str, str | None], Candidate] = {}
    for candidate in ranked:
        chosen.setdefault((candidate.filename, candidate.sha256), candidate)
    files = tuple(chosen.values())
    return Candidates(
        wheels=tuple(c for c in files if c.filename.endswith(".whl")),
        sdists=tuple(c for c in files if not c.filename.endswith(".whl")),
    )


# --- which files are of the release --------------------------------------------------------


class _Wanted:
    """One release, and whether a file name is of it.

    A page names thousands of files of some hundred versions: each version is looked at once.
    """

    def __init__(self, name: str, version: str) -> None:
        self.name = name
        self._version = version
        self._parsed = _parse_version(version)
        self._release = _release(version)
        self._known: dict[str, bool] = {version: True, _escaped(version): True}

    def takes(self, filename: str) -> bool:
        if len(filename) > _LONGEST:
            return False
        if filename.endswith(".whl"):
            parts = filename.split("-", 2)
            if len(parts) == 3 and self._is_name(parts[0]):
                return self._is_version(parts[1])
            name = split_wheel_name(filename)
            return name is not None and self._is_name(name.name) and self._is_version(name.version)
        return any(self._takes_stem(filename[: -len(end)]) for end in _endings(filename))

    def _takes_stem(self, stem: str) -> bool:
        place = stem.find("-")
        while place > 0:
            if self._is_name(stem[:place]) and self._is_version(stem[place + 1 :]):
                return True
            place = stem.find("-", place + 1)
        return False

    def _is_name(self, text: str) -> bool:
        return text == self.name or normalize(text) == self.name

    def _is_version(self, text: str) -> bool:
        known = self._known.get(text)
        if known is None:
            known = False
            if self._parsed is not None and _release(text) == self._release:
                known = _parse_version(text) == self._parsed
            self._known[text] = known
        return known


def _endings(filename: str) -> list[str]:
    return [ending for ending in SDISTS if filename.endswith(ending)][:1]


def _release(version: str) -> str | None:
    """Equal for versions that may be equal (PEP 440, "Release segment"): cheaper than parsing."""
    match = _RELEASE.match(version)
    if match is None:
        return None
    release = match[1]
    if ".0" in release or release[0] == "0":
        release = ".".join(str(int(part)) for part in release.split(".") if len(part) < 400)
    return release.rstrip("0.")


def _escaped(version: str) -> str:
    """How older tools wrote a version into a file name (PEP 427, "Escaping and Unicode")."""
    return re.sub(r"[^\w.]+", "_", version)


def _parse_version(text: str) -> object | None:
    from packaging.version import Version

    try:
        return Version(text.replace("_", "-") if "+" not in text else text)
    except ValueError:  # InvalidVersion, or more digits than Python takes for a number.
        return None


# --- places --------------------------------------------------------------------------------


class _Source:
    """One place that offers files. When it is down, it is asked once."""

    def __init__(self, location: str, http: Http) -> None:
        self.location = without_userinfo(location)
        self._fetch_from = location
        self._http = http
        self._down: IndexUnavailableError | None = None
        self._failures = 0
        self._gate = threading.Lock()
        self._tried = False

    def find(self, wanted: _Wanted) -> list[Candidate]:
        raise NotImplementedError

    def _page(self, url: str) -> Page | None:
        """A page; the first request goes alone, so that a dead index costs one wait."""
        if self._down is not None:
            raise self._down
        if self._tried:
            return self._ask(url)
        with self._gate:
            if self._down is not None:
                raise self._down
            return self._ask(url)

    def _ask(self, url: str) -> Page | None:
        try:
            page = self._http.page(url)
        except UnreachableError as error:
            self._down = error
            raise
        except IndexUnavailableError as error:
            self._failures += 1
            if self._failures >= _ENOUGH_FAILURES:
                self._down = error
            raise
        except ArtifactError as error:
            raise IndexUnavailableError(str(error), hint=error.hint) from error
        self._tried = True
        self._failures = 0
        return page

    def _candidate(self, link: _Link) -> Candidate:
        return Candidate(
            filename=link.filename,
            url=link.url,
            sha256=link.sha256,
            size=link.size,
            index=self.location,
            yanked=link.yanked,
            local=link.url.startswith("file:"),
        )

    def _allowed(self, link: _Link) -> bool:
        """A page from the network must not send us to files of this machine."""
        scheme = urlsplit(link.url).scheme
        if scheme == "file":
            return self.location.startswith("file:") and local_path(link.url) is not None
        return scheme in {"http", "https"}


class _SimpleIndex(_Source):
    """``BASE/NAME/`` for each project."""

    def find(self, wanted: _Wanted) -> list[Candidate]:
        url = f"{self._fetch_from.rstrip('/')}/{quote(wanted.name, safe='')}/"
        page = self._page(url)
        if page is None:
            _check_directory(self.location)
            return []
        links = _links(page, wanted.takes)
        return [self._candidate(link) for link in links if self._allowed(link)]


class _FindLinks(_Source):
    """A directory, a page of links, or one file; read once."""

    def __init__(self, location: str, http: Http) -> None:
        super().__init__(location, http)
        self._read: list[_Link] | None = None
        self._failed: IndexUnavailableError | None = None
        self._reading = threading.Lock()

    def find(self, wanted: _Wanted) -> list[Candidate]:
        with self._reading:
            if self._failed is not None:
                raise self._failed
            if self._read is None:
                try:
                    self._read = [link for link in self._list() if self._allowed(link)]
                except IndexUnavailableError as error:
                    self._failed = error
                    raise
        return [self._candidate(link) for link in self._read if wanted.takes(link.filename)]

    def _list(self) -> list[_Link]:
        path = local_path(self.location)
        if path is not None and path.is_dir():
            return self._directory(path)
        if _is_archive(filename := filename_of(self.location)):
            if path is not None and not path.is_file():
                raise _missing(self.location)
            return [_Link(filename=filename, url=self._fetch_from)]
        page = self._page(self._fetch_from)
        if page is None:
            raise _missing(self.location)
        return _links(page, _is_archive)

    def _directory(self, path: Path) -> list[_Link]:
        found: list[_Link] = []
        try:
            entries = sorted(path.iterdir())
        except OSError as error:
            raise IndexUnavailableError(f"cannot read {path}: {error.strerror}") from error
        for entry in entries:
            if entry.suffix in {".html", ".htm"}:
                page = self._http.page(entry.as_uri())
                found += _links(page, _is_archive) if page is not None else []
            elif _is_archive(entry.name) and entry.is_file():
                found.append(_Link(filename=entry.name, url=entry.absolute().as_uri()))
        return found


def _check_directory(location: str) -> None:
    path = local_path(location)
    if path is not None and not path.is_dir():
        raise _missing(location)


def _missing(location: str) -> IndexUnavailableError:
    return IndexUnavailableError(
        f"{redact(location)} is not there",
        hint="Check index-url, extra-index-url and find-links (pip config list).",
    )


def _is_archive(filename: str) -> bool:
    return filename.endswith((".whl", *SDISTS))


def filename_of(url: str) -> str:
    """The last segment of a URL's path, decoded; empty where it is no URL. Never use it as a
    path."""
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        return ""


# --- pages ---------------------------------------------------------------------------------

Takes = Callable[[str], bool]


def _links(page: Page, takes: Takes) -> list[_Link]:
    """The links of a page whose file names are taken, by what the answer says it is."""
    if page.content_type in _JSON:
        return list(_json_links(page, takes))
    if page.content_type in _HTML:
        return list(_html_links(page, takes))
    raise IndexUnavailableError(
        f"{redact(page.url)} is {page.content_type or 'of no type'!r}, not a page of an index",
        hint="Check the index URL in pip's settings; it usually ends with /simple.",
    )


def _json_links(page: Page, takes: Takes) -> Iterator[_Link]:
    """PEP 691 and 700; ``hashes`` may be empty, ``size`` is missing before version 1.1."""
    for file in _json_files(page):
        if not takes(file.filename) or _UNSAFE.search(file.filename):
            continue
        url = _join(page.url, file.url)
        if url is None:
            continue
        digest = file.hashes.get("sha256", "").lower()
        yield _Link(
            filename=file.filename,
            url=url,
            sha256=digest if _SHA256.fullmatch(digest) else None,
            size=file.size if file.size is not None and file.size > 0 else None,
            yanked=bool(file.yanked),
        )


def _json_files(page: Page) -> list[_File]:
    try:
        return _decode_page(page.body).files
    except _UNREADABLE:
        pass
    files = []
    try:
        raw = _decode_raw(page.body).files
    except _UNREADABLE as error:
        raise IndexUnavailableError(
            f"{redact(page.url)} is not JSON of the simple API: {error}",
            hint="Check the index URL in pip's settings; it usually ends with /simple.",
        ) from error
    for item in raw:
        try:
            files.append(_decode_file(item))
        except _UNREADABLE:  # noqa: PERF203
            continue
    return files


def _join(base: str, url: str) -> str | None:
    try:
        joined = urljoin(base, url)
        urlsplit(joined).port  # noqa: B018 - raises ValueError for a port that is none
    except ValueError:
        return None
    return joined.partition("#")[0]


class _Anchors(HTMLParser):
    """``href`` and ``data-yanked`` of each anchor, and the base they are relative to."""

    def __init__(self, base: str) -> None:
        super().__init__(convert_charrefs=True)
        self.base = base
        self.found: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        href = values.get("href")
        if tag == "base" and href:
            self.base = _join(self.base, href) or self.base
        elif tag == "a" and href:
            self.found.append((href.strip(), "data-yanked" in values))


def _html_links(page: Page, takes: Takes) -> Iterator[_Link]:
    """PEP 503: the hash is the fragment; PEP 592: the presence of ``data-yanked`` counts."""
    anchors = _Anchors(page.url)
    try:
        anchors.feed(page.body.decode("utf-8", "replace"))
    except (AssertionError, ValueError) as error:
        raise IndexUnavailableError(f"{redact(page.url)} is not HTML that can be read") from error
    for href, yanked in anchors.found:
        target, _, fragment = href.partition("#")
        filename = unquote(target.partition("?")[0].rpartition("/")[2])
        if not takes(filename) or _UNSAFE.search(filename):
            continue
        url = _join(anchors.base, target)
        if url is None:
            continue
        digest = _FRAGMENT.search(fragment)
        yield _Link(
            filename=filename,
            url=url,
            sha256=digest[1].lower() if digest else None,
            yanked=yanked,
        )
