"""The whole way of a conda prefix: records by py-rattler, packages on top by real pip, edits, a
channel that has gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from envfreeze import workflow
from envfreeze.errors import NotHermeticError
from envfreeze.model.conda import CondaPackage
from envfreeze.model.lock import Lock
from envfreeze.store import Cache
from tests.support import channel
from tests.support.cli import envfreeze, ok
from tests.support.condaprogram import real_conda
from tests.support.engine import TestEngine
from tests.support.fakeindex import make_wheel

NAMES = ("captured", "rebuilt0")
"""Equally long: so one prefix is the other one's text replaced, byte by byte."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("conda")
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with channel.served(channel.template()) as found:
        yield found


@pytest.fixture(scope="module")
def context(home: Path) -> workflow.Context:
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    return replace(workflow.Context(), environ=environ, cache=Cache(home / "cache"))


@pytest.fixture(scope="module")
def prefix(home: Path, url: str) -> Path:
    """What a year of use makes of a prefix."""
    made = channel.link(home / NAMES[0], url, scripts=True)
    tiny = make_wheel(
        home / "wheels",
        "tiny",
        "1.0",
        {"tiny/__init__.py": "def main(): print('tiny')\n"},
        entry_points="[console_scripts]\ntiny = tiny:main\n",
        data={"share/tiny/data": "x\n"},
    )
    greet = make_wheel(
        home / "wheels", "greet", "3.2.1", {"greet/__init__.py": "VERSION = 'pip'\n"}
    )
    channel.pip_install(made, tiny, greet)
    (made / "share/foo/empty").write_text(f"edited in {made}\n")
    (made / "etc/conda/env_vars.d").mkdir()
    (made / "etc/conda/env_vars.d/x.json").write_text('{"A": "b"}')
    (made / "lib" / channel.TAG / "site-packages/stray.py").write_text("x = 1\n")
    (made / "conda-meta/state").write_text('{"env_vars": {"FOO": "1"}}')
    _forget(made, "poster")
    return made


def _forget(prefix: Path, name: str) -> None:
    """Let the channel of a package be gone."""
    (path,) = (prefix / "conda-meta").glob(f"{name}-*.json")
    record = json.loads(path.read_text())
    record["url"] = f"http://127.0.0.1:9/linux-64/{record['fn']}"
    path.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def lock_path(home: Path, prefix: Path, context: workflow.Context) -> Path:
    path = home / "env.lock"
    workflow.capture(str(prefix), path, workflow.CaptureOptions(), context)
    return path


@pytest.fixture(scope="module")
def lock(lock_path: Path) -> Lock:
    return workflow.load(lock_path)


@pytest.fixture(scope="module")
def built(home: Path, lock_path: Path, context: workflow.Context) -> workflow.Built:
    into = home / NAMES[1]
    return workflow.build_conda(lock_path, into, workflow.BuildOptions(), context)


def conda(lock: Lock) -> dict[str, CondaPackage]:
    layer = lock.machine.conda
    assert layer is not None
    return {package.name: package for package in layer.packages}


def test_each_package_is_proved_or_packed(lock: Lock) -> None:
    found = {name: package.proof for name, package in conda(lock).items()}
    assert found == {"python": "proved", "greet": "packed", "libfoo": "packed", "poster": "packed"}
    assert lock.machine.interpreter.origin == "conda"
    assert lock.machine.interpreter.archive is None
    assert lock.machine.hermetic
    assert "1 file that was changed" in conda(lock)["libfoo"].evidence
    assert "does not answer" in conda(lock)["poster"].evidence


def test_what_pip_installed_is_proved_or_packed_as_ever(lock: Lock) -> None:
    assert {package.name: package.facts.proof for package in lock.packages} == {
        "greet": "packed",
        "tiny": "packed",
    }
    assert [entry.path for site in lock.machine.loose for entry in site.files] == ["stray.py"]


def test_files_that_nobody_owns_are_kept(lock: Lock) -> None:
    layer = lock.machine.conda
    assert layer is not None and layer.loose is not None
    names = [entry.path for entry in layer.loose.files]
    assert names == ["etc/conda/env_vars.d/x.json", "share/post/made"]
    assert layer.variables == {"FOO": "1"}


