"""Each installer's environments go the whole way: captured, rebuilt, verified, the same.

Every environment is made here by the installer itself; what comes back is judged by
:mod:`tests.support.loops`, in which envfreeze has no part.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import WholeWay
from tests.support import envs, installers
from tests.support.environments import Environment, plain_environ
from tests.support.fakeindex import FakeIndex, Faults, make_wheel
from tests.support.loops import Expected
from tests.support.pythons import available

pytestmark = pytest.mark.network
LONG = pytest.mark.long

PACKAGES = (
    "greenlet",  # C, headers
    "jmespath",  # a script that names the interpreter
    "markupsafe",  # C
    "sphinxcontrib-jsmath",  # a namespace package
    "tabulate",  # an entry point
)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files for old installers, from the configured index."""
    directory = tmp_path_factory.mktemp("shelf")
    installers.fill_shelf(directory)
    return directory


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    directory = tmp_path_factory.mktemp("tools")
    return lambda name: installers.tool(name, directory)


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    """A venv of this interpreter, without packages."""
    return Environment(prefix=envs.make_venv(tmp_path / "env"))


def python(minor: str) -> Path:
    found = available().get(minor)
    if found is None:
        pytest.skip(f"no CPython {minor} here")
    return found


def proofs(outcome: object) -> dict[str, str]:
    return {package.name: package.facts.proof for package in outcome.lock.packages}  # type: ignore[attr-defined]


# --- installers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minor", "pip"),
    [
        pytest.param("3.6", "7.1.2", marks=LONG),
        ("3.6", "9.0.3"),
        pytest.param("3.6", "18.1", marks=LONG),
        pytest.param("3.7", "10.0.1", marks=LONG),
        pytest.param("3.7", "19.3.1", marks=LONG),
        pytest.param("3.7", "20.3.4", marks=LONG),
    ],
)
def test_old_pips(shelf: Path, tmp_path: Path, whole_way: WholeWay, minor: str, pip: str) -> None:
    env = Environment.make(python(minor), tmp_path / "env")
    wheel = installers.old_pip(shelf, pip)
    packages = [f"pip=={pip}", *installers.OLD_PACKAGES]
    if pip != "7.1.2" and next(shelf.glob("MarkupSafe-*"), None):  # It knows no manylinux.
        packages.append(installers.COMPILED)
    env.pip("--no-index", f"--find-links={shelf}", *packages, wheel=wheel)
    outcome = whole_way(f"pip {pip}", env)
    assert outcome.before.freeze
    assert set(proofs(outcome).values()) == {"proved"}
    assert len(outcome.lock.packages) == len(packages)
    # It says so since version 8.
    assert outcome["jmespath"].facts.installer == (None if pip == "7.1.2" else "pip\n")
    assert outcome.rebuilt.call(outcome.rebuilt.prefix / "bin/pip", "--version").split()[1] == pip
    assert "usage" in outcome.rebuilt.call(outcome.rebuilt.prefix / "bin/jp.py", "--help")


def test_todays_pip(env: Environment, whole_way: WholeWay) -> None:
    env.pip("pip", "setuptools", *PACKAGES)
    outcome = whole_way("pip, today's", env)
    assert outcome.lock.machine.hermetic
    assert set(proofs(outcome).values()) == {"proved"}


def test_uv_pip(env: Environment, whole_way: WholeWay) -> None:
    env.call(installers.UV, "pip", "install", "-q", "--python", env.python, "pip", *PACKAGES)
    outcome = whole_way("uv pip install", env)
    assert outcome.lock.machine.hermetic
    assert set(proofs(outcome).values()) == {"proved"}
    assert outcome["tabulate"].facts.installer == "uv"


PROJECT = """
[project]
name = "app"
version = "1"
requires-python = ">={python}"
dependencies = ["jmespath==1.0.1", "markupsafe", "tabulate==0.9.0"]
"""


