"""The machine's layers: what is remembered, and when it must not be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.errors import IndexUnavailableError
from envfreeze.model.lock import Artifact, SystemPackage, Unproved
from envfreeze.model.snapshot import Dist, Finding, LooseFile, Row, Site, Snapshot, System
from envfreeze.model.survey import survey
from envfreeze.progress import Progress
from envfreeze.resolve import databases, debs, elf, interpreter, machine, system
from envfreeze.resolve.apk import Apk
from envfreeze.resolve.dpkg import Dpkg, Installed
from envfreeze.resolve.interpreter import Origin
from envfreeze.resolve.machine import MachineLayers, MachineMeans
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.rpm import Rpm
from envfreeze.store import BlobWriter, Cache, Sidecar, kept
from tests.support import locks

SITE = "/v/lib/python3.11/site-packages"


def installed(name: str) -> Installed:
    return Installed(name=name, version="1.0", arch="amd64", fields={})


class FakeDpkg(Dpkg):
    """Owns whatever is named like a library of a package."""

    def __init__(self) -> None:
        super().__init__(Root(), [installed("libx"), installed("libc6")])

    def manual(self) -> set[str]:
        return {"libx:amd64"}

    def owners(self, paths: list[str]) -> dict[str, list[Installed]]:
        return {p: [installed("libx")] for p in paths if "libx" in p}

    def closure(self, roots: list[Installed]) -> list[Installed]:
        return [*roots, installed("libc6")]


class FakeHttp:
    """A network that is there, or is not."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def read_range(self, url: str, start: int, end: int) -> bytes:
        if self.fails:
            raise IndexUnavailableError("no answer")
        return b""

    def download(self, url: str, writer: BlobWriter, expect_size: int | None = None) -> None:
        if self.fails:
            raise IndexUnavailableError("no answer")
        writer.write(b"x")


@dataclass
class Scene:
    """The machine below, in the test's hand."""

    tmp: Path
    cache: Cache
    database: Dpkg | Rpm | Apk | None = field(default_factory=FakeDpkg)
    problems: list[str] = field(default_factory=list)
    origin: Origin = field(default_factory=lambda: Origin(kind="system"))
    scan: elf.LibraryScan = field(
        default_factory=lambda: elf.LibraryScan(system=frozenset(), found=frozenset())
    )
    scanned: list[list[str]] = field(default_factory=list)
    proofs: int = 0
    prove: Callable[[debs.Means], debs.Proofs] = field(default=lambda _means: debs.Proofs())

    def lock(self, snapshot: Snapshot | None = None, **changes: Any) -> MachineLayers:
        snapshot = snapshot or a_snapshot()
        known: dict[str, Any] = {
            "cache": self.cache,
            "sidecar": Sidecar(self.tmp / changes.pop("lock", "env.lock")),
            "progress": Progress(),
            "http": None,
            "pack": True,
        }
        return machine.lock_machine(snapshot, survey(snapshot), MachineMeans(**(known | changes)))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(tmp_path, Cache(tmp_path / "cache"))

    def libraries(files: list[str], **_: object) -> elf.LibraryScan:
        made.scanned.append(list(files))
        return made.scan

    def prove(_dpkg: object, needed: list[Installed], means: debs.Means) -> debs.Proofs:
        made.proofs += 1
        return made.prove(means)

    monkeypatch.setattr(databases, "find", lambda _root: (made.database, made.problems))
    monkeypatch.setattr(interpreter, "origin", lambda *_: made.origin)
    monkeypatch.setattr(interpreter, "interpreter_files", lambda _facts, **_: [Path("/py/python")])
    monkeypatch.setattr(elf, "libraries", libraries)
    monkeypatch.setattr(debs, "companions", lambda _dpkg: [])
    monkeypatch.setattr(debs, "prove", prove)
    return made


