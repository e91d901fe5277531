"""System packages: proved by their archive's .deb, or packed back into one."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.errors import ArtifactError, IndexUnavailableError
from envfreeze.model.lock import SystemPackage
from envfreeze.resolve.debfile import DebError, data_sums, parse_md5sums, read_control, unpack
from envfreeze.resolve.debs import Means, Proofs, companions, prove
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.http import RangesUnsupportedError, UnreachableError
from envfreeze.resolve.rootfs import Root
from envfreeze.store import BlobWriter, Cache, Sidecar
from tests.support.dpkgroot import DpkgRoot, Pkg, deb_bytes

BASE = "http://mirror.example/debian"


class FakeHttp:
    """Serves bytes by URL, and counts what was asked."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.ranges: list[tuple[str, int, int]] = []
        self.downloads: list[str] = []
        self.error: ArtifactError | None = None

    def read_range(self, url: str, start: int, end: int) -> bytes:
        self.ranges.append((url, start, end))
        if self.error is not None:
            raise self.error
        return self.files[url][start:end]

    def download(self, url: str, writer: BlobWriter, expect_size: int | None = None) -> None:
        self.downloads.append(url)
        writer.write(self.files[url])


class Scene:
    """A machine, its archive and a cache."""

    def __init__(self, path: Path) -> None:
        self.root = DpkgRoot(path / "root")
        self.http = FakeHttp({})
        self.cache = Cache(path / "cache")
        self.sidecar = Sidecar(path / "env.lock")

    def offer(self, package: Pkg, deb: bytes) -> None:
        self.http.files[self.root.offer(deb, package, BASE)] = deb

    def prove(self, *, online: bool = True, pack: bool = True) -> Proofs:
        dpkg = Dpkg.read(Root(self.root.path))
        assert dpkg is not None
        means = Means(
            cache=self.cache,
            sidecar=self.sidecar,
            http=self.http if online else None,
            pack=pack,
        )
        return prove(dpkg, list(dpkg.packages.values()), means)

    def one(self, **options: bool) -> SystemPackage:
        proofs = self.prove(**options)
        assert proofs.unproved == []
        (package,) = proofs.packages
        return package

    def blob(self, package: SystemPackage) -> Path:
        found = self.cache.find(package.artifact.sha256)
        assert found is not None
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def libx(**changes: object) -> Pkg:
    facts: dict[str, object] = {
        "name": "libx",
        "version": "1:2.0~rc1-1",
        "files": {"/usr/lib/libx.so.1": b"\x7fELF...", "/usr/share/doc/libx/copyright": b"free"},
        "conffiles": {"/etc/x.conf": b"x=1\n"},
        "fields": {"Depends": "liby", "Description": "x\n more\n .\n words", "Multi-Arch": "same"},
        "scripts": {"postinst": "#!/bin/sh\nset -e\n", "shlibs": "libx 1 libx\n"},
    }
    return Pkg(**(facts | changes))  # type: ignore[arg-type]


def test_proved_by_the_head_of_the_archives_deb(scene: Scene) -> None:
    package = scene.root.install(libx())
    deb = deb_bytes(package)
    scene.offer(package, deb)
    found = scene.one()
    assert (found.proof, found.version) == ("proved", "1:2.0~rc1-1")
    assert found.artifact.url == f"{BASE}/pool/libx_2.0~rc1-1_amd64.deb"
    assert found.artifact.sha256 == hashlib.sha256(deb).hexdigest()
    assert len(scene.http.ranges) == 1
    assert scene.http.downloads == []


def test_a_proof_is_remembered_offline(scene: Scene) -> None:
    package = scene.root.install(libx())
    scene.offer(package, deb_bytes(package))
    first = scene.one()
    assert scene.one(online=False) == first
    assert len(scene.http.ranges) == 1


def test_a_deb_with_other_files_proves_nothing(scene: Scene) -> None:
    package = scene.root.install(libx())
    scene.offer(package, deb_bytes(libx(files={"/usr/lib/libx.so.1": b"other"})))
    found = scene.one()
    assert found.proof == "packed"
    assert "the archive's .deb holds other files" in found.evidence


def test_without_md5sums_the_whole_deb_is_compared(scene: Scene) -> None:
    package = scene.root.install(libx())
    scene.offer(package, deb_bytes(package, md5sums=False))
    assert scene.one().proof == "proved"
    assert len(scene.http.downloads) == 1


def test_without_ranges_the_whole_deb_is_read(scene: Scene) -> None:
    package = scene.root.install(libx())
    scene.offer(package, deb_bytes(package))
    scene.http.error = RangesUnsupportedError("no ranges")
    assert scene.one().proof == "proved"
    assert len(scene.http.downloads) == 1


