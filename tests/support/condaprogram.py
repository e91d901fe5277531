"""The conda that conda-lock brings along, as a program: a real one, of version 24.7.

It is its whole source, under another name and without a command; tqdm and conda-package-handling,
which it needs to fetch and unpack, are among the test requirements.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def real_conda(place: Path) -> Path:
    """A command ``conda`` at *place*."""
    found = importlib.util.find_spec("conda_lock")
    assert found is not None and found.origin is not None
    place.mkdir()
    (place / "conda").symlink_to(Path(found.origin).parent / "_vendor/conda")
    command = place / "bin/conda"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={place} exec {sys.executable} -W ignore -m conda "$@"\n'
    )
    command.chmod(0o755)
    return command
