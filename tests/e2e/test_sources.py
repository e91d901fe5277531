"""Installs from source trees: each comes back as what it was, from what the lock keeps alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from envfreeze import workflow
from envfreeze.build.engine import connect
from envfreeze.model.lock import Machine, SourceTree
from tests.support.cli import digests, envfreeze, ok, run, site
from tests.support.engine import TestEngine
from tests.support.projects import BACKENDS, commit, git, make_project, push
from tests.support.pythons import available

pytestmark = pytest.mark.network


@dataclass
class Place:
    """One environment and the project that it is installed from."""

    root: Path
    python: Path = Path(sys.executable)
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> Path:
        return self.root / "env"

    @property
    def project(self) -> Path:
        return self.root / "my proj"

    @property
    def lock(self) -> Path:
        return self.root / "env.lock"

    def venv(self) -> None:
        run(self.python, "-m", "venv", self.env)

    def pip(self, *arguments: str | Path) -> None:
        run(self.env / "bin/python", "-m", "pip", "install", "--quiet", *arguments)

    def capture(self, code: int = 0) -> str:
        done = ok(envfreeze("capture", self.env, "-o", self.lock, env=self.environ), code)
        return done.stdout

    @property
    def machine(self) -> Machine:
        return workflow.load(self.lock).machine

    @property
    def tree(self) -> SourceTree:
        (tree,) = self.machine.sources
        return tree

    def rebuild(self, code: int = 0) -> Path:
        """Build from the lock where the project is no more."""
        gone = self.root / "gone"
        if self.project.exists():
            self.project.rename(gone)
        into = self.root / "rebuilt"
        shutil.rmtree(into, ignore_errors=True)
        done = ok(envfreeze("build", self.lock, "--into", into, env=self.environ), code)
        assert "verified" in done.stdout
        if gone.exists():
            gone.rename(self.project)
        return into


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.venv()
    return made


def imported_from(env: Path, module: str, environ: dict[str, str] | None = None) -> Path:
    code = f"import {module}; print({module}.__file__)"
    done = subprocess.run(
        [env / "bin/python", "-c", code], capture_output=True, text=True, check=True,
        cwd="/", env=environ,
    )  # fmt: skip
    return Path(done.stdout.strip())


def frozen(env: Path) -> list[str]:
    return run(env / "bin/python", "-m", "pip", "freeze", "--all").splitlines()


# --- editable installs ---------------------------------------------------------------------


def with_pip(*options: str) -> Callable[[Place], None]:
    return lambda place: place.pip(*options, "-e", place.project)


def with_uv(place: Place) -> None:
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    python = str(place.env / "bin/python")
    run(uv, "pip", "install", "-q", "--python", python, "-e", place.project)


STYLES: dict[str, tuple[str, Callable[[Place], None]]] = {
    **{f"pip-{backend}": (backend, with_pip()) for backend in BACKENDS},
    "uv-setuptools": ("setuptools", with_uv),
    "strict": ("setuptools", with_pip("--config-settings", "editable_mode=strict")),
    "compat": ("setuptools", with_pip("--config-settings", "editable_mode=compat")),
    "setup.py": ("setup.py", with_pip()),
}


USUAL = ("pip-setuptools",)
LONG = pytest.mark.long


@pytest.mark.parametrize(
    "style", [s if s in USUAL else pytest.param(s, marks=LONG) for s in STYLES]
)
def test_an_editable_install_comes_back_editable(style: str, place: Place) -> None:
    backend, install = STYLES[style]
    make_project(place.project, backend=backend)
    install(place)
    assert imported_from(place.env, "proj").is_relative_to(place.project)
    said = place.capture()
    assert place.machine.hermetic, said
    assert "1 editable" in said
    assert place.tree.dists == ["proj"]
    assert place.tree.problem is None
    into = place.rebuild()
    tree = into / "src" / place.tree.key
    assert imported_from(into, "proj").is_relative_to(tree)
    assert (tree / "latest").is_symlink()
    assert run(into / "bin/proj") == "proj 1\n"
    # Editable still: what is changed in the tree is what is imported.
    # (Of another size: bytecode knows its source by that, and by the second it was written in.)
    (tree / "src/proj/inner.py").write_text("VALUE = 1 + 1\n")
    assert run(into / "bin/proj") == "proj 2\n"
    changed = ok(envfreeze("verify", place.lock, into), 1).stdout
    assert "src/proj/inner.py" in changed
    assert frozen(place.env)[0].startswith("#") == frozen(into)[0].startswith("#")


@pytest.mark.long
def test_the_rebuilt_one_has_the_same_id(place: Place) -> None:
    make_project(place.project)
    place.pip("-e", place.project)
    place.capture()
    into = place.rebuild()
    ok(envfreeze("diff", place.env, into))
    ok(envfreeze("capture", into, "-o", place.root / "again.lock"))
    again = workflow.load(place.root / "again.lock").machine
    assert again.id == place.machine.id
    assert again.sources[0].archive is not None
    assert place.tree.archive is not None
    assert again.sources[0].archive.sha256 == place.tree.archive.sha256


@pytest.mark.parametrize("how", ["develop", pytest.param("pip", marks=LONG)])
def test_an_old_egg_link(how: str, tmp_path: Path) -> None:
    """setuptools before PEP 660: ``.egg-link``, ``easy-install.pth``, metadata in the tree."""
    if "3.7" not in available():
        pytest.skip("no CPython 3.7 here")
    place = Place(tmp_path, python=available()["3.7"])
    place.venv()
    make_project(place.project, backend="setup.py")
    place.pip("setuptools==58.0.4", "pip==21.0")
    if how == "develop":
        python = place.env / "bin/python"
        subprocess.run(
            [python, "setup.py", "-q", "develop"], cwd=place.project, check=True,
            capture_output=True,
        )  # fmt: skip
    else:
        place.pip("--no-build-isolation", "-e", place.project)
    assert (site(place.env) / "proj.egg-link").exists()
    said = place.capture()
    assert place.machine.hermetic, said
    assert [d.name for d in place.machine.loose_dists] == ["proj"]
    into = place.rebuild()
    tree = into / "src" / place.tree.key
    assert imported_from(into, "proj").is_relative_to(tree)
    assert str(tree) in (site(into) / "proj.egg-link").read_text()
    assert run(into / "bin/proj") == "proj 1\n", "a script that no RECORD names"
    code = "import pkg_resources as p; print(p.get_distribution('proj').version)"
    assert run(into / "bin/python", "-W", "ignore", "-c", code) == "1.0\n"


@pytest.mark.long
def test_flits_link(place: Place) -> None:
    make_project(place.project, backend="flit")
    place.pip("flit")
    subprocess.run(
        [place.env / "bin/flit", "install", "--symlink", "--deps=none"],
        cwd=place.project, check=True, capture_output=True, env={"FLIT_ROOT_INSTALL": "1"},
    )  # fmt: skip
    assert (site(place.env) / "proj").is_symlink()
    said = place.capture()
    assert place.machine.hermetic, said
    into = place.rebuild()
    assert (site(into) / "proj").resolve() == into / "src" / place.tree.key / "src/proj"
    assert run(into / "bin/proj") == "proj 1\n"


# --- git -----------------------------------------------------------------------------------


def test_a_working_tree_is_kept_with_what_was_never_committed(place: Place) -> None:
    make_project(place.project)
    (place.project / ".gitignore").write_text("*.log\nbuild/\n_version.py\n*.egg-info\n")
    first = commit(place.project)
    push(place.project, place.root / "remote.git")
    (place.project / "src/proj/inner.py").write_text("VALUE = 7\n")
    (place.project / "src/proj/extra.py").write_text("# not added\n")
    (place.project / "src/proj/_version.py").write_text("version = '1'\n")
    (place.project / "debug.log").write_text("x" * 1000)
    place.pip("-e", place.project)
    said = place.capture()
    repository = place.tree.repository
    assert repository is not None
    assert (repository.commit, repository.pushed) == (first, True)
    assert repository.modified == ["src/proj/inner.py"]
    assert "src/proj/extra.py" in repository.untracked
    assert repository.url == str(place.root / "remote.git")
    assert f"git {first[:12]} · 1 modified" in said
    into = place.rebuild()
    tree = into / "src/proj"
    assert run(into / "bin/proj") == "proj 7\n"
    assert (tree / "src/proj/extra.py").exists()
    assert (tree / "src/proj/_version.py").exists(), "ignored, and imported"
    assert not (tree / "debug.log").exists()
    assert not (tree / ".git").exists()


@pytest.mark.long
def test_a_commit_that_is_nowhere_else_is_said(place: Place) -> None:
    make_project(place.project)
    commit(place.project)
    place.pip("-e", place.project)
    said = place.capture()
    assert "(not pushed)" in said
    assert place.machine.hermetic


@pytest.mark.long
def test_pips_own_clone(place: Place) -> None:
    """``pip install -e git+...``: the tree lies in the environment's ``src``."""
    upstream = make_project(place.root / "upstream")
    commit(upstream)
    place.pip("-e", f"git+file://{upstream}#egg=proj")
    assert (place.env / "src/proj/.git").is_dir()
    place.capture()
    repository = place.tree.repository
    assert repository is not None
    assert repository.pushed
    shutil.rmtree(upstream)
    into = place.rebuild()
    assert imported_from(into, "proj").is_relative_to(into / "src/proj")
    ok(envfreeze("diff", place.env, into))


