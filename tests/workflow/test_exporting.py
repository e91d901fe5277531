"""A lock in the words of other tools, and what those tools make of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze import workflow
from envfreeze.cli import main
from envfreeze.errors import LockError, NotHermeticError, UsageError
from envfreeze.model.lock import Artifact, Edit, InterpreterLayer, Lock, Package, dumps
from envfreeze.model.snapshot import Licence
from envfreeze.store import Cache
from tests.support import envs, needs
from tests.support.cli import envfreeze, ok
from tests.support.dockerfiles import parse
from tests.support.fakeindex import FakeIndex, make_wheel
from tests.support.installers import UV
from tests.support.locks import BASE, deb, interpreter, lock
from tests.support.machines import sealed


def changed(package: Package, **facts: Any) -> Package:
    found = msgspec.structs.replace(package.facts, **facts)
    return msgspec.structs.replace(package, tool=type(package.tool)(envfreeze=found))


class Scene:
    """A lock of two wheels of an index and a packed one, and the index."""

    def __init__(self, place: Path, index: FakeIndex) -> None:
        self.place = place
        self.index = index
        self.venv = envs.make_venv(place / "venv")
        self.path = place / "env.lock"
        self.packages = [
            self.proved("alpha", "1.0", {"alpha/__init__.py": "a = 1\n"}),
            self.proved("beta", "2.0", {"beta.py": "b = 2\n"}),
            self.packed("gamma", "3.0", {"gamma.py": "c = 3\n"}),
        ]
        self.debs = [deb("libz", artifact=self.beside(b"a deb", "libz.deb"))]

    def proved(self, name: str, version: str, files: dict[str, bytes | str]) -> Package:
        wheel = make_wheel(self.index.directory, name, version, files)
        package = envs.package_of(wheel)
        url = f"{self.index.base}/files/{wheel.name}#sha256=x"
        return msgspec.structs.replace(
            package, wheels=[msgspec.structs.replace(package.wheels[0], url=url)]
        )

    def packed(self, name: str, version: str, files: dict[str, bytes | str]) -> Package:
        wheel = make_wheel(self.place, name, version, files)
        package = envs.package_of(wheel, proof="packed")
        archive = self.beside(wheel.read_bytes(), wheel.name)
        return msgspec.structs.replace(package, wheels=[], archive=archive)

    def beside(self, content: bytes, name: str) -> Artifact:
        digest = hashlib.sha256(content).hexdigest()
        path = self.place / f"env.lock.d/{digest}/{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        relative = path.relative_to(self.place).as_posix()
        return Artifact(path=relative, size=len(content), hashes={"sha256": digest})

    def write(self, **machine: Any) -> Lock:
        facts = interpreter(
            prefix=str(self.venv),
            executable=str(self.venv / "bin/python"),
            base_executable="/opt/python/bin/python3",
            scripts=str(self.venv / "bin"),
            purelib=str(self.venv / envs.SITE),
            platlib=str(self.venv / envs.SITE),
            version=envs.VERSION,
        )
        layer = InterpreterLayer(facts=facts, origin="system")
        values: dict[str, Any] = {"interpreter": layer, "system": self.debs} | machine
        made = msgspec.structs.replace(lock(**values), packages=self.packages)
        made = sealed(made)
        self.path.write_text(dumps(made))
        return made

    def export(self, kind: str, into: Path, *, strict: bool = False) -> workflow.Exported:
        environ = {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "HOME": str(self.place)}
        context = workflow.Context(environ=environ, cache=Cache(self.place / "cache"))
        options = workflow.ImageOptions(base=BASE)
        return workflow.export(self.path, kind, into, options, context, strict)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "index").mkdir()
    with FakeIndex(tmp_path / "index") as index:
        yield Scene(tmp_path, index)


def pip(venv: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), "install"]
    command += ["--no-index", "--no-deps", "--quiet", *arguments]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )


def modules(venv: Path) -> set[str]:
    site = venv / envs.SITE
    return {n for n in ("alpha", "beta", "gamma") if list(site.glob(f"{n}/__init__.py"))
            or (site / f"{n}.py").is_file()}  # fmt: skip


# --- requirements and pylock ---------------------------------------------------------------


def test_pip_installs_the_requirements(scene: Scene) -> None:
    scene.write()
    target = scene.place / "requirements.txt"
    assert scene.export("requirements", target).notes == []
    done = pip(scene.venv, "--require-hashes", "-r", "requirements.txt", cwd=scene.place)
    assert done.returncode == 0, done.stderr
    assert modules(scene.venv) == {"alpha", "beta", "gamma"}


@pytest.mark.parametrize(
    ("kind", "name"), [("requirements", "requirements.txt"), ("pylock", "pylock.toml")]
)
def test_uv_installs_what_is_exported(kind: str, name: str, scene: Scene) -> None:
    scene.write()
    scene.export(kind, scene.place / name)
    environ = {**os.environ, "UV_CACHE_DIR": str(scene.place / "uv"), "UV_NO_CONFIG": "1"}
    argv = [UV, "pip", "sync", "--quiet", "--no-index", "--python", scene.venv, name]
    hashes = ["--require-hashes"] if kind == "requirements" else []
    done = subprocess.run(
        [*argv, *hashes], cwd=scene.place, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert modules(scene.venv) == {"alpha", "beta", "gamma"}


def test_pip_refuses_other_bytes(scene: Scene) -> None:
    scene.write()
    scene.export("requirements", scene.place / "requirements.txt")
    make_wheel(scene.index.directory, "beta", "2.0", {"beta.py": "b = 3\n"})
    done = pip(scene.venv, "--require-hashes", "-r", "requirements.txt", cwd=scene.place)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_pip_installs_the_pylock(scene: Scene) -> None:
    scene.write()
    scene.export("pylock", scene.place / "pylock.toml")
    assert (scene.place / "pylock.toml").read_bytes() == scene.path.read_bytes()
    done = pip(scene.venv, "-r", "pylock.toml", cwd=scene.place)
    assert done.returncode == 0, done.stderr
    assert modules(scene.venv) == {"alpha", "beta", "gamma"}


def test_a_pylock_elsewhere_would_lose_what_is_packed(scene: Scene) -> None:
    scene.write()
    with pytest.raises(UsageError, match="gamma: packed beside the lock"):
        scene.export("pylock", scene.place / "other/pylock.toml")
    with pytest.raises(UsageError, match="PEP 751"):
        scene.export("pylock", scene.place / "lock.toml")
    scene.packages = scene.packages[:2]
    scene.write()
    scene.export("pylock", scene.place / "other/pylock.ci.toml")


@pytest.mark.parametrize("kind", ["requirements", "pylock"])
def test_strict_names_what_has_no_url(scene: Scene, kind: str) -> None:
    scene.write()
    with pytest.raises(NotHermeticError, match="gamma"):
        scene.export(kind, scene.place / "pylock.toml", strict=True)
    assert not (scene.place / "pylock.toml").exists()


def test_what_pip_cannot_do_is_said(scene: Scene) -> None:
    scene.packages[0] = changed(
        scene.packages[0], edits=[Edit(path="site/alpha/__init__.py", kind="deleted")]
    )
    scene.write()
    target = scene.place / "requirements.txt"
    notes = scene.export("requirements", target).notes
    assert notes == ["alpha: its edited files come back as they were before"]
    assert "# alpha: without the changes to 1 of its files\nalpha @ http" in target.read_text()


# --- the portable Dockerfile ---------------------------------------------------------------


def test_its_scripts_fetch_and_install(scene: Scene) -> None:
    """The step of the image, run here: pip of the interpreter itself, the index by URL."""
    scene.write()
    place = scene.place / "portable"
    found = scene.export("dockerfile", place)
    assert found.place == str(place / "Dockerfile")
    assert [note.partition(", ")[0] for note in found.notes] == [
        "no public URL: system/libz_1.0-1_amd64.deb: the system package libz 1.0-1",
        "no public URL: environment.tar: gamma 3.0",
    ]
    words = [word for word, _ in parse((place / "Dockerfile").read_text())]
    assert words == [
        *("FROM", "USER", "COPY", "RUN", "ADD", "ENV", "COPY", "RUN", "COPY", "LABEL"),
        *("ENV", "USER", "CMD"),
    ]
    environ = {"PATH": f"{scene.venv}/bin:{os.environ['PATH']}", "HOME": str(scene.place)}
    for _ in range(2):  # A second time finds everything there, and places it again.
        done = subprocess.run(
            ["sh", str(place / "packages/install.sh")],
            env={**environ, "PIP_INDEX_URL": "http://127.0.0.1:9"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert modules(scene.venv) == {"alpha", "beta"}
    assert not list((scene.venv / envs.SITE).rglob("*.pyc"))
    with tarfile.open(place / "environment.tar") as tar:
        names = {name.removeprefix(str(scene.venv)[1:]) for name in tar.getnames()}
    assert f"/{envs.SITE}/gamma.py" in names
    assert "/pyvenv.cfg" in names
    assert not any("alpha" in name or "beta" in name for name in names)


def test_another_wheel_at_the_url_is_refused(scene: Scene) -> None:
    scene.write()
    place = scene.place / "portable"
    scene.export("dockerfile", place)
    make_wheel(scene.index.directory, "beta", "2.0", {"beta.py": "evil\n"})
    done = subprocess.run(
        ["sh", str(place / "packages/install.sh")],
        env={"PATH": f"{scene.venv}/bin:{os.environ['PATH']}", "HOME": str(scene.place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert modules(scene.venv) == set()


def test_apts_helper_fetches_the_debs(scene: Scene) -> None:
    if not Path("/usr/lib/apt/apt-helper").exists():
        pytest.skip("no apt here")
    content = b"!<arch>\n"
    (scene.index.directory / "libz_1.0-1_amd64.deb").write_bytes(content)
    url = f"{scene.index.base}/files/libz_1.0-1_amd64.deb"
    good = {"sha256": hashlib.sha256(content).hexdigest()}
    for hashes, status in ((good, 0), ({"sha256": "0" * 64}, 1)):
        scene.debs = [deb("libz", artifact=Artifact(url=url, size=len(content), hashes=hashes))]
        scene.write()
        place = scene.place / f"portable{status}"
        assert [n for n in scene.export("dockerfile", place).notes if "libz" in n] == []
        done = subprocess.run(
            ["sh", str(place / "system/fetch.sh")], capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
    assert (scene.place / "portable0/system/libz_1.0-1_amd64.deb").read_bytes() == content
    assert "cannot be had as the lock names it" in done.stderr


def test_strict_wants_a_url_for_everything(scene: Scene) -> None:
    scene.write()
    with pytest.raises(NotHermeticError) as caught:
        scene.export("dockerfile", scene.place / "portable", strict=True)
    assert "libz 1.0-1" in str(caught.value)
    assert "gamma 3.0" in str(caught.value)
    assert not (scene.place / "portable").exists()
    scene.packages, scene.debs = scene.packages[:2], []
    scene.write()
    scene.export("dockerfile", scene.place / "portable", strict=True)


def test_what_is_too_large_for_a_repository_is_refused(scene: Scene) -> None:
    archive = scene.packages[2].archive
    assert archive is not None
    scene.packages[2] = msgspec.structs.replace(
        scene.packages[2], archive=msgspec.structs.replace(archive, size=workflow.SMALL + 1)
    )
    scene.write()
    with pytest.raises(UsageError, match=r"environment\.tar: too large .*(?s:.*)gamma 3\.0"):
        scene.export("dockerfile", scene.place / "portable")


@pytest.mark.parametrize(
    "tail", ["a b.whl", "$HOME/x.whl", "x.whl ; evil", "x.whl\\", "x\nevil", "ü.whl", '"x.whl']
)
def test_a_url_that_would_be_more_is_refused(scene: Scene, tail: str) -> None:
    wheel = msgspec.structs.replace(
        scene.packages[0].wheels[0],
        name="alpha-1.0-py3-none-any.whl",
        url=f"https://i.example/{tail}",
    )
    scene.packages[0] = msgspec.structs.replace(scene.packages[0], wheels=[wheel])
    scene.write()
    for kind in ("requirements", "dockerfile"):
        with pytest.raises(LockError, match="cannot stand in a file"):
            scene.export(kind, scene.place / kind)


def test_the_command(scene: Scene) -> None:
    scene.write()
    env = {"ENVFREEZE_CACHE_DIR": str(scene.place / "cache"), "PIP_CONFIG_FILE": os.devnull}
    into = scene.place / "x"
    done = envfreeze("export", scene.path, "--base", BASE, "-o", into, env=env)
    assert ok(done).stdout == f"{into}/Dockerfile\n"
    assert "gamma 3.0" in done.stderr
    assert (into / "env.lock").read_bytes() == scene.path.read_bytes()
    ok(envfreeze("export", scene.path, "--format", "conda", env=env), 2)
    done = ok(envfreeze("export", scene.path, "--format", "pylock", "--base", BASE, env=env), 2)
    assert "--base is not for --format pylock" in done.stderr
    shutil.rmtree(into)
    ok(envfreeze("export", scene.path, "--base", BASE, "-o", into, "--strict", env=env), 4)


# --- bills of materials --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cyclonedx", "spdx"])
def test_a_bill_of_materials_is_written_whole_or_refused(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, into = tmp_path / "env.lock", tmp_path / "bom.json"
    made = needs.lock(
        needs.package("app", "lib"), needs.package("lib", licence=Licence(text="MIT"))
    )
    path.write_text(dumps(sealed(made)), "utf-8")
    argv = ["export", str(path), "--format", kind, "--output"]
    with pytest.raises(SystemExit, match="0"):
        main.run([*argv, str(into)])
    said = capsys.readouterr()
    assert said.out == f"{into}\n"
    assert said.err == "1 package: the lock does not name the licence\n"
    document = json.loads(into.read_text("utf-8"))
    found = document.get("components") or document["packages"]
    assert {"app", "lib", "python"} <= {one["name"] for one in found}
    with pytest.raises(SystemExit, match="4"):
        main.run([*argv, str(tmp_path / "none.json"), "--strict"])
    assert "python 3.11.7" in capsys.readouterr().err
    assert not (tmp_path / "none.json").exists()
    with pytest.raises(SystemExit, match="2"):
        main.run([*argv, str(tmp_path)])
