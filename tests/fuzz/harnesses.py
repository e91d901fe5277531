"""One harness a parser: its documented errors, and what must hold of all that it lets through."""

from __future__ import annotations

import contextlib
import csv
import functools
import gzip
import hashlib
import io
import os
import posixpath
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from hypothesis import strategies as st

from envfreeze.build import loosefiles, place, sinks
from envfreeze.build import patches as build_patches
from envfreeze.build.layout import Schemes
from envfreeze.errors import (
    ArtifactError,
    DiskError,
    EnvfreezeError,
    IndexUnavailableError,
    LockError,
    TargetError,
)
from envfreeze.model import toml
from envfreeze.model.identity import normalize
from envfreeze.model.lock import (
    INLINE,
    Edit,
    Lock,
    LooseEntry,
    LooseSite,
    SourceTree,
    artifacts,
    dumps,
    loads,
)
from envfreeze.model.snapshot import Dist, Row
from envfreeze.model.survey import survey
from envfreeze.probe import dists, metadata, pointers, roots, sitepath
from envfreeze.probe.machine import Machine
from envfreeze.render.dockerfile import DockerOptions, render
from envfreeze.resolve import aptlists, debfile, dpkg, elf, freeze, patches
from envfreeze.resolve.http import Http, Page, UnreachableError, local_path
from envfreeze.resolve.index import Candidates, Index
from envfreeze.resolve.pack import layout
from envfreeze.resolve.pipconf import IndexSettings
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.wheels import NotProved, Prover
from envfreeze.resolve.zipremote import BadZip, RemoteZip
from envfreeze.store import Cache, open_artifact
from envfreeze.targets.bundle import HELLO, Question
from tests import strategies
from tests.fuzz import corpus
from tests.fuzz.guard import Cost
from tests.fuzz.mutate import from_strategy
from tests.support import envs, locks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Check = Callable[[bytes, Path], None]


@dataclass(frozen=True, kw_only=True)
class Harness:
    """A parser and its enemies."""

    name: str
    check: Check
    seeds: Callable[[], list[bytes]]
    tokens: tuple[bytes, ...] = ()
    memory: int | None = 64 << 20
    """Bytes that one input of up to 64 KiB may take at its peak; None: it is hypothesis that
    takes it."""
    seconds: float = 2.0
    """Of processor time, for one such input."""


HARNESSES: list[Harness] = []


def harness(
    name: str, seeds: Callable[[], list[bytes]], *tokens: bytes, **limits: Any
) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        HARNESSES.append(Harness(name=name, check=check, seeds=seeds, tokens=tokens, **limits))
        return check

    return register


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _below(path: str, root: str) -> bool:
    return os.path.normpath(path).startswith(root.rstrip("/") + "/")


# --- the probe -----------------------------------------------------------------------------

ROOTS = {"site": "/p/lib/s", "scripts": "/p/bin", "headers": "/p/include", "data": "/p"}


@harness(
    "RECORD",
    lambda: corpus.metadata("RECORD"),
    b",sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n",
    b",,\n",
    b"../../bin/x",
    b'"a""b",',
)
def record(data: bytes, scratch: Path) -> None:
    columns = metadata.record(_text(data))
    if columns is None:
        return
    paths, claims = columns
    assert len(paths) == len(claims) == len(set(paths)) <= metadata.MAX_ROWS
    assert all(paths)
    places = dists.Roots(ROOTS["site"], ROOTS["data"], ROOTS["headers"])
    for path in paths:
        scheme, relative, full = places.place(path)
        if scheme == "outside":
            continue
        assert full is not None
        assert _below(full, ROOTS[scheme]), (path, full)
        assert relative, path
        assert not relative.startswith("/"), path
        assert ".." not in relative.split("/"), path
    if "\r" not in _text(data) and "\0" not in _text(data):
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(zip(paths, claims, paths, strict=True))
        assert metadata.record(out.getvalue()) == columns