@pytest.mark.long
def test_an_install_from_git_or_a_directory_is_packed(place: Place) -> None:
    """Not editable: the files lie in site-packages, and where they came from is recorded."""
    upstream = make_project(place.root / "upstream", name="fromgit")
    revision = commit(upstream)
    make_project(place.project, name="fromdir")
    place.pip(f"git+file://{upstream}", place.project)
    place.capture()
    lock = workflow.load(place.lock)
    assert lock.machine.hermetic
    assert lock.machine.sources == []
    packages = {package.name: package.facts for package in lock.packages}
    assert packages["fromgit"].proof == packages["fromdir"].proof == "packed"
    assert revision in (packages["fromgit"].direct_url or "")
    into = place.rebuild()
    assert digests(site(into)) == digests(site(place.env))
    assert run(into / "bin/fromgit") == "fromgit 1\n"


# --- other directories ---------------------------------------------------------------------


def test_a_directory_that_pythonpath_names(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.venv()
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "helpers.py").write_text("VALUE = 5\n")
    place.environ = {"PYTHONPATH": str(shared)}
    place.capture()
    assert place.machine.hermetic
    assert place.machine.pythonpath == ["{envfreeze:source:shared}"]
    into = place.root / "rebuilt"
    done = ok(envfreeze("build", place.lock, "--into", into, env={"PYTHONPATH": ""}))
    assert f"export PYTHONPATH={into}/src/shared" in done.stdout
    environ = {"PYTHONPATH": str(into / "src/shared")}
    assert imported_from(into, "helpers", environ) == into / "src/shared/helpers.py"


