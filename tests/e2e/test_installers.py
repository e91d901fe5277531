"""Each installer's environments go the whole way: captured, rebuilt, verified, the same.

Every environment is made here by the installer itself; what comes back is judged by
:mod:`tests.support.loops`, in which envfreeze has no part.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import WholeWay
from tests.support import envs, installers
from tests.support.environments import Environment
from tests.support.pythons import available

pytestmark = pytest.mark.network

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
        ("3.6", "7.1.2"),
        ("3.6", "9.0.3"),
        ("3.6", "18.1"),
        ("3.7", "10.0.1"),
        ("3.7", "19.3.1"),
        ("3.7", "20.3.4"),
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


def test_uv_sync(tmp_path: Path, whole_way: WholeWay) -> None:
    app = project(tmp_path / "app", "[tool.uv]\npackage = false\n")
    installers.run(
        installers.UV, "sync", "-q", "--project", app, "--python", sys.executable,
        "--no-managed-python", UV_PROJECT_ENVIRONMENT=str(app / ".venv"),
    )  # fmt: skip
    outcome = whole_way("uv sync", Environment(prefix=app / ".venv"))
    assert proofs(outcome) == dict.fromkeys(("jmespath", "markupsafe", "tabulate"), "proved")


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


STRANDED = "distributions on a .pth line's or PYTHONPATH's directory are named, not kept"


@pytest.mark.xfail(reason=STRANDED, strict=True)
def test_pipx(tools: Callable[[str], Path], tmp_path: Path, whole_way: WholeWay) -> None:
    """Its venvs see the shared pip through a .pth line."""
    home = tmp_path / "pipx"
    installers.run(
        tools("pipx"), "install", "--quiet", "jmespath==1.0.1",
        PIPX_HOME=str(home),
        PIPX_BIN_DIR=str(home / "bin"),
        PIPX_MAN_DIR=str(home / "man"),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )  # fmt: skip
    outcome = whole_way("pipx", Environment(prefix=home / "venvs/jmespath"))
    assert proofs(outcome)["jmespath"] == "proved"
    assert outcome.before.imports["pip"] == outcome.after.imports["pip"]
