"""The system layer of four recorded machines (tests/roots), an environment put into each."""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.errors import UsageError
from envfreeze.model import lock as locks_model
from envfreeze.model.identity import system_digest
from envfreeze.model.lock import BaseImage, SystemLayer
from envfreeze.model.snapshot import (
    CondaPrefix,
    CondaRecord,
    Dist,
    Finding,
    LooseFile,
    Row,
    Site,
    Snapshot,
    System,
)
from envfreeze.model.survey import survey
from envfreeze.progress import Progress
from envfreeze.resolve.based import CHANGED, base_files
from envfreeze.resolve.machine import MachineMeans, lock_system, read_base
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache, Sidecar
from tests.support import locks
from tests.support.elfmaker import Elf, write_elf
from tests.support.roots import copied

SITE = "/v/lib/python3.11/site-packages"
LOADERS = {"alpine": "/lib/ld-musl-x86_64.so.1"}


@dataclass
class Locked:
    system: SystemLayer
    findings: list[Finding]


@dataclass
class Recorded:
    """A recorded machine with an environment."""

    path: Path
    name: str
    cache: Cache
    conda: CondaPrefix | None = None

    def elf(self, place: str, *needed: str, **facts: Any) -> str:
        write_elf(self.path / place.lstrip("/"), Elf(needed=list(needed), **facts))
        return place

    def text(self, place: str, text: str) -> None:
        target = self.path / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def lock(self, *, dists: dict[str, str] | None = None, **means: Any) -> Locked:
        """:param dists: library in the site directory to the distribution that brought it."""
        self.elf("/v/bin/python", interp=LOADERS.get(self.name, "/lib64/ld-linux-x86-64.so.2"))
        snapshot = self._snapshot(dists or {})
        known: dict[str, Any] = {
            "cache": self.cache,
            "sidecar": Sidecar(self.path / "env.lock"),
            "progress": Progress(),
            "http": None,
            "pack": False,
            "path": "/usr/local/bin:/usr/bin:/bin",
            "root": Root(self.path),
        }
        made = MachineMeans(**(known | means))
        base = read_base(snapshot.interpreter, made)
        layer, system = lock_system(snapshot, survey(snapshot), base, made)
        return Locked(layer, system.findings)

    def _snapshot(self, dists: dict[str, str]) -> Snapshot:
        owned = set(dists)
        found = sorted(p.name for p in (self.path / SITE.lstrip("/")).glob("*.so"))
        loose = [LooseFile(n, "a" * 64, 1, False, None) for n in found if n not in owned]
        rows = [
            Dist(
                site=SITE,
                info=f"{dist}-1.dist-info",
                name=dist,
                version="1",
                rows=[Row("site", name, "a" * 64, 1, False, None)],
            )
            for name, dist in dists.items()
        ]
        python = "/v/bin/python"
        facts = locks.interpreter(
            executable=python,
            base_executable=python,
            base_prefix="/v",
            prefix="/v",
            stdlib="/v/lib/python3.11",
            scripts="/v/bin",
        )
        return Snapshot(
            schema=1,
            interpreter=facts,
            system=System(kernel="Linux", machine="x86_64", os_release={"ID": self.name}),
            sites=[Site(path=SITE, kind="site", prefix="/v", loose=loose)],
            dists=rows,
            findings=[],
            conda=self.conda,
        )

    def record(self, name: str, files: list[str], tree: str = "1" * 64) -> None:
        """A conda package with these files, the only one."""
        self.text(f"/v/conda-meta/{name}-1-0.json", json.dumps({"files": files}))
        record = CondaRecord(
            file=f"{name}-1-0.json", name=name, version="1", build="0", count=1, tree=tree
        )
        self.conda = CondaPrefix(prefix="/v", records=[record])


@pytest.fixture
def recorded(tmp_path: Path, request: pytest.FixtureRequest) -> Recorded:
    name = getattr(request, "param", "rocky")
    return Recorded(copied(name, tmp_path / "root"), name, Cache(tmp_path / "cache"))


def whole(layers: Locked) -> locks_model.Lock:
    """A lock with that system layer, through its text and back."""
    made = locks.lock(layer=layers.system)
    read = locks_model.loads(locks_model.dumps(made))
    assert read == made
    return read


