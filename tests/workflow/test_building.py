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

import pytest

from envfreeze import workflow
from envfreeze.build.engine import OnLine, Step, Writable
from envfreeze.build.oci import Plan
from envfreeze.errors import UsageError
from envfreeze.model.lock import Artifact, Lock, dumps
from envfreeze.render.running import Running
from envfreeze.resolve import ociimage
from envfreeze.resolve.debfile import write_deb
from envfreeze.store import Cache
from envfreeze.workflow.building import _ImageJob
from tests.support import locks, ocis
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