def test_the_deb_in_apts_cache_saves_the_network(scene: Scene) -> None:
    package = scene.root.install(libx())
    deb = deb_bytes(package)
    scene.offer(package, deb)
    scene.root.write("/var/cache/apt/archives/libx_1%3a2.0~rc1-1_amd64.deb", deb)
    found = scene.one(online=False)
    assert (found.proof, found.artifact.path) == ("proved", None)


def test_a_superseded_deb_in_apts_cache_is_kept_as_it_is(scene: Scene) -> None:
    package = scene.root.install(libx())
    deb = deb_bytes(package)
    scene.root.write("/var/cache/apt/archives/libx_1%3a2.0~rc1-1_amd64.deb", deb)
    found = scene.one()
    assert found.proof == "packed"
    assert found.evidence.startswith("the .deb from apt's cache")
    assert scene.blob(found).read_bytes() == deb


def test_superseded_is_packed_back_and_again_the_same(scene: Scene) -> None:
    scene.root.install(libx())
    found = scene.one()
    assert found.evidence.endswith("(it is in no list of apt)")
    blob = scene.blob(found)
    assert found.artifact.path == (
        f"env.lock.d/{found.artifact.sha256}/libx_1%3a2.0~rc1-1_amd64.deb"
    )
    with blob.open("rb") as file:
        control = read_control(
            lambda a, b: (file.seek(a), file.read(b - a))[1], found.artifact.size
        )
        sums = data_sums(file, found.artifact.size)
    assert control["control"].decode() == (
        "Package: libx\nArchitecture: amd64\nVersion: 1:2.0~rc1-1\nDepends: liby\n"
        "Description: x\n more\n .\n words\nMulti-Arch: same\n"
    )
    assert control["conffiles"] == b"/etc/x.conf\n"
    assert control["postinst"].startswith(b"#!/bin/sh")
    assert "etc/x.conf" in sums
    assert "etc/x.conf" not in parse_md5sums(control["md5sums"])
    shutil.rmtree(scene.cache.root)
    assert scene.one() == found


