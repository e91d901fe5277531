"""Small directories that stand for machines: ``{path: text}``, ``-> target`` for a link."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from envfreeze.probe.machine import Machine
from envfreeze.probe.places import Places


def grow(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            path.symlink_to(text[3:])
        else:
            path.write_text(text)
            if text.startswith("#!"):
                path.chmod(0o755)


def places(root: Path, files: Mapping[str, str], **environ: str) -> Places:
    grow(root, files)
    return Places(Machine(root=str(root), environ=environ))


def names(root: Path, site: str) -> dict[str, None]:
    """What a walk of the site directory finds, below a root."""
    top = root / site.lstrip("/")
    return {path.relative_to(top).as_posix(): None for path in top.rglob("*") if path.is_file()}