@pytest.mark.parametrize(
    ("recorded", "library", "needed"),
    [
        ("rocky", "libcrypto.so.3", ["bash", "glibc", "openssl-libs", "tzdata", "zlib"]),
        ("alpine", "libcrypto.so.3", ["libcrypto3", "musl"]),
    ],
    indirect=["recorded"],
)
def test_packages_that_are_named(recorded: Recorded, library: str, needed: list[str]) -> None:
    recorded.elf(f"{SITE}/x.so", library)
    layers = recorded.lock()
    system = whole(layers).machine.system
    assert [package.name for package in system.named] == needed
    assert all(package.identity for package in system.named)
    assert (system.packages, system.unproved, system.unowned) == ([], [], None)
    assert [f.kind for f in layers.findings] == ["no-system-packages"]
    assert f"{len(needed)} packages that it needs" in layers.findings[0].detail
    text = locks_model.dumps(whole(layers))
    assert sum(line.startswith("  { name = ") for line in text.splitlines()) == len(needed)


@pytest.mark.parametrize("recorded", ["debian", "ubuntu"], indirect=True)
def test_packages_of_dpkg(recorded: Recorded) -> None:
    recorded.elf(f"{SITE}/x.so", "libcom_err.so.2")
    system = whole(recorded.lock(pack=True)).machine.system
    names = [package.name for package in system.packages]
    assert {"libc6", "libcom-err2"} <= set(names)
    assert system.manager == "dpkg"
    assert system.named == []
    assert any(line.startswith("libcom-err2 1.47") for line in system.installed)
    assert {line.split()[3] for line in system.installed} == {"manual", "auto"}


@pytest.mark.parametrize("recorded", ["debian", "ubuntu"], indirect=True)
def test_what_every_system_begins_with(recorded: Recorded) -> None:
    recorded.elf(f"{SITE}/x.so", "libcom_err.so.2")
    plain = whole(recorded.lock(pack=True)).machine.system
    assert {"base-files", "bash", "dpkg", "libc6"} <= {k.partition(":")[0] for k in plain.essential}
    assert (plain.scope, plain.others) == ("needed", [])
    more = whole(recorded.lock(pack=True, scope="essential")).machine.system
    assert (more.packages, more.essential) == (plain.packages, plain.essential)
    assert system_digest(more) == system_digest(plain)
    kept = {f"{p.name}:{p.arch}" for p in (*more.packages, *more.others)}
    assert kept >= set(more.essential)
    assert not {p.name for p in more.others} & {p.name for p in more.packages}
    assert "libc6" in next(p.depends for p in more.others if p.name == "bash")
    known = whole(recorded.lock(pack=True, scope="essential")).machine.system
    assert known == more


@pytest.mark.parametrize("recorded", ["debian"], indirect=True)
def test_what_was_asked_for_and_every_package(recorded: Recorded) -> None:
    recorded.elf(f"{SITE}/x.so", "libcom_err.so.2")
    manual = recorded.lock(scope="manual")
    asked = {line.split()[0] for line in manual.system.installed if line.endswith(" manual")}
    lost = {f.place.partition(":")[0] for f in manual.findings if f.kind == "system-not-kept"}
    needed = {lost.name for lost in manual.system.unproved}
    assert asked <= lost | needed
    every = recorded.lock(scope="all")
    lost = {f.place.partition(":")[0] for f in every.findings if f.kind == "system-not-kept"}
    assert lost | needed == {line.split()[0] for line in every.system.installed}
    assert [lost.name for lost in every.system.unproved] == sorted(needed)


@pytest.mark.parametrize("recorded", ["debian"], indirect=True)
def test_what_the_image_below_has_is_not_kept_again(recorded: Recorded) -> None:
    image = BaseImage(image_id="sha256:" + "a" * 64)
    changes = [("/usr/lib/x86_64-linux-gnu/libacl.so.1.1.2301", CHANGED)]
    base = base_files(image, Root(recorded.path), changes, ())
    recorded.elf(f"{SITE}/x.so", "libcom_err.so.2")
    made = recorded.lock(scope="all", pack=True, base=base).system
    assert [package.name for package in made.others] == ["libacl1"]
    assert "libcom-err2" in {package.name for package in made.held}


@pytest.mark.parametrize("recorded", ["rocky", "debian"], indirect=True)
def test_packages_that_nobody_can_tell(recorded: Recorded) -> None:
    if recorded.name == "rocky":
        with pytest.raises(UsageError, match="there is no database of dpkg here"):
            recorded.lock(scope="all")
        return
    shutil.rmtree(recorded.path / "var/lib/apt")
    with pytest.raises(UsageError, match="nobody wrote down"):
        recorded.lock(scope="manual")
    assert recorded.lock(scope="all").system.scope == "all"


