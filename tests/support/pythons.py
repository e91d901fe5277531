"""The interpreters of this machine, by minor version, for tests of the probe."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

OLDEST = (3, 6)


@functools.cache
def available() -> dict[str, Path]:
    """``{"3.6": executable, ...}``: pyenv's, then what PATH names ``python3.X``."""
    found: dict[tuple[int, int], Path] = {}
    for root in _pyenv_versions():
        match = re.match(r"(\d+)\.(\d+)\.\d+$", root.name)
        python = root / "bin" / "python"
        if match and os.access(python, os.X_OK):
            found.setdefault((int(match[1]), int(match[2])), python)
    for minor in range(6, 20):
        path = shutil.which(f"python3.{minor}")
        if path and "shims" not in path:
            found.setdefault((3, minor), Path(path))
    return {f"{a}.{b}": found[a, b] for a, b in sorted(found) if (a, b) >= OLDEST}


def _pyenv_versions() -> list[Path]:
    roots = [Path(os.environ["PYENV_ROOT"])] if os.environ.get("PYENV_ROOT") else []
    pyenv = shutil.which("pyenv")
    if not roots and pyenv:
        done = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
        roots = [Path(done.stdout.strip())] if done.stdout.strip() else []
    return sorted(path for root in roots for path in (root / "versions").glob("*"))


def python2() -> Path:
    """A Python 2.7, or skip."""
    for root in _pyenv_versions():
        if root.name.startswith("2.7") and os.access(root / "bin" / "python", os.X_OK):
            return root / "bin" / "python"
    path = shutil.which("python2.7")
    if path is None or "shims" in path:
        pytest.skip("no Python 2.7 on this machine")
    return Path(path)


def newest() -> Path:
    """The newest interpreter here, or skip."""
    found = available()
    if not found:
        pytest.skip("no interpreter under PYENV_ROOT, pyenv or PATH")
    return list(found.values())[-1]


def parameters() -> list[object]:
    """One pytest parameter for each interpreter; one skipped where there is none."""
    found = available()
    if not found:
        reason = "no interpreter under PYENV_ROOT, pyenv or PATH"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(path, id=version) for version, path in found.items()]