@harness("METADATA", lambda: corpus.metadata("METADATA"), b"Name: ", b"Requires-Dist: ", b"\n\n")
def core(data: bytes, scratch: Path) -> None:
    text = _text(data)
    name, version, requires, licence = metadata.core(text)
    assert (name, version) == metadata.name_and_version(text)
    assert not re.search(r"[\r\n]", name + version + "".join(requires))
    assert len(requires) <= len(text.splitlines())
    assert not re.search(r"[\r\n]", "".join(licence.values()))


@harness("WHEEL", lambda: corpus.metadata("WHEEL"), b"Tag: ", b"Root-Is-Purelib: ", b"Build: ")
def wheel(data: bytes, scratch: Path) -> None:
    found = metadata.wheel(_text(data))
    assert set(found) == {"tags", "purelib", "build"}
    assert isinstance(found["purelib"], bool)


@harness("entry_points.txt", lambda: corpus.metadata("entry_points.txt"), b"[console_scripts]\n")
def entry_points(data: bytes, scratch: Path) -> None:
    text = _text(data)
    names = metadata.wrappers(text)
    assert len(names) <= len(text.splitlines())
    assert all(len(name.splitlines()) <= 1 for name in names)


@harness("requires.txt", corpus.requires, b"[x:", b"]\n")
def egg_requires(data: bytes, scratch: Path) -> None:
    found = metadata.egg_requires(_text(data))
    assert sum(map(len, found)) <= metadata.MAX_REQUIRES


@harness("dist-info name", corpus.info_names)
def info_name(data: bytes, scratch: Path) -> None:
    text = _text(data)[:255]
    name, version = metadata.from_directory_name(text)
    assert name in text
    assert version in text


@harness("pth", corpus.pths, b"import os\n", b"/", b"~", memory=96 << 20)
def pth(data: bytes, scratch: Path) -> None:
    site = scratch
    (site / "there").mkdir()
    (site / "x.pth").write_bytes(data)
    before = set(sys.modules)
    builder = sitepath.PathBuilder(Machine(environ={}))
    builder.add_site(str(site), "site")
    paths = [path for path, _ in builder.entries]
    assert paths[0] == str(site)
    assert len(paths) == len(set(paths)) <= data.count(b"\n") + data.count(b"\r") + 2000
    assert all(os.path.isabs(path) for path in paths)
    assert all(os.path.exists(path) for path in paths)
    assert all(name.startswith("encodings") for name in set(sys.modules) - before)


FILES = ("x.pth", "x.egg-link", "__editable___x_finder.py")


@harness(
    "editable install",
    corpus.editables,
    b"file:///",
    b'"editable": true',
    b"MAPPING = {'a': '",
    b"import __editable___x_finder\n",
    b"\\ud800",
    b"%ff",
    b"'/\\x",
    corpus.SPLIT,
)
def editable(data: bytes, scratch: Path) -> None:
    """What a .pth, an egg-link, a finder and a direct_url.json name, none of it run."""
    parts = data.replace(b"@TREE@", str(scratch / "tree").encode()).split(corpus.SPLIT)
    site, tree = scratch / "lib/s", scratch / "tree"
    site.mkdir(parents=True)
    (tree / "src/x").mkdir(parents=True)
    (tree / "pyproject.toml").touch()
    (tree / "src/x/__init__.py").touch()
    for name, content in zip(FILES, parts, strict=False):
        (site / name).write_bytes(content)
    direct = _text(parts[3]) if len(parts) > 3 else None
    facts = {"prefix": str(scratch), "base-prefix": "/nonexistent/base"}
    facts |= dict.fromkeys(("stdlib", "purelib", "platlib"), str(site))
    machine = Machine(environ={"HOME": "/nonexistent/home"})
    builder = sitepath.PathBuilder(machine)
    builder.add_site(str(site), "site")
    finder = roots.Finder(machine, facts, [roots.Site(str(site), sorted(os.listdir(site)), [])])
    dist = {"site": str(site), "info": "x-1.dist-info", "name": "x", "rows": None}
    found = finder.find(builder.entries, [{**dist, "direct_url": direct}])
    keys = [root.key for root in found]
    assert len(keys) == len(set(keys))
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", key) for key in keys), keys
    spelt = [(path, root.key) for root in found for path in root.spellings]
    places = {root.key: f"/p/src/{root.key}" for root in found}
    for name, content in zip(FILES, parts, strict=False):
        neutral = pointers.neutral(name, content, spelt)
        assert set(pointers.keys(neutral)) <= {*keys, *pointers.keys(content)}
        pointers.placed(name, neutral, places)