def project(directory: Path, more: str) -> Path:
    directory.mkdir()
    head = PROJECT.format(python="{}.{}".format(*sys.version_info))
    (directory / "pyproject.toml").write_text(head + more)
    return directory


@pytest.mark.long
def test_uv_sync(tmp_path: Path, whole_way: WholeWay) -> None:
    app = project(tmp_path / "app", "[tool.uv]\npackage = false\n")
    installers.run(
        installers.UV, "sync", "-q", "--project", app, "--python", sys.executable,
        "--no-managed-python", UV_PROJECT_ENVIRONMENT=str(app / ".venv"),
    )  # fmt: skip
    outcome = whole_way("uv sync", Environment(prefix=app / ".venv"))
    assert proofs(outcome) == dict.fromkeys(("jmespath", "markupsafe", "tabulate"), "proved")


@pytest.mark.long
def test_poetry(tools: Callable[[str], Path], tmp_path: Path, whole_way: WholeWay) -> None:
    source = f'[[tool.poetry.source]]\nname = "here"\nurl = "{installers.index_url()}"\n'
    app = project(tmp_path / "app", "[tool.poetry]\npackage-mode = false\n" + source)
    installers.run(
        tools("poetry"), "--directory", app, "--no-interaction", "install",
        POETRY_VIRTUALENVS_IN_PROJECT="true",
        POETRY_VIRTUALENVS_OPTIONS_NO_PIP="false",
        POETRY_CACHE_DIR=str(tmp_path / "cache"),
        POETRY_CONFIG_DIR=str(tmp_path / "config"),
    )  # fmt: skip
    outcome = whole_way("poetry", Environment(prefix=app / ".venv"))
    assert outcome["jmespath"].facts.installer.startswith("Poetry")
    assert set(proofs(outcome).values()) == {"proved"}


@pytest.mark.long
def test_pdm(tools: Callable[[str], Path], tmp_path: Path, whole_way: WholeWay) -> None:
    source = f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{installers.index_url()}"\n'
    app = project(tmp_path / "app", "[tool.pdm]\ndistribution = false\n" + source)
    installers.run(
        tools("pdm"), "--non-interactive", "install", "-p", app, "--quiet",
        PDM_CACHE_DIR=str(tmp_path / "cache"),
        PDM_LOG_DIR=str(tmp_path / "log"),
        PDM_USE_VENV="true",
        PDM_CHECK_UPDATE="false",
        XDG_CONFIG_HOME=str(tmp_path / "config"),
    )  # fmt: skip
    outcome = whole_way("pdm", Environment(prefix=app / ".venv"))
    assert proofs(outcome) == dict.fromkeys(("jmespath", "markupsafe", "tabulate"), "proved")
    assert outcome["tabulate"].facts.installer == "pdm"


@pytest.mark.long
def test_pipx(tools: Callable[[str], Path], tmp_path: Path, whole_way: WholeWay) -> None:
    """Its venvs see the shared pip through a .pth line: that comes back as a tree of the venv."""
    home = tmp_path / "pipx"
    installers.run(
        tools("pipx"), "install", "--quiet", "jmespath==1.0.1",
        PIPX_HOME=str(home),
        PIPX_DEFAULT_BACKEND="pip",  # With uv at hand there is no shared pip.
        PIPX_BIN_DIR=str(home / "bin"),
        PIPX_MAN_DIR=str(home / "man"),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )  # fmt: skip
    env = Environment(prefix=home / "venvs/jmespath")
    scripts = {path.name for path in (home / "shared/bin").glob("pip*")}
    # Its line leads to the tree; the scripts of what lies outside the venv stay there.
    moved = frozenset({"site/pipx_shared.pth", *(f"bin/{name}" for name in scripts)})
    outcome = whole_way("pipx", env, Expected(moved=moved))
    assert proofs(outcome)["jmespath"] == "proved"
    assert outcome.report["counts"]["in source trees"] >= 1
    assert outcome.before.imports["pip"] == outcome.after.imports["pip"]
    line = (outcome.rebuilt.site / "pipx_shared.pth").read_text().strip()
    assert line.startswith(f"{outcome.rebuilt.prefix}/src/")


