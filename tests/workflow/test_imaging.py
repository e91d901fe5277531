"""What a build of an image does, and in which order: on small bases, the engine a stand-in."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import pytest

from envfreeze import workflow
from envfreeze.build.engine import OnLine, Step, Writable
from envfreeze.build.oci import Plan
from envfreeze.diff.inside import Inside, changes
from envfreeze.errors import UsageError
from envfreeze.model.lock import (
    Artifact,
    BaseImage,
    InterpreterLayer,
    Lock,
    SourceTree,
    dumps,
)
from envfreeze.render.running import Running
from envfreeze.resolve import ociimage
from envfreeze.resolve.debfile import write_deb
from envfreeze.store import Cache
from envfreeze.workflow.imaging import _ImageJob, _judged, _standing
from tests.support import envs, locks, ocis
from tests.support.fakeindex import make_wheel
from tests.support.machines import sealed

BASE = ocis.layer(
    {
        "etc": None,
        "etc/os-release": b"ID=debian\nVERSION_ID=12\n",
        "home": None,
        "usr": None,
        "usr/share": None,
        "var": None,
        "var/lib": None,
        "var/lib/dpkg": None,
        "var/lib/dpkg/status": b"Package: base-files\nStatus: install ok installed\n"
        b"Architecture: amd64\nVersion: 12\n",
    }
)
STATUS = (
    b"Package: base-files\nStatus: install ok installed\nArchitecture: amd64\nVersion: 12\n\n"
    b"Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n"
)
STAGE = ocis.layer({"var/lib/dpkg/status": STATUS})


class StandIn:
    """An engine that has installed the packages."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def base_by_digest(self, reference: str) -> str:
        return reference

    def changed(self, step: Step, files: Iterator[bytes], out: Writable, on_line: OnLine) -> int:
        self.steps.append(step)
        assert b"".join(files)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [ocis.digest(BASE), ocis.digest(STAGE)]},
        }
        entry = {"Config": "c.json", "Layers": ["1/layer.tar", "2/layer.tar"]}
        with tarfile.open(fileobj=out, mode="w|") as tar:  # type: ignore[call-overload]
            for name, data in {
                "c.json": json.dumps(config).encode(),
                "1/layer.tar": BASE,
                "2/layer.tar": STAGE,
                "manifest.json": json.dumps([entry]).encode(),
            }.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return 1_700_000_000


