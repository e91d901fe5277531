"""A .deb by its exact version, from an archive that keeps them all."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.model.lock import SystemPackage
from envfreeze.resolve.aptlists import snapshot_archives
from envfreeze.resolve.debs import Means, prove
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.http import Http
from envfreeze.resolve.pipconf import IndexSettings
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.snapshots import Snapshots, Writer, parse
from envfreeze.store import Cache, Sidecar
from tests.support.dpkgroot import DpkgRoot, Pkg, deb_bytes
from tests.support.fakesnapshot import TIME, FakeSnapshot


@pytest.fixture
def archive() -> Iterator[FakeSnapshot]:
    with FakeSnapshot() as server:
        yield server


@pytest.fixture
def root(tmp_path: Path) -> DpkgRoot:
    return DpkgRoot(tmp_path / "root")


class Counting(Http):
    """The real client, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__(IndexSettings(retries=0, timeout=5))
        self.asked = 0

    def download(self, url: str, writer: Writer, expect_size: int | None = None) -> None:
        self.asked += 1
        super().download(url, writer, expect_size)


def libx(**changes: object) -> Pkg:
    facts: dict[str, object] = {"name": "libx", "version": "1:2.0~rc1+b-1"}
    return Pkg(**(facts | {"files": {"/usr/lib/libx.so.1": b"\x7fELF"}} | changes))  # type: ignore[arg-type]


def proved(
    root: DpkgRoot, tmp_path: Path, chosen: str | None, *, online: bool = True
) -> list[SystemPackage]:
    dpkg = Dpkg.read(Root(root.path))
    assert dpkg is not None
    http = Http(IndexSettings(retries=0, timeout=5)) if online else None
    means = Means(
        cache=Cache(tmp_path / "cache"),
        sidecar=Sidecar(tmp_path / "env.lock"),
        http=http,
        snapshot_archive=chosen,
        snapshot_http=http,
    )
    return prove(dpkg, list(dpkg.packages.values()), means).packages


def test_superseded_is_proved_by_the_archive_that_keeps_it(
    archive: FakeSnapshot, root: DpkgRoot, tmp_path: Path
) -> None:
    package = root.install(libx())
    deb = deb_bytes(package)
    url = archive.keep(package, deb)
    [found] = proved(root, tmp_path, archive.base)
    assert (found.proof, found.artifact.url) == ("proved", url)
    assert found.artifact.sha256 == hashlib.sha256(deb).hexdigest()
    asked = list(archive.requests)
    assert asked[0] == "/mr/binary/libx/1:2.0~rc1+b-1/binfiles"
    assert proved(root, tmp_path, archive.base, online=False) == [found]
    assert archive.requests == asked


def test_apts_own_comment_names_it(archive: FakeSnapshot, root: DpkgRoot, tmp_path: Path) -> None:
    package = root.install(libx())
    archive.keep(package, deb_bytes(package))
    root.write(
        "/etc/apt/sources.list.d/debian.sources",
        f"Types: deb\n# {archive.base}/archive/debian/{TIME}\nURIs: http://mirror.example/debian\n"
        "Suites: stable\nComponents: main\n",
    )
    [found] = proved(root, tmp_path, None)
    assert found.proof == "proved"
    [found] = proved(root, tmp_path / "other", "")
    assert found.proof == "packed"


def test_a_deb_that_apt_still_has_is_not_fetched(
    archive: FakeSnapshot, root: DpkgRoot, tmp_path: Path
) -> None:
    package = root.install(libx())
    deb = deb_bytes(package)
    url = archive.keep(package, deb)
    root.write("/var/cache/apt/archives/libx_1%3a2.0~rc1+b-1_amd64.deb", deb)
    [found] = proved(root, tmp_path, archive.base)
    assert (found.proof, found.artifact.url) == ("proved", url)
    assert len(archive.requests) == 1