# --- places --------------------------------------------------------------------------------


def small_base() -> Path:
    """The interpreter with the fewest distributions of its own: what it has is captured too."""
    found = {
        path: len(list(path.parent.parent.glob("lib/python3*/site-packages/*-info")))
        for version, path in available().items()
        if tuple(map(int, version.split("."))) >= (3, 9)  # The tests' pip installs into it.
    }
    if not found or min(found.values()) > 20:
        pytest.skip("no CPython with few packages of its own here")
    return min(found, key=lambda path: (found[path], path))


def test_the_user_site(tmp_path: Path, whole_way: WholeWay) -> None:
    user = {"PYTHONUSERBASE": str(tmp_path / "user")}
    env = Environment(prefix=tmp_path, environ=plain_environ(**user), interpreter=small_base())
    env.pip("--user", "--break-system-packages", "--ignore-installed", *PACKAGES)
    outcome = whole_way("pip install --user", env)
    assert {outcome[name].facts.proof for name in ("greenlet", "jmespath")} == {"proved"}
    assert (tmp_path / "user/bin/jp.py").exists()
    assert outcome["jmespath"].facts.site.startswith(str(tmp_path / "user"))
    assert "bin/jp.py" in outcome.after.files


@pytest.mark.long
def test_the_user_site_comes_before_the_base(tmp_path: Path, whole_way: WholeWay) -> None:
    """pip is in both: the user's is imported, the other lies behind it."""
    user = {"PYTHONUSERBASE": str(tmp_path / "user")}
    env = Environment(prefix=tmp_path, environ=plain_environ(**user), interpreter=small_base())
    env.pip("--user", "--break-system-packages", "--ignore-installed", "pip==23.3")
    hidden = next(
        Path(p)
        for p in env.sys_path()
        if "/lib/python" in p and (Path(p) / "pip").exists() and str(tmp_path) not in p
    )
    info = next(hidden.glob("pip-*.dist-info")).name
    outcome = whole_way("user site over base", env)
    assert outcome["pip"].version == "23.3"
    behind = [place for place, name, _ in outcome.after.metadata if name == "pip"]
    assert len(behind) == 2
    assert [f.place for f in outcome.findings["shadowed"]] == [f"{hidden}/{info}"]


def test_system_site_packages(tmp_path: Path, whole_way: WholeWay) -> None:
    env = Environment.make(small_base(), tmp_path / "env", "--system-site-packages")
    env.environ["PYTHONNOUSERSITE"] = "1"
    env.pip("jmespath", "markupsafe")
    outcome = whole_way("--system-site-packages", env)
    assert outcome["jmespath"].facts.proof == "proved"
    assert outcome["pip"].facts.site is not None
    assert "site/pip/__init__.py" in outcome.after.files


@pytest.mark.long
def test_a_target_directory_on_pythonpath(
    env: Environment, tmp_path: Path, whole_way: WholeWay
) -> None:
    target = tmp_path / "target"
    env.pip("--target", target, "jmespath", "markupsafe")
    env.environ["PYTHONPATH"] = str(target)
    # pip moves what it calls ../../bin in RECORD to below the target, and so to the tree.
    outcome = whole_way("pip install --target", env)
    assert outcome.report["counts"]["in source trees"] == 2
    assert outcome.lock.machine.hermetic
    assert (outcome.rebuilt.prefix / "src/target/bin/jp.py").exists()


# --- indexes -------------------------------------------------------------------------------


