"""What is shipped: the sdist and the wheel, file by file; templates and tables found in each."""

from __future__ import annotations

import email
import importlib.util
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import envfreeze

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.network
"""The build backend comes from the index that pip is configured for, unless it is installed."""

ACCESSOR = """
import importlib.resources, sys, envfreeze
from envfreeze.data.templates import template_text
print(envfreeze.__file__)
for name in sys.argv[1:]:
    assert template_text(name), name
tables = list(importlib.resources.files("envfreeze.data").iterdir())
assert sum(table.name.endswith(".toml") and bool(table.read_text("utf-8")) for table in tables) > 4
"""


def files_of(directory: str) -> set[str]:
    """The files under *directory* of the checkout that belong to the project."""
    found = {p for p in (ROOT / directory).rglob("*") if p.is_file() and not p.is_symlink()}
    kept = {p for p in found if "__pycache__" not in p.parts and not p.name.startswith(".")}
    return {path.relative_to(ROOT).as_posix() for path in kept}


TEMPLATES = files_of("templates")
MODULES = files_of("envfreeze")


def run(*argv: str, cwd: Path, path: str = "") -> str:
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PYTHONPATH with the build backend on it, and what it needs for editable installs."""
    if all(importlib.util.find_spec(name) for name in ("hatchling", "editables")):
        return backend_here()
    place = tmp_path_factory.mktemp("backend")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place))
    run(*pip, "hatchling>=1.27", "editables", cwd=place)
    return str(place)


def hatch(kind: str, into: Path, cwd: Path, path: str) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into), cwd=cwd, path=path)


@pytest.fixture(scope="module")
def sdist(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    place = tmp_path_factory.mktemp("sdist")
    hatch("sdist", place, cwd=ROOT, path=backend)
    (archive,) = place.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):  # from 3.10.12, 3.11.4 and 3.12 on
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(place)
    return place / f"envfreeze-{envfreeze.__version__}"


@pytest.fixture(scope="module")
def wheel(backend: str, sdist: Path) -> Path:
    """The wheel, built from the sdist: so the sdist has all that it takes."""
    place = sdist.parent / "wheel"
    hatch("wheel", place, cwd=sdist, path=backend)
    (path,) = place.glob("*.whl")
    return path


def test_sdist_holds_the_project(sdist: Path) -> None:
    found = {p.relative_to(sdist).as_posix() for p in sdist.rglob("*") if p.is_file()}
    alone = (
        "LICENSE README.md CHANGELOG.md CONTRIBUTING.md Makefile Dockerfile pyproject.toml .ci/run"
        " .pre-commit-hooks.yaml action.yml"
    )
    expected = MODULES | TEMPLATES | files_of("docs") | files_of("tests") | set(alone.split())
    assert found - {"PKG-INFO", ".gitignore"} == expected


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    info = f"envfreeze-{envfreeze.__version__}.dist-info"
    expected = MODULES | {f"envfreeze/{name}" for name in TEMPLATES}
    expected |= {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    expected |= {f"{info}/licenses/LICENSE"}
    with zipfile.ZipFile(wheel) as archive:
        found = set(archive.namelist())
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        points = archive.read(f"{info}/entry_points.txt").decode()
        license_text = archive.read(f"{info}/licenses/LICENSE").decode()
    assert found - {"envfreeze/templates/.keep"} == expected
    assert "envfreeze/py.typed" in found
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    assert "envfreeze = envfreeze.cli.main:main" in points
    assert "Apache License" in license_text


@pytest.mark.parametrize("kind", ["checkout", "sdist", "wheel", "editable"])
def test_templates_and_tables_are_found(
    kind: str, sdist: Path, wheel: Path, backend: str, tmp_path: Path
) -> None:
    python, path = sys.executable, {"checkout": str(ROOT), "sdist": str(sdist)}.get(kind, "")
    if kind in {"wheel", "editable"}:
        python = bare_venv(tmp_path / "venv")
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
        pip += ["--no-index", "--no-build-isolation"]
        pip += ["--editable", str(sdist)] if kind == "editable" else [str(wheel)]
        run(*pip, cwd=tmp_path, path=backend)
    names = sorted(Path(name).name for name in TEMPLATES)
    place = run(python, "-c", ACCESSOR, *names, cwd=tmp_path, path=path).splitlines()[0]
    inside = {"checkout": ROOT, "sdist": sdist, "wheel": tmp_path / "venv", "editable": sdist}
    assert Path(place).is_relative_to(inside[kind])


def bare_venv(place: Path) -> str:
    venv.create(place, with_pip=False, symlinks=True)
    return str(place / "bin" / "python")


def backend_here() -> str:
    """Where the running interpreter has the backend, for an interpreter that has none."""
    spec = importlib.util.find_spec("hatchling")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parents[1])