@harness("pyvenv.cfg", corpus.pyvenvs, b"include-system-site-packages = ")
def pyvenv(data: bytes, scratch: Path) -> None:
    prefix = scratch
    (prefix / "bin").mkdir()
    (prefix / "pyvenv.cfg").write_bytes(data)
    found = sitepath.find_venv(str(prefix / "bin/python"))
    assert found is not None
    assert isinstance(found.system_site, bool)


@harness("probe's answer", corpus.answers, b"\0MARK\0", b'"rows":', b'["site","x",null,0,false,""]')
def answer(data: bytes, scratch: Path) -> None:
    question = _question()
    frame = question.marker.encode()
    output = frame + HELLO.encode() + frame + frame + data.replace(b"\0MARK\0", frame) + frame
    try:
        observation = question.answer(output, "a place")
        assert observation.last is None or observation.last.fingerprint
        if observation.same is not None:
            return
        snapshot = observation.snapshot
    except TargetError as error:
        assert len(str(error)) < 20_000 + 4 * len(data)
        return
    seen = survey(snapshot)
    layouts = {site.path: layout(site, snapshot.interpreter) for site in snapshot.sites}
    for item in seen.seen:
        home = layouts.get(item.dist.site)
        for row in item.dist.rows or () if home else ():
            try:
                full = home.full(row, item.dist.name)
            except ArtifactError:
                continue
            tops = (home.site, home.prefix, home.headers)
            assert any(_below(full, str(top)) for top in tops if top), row


@functools.cache
def _question() -> Question:
    return Question()


# --- indexes -------------------------------------------------------------------------------


class _Offline:
    """Stands where the network is: one page, and nothing else."""

    def __init__(self, page: Page | None = None) -> None:
        self._page = page

    def page(self, url: str) -> Page | None:
        return self._page

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def refuse(url: str, *_: object) -> Any:
            raise UnreachableError("there is no network here")

        return refuse


def _index(page: Page | None, **settings: Any) -> Index:
    made = IndexSettings(timeout=1, retries=0, **settings)
    return Index(made, cast("Http", _Offline(page)))


def _candidates(body: bytes, content_type: str) -> None:
    page = Page(body=body, content_type=content_type, url="https://index.example/simple/demo/")
    index = _index(page, index_url="https://u:secret@index.example/simple")
    try:
        found = index.candidates("demo", "1.0")
    except IndexUnavailableError:
        return
    _check_candidates(found, body)


def _check_candidates(found: Candidates, body: bytes) -> None:
    for candidate in (*found.wheels, *found.sdists):
        assert not re.search(r"[/\\\x00-\x1f\x7f]", candidate.filename), candidate
        assert normalize(candidate.filename).startswith("demo-"), candidate
        assert urlsplit(candidate.url).scheme in {"http", "https"}, candidate
        assert candidate.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", candidate.sha256)
        assert candidate.size is None or candidate.size > 0
        assert candidate.index == "https://index.example/simple"
        assert not candidate.local


@harness(
    "simple API, JSON",
    lambda: corpus.pages(False),
    b'{"filename":"demo-1.0-py3-none-any.whl","url":"x"},',
    b"demo-1.0",
    b".whl",
    b'"hashes":{"sha256":"',
    b"file:///etc/passwd#",
    b"\\ud800",
)
def json_page(data: bytes, scratch: Path) -> None:
    _candidates(data, "application/vnd.pypi.simple.v1+json")


@harness(
    "simple API, HTML",
    lambda: corpus.pages(True),
    b'<a href="demo-1.0-py3-none-any.whl">',
    b"<base href=",
    b"<![",
    b"<!--",
    b"&#x10ffff;",
    b"file:///etc/passwd#/demo-1.0.zip",
    b"//[",
)
def html_page(data: bytes, scratch: Path) -> None:
    _candidates(data, "text/html")


