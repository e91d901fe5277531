"""Small Python projects for every build back end, and git repositories around them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

BACKENDS = {
    "setuptools": ('["setuptools>=64"]', "setuptools.build_meta"),
    "hatchling": ('["hatchling"]', "hatchling.build"),
    "flit": ('["flit_core>=3.4"]', "flit_core.buildapi"),
    "poetry": ('["poetry-core>=1.0"]', "poetry.core.masonry.api"),
    "pdm": ('["pdm-backend"]', "pdm.backend"),
    "uv": ('["uv_build>=0.8"]', "uv_build"),
}
"""Name to ``(build-system.requires, build-system.build-backend)``."""

SETUP = """\
from setuptools import find_packages, setup
setup(
    name="{name}", version="1.0", package_dir={{"": "src"}}, packages=find_packages("src"),
    entry_points={{"console_scripts": ["{name} = {name}:main"]}},
)
"""


def make_project(root: Path, name: str = "proj", backend: str = "setuptools") -> Path:
    """A project with a ``src`` layout, a script, a data file and a link."""
    package = root / "src" / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        f"from {name}.inner import VALUE\ndef main(): print('{name}', VALUE)\n"
    )
    (package / "inner.py").write_text("VALUE = 1\n")
    (package / "data.txt").write_text("data\n")
    (root / "README.md").write_text("# a project\n")
    (root / "latest").symlink_to("src")
    if backend == "setup.py":
        (root / "setup.py").write_text(SETUP.format(name=name))
        return root
    requires, module = BACKENDS[backend]
    (root / "pyproject.toml").write_text(
        f'[build-system]\nrequires = {requires}\nbuild-backend = "{module}"\n'
        f'[project]\nname = "{name}"\nversion = "1.0"\ndescription = "d"\n'
        f'[project.scripts]\n{name} = "{name}:main"\n'
        f'[tool.hatch.build.targets.wheel]\npackages = ["src/{name}"]\n'
    )
    return root


def git(directory: Path, *arguments: str) -> str:
    """Run git without anybody's settings."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    options = ["-c", "user.name=A", "-c", "user.email=a@mail.example", "-c", "gc.auto=0"]
    options += ["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *options, *arguments],
        cwd=directory,
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def commit(root: Path, message: str = "all") -> str:
    """Commit everything below *root*, a repository from now on; the commit's id."""
    if not (root / ".git").exists():
        git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)
    return git(root, "rev-parse", "HEAD")


def push(root: Path, remote: Path) -> None:
    """Push the branch to a bare repository made at *remote*."""
    remote.mkdir(parents=True)
    git(remote, "init", "-q", "--bare")
    git(root, "remote", "add", "origin", str(remote))
    git(root, "push", "-q", "-u", "origin", "HEAD")
