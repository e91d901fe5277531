"""A small recorded machine, out of a table of paths and texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from envfreeze.probe.machine import Machine


def write(root: Path, files: Mapping[str, str]) -> Machine:
    """The machine whose root is *root*, with these files (absolute paths) and no environment."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(root=str(root), environ={})