def of(*indexes: FakeIndex, **more: str) -> dict[str, str]:
    """What makes pip and envfreeze know these indexes and no other."""
    first, *others = indexes
    extra = " ".join(index.url for index in others)
    pip = {"CONFIG_FILE": "/dev/null", "INDEX_URL": first.url, "EXTRA_INDEX_URL": extra}
    uv = {"DEFAULT_INDEX": first.url, "INDEX": extra, "NO_CONFIG": "1"}
    variables = {f"PIP_{key}": value for key, value in {**pip, "FIND_LINKS": ""}.items()}
    variables |= {f"UV_{key}": value for key, value in uv.items()}
    return plain_environ(**(variables | more))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[FakeIndex]:
    """An index with three small wheels."""
    directory = tmp_path / "wheels"
    make_wheel(directory, "alpha", "1.0", {"alpha.py": "A = 1\n"})
    points = "[console_scripts]\nbeta = beta:main\n"
    make_wheel(
        directory, "beta", "2.0", {"beta.py": "def main(): print('beta')\n"}, entry_points=points
    )
    script = "#!python\nprint('gamma')\n"
    make_wheel(
        directory, "gamma", "3.0", {"gamma/__init__.py": ""},
        scripts={"gamma-run": script}, headers={"gamma.h": "//\n"}, data={"share/gamma": "x\n"},
    )  # fmt: skip
    with FakeIndex(directory) as served:
        yield served


@pytest.fixture
def other(tmp_path: Path) -> Iterator[FakeIndex]:
    """A second index, empty at first."""
    directory = tmp_path / "others"
    directory.mkdir()
    with FakeIndex(directory) as served:
        yield served


THREE = ("alpha==1.0", "beta==2.0", "gamma==3.0")