def test_the_prefix_comes_back_whole(prefix: Path, built: workflow.Built) -> None:
    assert built.difference.equal, built.difference.changes
    assert _contents(Path(built.place)) == _contents(prefix)


def _contents(prefix: Path) -> dict[str, object]:
    """Every file but bytecode and what tools write about themselves; the prefix by a mark."""
    found: dict[str, object] = {}
    for path in sorted(prefix.rglob("*")):
        inner = str(path.relative_to(prefix))
        if "__pycache__" in inner or inner.startswith("conda-meta/") or inner.endswith("/RECORD"):
            continue
        if path.is_symlink():
            found[inner] = str(path.readlink())
        elif path.is_file():
            data = path.read_bytes().replace(str(prefix).encode(), b"PREFIX")
            if data.startswith(b"#!PREFIX/bin/python"):  # Each tool spells it its own way.
                data = b"".join(line for line in data.splitlines(keepends=True)[-1:])
            found[inner] = (data, path.stat().st_mode & 0o111)
    return found


def test_it_runs(built: workflow.Built) -> None:
    done = subprocess.run([Path(built.place) / "bin/tiny"], capture_output=True, check=True)
    assert done.stdout == b"tiny\n"
    code = "import greet, sys; print(greet.VERSION, sys.prefix)"
    argv = [Path(built.place) / "bin/python", "-c", code]
    done = subprocess.run(argv, capture_output=True, check=True)
    assert done.stdout.decode().split() == ["pip", built.place]


def test_the_records_say_where_packages_are_from(built: workflow.Built, url: str) -> None:
    import rattler

    meta = Path(built.place) / "conda-meta"
    records = {
        r.name.normalized: r for r in map(rattler.PrefixRecord.from_path, meta.glob("*.json"))
    }
    assert set(records) == {"python", "greet", "libfoo", "poster"}
    assert records["python"].url.startswith(f"{url}/linux-64/python-")
    assert records["poster"].url.startswith("file:///envfreeze/")
    assert str(records["python"].requested_specs) == f"['python =={channel.PYTHON}']"
    assert json.loads((meta / "state").read_text())["env_vars"] == {"FOO": "1"}


def test_a_second_capture_has_the_same_id(
    home: Path, built: workflow.Built, lock: Lock, context: workflow.Context
) -> None:
    path = home / "again/env.lock"
    env = {"ENVFREEZE_CACHE_DIR": str(home / "cache")}
    done = ok(envfreeze("capture", built.place, "-o", path, "--json", env=env))
    assert json.loads(done.stdout)["conda"] == {"proved": 1, "packed": 3, "unproved": 0}
    assert workflow.load(path).machine.layers == lock.machine.layers


def test_a_difference_is_named(
    built: workflow.Built, lock_path: Path, context: workflow.Context
) -> None:
    path = Path(built.place) / "lib/pkgconfig/foo.pc"
    before = path.read_bytes()
    path.write_bytes(before + b"# edited\n")
    stray = Path(built.place) / "share/stray"
    stray.write_text("x")
    try:
        found = workflow.verify(lock_path, built.place, rehash=False, context=context)
    finally:
        path.write_bytes(before)
        stray.unlink()
    changes = [(c.layer, c.kind, c.name, c.files) for c in found.changes if c.counts]
    assert changes == [
        ("conda", "content", "libfoo", ["lib/pkgconfig/foo.pc"]),
        ("conda", "added", "share/stray", []),
    ]


def test_a_rebuild_needs_no_network(home: Path, lock_path: Path, built: workflow.Built) -> None:
    into = home / "offline"
    env = {"ENVFREEZE_CACHE_DIR": str(home / "cache")}
    argv: list[str | Path] = ["build", lock_path, "--to", "conda", "--into", into, "--offline"]
    done = ok(envfreeze(*argv, env=env))
    assert "verified: 4 conda packages and 2 packages of pip's" in done.stdout
    ok(envfreeze(*argv, env=env), 2)  # It is there already.
    shutil.rmtree(into)


