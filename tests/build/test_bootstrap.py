"""A base image made of a lock's own packages; mmdebstrap is played by a program of the tests."""

from __future__ import annotations

import json
import os
import tarfile
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.build import bootstrap, ocidebs
from envfreeze.build.ocibase import look
from envfreeze.build.said import OnLine
from envfreeze.errors import ArtifactError, EngineError, LockError, UsageError
from envfreeze.model.lock import Artifact, Lock, SystemPackage
from envfreeze.resolve.ociimage import Image
from envfreeze.store import Cache, hash_file
from tests.support import fakebootstrap, locks
from tests.support.dpkgroot import Pkg, deb_bytes

RELEASE = {"ID": "debian", "VERSION_ID": "12"}


class Scene:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, Path] = {}
        self.packages: list[SystemPackage] = []
        self.log = fakebootstrap.install(path / "bin")
        self.said: list[str] = []
        self.hear: OnLine = self.said.append
        self.deb("dpkg", Essential="yes")
        self.deb("debconf", "1.5", arch="all")

    def deb(
        self, name: str, version: str = "1.0-1", *, arch: str = "amd64", **fields: str
    ) -> SystemPackage:
        path = self.path / f"{len(self.packages)}.deb"
        path.write_bytes(deb_bytes(Pkg(name=name, version=version, arch=arch, fields=fields)))
        sha256, size = hash_file(path)
        self.files[sha256] = path
        artifact = Artifact(path=f"x/{name}.deb", size=size, hashes={"sha256": sha256})
        self.packages.append(locks.deb(name, version, arch=arch, artifact=artifact))
        return self.packages[-1]

    @property
    def lock(self) -> Lock:
        return locks.lock(system=self.packages, os_release=RELEASE)

    def make(self, cache: str = "cache") -> Image:
        wanted = bootstrap.Wanted(
            lock=self.lock,
            artifacts=self.files,
            platform=("amd64", ""),
            cache=Cache(self.path / cache),
        )
        return bootstrap.bootstrapped(wanted, self.hear)

    @property
    def called(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.log.read_text())
        return found


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return made


def members(image: Image) -> dict[str, tarfile.TarInfo]:
    (layer,) = image.layers
    with layer.open() as file, tarfile.open(fileobj=file, mode="r|") as tar:
        return {member.name: member for member in tar}


def test_the_image_has_one_layer_without_the_accidents(scene: Scene) -> None:
    image = scene.make()
    found = members(image)
    assert image.layers[0].descriptor.digest == image.diff_ids[0]
    assert image.config["rootfs"]["diff_ids"] == image.diff_ids
    assert (image.config["architecture"], image.config["os"]) == ("amd64", "linux")
    assert found["etc/machine-id"].size == 0
    assert (found["tmp"].mode, found["usr/bin"].mode) == (0o1777, 0o755)
    assert found["etc/os-release"].issym()
    assert {name for name in found if name.startswith("run")} == {"run", "run/lock"}
    assert not found.keys() & {
        "etc/apt/sources.list",
        "etc/resolv.conf",
        "var/log/dpkg.log",
        "var/lib/dpkg/status-old",
    }
    assert {member.mtime for member in found.values()} == {315_532_800}


def test_two_caches_have_the_same_layer(scene: Scene) -> None:
    first, second = scene.make("a"), scene.make("b")
    assert (first.diff_ids, first.digest) == (second.diff_ids, second.digest)


def test_it_is_made_once(scene: Scene) -> None:
    first = scene.make()
    scene.log.unlink()
    assert scene.make().digest == first.digest
    assert not scene.log.exists()
    scene.deb("more")
    assert scene.make().digest != first.digest


def test_the_archive_holds_the_locks_packages_and_nothing_else(scene: Scene) -> None:
    scene.deb("libx", "2:1.0-1", Description="two\n lines", SHA256="f" * 64)
    scene.make()
    called = scene.called
    assert set(called["archive"]) == {
        "Packages",
        "Release",
        "debconf_1.5_all.deb",
        "dpkg_1.0-1_amd64.deb",
        "libx_2%3a1.0-1_amd64.deb",
    }
    listed = bytes.fromhex(called["archive"]["Packages"]).decode()
    assert f"SHA256: {scene.packages[2].artifact.sha256}\n" in listed
    assert "f" * 64 not in listed
    assert listed.count("\n\n") == 2
    assert "--include=dpkg:amd64,debconf,libx:amd64" in called["arguments"]
    assert "--architectures=amd64" in called["arguments"]
    assert not any(word.startswith("--setup-hook") for word in called["arguments"])


