"""The recorded machines (tests/roots)."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOTS = Path(__file__).parents[1] / "roots"


def copied(name: str, to: Path) -> Path:
    """A copy of a recorded machine, with its links, which are kept in a list beside it."""
    shutil.copytree(ROOTS / name, to)
    for line in (ROOTS / f"{name}.links").read_text("utf-8").splitlines():
        path, _, target = line.partition("\t")
        (to / path).parent.mkdir(parents=True, exist_ok=True)
        (to / path).symlink_to(target)
    return to
