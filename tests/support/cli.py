"""Run the command line as its user does, and look at environments from outside."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

OWN = {"RECORD", "uv_cache.json"}
"""Files of a dist-info directory that an installer writes anew."""


def envfreeze(
    *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """``python -m envfreeze ARGUMENTS`` with *env* on top of this process's environment."""
    return subprocess.run(
        [sys.executable, "-m", "envfreeze", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        check=False,
    )


def ok(done: subprocess.CompletedProcess[str], code: int = 0) -> subprocess.CompletedProcess[str]:
    """Assert the exit code, showing what was said if it is another."""
    said = f"{done.args}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == code, f"exit {done.returncode}, expected {code}\n{said}"
    assert "Traceback" not in done.stderr, said
    return done


def run(*argv: str | Path) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def unpack(archive: tarfile.TarFile, into: Path) -> None:
    """Extract our own archive as it is; Python 3.11.2 (Debian 12) knows no filters yet."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(into, filter="fully_trusted")
    else:
        archive.extractall(into)


def digests(directory: Path) -> dict[str, str]:
    """Path to sha256 (or link text) of everything below, but bytecode and RECORD files."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if "__pycache__" in name.parts or (name.name in OWN and "-info" in name.parent.name):
            continue
        if path.is_symlink():
            found[str(name)] = f"link {path.readlink()}"
        elif path.is_file():
            found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def site(prefix: Path) -> Path:
    """The site-packages directory of a venv."""
    return next((prefix / "lib").glob("python3*/site-packages"))