def test_nothing_of_this_process_reaches_the_scripts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    scene.make()
    own = {"PATH", "LC_ALL", "DPKG_FORCE", "SOURCE_DATE_EPOCH", "TMPDIR"}
    # Python sets LC_CTYPE for itself.
    assert set(scene.called["environment"]) - {"LC_CTYPE"} == own


def test_a_merged_usr(scene: Scene) -> None:
    scene.deb("usr-is-merged", arch="all")
    scene.make()
    (hook,) = [w for w in scene.called["arguments"] if w.startswith("--setup-hook=")]
    assert "for d in bin sbin lib lib64;" in hook


def test_another_architecture_beside_it(scene: Scene) -> None:
    scene.deb("libc6", arch="i386")
    scene.make()
    assert "--architectures=amd64,i386" in scene.called["arguments"]


def test_what_it_says_is_passed_on_and_ends_the_error(scene: Scene) -> None:
    scene.deb("broken")
    with pytest.raises(EngineError, match=r"status 25(.*\n)*.*package broken.*\n.*exit status 1"):
        scene.make()
    assert "Setting up dpkg ..." in scene.said


def test_what_is_not_installed_afterwards_is_named(scene: Scene) -> None:
    scene.deb("forgotten")
    with pytest.raises(EngineError, match="has not the lock's packages: forgotten:amd64"):
        scene.make()


def test_without_the_program(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(scene.path))
    with pytest.raises(UsageError, match="not on PATH") as caught:
        scene.make()
    assert "package of that name" in caught.value.hint


def test_a_deb_that_is_another_one(scene: Scene) -> None:
    package = scene.deb("libx")
    scene.packages[-1] = msgspec.structs.replace(package, version="2.0-1")
    with pytest.raises(LockError, match=r"is not libx 2\.0-1"):
        scene.make()
    assert not scene.log.exists()


def test_a_deb_with_other_bytes(scene: Scene) -> None:
    scene.files[scene.packages[0].artifact.sha256].write_bytes(b"other")
    with pytest.raises(ArtifactError, match=r"is not dpkg_1\.0-1_amd64\.deb as the lock"):
        scene.make()
    assert not scene.log.exists()


@pytest.mark.parametrize("name", ["a,b", "-oX=1", "a b", "?essential"])
def test_a_hostile_name(scene: Scene, name: str) -> None:
    scene.packages[-1] = msgspec.structs.replace(scene.packages[-1], name=name)
    with pytest.raises(LockError):
        scene.make()
    assert not scene.log.exists()


def test_no_dpkg_in_the_lock(scene: Scene) -> None:
    del scene.packages[0]
    with pytest.raises(LockError, match="not one dpkg"):
        scene.make()


def test_nothing_is_left_behind(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    scene.make("a")
    scene.deb("broken")
    with pytest.raises(EngineError):
        scene.make("b")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_interruption_ends_what_runs(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    scene.deb("slow")

    def stop(line: str) -> None:
        if "slow" in line:
            raise KeyboardInterrupt

    scene.hear = stop
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        scene.make()
    assert time.monotonic() - began < 10
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_is_mounted_is_not_removed() -> None:
    mounts = (
        "22 1 0:20 / /proc rw,nosuid - proc proc rw\n"
        "23 1 0:21 / /tmp/a\\040b/root/sys ro - sysfs sys rw\n"
        "24 1 0:22 / /tmp/a\\040bc/sys ro - sysfs sys rw\n"
    )
    assert bootstrap.mounted_below(Path("/tmp/a b"), mounts) == ["/tmp/a\\040b/root/sys"]
    assert bootstrap.mounted_below(Path("/tmp/a"), mounts) == []


def test_a_build_finds_its_packages_there(scene: Scene) -> None:
    below = look(scene.make(), Cache(scene.path / "cache"))
    assert ocidebs.plan(scene.lock, below, scene.files) is None