@pytest.mark.parametrize("recorded", ["rocky", "debian", "alpine"], indirect=True)
def test_a_library_that_somebody_built(recorded: Recorded) -> None:
    recorded.elf("/usr/local/lib/libfoo.so.1.2", "libbar.so.3", soname="libfoo.so.1")
    (recorded.path / "usr/local/lib/libfoo.so.1").symlink_to("libfoo.so.1.2")
    recorded.elf("/opt/bar/libbar.so.3", soname="libbar.so.3")
    if recorded.name == "alpine":
        recorded.text("/etc/ld-musl-x86_64.path", "/lib:/usr/local/lib:/opt/bar\n")
    else:
        (recorded.path / "etc/ld.so.cache").unlink(missing_ok=True)
        recorded.text("/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n")
        recorded.text("/etc/ld.so.conf.d/x.conf", "/usr/local/lib\n/opt/bar\n")
    recorded.elf(f"{SITE}/x.so", "libfoo.so.1")
    layers = recorded.lock(pack=True)
    system = whole(layers).machine.system
    assert system.unowned is not None
    assert system.unowned.archive is not None
    paths = [file.path for file in system.unowned.files]
    assert paths[-3:] == [
        "opt/bar/libbar.so.3",
        "usr/local/lib/libfoo.so.1",
        "usr/local/lib/libfoo.so.1.2",
    ]
    assert "unowned-library" not in {f.kind for f in layers.findings}
    archive = recorded.cache.find(system.unowned.archive.sha256)
    assert archive is not None
    with tarfile.open(archive) as tar:
        assert sorted(tar.getnames()) == paths
    assert system.unowned.archive in locks_model.artifacts(whole(layers))
    assert ("etc/ld.so.conf.d/x.conf" in paths) is (recorded.name != "alpine")


def test_without_packing_it_is_a_finding(recorded: Recorded) -> None:
    recorded.elf("/usr/local/lib/libfoo.so.1")
    recorded.elf(f"{SITE}/x.so", "libfoo.so.1", runpath="/usr/local/lib")
    layers = recorded.lock()
    assert [(f.kind, f.place) for f in layers.findings if f.kind != "no-system-packages"] == [
        ("unowned-library", "/usr/local/lib/libfoo.so.1")
    ]
    assert layers.system.unowned is not None
    assert layers.system.unowned.archive is None


def test_the_library_path_of_the_target(recorded: Recorded) -> None:
    recorded.elf("/srv/lib/libfoo.so.1")
    recorded.elf(f"{SITE}/x.so", "libfoo.so.1")
    without = recorded.lock(pack=True).system
    assert (without.unowned, without.library_path) == (None, [])
    made = recorded.lock(pack=True, library_path="/none:/srv/lib/:$ORIGIN:/srv/lib").system
    assert made.unowned is not None
    assert [file.path for file in made.unowned.files] == ["srv/lib/libfoo.so.1"]
    assert made.library_path == ["/srv/lib"]


def test_who_needs_what_nobody_has(recorded: Recorded) -> None:
    recorded.elf(f"{SITE}/cv2.so", "libGL.so.1")
    recorded.elf(f"{SITE}/own.so", "libGL.so.1")
    layers = recorded.lock(dists={"cv2.so": "opencv-python"})
    [finding] = [f for f in layers.findings if f.kind == "missing-library"]
    assert finding.detail == "opencv-python (cv2.so), own.so need libGL.so.1: nobody provides it"
    (recorded.path / f"{SITE}/own.so".lstrip("/")).unlink()
    layers = recorded.lock(dists={"cv2.so": "opencv-python"})
    [finding] = [f for f in layers.findings if f.kind == "missing-library"]
    assert finding.detail == "opencv-python (cv2.so) needs libGL.so.1: nobody provides it"


def test_a_program_of_a_package(recorded: Recorded) -> None:
    (recorded.path / "usr/bin/bash").chmod(0o755)
    (recorded.path / "usr/bin/true").write_text("")
    recorded.text("/usr/bin/bash", "\x7fELF")
    system = whole(recorded.lock(needs=("bash",))).machine.system
    assert [(n.name, n.path, n.package) for n in system.needs] == [
        ("bash", "/usr/bin/bash", "bash")
    ]
    assert [package.name for package in system.named] == ["bash", "glibc", "tzdata"]