def test_other_bytes_than_the_archive_says_prove_nothing(
    archive: FakeSnapshot, root: DpkgRoot, tmp_path: Path
) -> None:
    package = root.install(libx())
    archive.keep(package, deb_bytes(package), sha1="0" * 40)
    [found] = proved(root, tmp_path, archive.base)
    assert found.proof == "packed"


def test_other_files_than_are_installed_prove_nothing(
    archive: FakeSnapshot, root: DpkgRoot, tmp_path: Path
) -> None:
    package = root.install(libx())
    archive.keep(package, deb_bytes(libx(files={"/usr/lib/libx.so.1": b"other"})))
    [found] = proved(root, tmp_path, archive.base)
    assert found.proof == "packed"


def test_an_archive_that_does_not_have_it(
    archive: FakeSnapshot, root: DpkgRoot, tmp_path: Path
) -> None:
    for number in range(3):
        root.install(libx(name=f"lib{number}", files={f"/usr/lib/{number}": b"x"}))
    assert {p.proof for p in proved(root, tmp_path, archive.base)} == {"packed"}
    assert len(archive.requests) == 3


def test_an_archive_that_does_not_answer_is_asked_once(root: DpkgRoot, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"  # Closed by the time it is asked.
    for number in range(3):
        root.install(libx(name=f"lib{number}", files={f"/usr/lib/{number}": b"x"}))
    http = Counting()
    dpkg = Dpkg.read(Root(root.path))
    assert dpkg is not None
    snapshots = Snapshots(base, http, Cache(tmp_path / "cache"))
    assert [snapshots.offer(package, None) for package in dpkg.packages.values()] == [None] * 3
    assert http.asked == 1


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"# http://snapshot.example/archive/debian/{TIME}", ["http://snapshot.example"]),
        (f"# deb http://s.example/x/archive/debian/{TIME} stable main", ["http://s.example/x"]),
        (f"# https://u:p@s.example/archive/debian-security/{TIME}", ["https://s.example"]),
        (f"deb http://snapshot.example/archive/debian/{TIME} stable main", []),
        ("# see http://snapshot.example/archive/debian/", []),
        (f"# ftp://snapshot.example/archive/debian/{TIME}", []),
    ],
)
def test_comments_of_sources(tmp_path: Path, line: str, found: list[str]) -> None:
    (tmp_path / "etc/apt").mkdir(parents=True)
    (tmp_path / "etc/apt/sources.list").write_text(f"{line}\n")
    assert snapshot_archives(Root(tmp_path)) == found


SHA1 = "a" * 40
INFO = {
    "archive_name": "debian",
    "first_seen": TIME,
    "path": "/pool/main/libx",
    "name": "libx_1.0_amd64.deb",
    "size": 5,
}


def answer(**changes: object) -> bytes:
    row = {"architecture": "amd64", "hash": SHA1}
    return json.dumps({"result": [row], "fileinfo": {SHA1: [INFO | changes]}}).encode()


def test_an_answer() -> None:
    [place] = parse(answer(), "http://s.example", "amd64")
    assert place.url == f"http://s.example/archive/debian/{TIME}/pool/main/libx/libx_1.0_amd64.deb"
    assert list(parse(answer(), "http://s.example", "i386")) == []


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/pool/../.."},
        {"path": "//evil.example"},
        {"name": "../x.deb"},
        {"name": "a b"},
        {"archive_name": "x/y"},
        {"first_seen": "now"},
        {"size": -1},
        {"size": "5"},
        {"size": 1 << 40},
    ],
)
def test_a_hostile_answer_gives_nothing(change: dict[str, object]) -> None:
    assert list(parse(answer(**change), "http://s.example", "amd64")) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["result", "fileinfo", "hash", "architecture", SHA1]), inner
        )
    ),
)


@given(json_values)
def test_any_answer_is_survived(value: object) -> None:
    assert list(parse(json.dumps(value).encode(), "http://s.example", "amd64")) == []