@pytest.mark.parametrize(
    ("title", "faults"),
    [
        ("HTML-only index", Faults(html=True)),
        pytest.param("index without hashes", Faults(html=True, no_hash=True), marks=LONG),
        pytest.param(
            "JSON index without hashes or sizes", Faults(no_hash=True, no_size=True), marks=LONG
        ),
        pytest.param("server without ranges", Faults(no_ranges=True), marks=LONG),
        ("neither ranges nor HEAD", Faults(no_ranges=True, no_head=True, no_size=True)),
        pytest.param(
            "compressed, relative URLs", Faults(gzip=True, relative=True, html=True), marks=LONG
        ),
        pytest.param("yanked releases", Faults(yanked=True), marks=LONG),
        pytest.param("yanked releases, HTML", Faults(yanked=True, html=True), marks=LONG),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_kinds_of_indexes(
    env: Environment, index: FakeIndex, whole_way: WholeWay, title: str, faults: Faults
) -> None:
    index.faults = faults
    env.environ = of(index)
    env.pip(*THREE)
    outcome = whole_way(title, env)
    assert proofs(outcome) == dict.fromkeys(("alpha", "beta", "gamma"), "proved")
    assert {package.index for package in outcome.lock.packages} == {index.url}
    for package in outcome.lock.packages:
        wheel = index.directory / package.artifact.filename
        assert package.artifact.sha256 == envs.sha256(wheel.read_bytes())
    assert outcome.rebuilt.call(outcome.rebuilt.prefix / "bin/beta") == "beta\n"
    assert outcome.rebuilt.call(outcome.rebuilt.prefix / "bin/gamma-run") == "gamma\n"


def test_a_login_is_used_and_not_kept(
    env: Environment, index: FakeIndex, whole_way: WholeWay, tmp_path: Path
) -> None:
    index.faults = Faults(login=("me", "s3cret-w0rd"))
    env.environ = of(index)
    env.environ["PIP_INDEX_URL"] = index.url.replace("//", "//me:s3cret-w0rd@")
    env.pip(*THREE)
    outcome = whole_way("index with a login", env)
    assert set(proofs(outcome).values()) == {"proved"}
    kept = [path for path in (tmp_path / "way").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"s3cret" in path.read_bytes()]
    assert "s3cret" not in outcome.said


def test_each_package_keeps_its_index(
    env: Environment, index: FakeIndex, other: FakeIndex, whole_way: WholeWay
) -> None:
    """As PyTorch is spread: the same release in local versions, each on an index of its own."""
    make_wheel(index.directory, "torchlike", "2.0", {"torchlike.py": "BUILD = 'plain'\n"})
    make_wheel(other.directory, "torchlike", "2.0+cu121", {"torchlike.py": "BUILD = 'cu121'\n"})
    make_wheel(other.directory, "torchlike", "2.0+cpu", {"torchlike.py": "BUILD = 'cpu'\n"})
    make_wheel(other.directory, "only_there", "1.0", {"only_there.py": ""})
    env.environ = of(index, other)
    env.pip("torchlike==2.0+cu121", "only-there", "alpha")
    outcome = whole_way("two indexes, +cu121", env)
    places = {package.name: package.index for package in outcome.lock.packages}
    assert places == {"torchlike": other.url, "only-there": other.url, "alpha": index.url}
    assert outcome["torchlike"].version == "2.0+cu121"
    assert outcome.rebuilt.run("import torchlike; print(torchlike.BUILD)") == "cu121\n"


@pytest.mark.long
@pytest.mark.parametrize("local", ["2.0", "2.0+cpu"])
def test_the_other_local_versions(
    env: Environment, index: FakeIndex, other: FakeIndex, whole_way: WholeWay, local: str
) -> None:
    make_wheel(index.directory, "torchlike", "2.0", {"torchlike.py": "BUILD = 'plain'\n"})
    make_wheel(other.directory, "torchlike", "2.0+cpu", {"torchlike.py": "BUILD = 'cpu'\n"})
    env.environ = of(index, other)
    env.pip(f"torchlike==={local}")
    outcome = whole_way(f"two indexes, {local}", env)
    assert outcome["torchlike"].version == local
    assert outcome["torchlike"].index == (other.url if "+" in local else index.url)


@pytest.mark.long
@pytest.mark.parametrize("installed_from", ["first", "second"])
def test_the_content_decides_between_namesakes(
    env: Environment, index: FakeIndex, other: FakeIndex, whole_way: WholeWay, installed_from: str
) -> None:
    """The same name, version and file name with other bytes on two indexes."""
    make_wheel(index.directory, "twin", "1.0", {"twin.py": "WHERE = 'first'\n"})
    make_wheel(other.directory, "twin", "1.0", {"twin.py": "WHERE = 'second'\n"})
    env.environ = of(index if installed_from == "first" else other)
    env.pip("twin==1.0")
    env.environ = of(index, other)
    outcome = whole_way(f"namesakes, from the {installed_from}", env)
    assert outcome["twin"].facts.proof == "proved"
    assert outcome["twin"].index == (index if installed_from == "first" else other).url
    assert outcome.rebuilt.run("import twin; print(twin.WHERE)") == f"{installed_from}\n"


def test_find_links(
    env: Environment, index: FakeIndex, other: FakeIndex, whole_way: WholeWay
) -> None:
    """A directory of this machine proves nothing to another one: its wheels are kept."""
    env.environ = of(other, PIP_FIND_LINKS=str(index.directory))
    env.pip(*THREE)
    outcome = whole_way("find-links", env)
    assert proofs(outcome) == dict.fromkeys(("alpha", "beta", "gamma"), "packed")
    for package in outcome.lock.packages:
        wheel = index.directory / package.artifact.filename
        assert package.artifact.sha256 == envs.sha256(wheel.read_bytes())
        assert package.artifact.path is not None


# --- by path, by URL -----------------------------------------------------------------------

SETUP = """
from setuptools import setup
setup(name="sourced", version="1.5", py_modules=["sourced"])
"""


def make_sdist(directory: Path) -> Path:
    """A sdist, as setuptools makes them."""
    tree = directory / "tree"
    tree.mkdir(parents=True)
    (tree / "setup.py").write_text(SETUP)
    (tree / "sourced.py").write_text("S = 1\n")
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", directory]
    installers.run(*build, tree)
    return next(directory.glob("*.tar.gz"))


@pytest.mark.long
def test_a_wheel_by_path(env: Environment, index: FakeIndex, whole_way: WholeWay) -> None:
    env.environ = of(index)
    wheel = make_wheel(index.directory.parent / "mine", "mine", "1.0", {"mine.py": "M = 1\n"})
    env.pip(wheel, "alpha")
    outcome = whole_way("wheel by path", env)
    assert proofs(outcome) == {"mine": "packed", "alpha": "proved"}
    assert outcome["mine"].artifact.sha256 == envs.sha256(wheel.read_bytes())
    assert wheel.as_uri() in outcome["mine"].facts.direct_url


@pytest.mark.long
@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_a_wheel_by_url(
    env: Environment, index: FakeIndex, other: FakeIndex, whole_way: WholeWay, installer: str
) -> None:
    """uv writes no hash into direct_url.json."""
    env.environ = of(other)
    url = f"alpha @ {index.base}/files/alpha-1.0-py3-none-any.whl"
    if installer == "pip":
        env.pip(url)
    else:
        env.call(installers.UV, "pip", "install", "-q", "--python", env.python, url)
    outcome = whole_way(f"wheel by URL, {installer}", env)
    assert outcome["alpha"].facts.proof == "proved"
    assert outcome["alpha"].archive.url == url.split(" @ ")[1]
    assert "installed from" in outcome["alpha"].facts.evidence


@pytest.mark.long
def test_a_sdist_by_path(env: Environment, tmp_path: Path, whole_way: WholeWay) -> None:
    sdist = make_sdist(tmp_path / "made")
    env.pip("--no-deps", sdist)
    outcome = whole_way("sdist by path", env)
    assert outcome["sourced"].facts.proof == "packed"
    assert outcome["sourced"].facts.direct_url is not None


@pytest.mark.long
def test_a_sdist_by_url(
    env: Environment, index: FakeIndex, tmp_path: Path, whole_way: WholeWay
) -> None:
    sdist = make_sdist(tmp_path / "made")
    sdist.rename(index.directory / sdist.name)
    env.pip(f"sourced @ {index.base}/files/{sdist.name}")
    outcome = whole_way("sdist by URL", env)
    assert outcome["sourced"].facts.proof == "packed"
    assert sdist.name in outcome["sourced"].facts.direct_url


def test_a_sdist_from_the_index(
    env: Environment, index: FakeIndex, tmp_path: Path, whole_way: WholeWay
) -> None:
    """Built here: the sdist proves nothing of the built bytes, and the lock says so."""
    sdist = make_sdist(tmp_path / "made")
    sdist.rename(index.directory / sdist.name)
    env.pip("setuptools")
    env.environ = of(index)
    env.pip("--no-build-isolation", "sourced")
    outcome = whole_way("sdist from an index", env)
    assert outcome["sourced"].facts.proof == "packed"
    sdist_of = outcome["sourced"].facts.built_from[0]
    assert (sdist_of.kind, sdist_of.lead) == ("sdist", False)
    assert outcome["sourced"].built_here


# --- odd names and versions ----------------------------------------------------------------


@pytest.mark.long
def test_versions_that_pep_440_does_not_know(
    shelf: Path, tmp_path: Path, index: FakeIndex, whole_way: WholeWay
) -> None:
    index.faults = Faults(html=True)
    make_wheel(index.directory, "dated", "2004d", {"dated.py": ""})
    make_wheel(index.directory, "worded", "1.0.banana", {"worded.py": ""})
    env = Environment.make(python("3.7"), tmp_path / "env")
    env.environ = of(index)
    pip = installers.old_pip(shelf, "10.0.1")
    env.pip("dated==2004d", "worded==1.0.banana", "alpha", wheel=pip)
    outcome = whole_way("versions beyond PEP 440", env)
    assert outcome["dated"].facts.version == "2004d"
    assert "2004d" in {version for _, name, version in outcome.after.metadata if name == "dated"}
    assert outcome["worded"].facts.version == "1.0.banana"
    assert outcome["worded"].version is None
    assert proofs(outcome) == dict.fromkeys(("dated", "worded", "alpha"), "proved")