def a_snapshot(rows: list[Row] | None = None, loose: list[LooseFile] | None = None) -> Snapshot:
    return Snapshot(
        schema=1,
        interpreter=locks.interpreter(),
        system=System(kernel="Linux", machine="x86_64", os_release={"ID": "debian", "A": "1"}),
        sites=[Site(path=SITE, kind="site", prefix="/v", loose=loose or [])],
        dists=[Dist(site=SITE, info="d-1.dist-info", name="d", version="1", rows=rows)]
        if rows is not None
        else [],
        findings=[],
    )


def library(scene: Scene, name: str = "libx.so.1") -> str:
    path = scene.tmp / name
    path.write_bytes(b"\x7fELF")
    scene.scan = elf.LibraryScan(system=frozenset({str(path)}), found=frozenset({str(path)}))
    return str(path)


def packed(scene: Scene, means: debs.Means) -> SystemPackage:
    with scene.cache.writing() as blob:
        blob.write(b"deb")
    artifact = kept(scene.cache, means.sidecar, blob.sha256, "libx_1.0_amd64.deb")
    return SystemPackage(
        name="libx", version="1.0", arch="amd64", proof="packed", evidence="e", artifact=artifact
    )


# --- the interpreter -----------------------------------------------------------------------


def test_an_interpreter_of_the_system(scene: Scene) -> None:
    assert scene.lock().interpreter.origin == "system"
    assert scene.lock(pack=False).interpreter.origin == "system"


def test_an_interpreter_that_is_packed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.origin = Origin(kind="packed")

    def pack(_facts: object, cache: Cache, *, root: object, files: object) -> tuple[str, int]:
        with cache.writing() as blob:
            blob.write(b"python")
        return blob.sha256, blob.size

    monkeypatch.setattr(interpreter, "pack", pack)
    layer = scene.lock().interpreter
    assert layer.origin == "packed"
    assert layer.archive is not None
    assert layer.archive.filename == "python-3.11.7.tar.gz"
    assert layer.archive.size == 6
    layer = scene.lock(pack=False).interpreter
    assert (layer.origin, layer.archive) == ("unpacked", None)


# --- the system ----------------------------------------------------------------------------


def test_the_facts_of_the_system_come_sorted(scene: Scene) -> None:
    system = scene.lock().system
    assert (system.kernel, system.machine) == ("Linux", "x86_64")
    assert list(system.os_release) == ["A", "ID"]


def test_which_files_are_looked_at(scene: Scene) -> None:
    rows = [
        Row("site", "d/fast.so", "a" * 64, 1, False, None),
        Row("site", "d/lib.so.1", "a" * 64, 1, False, None),
        Row("site", "d/plain.py", "a" * 64, 1, False, None),
        Row("scripts", "tool", "a" * 64, 1, True, None),
        Row("site", "d/gone.so", None, None, False, "sha256=x"),
    ]
    loose = [
        LooseFile("own.so", "a" * 64, 1, False, None),
        LooseFile("link.so", None, 0, False, "own.so"),
        LooseFile("text", "a" * 64, 1, False, None),
    ]
    scene.lock(a_snapshot(rows, loose))
    [files] = scene.scanned
    expected = ["/py/python", f"{SITE}/d/fast.so", f"{SITE}/d/lib.so.1", "/v/bin/tool"]
    assert sorted(files) == sorted([*expected, f"{SITE}/own.so"])


def test_libraries_that_nobody_owns_or_has(scene: Scene) -> None:
    scene.scan = elf.LibraryScan(
        system=frozenset({"/opt/mine.so"}),
        found=frozenset(),
        missing={"liblost.so.1": [f"/v/{n}.so" for n in range(5)]},
    )
    found = {f.kind: f for f in scene.lock().findings}
    assert found["missing-library"].place == "liblost.so.1"
    assert found["missing-library"].detail == (
        "0.so, 1.so, 2.so and 2 more need liblost.so.1: nobody provides it"
    )
    assert scene.proofs == 0


def test_no_dpkg(scene: Scene) -> None:
    scene.database = None
    assert scene.lock().findings == []
    scene.scan = elf.LibraryScan(system=frozenset({"/lib/libc.so.6"}), found=frozenset())
    scene.cache = Cache(scene.tmp / "other")
    assert [f.kind for f in scene.lock().findings] == ["no-system-packages"]


