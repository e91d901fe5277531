"""Installers, old and new, as the tests make them for themselves from the configured index."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from envfreeze.resolve import pipconf
from tests.support.environments import plain_environ

UV = Path(sys.executable).with_name("uv")

OLD_PACKAGES = (
    "idna==2.10",
    "jmespath==0.10.0",  # a script that names the interpreter
    "setuptools==40.6.2",
    "six==1.16.0",
    "sphinxcontrib-jsmath==1.0.1",  # a namespace package, and its -nspkg.pth
    "tabulate==0.8.10",  # an entry point
)
"""For Python 3.6 and 3.7, pure."""

COMPILED = "markupsafe==2.0.1"


def download(into: Path, *requirements: str, options: Sequence[str] = ()) -> None:
    """``pip download`` of just these."""
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(into)]
    run(*argv, *options, *requirements)


def fill_shelf(into: Path) -> None:
    """Files for old installers, which could not talk to today's index themselves."""
    download(into, *OLD_PACKAGES)
    if platform.machine() == "x86_64":
        for minor in ("36", "37"):
            binary = ("--only-binary=:all:", "--platform=manylinux1_x86_64")
            python = (f"--python-version={minor}", f"--abi=cp{minor}m")
            download(into, COMPILED, options=(*binary, *python))


def old_pip(shelf: Path, version: str) -> Path:
    """The wheel of an old pip; it runs out of it. 7.1.2 is the oldest that starts under 3.6."""
    if not list(shelf.glob(f"pip-{version}-*.whl")):
        download(shelf, f"pip=={version}")
    return next(shelf.glob(f"pip-{version}-*.whl"))


def run(*argv: str | Path, **environ: str) -> str:
    done = subprocess.run(
        list(map(str, argv)),
        env={**plain_environ(), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


TOOLS = {"pdm": "pdm[locked]", "pipx": "pipx", "poetry": "poetry"}
"""Program to what installs it; without its own locked versions pdm has been seen not to start."""


def tool(name: str, into: Path) -> Path:
    """The program *name* in a venv of its own below *into*, or skip."""
    prefix = into / name
    program = prefix / "bin" / name
    if not program.exists():
        run(UV, "venv", "--quiet", "--python", sys.executable, prefix)
        argv = [UV, "pip", "install", "--quiet", "--python", prefix / "bin/python", TOOLS[name]]
        done = subprocess.run(
            list(map(str, argv)), env=plain_environ(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"{name} cannot be installed here: {done.stderr.strip()[-200:]}")
    return program


@functools.cache
def index_url() -> str:
    """The index that pip is configured for, as the other tools have to be told."""
    url = pipconf.read_settings(environ=os.environ, prefix=None).index_url
    if url is None:
        pytest.skip("pip is configured without an index")
    return url