def test_a_program_that_nobody_owns(recorded: Recorded) -> None:
    recorded.elf("/opt/ff/bin/ffmpeg", "libav.so.5", "libz.so.1", runpath="$ORIGIN/../lib")
    (recorded.path / "opt/ff/bin/ffmpeg").chmod(0o755)
    recorded.elf("/opt/ff/lib/libav.so.5")
    (recorded.path / "usr/local/bin").mkdir(parents=True)
    (recorded.path / "usr/local/bin/ffmpeg").symlink_to("/opt/ff/bin/ffmpeg")
    layers = recorded.lock(needs=("ffmpeg",), pack=True)
    system = whole(layers).machine.system
    [need] = system.needs
    assert (need.path, need.package) == ("/usr/local/bin/ffmpeg", None)
    assert system.unowned is not None
    assert [(f.path, f.executable) for f in system.unowned.files] == [
        ("opt/ff/bin/ffmpeg", True),
        ("opt/ff/lib/libav.so.5", False),
        ("usr/local/bin/ffmpeg", False),
    ]
    assert "zlib" in [package.name for package in system.named]
    assert "unowned-program" in {f.kind for f in layers.findings}


def test_a_program_that_is_not_there(recorded: Recorded) -> None:
    with pytest.raises(UsageError, match="--needs 'ffmpeg'"):
        recorded.lock(needs=("ffmpeg",))


def test_what_conda_packages_need_of_the_system(recorded: Recorded) -> None:
    recorded.elf("/v/lib/libours.so.1", "libcrypto.so.3", soname="libours.so.1")
    (recorded.path / "v/lib/libours.so").symlink_to("libours.so.1")
    recorded.elf("/v/bin/tool", "libours.so.1", "libGL.so.1", runpath="$ORIGIN/../lib")
    recorded.elf("/v/share/data.bin", "libEGL.so.1")
    files = ["lib/libours.so.1", "lib/libours.so", "bin/tool", "share/data.bin", "../../bin/x"]
    recorded.record("ours", [*files, "lib/gone.so"])
    layers = recorded.lock()
    assert "openssl-libs" in {package.name for package in layers.system.named}
    missing = [f.detail for f in layers.findings if f.kind == "missing-library"]
    assert missing == ["ours (tool) needs libGL.so.1: nobody provides it"]
    recorded.elf("/v/bin/tool", runpath="$ORIGIN/../lib")
    recorded.record("ours", files, tree="2" * 64)
    assert not [f for f in recorded.lock().findings if f.kind == "missing-library"]


def test_a_conda_record_that_cannot_be_read_names_no_library(recorded: Recorded) -> None:
    recorded.elf("/v/lib/libours.so.1", "libcrypto.so.3")
    recorded.record("ours", ["lib/libours.so.1"])
    (recorded.path / "v/conda-meta/ours-1-0.json").write_text("{")
    assert "openssl-libs" not in {package.name for package in recorded.lock().system.named}


def test_it_is_remembered_and_looked_at_again(recorded: Recorded) -> None:
    library = recorded.elf("/usr/local/lib/libfoo.so.1")
    recorded.elf(f"{SITE}/x.so", "libfoo.so.1", "libz.so.1", runpath="/usr/local/lib")
    first = recorded.lock(pack=True)
    assert recorded.lock(pack=True) == first
    recorded.elf(library, soname="other")
    second = recorded.lock(pack=True)
    assert second.system.unowned != first.system.unowned
    assert second.system.named == first.system.named


def test_a_database_that_cannot_be_read(recorded: Recorded) -> None:
    (recorded.path / "var/lib/rpm/rpmdb.sqlite").write_bytes(b"junk")
    recorded.elf(f"{SITE}/x.so", "libz.so.1")
    layers = recorded.lock(pack=True)
    [finding] = layers.findings
    assert finding.kind == "no-system-packages"
    assert finding.detail.startswith("rpm: rpmdb.sqlite: ")
    assert layers.system.manager is None
    assert (layers.system.unowned, layers.system.installed) == (None, [])


def test_the_identity_is_over_what_is_needed_however_it_is_kept(recorded: Recorded) -> None:
    empty = SystemLayer(kernel="Linux", machine="x86_64")
    recorded.elf("/usr/local/lib/libfoo.so.1")
    recorded.elf(f"{SITE}/x.so", "libfoo.so.1", "libz.so.1", runpath="/usr/local/lib")
    system = recorded.lock(pack=True).system
    without = msgspec.structs.replace(system, installed=[], manager=None, os_release={})
    assert system_digest(without) == system_digest(system)
    digests = {
        system_digest(s)
        for s in (
            empty,
            system,
            msgspec.structs.replace(system, unowned=None),
            msgspec.structs.replace(system, named=[]),
        )
    }
    assert len(digests) == 4