def test_what_was_found_is_remembered(scene: Scene) -> None:
    library(scene)
    finding = Finding(kind="k", place="p")
    lost = Unproved(name="u", version="1", site="s", info="i", reason="r")
    scene.prove = lambda means: debs.Proofs(
        packages=[packed(scene, means)], unproved=[lost], findings=[finding]
    )
    first, second = scene.lock(), scene.lock()
    assert scene.proofs == 1
    assert second == first
    assert [p.name for p in second.system.packages] == ["libx"]
    assert second.system.unproved == [lost]
    assert second.findings == [finding]


def test_remembered_for_another_lock(scene: Scene) -> None:
    library(scene)
    scene.prove = lambda means: debs.Proofs(packages=[packed(scene, means)])
    scene.lock(lock="one.lock")
    [package] = scene.lock(lock="two.lock").system.packages
    assert scene.proofs == 1
    sha256 = package.artifact.sha256
    assert package.artifact.path == f"two.lock.d/{sha256}/libx_1.0_amd64.deb"


def test_a_proved_package_keeps_its_url(scene: Scene) -> None:
    library(scene)
    artifact = Artifact(url="https://mirror.example/x.deb", size=1, hashes={"sha256": "a" * 64})
    scene.prove = lambda _means: debs.Proofs(
        packages=[locks.deb("libx", proof="proved", artifact=artifact)]
    )
    scene.lock()
    [package] = scene.lock(lock="two.lock").system.packages
    assert package.artifact == artifact


@pytest.mark.parametrize(
    "change", ["bytes gone", "library", "library gone", "file", "pack", "network", "note"]
)
def test_when_it_is_looked_at_again(scene: Scene, change: str) -> None:
    path = Path(library(scene))
    scene.prove = lambda means: debs.Proofs(packages=[packed(scene, means)])
    [package] = scene.lock().system.packages
    options: dict[str, Any] = {}
    snapshot = a_snapshot()
    if change == "bytes gone":
        scene.cache.discard(package.artifact.sha256)
    elif change == "library":
        path.write_bytes(b"\x7fELF edited")
    elif change == "library gone":
        path.unlink()
    elif change == "file":
        snapshot = a_snapshot(loose=[LooseFile("new.so", "a" * 64, 1, False, None)])
    elif change == "pack":
        options = {"pack": False}
    elif change == "network":
        options = {"http": FakeHttp()}
    else:
        for note in (scene.cache.root / "system").rglob("*.json"):
            note.write_bytes(b'{"packages": 5, \xff')
    scene.lock(snapshot, **options)
    assert scene.proofs == 2


def test_what_a_silent_network_left_open_is_not_remembered(scene: Scene) -> None:
    library(scene)

    def prove(means: debs.Means) -> debs.Proofs:
        assert means.http is not None
        try:
            means.http.read_range("https://mirror.example/x.deb", 0, 1)
            with scene.cache.writing() as blob:
                means.http.download("https://mirror.example/x.deb", blob)
        except IndexUnavailableError:
            return debs.Proofs(packages=[packed(scene, means)])
        artifact = Artifact(url="https://mirror.example/x.deb", size=1, hashes={"sha256": "a" * 64})
        return debs.Proofs(packages=[locks.deb("libx", proof="proved", artifact=artifact)])

    scene.prove = prove
    assert scene.lock(http=FakeHttp(fails=True)).system.packages[0].proof == "packed"
    assert scene.lock(http=FakeHttp()).system.packages[0].proof == "proved"
    assert scene.lock(http=FakeHttp(fails=True)).system.packages[0].proof == "proved"
    assert scene.proofs == 2


def test_the_note_is_read_back_as_it_was_written(scene: Scene) -> None:
    library(scene)
    scene.prove = lambda means: debs.Proofs(packages=[packed(scene, means)])
    scene.lock()
    [note] = (scene.cache.root / "system").rglob("*.json")
    found = msgspec.json.decode(note.read_bytes(), type=system.System)
    assert list(found.libraries) == [str(scene.tmp / "libx.so.1")]
