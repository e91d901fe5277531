"""The build context: whole or not at all, and only bytes that the lock names."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from envfreeze.build.docker import Inputs, prepare
from envfreeze.errors import ArtifactError, UsageError
from envfreeze.model.lock import Artifact, InterpreterLayer, Lock, dumps
from envfreeze.render.dockerfile import DockerOptions
from tests.support.locks import BASE, deb, interpreter, lock

DEB = b"a .deb"
PYTHON = b"an interpreter"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Scene:
    def __init__(self, path: Path) -> None:
        self.dest = path / "out/context"
        self.lock_path = path / "env.lock"
        self.files = {}
        for data in (DEB, PYTHON):
            file = path / sha(data)
            file.write_bytes(data)
            self.files[sha(data)] = file
        self.lock: Lock = lock(
            system=[deb("a", artifact=artifact(DEB))],
            interpreter=InterpreterLayer(
                facts=interpreter(), origin="packed", archive=artifact(PYTHON)
            ),
        )
        self.lock_path.write_text(dumps(self.lock))
        self.error: Exception | None = None

    def place(self, path: Path) -> None:
        if self.error is not None:
            raise self.error
        path.write_bytes(b"packages")

    def prepare(self) -> Path:
        options = DockerOptions(base=BASE, lock_sha256=sha(self.lock_path.read_bytes()))
        inputs = Inputs(lock_path=self.lock_path, files=self.files, place=self.place)
        return prepare(self.lock, options, inputs, self.dest)


def artifact(data: bytes) -> Artifact:
    return Artifact(path="env.lock.d/x/y", size=len(data), hashes={"sha256": sha(data)})


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_the_whole_context(scene: Scene) -> None:
    scene.prepare()
    found = {str(p.relative_to(scene.dest)) for p in scene.dest.rglob("*") if p.is_file()}
    assert found == {
        ".dockerignore",
        "Dockerfile",
        "README.md",
        "SHA256SUMS",
        "env.lock",
        "interpreter.tar.gz",
        "packages.tar",
        "system/SHA256SUMS",
        "system/a_1.0-1_amd64.deb",
        "system/install.sh",
        "system/os-release",
        "system/packages.tsv",
    }
    assert (scene.dest / "env.lock").read_bytes() == scene.lock_path.read_bytes()
    assert [p.name for p in scene.dest.parent.iterdir()] == ["context"]


def test_the_sums_are_those_of_the_files(scene: Scene) -> None:
    scene.prepare()
    for line in (scene.dest / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert sha((scene.dest / name).read_bytes()) == digest
    subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=scene.dest, check=True)
    subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=scene.dest / "system", check=True)


def test_an_empty_directory_may_be_there(scene: Scene) -> None:
    scene.dest.mkdir(parents=True)
    assert (scene.prepare() / "Dockerfile").is_file()


def test_what_is_there_is_not_overwritten(scene: Scene) -> None:
    scene.dest.mkdir(parents=True)
    (scene.dest / "mine").write_text("x")
    with pytest.raises(UsageError, match="not an empty directory"):
        scene.prepare()
    assert [p.name for p in scene.dest.iterdir()] == ["mine"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(scene: Scene, error: Exception) -> None:
    scene.error = error
    with pytest.raises(type(error)):
        scene.prepare()
    assert list(scene.dest.parent.iterdir()) == []


def test_a_file_that_was_not_fetched_is_named(scene: Scene) -> None:
    del scene.files[sha(DEB)]
    with pytest.raises(ArtifactError, match=r"a_1\.0-1_amd64\.deb .* was not fetched"):
        scene.prepare()


def test_a_damaged_file_is_refused(scene: Scene) -> None:
    scene.files[sha(DEB)].write_bytes(b"other")
    with pytest.raises(ArtifactError, match="expected sha256"):
        scene.prepare()
    assert list(scene.dest.parent.iterdir()) == []


def test_another_lock_than_the_one_that_was_read_is_refused(scene: Scene) -> None:
    options = DockerOptions(base=BASE, lock_sha256="0" * 64)
    inputs = Inputs(lock_path=scene.lock_path, files=scene.files, place=scene.place)
    with pytest.raises(ArtifactError, match="changed while"):
        prepare(scene.lock, options, inputs, scene.dest)
