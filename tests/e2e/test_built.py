"""Distributions that pip and uv really built here: their wheel is kept, their source is told."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from envfreeze.model.lock import Lock, Package
from envfreeze.workflow import load
from tests.support.cli import digests, envfreeze, ok, site
from tests.support.fakeindex import FakeIndex
from tests.support.sdists import make_sdist, sources


@dataclass
class Place:
    """A venv with pip, an index on the loopback, caches, and a lock."""

    tmp: Path
    server: FakeIndex
    env: Path

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self.server.url,
            "PIP_CACHE_DIR": str(self.tmp / "pip-cache"),
            "UV_CACHE_DIR": str(self.tmp / "uv-cache"),
            "UV_DEFAULT_INDEX": self.server.url,
            "PIP_NO_INPUT": "1",
            "PYTHONPATH": "",
        }

    def run(self, *argv: str | Path, more: Mapping[str, str] | None = None) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))}
        done = subprocess.run(
            list(map(str, argv)),
            env={**kept, **self.environ, **(more or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"

    def pip(self, *arguments: str | Path) -> None:
        self.run(self.env / "bin/python", "-m", "pip", "install", "--quiet", *arguments)

    def capture(self) -> tuple[Lock, str]:
        """The lock, and what was said. It is rebuilt, and the rebuilt venv is equal."""
        path = self.tmp / "env.lock"
        # The own code's place may come by PYTHONPATH; the environment under test has none.
        environ = {**self.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        said = ok(envfreeze("capture", self.env, "-o", path, env=environ)).stdout
        into = self.tmp / "rebuilt"
        shutil.rmtree(into, ignore_errors=True)
        ok(envfreeze("build", path, "--to", "venv", "--into", into, env=environ))
        assert (
            digests(site(into)).items()
            >= {
                name: digest
                for name, digest in digests(site(self.env)).items()
                if name.startswith("demo/")
            }.items()
        )
        return load(path), said


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "files").mkdir()
    with FakeIndex(tmp_path / "files") as server:
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
        made = Place(tmp_path, server, tmp_path / "env")
        yield made


def demo(lock: Lock) -> Package:
    return next(package for package in lock.packages if package.name == "demo")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


FILES = {"demo/__init__.py": "ANSWER = 42\n"}


def test_a_sdist_of_the_index_that_pip_built(place: Place) -> None:
    sdist = make_sdist(place.server.directory, "demo", "1.0", FILES)
    place.pip("demo")
    lock, said = place.capture()
    [origin] = demo(lock).facts.built_from
    assert origin.url == f"{place.server.base}/files/demo-1.0.tar.gz"
    assert origin.hashes == {"sha256": digest(sdist)}
    assert "(1 built here from sdists)" in said
    [cached] = (place.tmp / "pip-cache/wheels").rglob("*.whl")
    if (cached.parent / "origin.json").exists():  # pip 22.2 and later
        assert not origin.lead
        assert demo(lock).artifact.sha256 == digest(cached)
        assert demo(lock).facts.evidence.startswith("kept: 3 files equal the RECORD of demo-1.0-")
    # Without the cache it is packed, and the sdist is no more than offered.
    shutil.rmtree(place.tmp / "pip-cache")
    again, _ = place.capture()
    assert demo(again).facts.evidence.startswith("rebuilt from the installed files")
    assert [o.lead for o in demo(again).facts.built_from] == [True]
    assert again.machine.id == lock.machine.id


@pytest.mark.long
def test_a_sdist_by_path(place: Place) -> None:
    sdist = make_sdist(place.tmp / "mine", "demo", "1.0", FILES)
    place.pip("--no-cache-dir", sdist)
    lock, said = place.capture()
    [origin] = demo(lock).facts.built_from
    assert (origin.kind, origin.name, origin.lead) == ("sdist", sdist.name, False)
    assert origin.hashes == {"sha256": digest(sdist)}
    assert f"it was built here from {sdist.name} (direct_url.json)" in said


@pytest.mark.long
def test_a_local_directory(place: Place) -> None:
    source = place.tmp / "source"
    _write(source, sources("demo", "1.0", FILES))
    place.pip("--no-cache-dir", source)
    lock, _ = place.capture()
    [origin] = demo(lock).facts.built_from
    assert (origin.kind, origin.url, origin.hashes) == ("directory", source.as_uri(), {})


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_a_commit_of_a_repository(place: Place) -> None:
    source = place.tmp / "repository"
    _write(source, {f"python/{k}": v for k, v in sources("demo", "1.0", FILES).items()})
    git = ["git", "-C", source, "-c", "user.name=x", "-c", "user.email=x@x.example"]
    place.run("git", "init", "--quiet", source)
    place.run(*git, "add", ".")
    place.run(*git, "commit", "--quiet", "-m", "first")
    place.run(*git, "tag", "v1")
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True, text=True)
    place.pip(f"git+{source.as_uri()}@v1#egg=demo&subdirectory=python")
    lock, said = place.capture()
    [origin] = demo(lock).facts.built_from
    assert (origin.kind, origin.commit) == ("git", head.stdout.strip())
    assert (origin.requested_revision, origin.subdirectory) == ("v1", "python")
    assert "(1 built here from source)" in said


@pytest.mark.skipif(importlib.util.find_spec("uv") is None, reason="uv is not installed here")
def test_a_sdist_of_the_index_that_uv_built(place: Place) -> None:
    sdist = make_sdist(place.server.directory, "demo", "1.0", FILES)
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python"]
    place.run(*uv, place.env / "bin/python", "demo")
    lock, _ = place.capture()
    [origin] = demo(lock).facts.built_from
    assert origin.hashes == {"sha256": digest(sdist)}
    if "uv's cache" in origin.evidence:  # Its layout is its own, and may change.
        [cached] = (place.tmp / "uv-cache").rglob("demo-1.0-py3-none-any.whl")
        assert demo(lock).artifact.sha256 == digest(cached)
        assert not origin.lead
    else:
        assert origin.lead


def _write(directory: Path, files: Mapping[str, str]) -> None:
    for path, content in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