@pytest.mark.long
def test_a_directory_that_a_pth_file_names(place: Place) -> None:
    place.project.mkdir()
    (place.project / "helpers.py").write_text("VALUE = 5\n")
    (site(place.env) / "mine.pth").write_text(f"{place.project}\n")
    place.capture()
    assert place.machine.hermetic
    into = place.rebuild()
    assert imported_from(into, "helpers") == into / "src" / place.tree.key / "helpers.py"


@pytest.mark.long
def test_a_tree_that_is_gone_is_named(place: Place) -> None:
    make_project(place.project)
    place.pip("-e", place.project)
    shutil.rmtree(place.project)
    said = place.capture()
    assert "source-missing" in said
    assert not place.machine.hermetic


# --- the same venv again -------------------------------------------------------------------


def test_a_venv_gets_its_tree_back_in_place(place: Place) -> None:
    make_project(place.project)
    place.pip("-e", place.project)
    place.capture()
    into = place.rebuild()
    tree = into / "src/proj"
    (tree / "src/proj/inner.py").write_text("VALUE = 9\n")
    (tree / "more.txt").write_text("x")
    done = ok(envfreeze("build", place.lock, "--into", into, "--yes"))
    assert "verified" in done.stdout
    assert run(into / "bin/proj") == "proj 1\n"
    assert not (tree / "more.txt").exists()


@pytest.mark.long
def test_nobodys_working_tree_is_touched(place: Place) -> None:
    """The captured environment itself, whose tree was edited since: it gets a copy of its own."""
    make_project(place.project)
    place.pip("-e", place.project)
    place.capture()
    (place.project / "src/proj/inner.py").write_text("VALUE = 9\n")
    before = digests(place.project)
    ok(envfreeze("build", place.lock, "--into", place.env, "--yes"))
    assert digests(place.project) == before
    assert run(place.env / "bin/proj") == "proj 1\n"
    assert imported_from(place.env, "proj").is_relative_to(place.env / "src/proj")


@pytest.mark.long
def test_without_leaves_the_tree_out_too(place: Place) -> None:
    make_project(place.project)
    place.pip("-e", place.project)
    ok(envfreeze("capture", place.env, "-o", place.lock, "--without", "proj"))
    assert place.machine.sources == []
    assert place.machine.hermetic
    assert "proj" not in place.lock.read_text().replace("my proj", "")


@pytest.mark.long
def test_submodules_are_part_of_the_tree(place: Place) -> None:
    library = place.root / "library"
    library.mkdir()
    (library / "sub.py").write_text("SUB = 1\n")
    inner = commit(library)
    make_project(place.project)
    commit(place.project)
    git(place.project, "submodule", "--quiet", "add", str(library), "src/proj/vendored")
    commit(place.project, "with the submodule")
    place.pip("-e", place.project)
    place.capture()
    repository = place.tree.repository
    assert repository is not None
    assert [(s.path, s.commit) for s in repository.submodules] == [("src/proj/vendored", inner)]
    into = place.rebuild()
    assert imported_from(into, "proj.vendored.sub").read_text() == "SUB = 1\n"


# --- images --------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.docker
def test_an_image_has_each_tree_where_it_was(docker_engine: TestEngine, place: Place) -> None:
    make_project(place.project)
    place.pip("-e", place.project)
    linked = place.root / "linked"
    shared = place.root / "shared"
    shared.mkdir()
    linked.symlink_to(shared)
    (shared / "helpers.py").write_text("VALUE = 5\n")
    place.environ = {"PYTHONPATH": str(linked)}
    place.capture()
    tag = "envfreeze-e2e-sources:1"
    done = envfreeze(
        "build", place.lock, "--to", "docker", "--tag", tag, "--base", docker_engine.base_ref,
        env={"DOCKER_HOST": docker_engine.host},
    )  # fmt: skip
    assert "verified" in ok(done).stdout
    code = "import proj, helpers; print(proj.__file__, helpers.__file__); proj.main()"
    said = connect().run_probe(tag, [str(place.env / "bin/python"), "-c", code]).decode()
    assert said.splitlines() == [
        f"{place.project}/src/proj/__init__.py {shared}/helpers.py",
        "proj 1",
    ]