@harness("direct_url.json", corpus.direct_urls, b'"url":', b"://", b"file:///", b"user:pw@")
def direct_url(data: bytes, scratch: Path) -> None:
    text = _text(data)
    dist = _dist(direct_url=text)
    stripped = freeze._without_credentials(text)
    assert stripped is not None
    assert freeze._without_credentials(stripped) == stripped, "not all of it at once"
    assert isinstance(freeze._is_editable(dist), bool)
    url = _url_of(text)
    if url is not None and local_path(url) is None:
        home = scratch
        prover = Prover(index=_index(None), cache=Cache(home / "cache"))
        assert isinstance(prover.prove(dist), NotProved)


def _url_of(text: str) -> str | None:
    try:
        document = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None
    url = document.get("url") if isinstance(document, dict) else None
    return url if isinstance(url, str) else None


def _dist(**changes: Any) -> Dist:
    """The first wheel of the corpus as it would be installed."""
    rows = [
        Row("site", name, digest, size, False, None) for name, digest, size in _installed_files()
    ]
    facts = {
        "site": "/p/lib/s",
        "info": "demo-1.0.dist-info",
        "name": "demo",
        "version": "1.0",
        "rows": rows,
        "tags": ["py3-none-any"],
        "wrappers": ["demo", "pip"],
    }
    return Dist(**(facts | changes))  # type: ignore[arg-type]


@functools.cache
def _installed_files() -> list[tuple[str, str, int]]:
    with zipfile.ZipFile(io.BytesIO(corpus.wheels()[0])) as archive:
        return [
            (name, hashlib.sha256(content).hexdigest(), len(content))
            for name in archive.namelist()
            if not name.startswith("demo-1.0.data/") and not name.endswith("/RECORD")
            for content in (archive.read(name),)
        ]


# --- zips and wheels -----------------------------------------------------------------------

_ZIP = (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"\1\0\x18\0")


@harness("zip directory", corpus.wheels, *_ZIP)
def zip_directory(data: bytes, scratch: Path) -> None:
    try:
        archive = RemoteZip(len(data), lambda start, end: data[start:end])
    except BadZip:
        return
    try:
        other = zipfile.ZipFile(io.BytesIO(data))
    except Exception:
        other = None
    for name in archive.names:
        try:
            content = archive.read(name, 1 << 20)
        except BadZip:
            continue
        assert len(content) == archive.size_of(name) <= 1 << 20
        with contextlib.suppress(Exception):
            # What the proof reads must be what the rebuild will place.
            placed = other.read(name) if other is not None else content
            if placed != content:
                raise _TwoReadingsError(name)


class _TwoReadingsError(BaseException):
    """Two readers of zips see two contents under one name."""


@harness("candidate wheel", corpus.wheels, *_ZIP)
def candidate(data: bytes, scratch: Path) -> None:
    _prove(data, scratch)