class Scene:
    """A lock with a package that only an engine can install."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.files: dict[str, Path] = {}
        python = self.artifact(self._python())
        head = b"Package: a\nVersion: 1.0-1\nArchitecture: amd64\n"
        deb = io.BytesIO()
        write_deb(
            deb,
            [("control", head, 0o644), ("postinst", b"#!/bin/sh\nuseradd x\n", 0o755)],
            gzip.compress(ocis.layer({"./usr": None})),
        )
        self.deb = self.artifact(deb.getvalue())
        made = locks.lock(
            system=[locks.deb("a", artifact=self.deb)],
            os_release={"ID": "debian", "VERSION_ID": "12"},
        )
        interpreter = made.machine.interpreter
        self.lock = locks.lock(
            system=made.machine.system.packages,
            os_release=made.machine.system.os_release,
            interpreter=type(interpreter)(facts=interpreter.facts, origin="packed", archive=python),
        )
        self.path = place / "env.lock"
        self.path.write_text(dumps(self.lock))
        self.layout = ocis.layout(place / "base", [BASE])

    def _python(self) -> bytes:
        return gzip.compress(ocis.layer({"home/u/py/bin/python3.11": b"\x7fELF"}), mtime=0)

    def artifact(self, data: bytes) -> Artifact:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.place / f"env.lock.d/{sha256}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        self.files[sha256] = path
        return Artifact(path=f"env.lock.d/{sha256}", size=len(data), hashes={"sha256": sha256})

    def context(self, environ: Mapping[str, str]) -> workflow.Context:
        return workflow.Context(environ=environ, cache=Cache(self.place / "cache"))

    def job(self, environ: Mapping[str, str], lock: Lock | None = None) -> tuple[_ImageJob, Plan]:
        scratch = self.place / "scratch"
        scratch.mkdir(exist_ok=True)
        context = self.context(environ)
        job = _ImageJob(lock or self.lock, self.path, self.files, scratch, context)
        base = ociimage.at(f"oci:{self.layout}", ("amd64", ""))
        assert base is not None
        return job, job.plan(base, "demo:1", self.place / "out.tar", Running())


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """No engine answers."""
    found = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock", "HOME": str(tmp_path)}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def test_a_stage_that_was_made_is_taken_before_any_deb_is_read(
    tmp_path: Path, nowhere: Mapping[str, str]
) -> None:
    scene, engine = Scene(tmp_path), StandIn()
    known: Any = engine
    job, plan = scene.job(nowhere)
    first = job.archive(plan, locks.BASE, known)
    assert len(engine.steps) == 1
    scene.files[scene.deb.sha256].write_bytes(b"no .deb")
    assert job.archive(plan, locks.BASE, known).image_id == first.image_id
    assert len(engine.steps) == 1


def test_without_an_engine_it_is_refused_whatever_the_cache_has(
    tmp_path: Path, nowhere: Mapping[str, str]
) -> None:
    scene = Scene(tmp_path)
    job, plan = scene.job(nowhere)
    for _ in range(2):
        with pytest.raises(UsageError, match="its postinst would have to be run"):
            job.archive(plan, locks.BASE, None)
        engine: Any = StandIn()
        job.archive(plan, locks.BASE, engine)


# --- where the interpreter comes from ------------------------------------------------------


def without_debs(place: Path) -> Scene:
    scene = Scene(place)
    layer = scene.lock.machine.interpreter
    scene.lock = sealed(locks.lock(interpreter=layer))
    scene.path.write_text(dumps(scene.lock))
    return scene


def members(archive: Path) -> set[str]:
    """Of all layers."""
    found: set[str] = set()
    with tarfile.open(archive) as tar:
        manifest = json.load(cast("IO[bytes]", tar.extractfile("manifest.json")))
        for name in manifest[0]["Layers"]:
            with tarfile.open(fileobj=tar.extractfile(name)) as layer:
                found |= set(layer.getnames())
    return found


def options(scene: Scene, **more: Any) -> workflow.ImageOptions:
    values: dict[str, Any] = {
        "base": f"oci:{scene.layout}",
        "into": scene.place / "out.tar",
        "offline": True,
    }
    return workflow.ImageOptions(**(values | more))


def test_an_interpreter_out_of_an_archive(tmp_path: Path, nowhere: Mapping[str, str]) -> None:
    scene = without_debs(tmp_path)
    patchlevel = b'#define PY_VERSION "3.11.7"'
    entries = {
        "python/bin/python3.11": b"\x7fELF",
        "python/include/python3.11/patchlevel.h": patchlevel,
    }
    given = tmp_path / "given.tar.gz"
    given.write_bytes(gzip.compress(ocis.layer(entries)))
    chosen = options(scene, interpreter=str(given))
    workflow.build_oci(scene.path, chosen, scene.context(nowhere))
    assert "home/u/py/include/python3.11/patchlevel.h" in members(tmp_path / "out.tar")


def test_an_interpreter_of_the_base(tmp_path: Path, nowhere: Mapping[str, str]) -> None:
    scene = without_debs(tmp_path)
    chosen = options(scene, interpreter="base")
    with pytest.raises(UsageError, match="has no interpreter at /home/u/py/bin"):
        workflow.build_oci(scene.path, chosen, scene.context(nowhere))
    python = {"home/u/py/bin/python3.11": b"\x7fELF"}
    scene.layout = ocis.layout(tmp_path / "with", [BASE, ocis.layer(python)])
    chosen = options(scene, interpreter="base")
    first = workflow.build_oci(scene.path, chosen, scene.context(nowhere))
    second = workflow.build_oci(scene.path, options(scene), scene.context(nowhere))
    assert second.layers == first.layers + 1


def test_one_that_is_not_the_locks_does_not_count_as_equal(tmp_path: Path) -> None:
    """Of .debs the versions are compared, not each file; nothing vouches for a chosen one."""
    layer = InterpreterLayer(facts=locks.interpreter(), origin="system", files="1" * 64)
    lock = locks.lock(interpreter=layer)
    seen = Inside(
        own=[("/usr/lib/python3.11/os.py", "2" * 64)],
        configuration=[],
        files={},
        environment={},
        python=None,
        real="",
        wanted="",
    )
    kinds = {
        word: [
            one.kind
            for one in changes(_judged(lock, workflow.ImageOptions(interpreter=word)), seen, {})
        ]
        for word in (None, "system", "base")
    }
    assert kinds == {None: ["unknown"], "system": ["unknown"], "base": ["changed"]}


# --- where the environment comes -----------------------------------------------------------


def with_a_script(scene: Scene) -> None:
    code = "#!python\nprint(1)\n"
    wheel = make_wheel(
        scene.place / "w", "demo", "1.0", {"demo.py": "", "demo-1.0.data/scripts/demo": code}
    )
    artifact = scene.artifact(wheel.read_bytes())
    package = envs.package_of(wheel)
    artifact = msgspec.structs.replace(artifact, name=wheel.name)
    package = msgspec.structs.replace(package, wheels=[artifact], archive=None)
    lock = msgspec.structs.replace(scene.lock, packages=[package])
    scene.lock = sealed(lock)
    scene.path.write_text(dumps(scene.lock))


def content(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as tar:
        manifest = json.load(cast("IO[bytes]", tar.extractfile("manifest.json")))
        for layer in reversed(manifest[0]["Layers"]):
            with tarfile.open(fileobj=tar.extractfile(layer)) as inner:
                if name in inner.getnames():
                    return cast("IO[bytes]", inner.extractfile(name)).read()
    raise KeyError(name)


def configuration(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as tar:
        manifest = json.load(cast("IO[bytes]", tar.extractfile("manifest.json")))
        found = json.load(cast("IO[bytes]", tar.extractfile(manifest[0]["Config"])))
    return cast("dict[str, Any]", found["config"])


def test_an_environment_at_another_path(tmp_path: Path, nowhere: Mapping[str, str]) -> None:
    scene = without_debs(tmp_path)
    with_a_script(scene)
    workflow.build_oci(scene.path, options(scene, prefix="/opt/e"), scene.context(nowhere))
    out = tmp_path / "out.tar"
    assert not {name for name in members(out) if name.startswith("home/u/env")}
    assert content(out, "opt/e/pyvenv.cfg").startswith(b"home = /home/u/py/bin\n")
    assert content(out, "opt/e/bin/demo").startswith(b"#!/opt/e/bin/python\n")
    assert "opt/e/lib/python3.11/site-packages/demo.py" in members(out)
    config = configuration(out)
    assert config["Cmd"] == ["python"]
    assert next(v for v in config["Env"] if v.startswith("PATH=")).startswith("PATH=/opt/e/bin:")


def test_the_same_path_changes_nothing(tmp_path: Path, nowhere: Mapping[str, str]) -> None:
    scene = without_debs(tmp_path)
    there = {"home/u/env/bin/x": b"x"}  # It may lie in the base, then.
    scene.layout = ocis.layout(tmp_path / "with", [BASE, ocis.layer(there)])
    first = workflow.build_oci(scene.path, options(scene), scene.context(nowhere))
    same = options(scene, prefix="/home/u/env")
    assert workflow.build_oci(scene.path, same, scene.context(nowhere)).image_id == first.image_id


def test_the_base_must_have_nothing_there(tmp_path: Path, nowhere: Mapping[str, str]) -> None:
    scene = without_debs(tmp_path)
    more = ocis.layer({"opt/e/x": b"x", "srv/etc": "/etc"})
    scene.layout = ocis.layout(tmp_path / "with", [BASE, more])
    for prefix, said in (
        ("/opt/e", "has /opt/e/x"),
        ("/opt/e/x/y", "has /opt/e/x"),
        ("/srv/etc/e", "the system's own"),
    ):
        with pytest.raises(UsageError, match=said):
            workflow.build_oci(scene.path, options(scene, prefix=prefix), scene.context(nowhere))


@pytest.mark.parametrize("reference", [None, "mirror.example/v:1@sha256:" + "b" * 64])
def test_an_archive_is_not_the_base_that_a_lock_rests_on(reference: str | None) -> None:
    """Neither names a digest: that makes them no namesakes."""
    own = BaseImage(image_id="sha256:" + "a" * 64, reference=reference)
    source = SourceTree(key="x", root="/srv/x", in_base=True)
    lock = locks.lock(base=own, sources=[source])
    assert lock.rests_on_base
    for other in (
        "oci:/srv/base",
        "oci-archive:/srv/base.tar",
        "mirror.example/w@sha256:" + "c" * 64,
    ):
        with pytest.raises(UsageError, match="is another one"):
            _standing(lock, other)
    assert _standing(lock, own.image_id)
    if reference is not None:
        assert _standing(lock, "other.example/v@sha256:" + "b" * 64)
