"""Building a venv: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.build import place, venv
from envfreeze.errors import ArtifactError, DiskError, TargetError, UsageError
from envfreeze.model.lock import Artifact, Lock, LooseSite
from envfreeze.model.snapshot import LooseFile, Site
from envfreeze.model.survey import as_loose
from envfreeze.progress import Progress
from envfreeze.resolve.pack import layout, pack_loose
from envfreeze.store import Cache
from tests.support import envs, locks
from tests.support.fakeindex import make_wheel

FILES = {"demo.py": "import sys\n\ndef main():\n    print('hello', sys.prefix)\n"}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    entry_points = "[console_scripts]\ndemo = demo:main\n"
    scripts = {"run": "#!python\nimport demo\ndemo.main()\n"}
    return make_wheel(
        tmp_path / "files", "demo", "1.0", FILES, entry_points=entry_points, scripts=scripts
    )


def plan(wheel: Path, into: Path, **changes: Any) -> venv.VenvPlan:
    package = envs.package_of(wheel)
    facts = locks.interpreter(version=envs.VERSION)
    lock = msgspec.structs.replace(locks.lock(facts=facts), packages=[package])
    known: dict[str, Any] = {
        "lock": lock,
        "artifacts": {package.artifact.sha256: wheel},
        "python": envs.BASE,
        "into": into,
    }
    return venv.VenvPlan(**(known | changes))


PLACES = ["plain", "a space", "it's", 'q"uote', "nÄmé", "x/y/z", "$HOME"]


@pytest.mark.parametrize("name", PLACES)
def test_a_venv_works_wherever_it_lies(tmp_path: Path, wheel: Path, name: str) -> None:
    into = tmp_path / name
    python = venv.build(plan(wheel, into), Progress())
    assert python == into / "bin/python"
    for script in ("demo", "run"):
        done = subprocess.run([into / "bin" / script], capture_output=True, text=True, check=True)
        assert done.stdout == f"hello {into}\n"
    assert not (into / venv.MARK).exists()
    assert {p.name for p in (into / envs.SITE).iterdir()} == {"demo.py", "demo-1.0.dist-info"}


def test_unowned_files_of_every_site(tmp_path: Path, wheel: Path) -> None:
    cache = Cache(tmp_path / "cache")
    sites, artifacts = [], {}
    for number, name in enumerate(("b", "a")):
        root = tmp_path / name
        root.mkdir()
        content = name.encode() * 3
        (root / "same.txt").write_bytes(content)
        entry = LooseFile("same.txt", envs.sha256(content), 3, False, None)
        site = Site(path=str(root), kind="site", loose=[entry])
        sha256, size = pack_loose(site, layout(site, locks.interpreter()), cache)
        found = cache.find(sha256)
        assert found is not None
        artifacts[sha256] = found
        archive = Artifact(path=f"x{number}/y", size=size, hashes={"sha256": sha256})
        sites.append(LooseSite(site=site.path, archive=archive, files=as_loose(site).files))
    made = plan(wheel, tmp_path / "into")
    lock = locks.lock(
        facts=made.lock.machine.interpreter.facts, loose=sorted(sites, key=lambda s: s.site)
    )
    venv.build(
        plan(wheel, tmp_path / "into", lock=lock, artifacts={**made.artifacts, **artifacts}),
        Progress(),
    )
    assert (tmp_path / "into" / envs.SITE / "same.txt").read_bytes() == b"bbb"


# --- where it may be made ------------------------------------------------------------------


def test_places_that_are_taken(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    (tmp_path / "dangling").symlink_to("absent")
    for name, said in (
        ("file", "not a directory"),
        ("full", "not empty"),
        ("dangling", "leads nowhere"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            venv.build(plan(wheel, tmp_path / name), Progress())
        assert caught.value.hint
    assert (tmp_path / "full/x").exists()


def test_what_a_killed_build_left_is_replaced(tmp_path: Path, wheel: Path) -> None:
    into = tmp_path / "into"
    (into / "lib").mkdir(parents=True)
    (into / "lib/old").touch()
    (into / venv.MARK).touch()
    venv.build(plan(wheel, into), Progress())
    assert not (into / "lib/old").exists()
    assert (into / "bin/demo").exists()


def test_an_empty_directory_is_used_and_left_as_it_was(tmp_path: Path, wheel: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (tmp_path / "link").symlink_to("into")
    for name in ("into", "link"):
        with pytest.raises(ArtifactError):
            venv.build(broken(wheel, tmp_path / name, tmp_path), Progress())
        assert list(into.iterdir()) == []
    venv.build(plan(wheel, tmp_path / "link"), Progress())
    assert (into / "bin/demo").exists()


# --- failures ------------------------------------------------------------------------------


def broken(wheel: Path, into: Path, tmp_path: Path) -> venv.VenvPlan:
    made = plan(wheel, into)
    bad = tmp_path / "bad"
    bad.write_bytes(b"no wheel")
    return plan(wheel, into, artifacts=dict.fromkeys(made.artifacts, bad))


def test_a_failure_leaves_nothing(tmp_path: Path, wheel: Path) -> None:
    into = tmp_path / "into"
    with pytest.raises(ArtifactError):
        venv.build(broken(wheel, into, tmp_path), Progress())
    assert not into.exists()


def test_ctrl_c_leaves_nothing(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, "place_parallel", interrupted)
    with pytest.raises(KeyboardInterrupt):
        venv.build(plan(wheel, tmp_path / "into"), Progress())
    assert not (tmp_path / "into").exists()


def fake_python(tmp_path: Path, text: str) -> str:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\nexit 1\n")
    path.chmod(0o755)
    return str(path)


def test_an_interpreter_without_venv(tmp_path: Path, wheel: Path) -> None:
    python = fake_python(tmp_path, "printf 'No module named venv \\377\\n' >&2")
    with pytest.raises(TargetError, match="No module named venv") as caught:
        venv.build(plan(wheel, tmp_path / "into", python=python), Progress())
    assert "python3-venv" in caught.value.hint
    assert not (tmp_path / "into").exists()


def test_an_interpreter_that_is_gone(tmp_path: Path, wheel: Path) -> None:
    with pytest.raises(TargetError, match="cannot be run: No such file"):
        venv.build(plan(wheel, tmp_path / "into", python="/absent/python"), Progress())
    assert not (tmp_path / "into").exists()


def test_a_full_disk(tmp_path: Path, wheel: Path) -> None:
    python = fake_python(tmp_path, "echo 'OSError: [Errno 28] No space left on device' >&2")
    with pytest.raises(DiskError, match="No space left"):
        venv.build(plan(wheel, tmp_path / "into", python=python), Progress())


def test_a_place_that_cannot_be_made(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="cannot write"):
        venv.build(plan(wheel, tmp_path / "file/into"), Progress())


# --- schemes -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["python3.13t", "pypy3.10", "python3.11"])
def test_the_site_directory_is_the_one_that_venv_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "lib" / name / "site-packages").mkdir(parents=True)
    found = venv.schemes(tmp_path, "/p", "3.13.1")
    assert found.site == str(tmp_path / "lib" / name / "site-packages")
    assert found.headers == str(tmp_path / "include/site/python3.13")


def test_no_site_directory_yet(tmp_path: Path) -> None:
    assert venv.schemes(tmp_path, "/p", "3.9.1").site == f"{tmp_path}/lib/python3.9/site-packages"


def old_python(minor: str) -> str | None:
    found = sorted((Path.home() / ".pyenv/versions").glob(f"{minor}.*/bin/python{minor}"))
    return str(found[-1]) if found else shutil.which(f"python{minor}")


@pytest.mark.parametrize("minor", ["3.6", "3.8", "3.13"])
def test_other_interpreters(tmp_path: Path, wheel: Path, minor: str) -> None:
    python = old_python(minor)
    if python is None or "shims" in python:
        pytest.skip(f"no Python {minor} here")
    facts = locks.interpreter(version=f"{minor}.1")
    made = plan(wheel, tmp_path / "into")
    lock: Lock = msgspec.structs.replace(locks.lock(facts=facts), packages=made.lock.packages)
    venv.build(plan(wheel, tmp_path / "into", python=python, lock=lock), Progress())
    done = subprocess.run([tmp_path / "into/bin/demo"], capture_output=True, text=True, check=True)
    assert done.stdout == f"hello {tmp_path / 'into'}\n"
    assert os.path.isdir(tmp_path / f"into/lib/python{minor}/site-packages")  # noqa: PTH112