def test_a_conda_that_is_there_links_as_well(home: Path, lock_path: Path, prefix: Path) -> None:
    conda = real_conda(home / "conda24")
    (home / ".condarc").write_text("create_default_packages: [numpy]\n")
    into = home / "bytheir1"
    env = {"ENVFREEZE_CACHE_DIR": str(home / "cache"), "HOME": str(home)}
    argv: list[str | Path] = ["build", lock_path, "--to", "conda", "--into", into]
    done = ok(envfreeze(*argv, "--solver-free", conda, "--allow-post-link", env=env))
    assert "verified: 4 conda packages and 2 packages of pip's" in done.stdout
    expected = _contents(prefix)
    del expected["CACHEDIR.TAG"]  # py-rattler's own.
    assert _contents(into) == expected
    shutil.rmtree(into)


@pytest.mark.long
def test_conda_lock_installs_its_file(
    home: Path, lock_path: Path, context: workflow.Context
) -> None:
    conda = real_conda(home / "conda24-lock")
    file = home / "conda-lock.yml"
    workflow.export(lock_path, "conda-lock", file, workflow.ImageOptions(), context, strict=False)
    argv = [sys.executable, "-W", "ignore", "-m", "conda_lock", "install", "--conda", str(conda)]
    environ = {**os.environ, "HOME": str(home), "CONDA_PKGS_DIRS": str(home / "lock-pkgs")}
    into = home / "byitslock"
    subprocess.run(
        [*argv, "--prefix", str(into), file.name],
        cwd=home, env=environ, check=True, capture_output=True,
    )  # fmt: skip
    assert (into / "share/foo/empty").read_text() == f"edited in {into}\n"
    found = workflow.verify(lock_path, str(into), rehash=False, context=context)
    assert {(c.layer, c.name) for c in found.changes if c.counts and c.layer == "conda"} == {
        ("conda", "etc/conda/env_vars.d/x.json"),  # No format of theirs has loose files.
    }


def test_condas_own_formats(home: Path, lock_path: Path, context: workflow.Context) -> None:
    options = workflow.ImageOptions()
    for kind in ("conda-explicit", "conda-lock", "environment", "pixi"):
        found = workflow.export(lock_path, kind, home / kind, options, context, strict=False)
        assert any("libfoo" in note for note in found.notes)
    text = (home / "conda-explicit").read_text()
    assert [line.rpartition("#")[0].rpartition("/")[2] for line in text.splitlines()[2:]] == [
        f"python-{channel.PYTHON}-h1234_0_cpython.conda",
        "greet-3.2.1-pyhd8ed1ab_0.conda",
        "libfoo-1.2-h1_1.conda",
        "poster-1.0-h0_0.conda",
    ]
    with pytest.raises(NotHermeticError):
        workflow.export(lock_path, "conda-lock", home / "x", options, context, strict=True)


@pytest.mark.docker
@pytest.mark.long
def test_an_image_has_the_prefix_at_its_place(
    docker_engine: TestEngine, home: Path, prefix: Path, lock_path: Path
) -> None:
    env = {"DOCKER_HOST": docker_engine.host, "ENVFREEZE_CACHE_DIR": str(home / "cache")}
    argv = ["build", lock_path, "--to", "docker", "--tag", "envfreeze-conda:1"]
    done = ok(envfreeze(*argv, "--base", docker_engine.base_ref, env=env))
    assert "verified" in done.stdout
    code = "import greet, os, sys; print(greet.VERSION, sys.prefix, os.environ['CONDA_PREFIX'])"
    command = ["docker", "run", "--rm", "envfreeze-conda:1", "python", "-c", code]
    said = subprocess.run(command, env={**os.environ, **env}, capture_output=True, check=True)
    assert said.stdout.decode().split() == ["pip", str(prefix), str(prefix)]


def test_a_venv_cannot_have_conda_packages(home: Path, lock_path: Path) -> None:
    done = ok(envfreeze("build", lock_path, "--into", home / "other"), 2)
    assert "--to conda" in done.stderr
    assert not (home / "other").exists()


def test_the_extra_is_named_where_it_is_missing(home: Path, lock_path: Path) -> None:
    hidden = home / "hidden/rattler"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('hidden')\n")
    env = {"PYTHONPATH": str(hidden.parent)}
    into = home / "without"
    done = ok(envfreeze("build", lock_path, "--to", "conda", "--into", into, env=env), 7)
    assert "envfreeze[conda]" in done.stderr