def test_dpkg_reads_what_was_packed(scene: Scene, tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb")
    scene.root.install(libx())
    (scene.root.path / "usr/lib/libx.so").symlink_to("libx.so.1")
    listed = scene.root.path / "var/lib/dpkg/info/libx:amd64.list"
    listed.write_text(listed.read_text() + "/usr/lib/libx.so\n/usr/share/doc/absent\n")
    blob = scene.blob(scene.one())
    shown = subprocess.run(
        ["dpkg-deb", "--show", "--showformat=${Version}", str(blob)],
        check=True,
        capture_output=True,
    ).stdout
    assert shown == b"1:2.0~rc1-1"
    subprocess.run(["dpkg-deb", "-x", str(blob), str(tmp_path / "out")], check=True)
    assert (tmp_path / "out/usr/lib/libx.so.1").read_bytes() == b"\x7fELF..."
    assert (tmp_path / "out/usr/lib/libx.so").readlink() == Path("libx.so.1")


def test_a_merged_directory_stays_a_directory(scene: Scene) -> None:
    (scene.root.path / "usr/lib").mkdir(parents=True)
    (scene.root.path / "lib").symlink_to("usr/lib")
    scene.root.install(libx(files={"/lib/libx.so.1": b"x"}, conffiles={}))
    blob = scene.blob(scene.one())
    with blob.open("rb") as file:
        assert data_sums(file, blob.stat().st_size) == {
            "lib/libx.so.1": hashlib.md5(b"x").hexdigest()
        }


def test_another_package_in_the_same_directory_changes_nothing(scene: Scene) -> None:
    scene.root.install(libx())
    found = scene.one()
    os.utime(scene.root.path / "usr/lib", (1, 1))
    shutil.rmtree(scene.cache.root)
    assert scene.one() == found


def test_an_edited_file_is_packed_and_named(scene: Scene) -> None:
    package = scene.root.install(libx())
    scene.offer(package, deb_bytes(package))
    (scene.root.path / "usr/lib/libx.so.1").write_bytes(b"patched")
    proofs = scene.prove()
    (found,) = proofs.packages
    assert (found.proof, scene.http.ranges) == ("packed", [])
    assert [f.kind for f in proofs.findings] == ["edited-system-file"]
    with scene.blob(found).open("rb") as file:
        sums = data_sums(file, found.artifact.size)
    assert sums["usr/lib/libx.so.1"] == hashlib.md5(b"patched").hexdigest()


def test_documentation_that_a_slim_image_left_out_is_no_edit(scene: Scene) -> None:
    package = scene.root.install(libx())
    scene.offer(package, deb_bytes(package))
    (scene.root.path / "usr/share/doc/libx/copyright").unlink()
    assert scene.one().proof == "proved"


def test_a_private_configuration_file_is_not_packed(scene: Scene) -> None:
    scene.root.install(libx())
    (scene.root.path / "etc/x.conf").chmod(0o600)
    proofs = scene.prove()
    assert [(f.kind, f.place) for f in proofs.findings] == [("private-system-file", "/etc/x.conf")]
    with scene.blob(proofs.packages[0]).open("rb") as file:
        assert "etc/x.conf" not in data_sums(file, proofs.packages[0].artifact.size)


def test_no_pack_names_what_is_unproved(scene: Scene) -> None:
    scene.root.install(libx())
    proofs = scene.prove(pack=False)
    assert proofs.packages == []
    assert [(u.name, u.reason) for u in proofs.unproved] == [("libx", "it is in no list of apt")]


def test_a_host_that_does_not_answer_is_asked_once_or_so(scene: Scene) -> None:
    for index in range(40):
        package = scene.root.install(Pkg(name=f"lib{index}", files={f"/usr/lib/{index}": b"x"}))
        scene.offer(package, deb_bytes(package))
    scene.http.error = UnreachableError("mirror.example did not answer")
    proofs = scene.prove()
    assert {p.proof for p in proofs.packages} == {"packed"}
    assert len(scene.http.ranges) <= 8


def test_a_refusal_is_for_one_file_only(scene: Scene) -> None:
    for index in range(9):
        package = scene.root.install(Pkg(name=f"lib{index}", files={f"/usr/lib/{index}": b"x"}))
        scene.offer(package, deb_bytes(package))
    scene.http.error = IndexUnavailableError("404")
    scene.prove()
    assert len(scene.http.ranges) == 9


def test_depends_stay_within_the_list_and_order_is_by_name(scene: Scene) -> None:
    scene.root.install(Pkg(name="zlib", fields={"Depends": "alib, absent"}))
    scene.root.install(Pkg(name="alib", fields={"Depends": "zlib"}))
    found = scene.prove().packages
    assert [(p.name, p.depends) for p in found] == [("alib", ["zlib"]), ("zlib", ["alib"])]


@pytest.mark.parametrize("version", ["1.0\nX: y", "1 0", "$(id)", "../1"])
def test_a_hostile_version_is_not_packed(scene: Scene, version: str) -> None:
    package = scene.root.install(libx())
    status = scene.root.path / "var/lib/dpkg/status"
    status.write_text(status.read_text().replace(package.version, version.replace("\n", "\n ")))
    proofs = scene.prove()
    assert (proofs.packages, len(proofs.unproved)) == ([], 1)


def test_companions_are_those_that_are_installed(scene: Scene) -> None:
    scene.root.install(Pkg(name="tzdata", arch="all"))
    dpkg = Dpkg.read(Root(scene.root.path))
    assert dpkg is not None
    assert [p.name for p in companions(dpkg)] == ["tzdata"]


# --- the format --------------------------------------------------------------------------


def reader(data: bytes):  # type: ignore[no-untyped-def]
    return lambda start, end: data[start:end]


def test_a_control_part_beyond_the_first_request() -> None:
    files = {f"/usr/share/{index}": os.urandom(8) for index in range(20_000)}
    package = Pkg(name="big", files=files)
    deb = deb_bytes(package)
    asked = []

    def read(start: int, end: int) -> bytes:
        asked.append((start, end))
        return deb[start:end]

    assert parse_md5sums(read_control(read, len(deb))["md5sums"]).keys() == {
        path.lstrip("/") for path in files
    }
    assert len(asked) == 2


@pytest.mark.parametrize("junk", [b"", b"PK\3\4", b"!<arch>\n", b"!<arch>\n" + b"x" * 200])
def test_what_is_no_deb_says_so(junk: bytes) -> None:
    with pytest.raises(DebError):
        read_control(reader(junk), len(junk))


@given(st.data())
def test_damage_is_a_deb_error_or_harmless(data: st.DataObject) -> None:
    whole = bytearray(deb_bytes(Pkg(name="x", files={"/a": b"a"})))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        read_control(reader(cut), len(cut))
        data_sums(io.BytesIO(cut), len(cut))
    except DebError:
        pass


def test_a_bomb_is_refused() -> None:
    import gzip

    with pytest.raises(DebError, match="more than"):
        unpack(gzip.compress(bytes(2 << 20)), "control.tar.gz", 1 << 20)