@harness(
    "RECORD of a candidate",
    lambda: [*corpus.metadata("RECORD")[:3], _wheel_record()],
    b"demo-1.0.data/",
    b"../",
)
def candidate_record(data: bytes, scratch: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("demo/__init__.py", "x = 1\n")
        archive.writestr("demo-1.0.dist-info/RECORD", data)
    _prove(stream.getvalue(), scratch)


def _wheel_record() -> bytes:
    with zipfile.ZipFile(io.BytesIO(corpus.wheels()[0])) as archive:
        return archive.read("demo-1.0.dist-info/RECORD")


def _prove(data: bytes, scratch: Path) -> None:
    home = scratch
    (home / "links").mkdir()
    path = home / "links/demo-1.0-py3-none-any.whl"
    path.write_bytes(data)
    # The real client: nothing but a file: URL comes up here.
    settings = IndexSettings(find_links=((home / "links").as_uri(),), retries=0, timeout=1)
    prover = Prover(index=Index(settings, Http(settings)), cache=Cache(home / "cache"))
    verdict = prover.prove(_dist())
    if isinstance(verdict, NotProved):
        assert len(verdict.reason) < 1000 + 4 * len(data)
    else:
        assert verdict.sha256 == hashlib.sha256(data).hexdigest()
        assert verdict.size == len(data)


@harness("wheel to place", corpus.wheels, *_ZIP, memory=160 << 20)
def wheel_to_place(data: bytes, scratch: Path) -> None:
    _place(data, scratch)


@harness(
    "entry points to place",
    lambda: corpus.metadata("entry_points.txt"),
    b"[console_scripts]\n",
    b"../x = a:b\n",
    b"x = os:system\n",
)
def entry_points_to_place(data: bytes, scratch: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("demo-1.0.dist-info/METADATA", "Name: demo\nVersion: 1.0\n")
        archive.writestr("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("demo-1.0.dist-info/entry_points.txt", data)
    _place(stream.getvalue(), scratch)


@harness(
    "member names to place",
    lambda: [b"demo/__init__.py\ndemo-1.0.data/scripts/run\ndemo-1.0.data/data/share/x"],
    b"demo-1.0.data/",
    b"demo-1.0.dist-info/",
    b"/",
    b"..",
    b".",
    b"\n",
    b"DEMO/__init__.py",
)
def names_to_place(data: bytes, scratch: Path) -> None:
    """Each line a member; zipfile's own writer would tidy some of them, so it gets no say."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("demo-1.0.dist-info/METADATA", "Name: demo\nVersion: 1.0\n")
        for line in _text(data).split("\n")[:50]:
            info = zipfile.ZipInfo("x")
            info.filename = line[:500].replace("\ud800", "?")
            info.external_attr = (0o120777 if len(line) % 3 == 0 else 0o100755) << 16
            with contextlib.suppress(UserWarning):  # A name that is there twice.
                archive.writestr(info, b"#!python\nx")
    _place(stream.getvalue(), scratch)


def _place(data: bytes, scratch: Path) -> None:
    home = scratch
    path = home / "demo-1.0-py3-none-any.whl"
    path.write_bytes(data)
    package = envs.package_of(_first_wheel(home), info="demo-1.0.dist-info")
    env = home / "env"
    env.mkdir()
    with contextlib.suppress(LockError, ArtifactError, DiskError):
        place.place_package(package, path, sinks.DirectorySink(env), _schemes(str(env)))
    assert set(os.listdir(home)) <= {"env", path.name, "first-1-py3-none-any.whl"}
    out = io.BytesIO()
    sink = sinks.TarSink(out, "/e")
    try:
        with contextlib.suppress(LockError, ArtifactError, DiskError), sink:
            place.place_package(package, path, sink, _schemes("/e"))
    except UnicodeError as error:
        raise AssertionError("a name that no tar can hold") from error
    _check_tar(out.getvalue(), "e/")


def _first_wheel(home: Path) -> Path:
    path = home / "first-1-py3-none-any.whl"
    path.write_bytes(corpus.wheels()[0])
    return path


def _schemes(prefix: str) -> Schemes:
    return Schemes(
        site=f"{prefix}/lib/s",
        scripts=f"{prefix}/bin",
        headers=f"{prefix}/include",
        data=prefix,
        python=f"{prefix}/bin/python",
    )


def _check_tar(data: bytes, below: str) -> None:
    """What an engine will unpack at ``/`` as root."""
    with contextlib.suppress(tarfile.ReadError), tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            assert (member.name + "/").startswith(below), member
            assert posixpath.normpath(member.name) == member.name, member
            assert member.isreg() or member.isdir() or member.issym(), member


def _edits() -> list[Edit]:
    def sha(content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    return [
        Edit(path="site/a.py", kind="text", before=sha(corpus.BEFORE), after=sha(corpus.AFTER)),
        Edit(path="site/b.so", kind="file", after=sha(corpus.WHOLE)),
        Edit(path="site/gone.py", kind="deleted"),
    ]


@harness("archive of edits", corpus.patch_archives, *_ZIP, memory=96 << 20)
def patch_archive(data: bytes, scratch: Path) -> None:
    home = scratch
    path = home / "patch.zip"
    path.write_bytes(data)
    with (
        contextlib.suppress(LockError, ArtifactError),
        build_patches.Patches(_edits(), path) as edits,
    ):
        text = edits.patched("site/a.py", io.BytesIO(corpus.BEFORE))
        whole = edits.patched("site/b.so", io.BytesIO(b""))
        assert edits.patched("site/gone.py", io.BytesIO(b"")) is None
        assert text is not None
        assert text.read() == corpus.AFTER
        assert whole is not None
        with whole:
            assert whole.read() == corpus.WHOLE


@harness("unified diff", corpus.diffs, b"--- a/x\n+++ b/x\n", b"@@ -1,1 +1,1 @@\n", corpus.SPLIT)
def unified_diff(data: bytes, scratch: Path) -> None:
    before, _, patch = data.partition(corpus.SPLIT)
    with contextlib.suppress(ArtifactError):
        for hunks in patches.parse(patch).values():
            with contextlib.suppress(ArtifactError):
                after = patches.apply_hunks(hunks, before)
                assert len(after) <= len(before) + len(patch)
    section = patches.diff("p", before, patch)
    if before != patch:
        assert patches.apply_hunks(patches.parse(section)["p"], before) == patch


@harness("tar.gz of unowned files", corpus.tars, b"ustar\0", b"L", b"S", b"x", b"g")
def unowned(data: bytes, scratch: Path) -> None:
    digest = hashlib.sha256(b"x\n").hexdigest()
    site = LooseSite(
        site="/s",
        files=[
            LooseEntry(path="a.pth", sha256=digest),
            LooseEntry(path="d/b", sha256=hashlib.sha256(b"b" * 600).hexdigest()),
            LooseEntry(path="l", link="d/b"),
        ],
    )
    home = scratch
    path = home / "x.tar.gz"
    path.write_bytes(gzip.compress(data, 1, mtime=0))
    (home / "env").mkdir()
    there = replace(_schemes(str(home / "env")), site=str(home / "env"))
    with contextlib.suppress(LockError, ArtifactError, DiskError):
        loosefiles.place_loose(site, path, sinks.DirectorySink(home / "env"), there)
    assert set(os.listdir(home)) == {"env", "x.tar.gz"}
    # The first bytes of a gzip, too.
    path.write_bytes(data)
    with contextlib.suppress(LockError, ArtifactError, DiskError):
        loosefiles.place_loose(site, path, sinks.DirectorySink(home / "env"), there)


@harness("tar.gz of a source tree", corpus.tars, b"ustar\0", b"L", b"S", b"x", b"/..", b"./")
def source_tree(data: bytes, scratch: Path) -> None:
    path = scratch / "x.tar.gz"
    path.write_bytes(gzip.compress(data, 1, mtime=0))
    (scratch / "src").mkdir()
    tree = SourceTree(key="k", root="/r", digest="0" * 64)
    out = io.BytesIO()
    # Its digest is never the lock's: all is placed, and then refused.
    for sink, where in (
        (sinks.DirectorySink(scratch / "src"), str(scratch / "src/k")),
        (sinks.TarSink(out, "/e"), "/e/src/k"),
    ):
        with contextlib.suppress(LockError, ArtifactError, DiskError):
            loosefiles.place_source(tree, path, sink, {"k": where})
            raise AssertionError("another tree passed for the lock's")
    assert set(os.listdir(scratch)) == {"src", "x.tar.gz"}
    _check_tar(out.getvalue(), "e/src/k/")


# --- locks ---------------------------------------------------------------------------------

OPTIONS = DockerOptions(base=locks.BASE, lock_sha256="e" * 64)


@harness(
    "lock",
    corpus.lock_texts,
    b"[[packages]]\n",
    b'path = "',
    b"[tool.envfreeze]\n",
    b'"../x"',
    b"1979-05-27",
    b"inf",
    b"{ a = 1 }",
)
def lock(data: bytes, scratch: Path) -> None:
    try:
        read = loads(_text(data))
    except LockError:
        return
    written = dumps(read)
    assert loads(written) == read
    _check_lock(read, scratch)


def _check_lock(read: Lock, scratch: Path) -> None:
    for artifact in artifacts(read):
        name = artifact.filename
        assert name not in {"", ".", ".."}
        assert "/" not in name
        if artifact.path is not None:
            assert _below(str(scratch / artifact.path), str(scratch))
            with contextlib.suppress(ArtifactError, DiskError):
                open_artifact(scratch / "env.lock", artifact)
    try:
        files = render(read, OPTIONS)
    except EnvfreezeError:
        return
    check_context(files)


_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)\s")


def check_context(files: dict[str, str]) -> None:
    """A build context says what its template says, whatever stands in the lock."""
    for name in files:
        assert posixpath.normpath(name) == name
        assert not name.startswith(("/", ".."))
    words = [line.split(None, 1)[0] for line in instructions(files["Dockerfile"])]
    allowed = ["FROM", "USER", "COPY", "RUN", "ADD", "ADD", "RUN", "ENV", "COPY", "LABEL", "ENV"]
    allowed += ["USER", "CMD"]
    rest = iter(allowed)
    assert all(word in rest for word in words), words
    assert words[0] == "FROM"
    assert words[-1] == "CMD"
    for line in files.get("system/packages.tsv", "").splitlines():
        assert re.fullmatch(r"[a-z0-9.+-]+\t[a-z0-9-]+\t[\w.+:~-]+\t[\w.+%~-]+\.deb", line), line
    for line in files.get("SHA256SUMS", "").splitlines():
        assert re.fullmatch(r"[0-9a-f]{64}  [\w./+%~-]+", line), line


def instructions(text: str) -> list[str]:
    """The instructions of a Dockerfile, split where any reader of lines might split."""
    found: list[str] = []
    held = ""
    for line in re.split(r"\r\n|[\n\r\u2028\u2029\x85\x0b\x0c\x1c-\x1e]", text):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        held += line
        if line.endswith("\\"):
            held = held[:-1]
        else:
            found.append(held)
            held = ""
    assert held == ""
    return found


def _warm(check: Callable[[bytes], None]) -> list[bytes]:
    """Hypothesis writes its tables when it first draws."""
    seed = bytes(range(256)) * 8
    check(seed)
    return [seed]


def _round_trip(drawn: object) -> None:
    text = dumps(cast("Lock", drawn))
    read = msgspec.convert(tomllib.loads(text), Lock)
    assert read == drawn
    assert dumps(read) == text
    with contextlib.suppress(LockError):
        _check_lock(loads(text), Path("/nonexistent/scratch"))


_drawn_lock = from_strategy(strategies.locks(), _round_trip)


@harness("lock written and read", lambda: _warm(_drawn_lock), memory=None, seconds=6)
def lock_round_trip(data: bytes, scratch: Path) -> None:
    _drawn_lock(data)


_scalars = st.one_of(
    strategies.words,
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.booleans(),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(strategies.words, inner, max_size=3)
    ),
    max_leaves=12,
)
_documents = st.dictionaries(
    st.one_of(strategies.words, st.sampled_from(sorted(INLINE))), _values, max_size=4
)


def _toml_round_trip(drawn: object) -> None:
    document = cast("dict[str, Any]", drawn)
    assert tomllib.loads(toml.dump(document, INLINE)) == document


_drawn_document = from_strategy(_documents, _toml_round_trip)


@harness("TOML written and read", lambda: _warm(_drawn_document), memory=None, seconds=6)
def toml_round_trip(data: bytes, scratch: Path) -> None:
    _drawn_document(data)


# --- the system's packages -----------------------------------------------------------------


@harness("apt's lists", corpus.apt, b"Size: ", b"SHA256: ", b"Filename: ../", b"deb ", corpus.SPLIT)
def apt_lists(data: bytes, scratch: Path) -> None:
    sources, _, listed = data.partition(corpus.SPLIT)
    wanted = [dpkg.Installed(name="demo", version="1.0", arch="amd64", fields={})]
    home = scratch
    apt = home / "etc/apt/sources.list.d"
    apt.mkdir(parents=True)
    (apt / "x.list").write_bytes(sources)
    (apt / "x.sources").write_bytes(sources)
    lists = home / "var/lib/apt/lists"
    lists.mkdir(parents=True)
    stem = "deb.example_debian_dists_stable_main_binary-amd64_Packages"
    (lists / stem).write_bytes(listed)
    for ending in ("gz", "xz", "bz2"):
        (lists / f"{stem}.{ending}").write_bytes(listed)
    (lists / f"{stem}.gz").write_bytes(gzip.compress(listed, 1))
    for offers in aptlists.offers(Root(home), wanted).values():
        for offer in offers:
            parts = urlsplit(offer.url)
            assert parts.scheme in {"http", "https"}
            assert "@" not in parts.netloc
            assert ".." not in parts.path.split("/")
            assert re.fullmatch(r"[0-9a-f]{64}", offer.sha256)
            assert 0 <= offer.size < 1 << 63


@harness("deb", corpus.debs, b"!<arch>\n", b"`\n", b"control.tar.xz  ", memory=200 << 20)
def deb(data: bytes, scratch: Path) -> None:
    with contextlib.suppress(debfile.DebError):
        files = debfile.read_control(lambda a, b: data[a:b], len(data))
        assert sum(map(len, files.values())) <= debfile._MAX_CONTROL
        debfile.parse_md5sums(files.get("md5sums", b""))
    with contextlib.suppress(debfile.DebError):
        debfile.data_sums(io.BytesIO(data), len(data))


@harness("tar of a deb", corpus.tars, b"ustar\0", b"L", b"S", b"x", b"g", memory=200 << 20)
def deb_tar(data: bytes, scratch: Path) -> None:
    parts = [("debian-binary", b"2.0\n"), ("control.tar", data), ("data.tar", data)]
    out = b"!<arch>\n"
    for name, content in parts:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    deb(out, scratch)


@harness("ELF", corpus.elves, b"\x7fELF", b"$ORIGIN", b"/a" * 600, b"\0")
def elf_file(data: bytes, scratch: Path) -> None:
    home = scratch
    (home / "x.so").write_bytes(data)
    (home / "etc").mkdir()
    (home / "etc/ld.so.conf").write_bytes(data[:4000])
    found = elf.needs(home / "x.so")
    if found is None:
        return
    texts = (*found.needed, *found.rpath, *found.runpath, found.soname or "")
    assert sum(map(len, texts)) <= 2 * len(data) + 5000
    scan = elf.libraries(["/x.so"], root=Root(home))
    assert scan.scanned == 1


@harness(
    "dpkg's database", corpus.statuses, b"Depends: ", b" | ", b"(>= ", b"\xc2\xb2:", corpus.SPLIT
)
def dpkg_database(data: bytes, scratch: Path) -> None:
    status, _, rest = data.partition(corpus.SPLIT)
    diversions, _, listed = rest.partition(corpus.SPLIT)
    home = scratch
    info = home / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "demo.list").write_bytes(listed)
    (info.parent / "status").write_bytes(status)
    (info.parent / "diversions").write_bytes(diversions)
    database = dpkg.Dpkg.read(Root(home))
    assert database is not None
    packages = list(database.packages.values())
    closure = {package.key for package in database.closure(packages)}
    assert closure == set(database.packages)
    database.owners(["/usr/lib/demo.so", "/lib/demo.so"])
    for package in packages[:5]:
        database.files(package)
        for other in packages[:5]:
            order = dpkg.compare(package.version, other.version)
            assert order == -dpkg.compare(other.version, package.version)


def ready() -> None:
    """Make what the harnesses share before a guard forbids to."""
    corpus.wheels()
    _installed_files()


def check_cost(chosen: Harness, cost: Cost, size: int) -> None:
    """:raises AssertionError: one input took more than its harness allows."""
    if cost.seconds > chosen.seconds:
        raise AssertionError(f"{cost.seconds:.1f} s for {size} bytes")
    if cost.memory is not None and chosen.memory is not None and cost.memory > chosen.memory:
        raise AssertionError(f"{cost.memory >> 20} MiB for {size} bytes")
