"""A file that a lock can have again, and a file that nobody owns; what either may be called."""

from __future__ import annotations

import re

from envfreeze.model.base import Kebab

SHA256 = re.compile(r"[0-9a-f]{64}")
NOT_IN_NAMES = re.compile(r"[/\x00-\x1f\x7f]")


class Artifact(Kebab, frozen=True, kw_only=True):
    """A file that can be had again: by URL, or from the store beside the lock.

    ``size`` is in bytes; ``hashes`` maps an algorithm to a hex digest and holds ``sha256``.
    """

    name: str | None = None
    url: str | None = None
    path: str | None = None
    """Relative to the lock, with ``/``: ``env.lock.d/ab/cd.../name.whl``."""
    size: int
    hashes: dict[str, str]

    @property
    def sha256(self) -> str:
        return self.hashes["sha256"]

    @property
    def filename(self) -> str:
        if self.name:
            return self.name
        return (self.url or self.path or "").split("#")[0].split("?")[0].rsplit("/", 1)[-1]


class LooseEntry(Kebab, frozen=True, kw_only=True):
    """A file that no distribution's RECORD owns."""

    path: str
    """Relative to its site directory."""
    sha256: str | None = None
    link: str | None = None
    executable: bool = False
    apart: bool = False
    """Another file has this path in an earlier site directory (see :attr:`PackageFacts.apart`)."""
    in_base: bool = False
    """The base image has it; no archive of the lock does."""


def artifact_problem(artifact: Artifact) -> str | None:
    """Why *artifact* must not be used, or None: its digest, its path and its name are checked."""
    digest = artifact.hashes.get("sha256", "")
    if not SHA256.fullmatch(digest):
        return "its sha256 is not 64 hexadecimal digits"
    if artifact.size < 0:
        return "its size is negative"
    if (artifact.url is None) == (artifact.path is None):
        return "it must have either a url or a path"
    if artifact.url is not None and not artifact.url.startswith(("https://", "http://")):
        return "its url is neither https nor http"
    if artifact.path is not None and not is_inside(artifact.path):
        return "its path leads out of the directory of the lock"
    if not is_file_name(artifact.filename) or "\\" in artifact.filename:
        return "its name is not a file name"
    return None


def is_file_name(text: str) -> bool:
    return text not in {"", ".", ".."} and not NOT_IN_NAMES.search(text)


def is_inside(path: str) -> bool:
    """Whether a relative POSIX *path* stays below the directory it is relative to, anywhere."""
    return stays_below(path) and "\\" not in path


def is_below(path: str, directory: str) -> bool:
    """Whether an absolute *path* is *directory* or lies below it."""
    return f"{path.rstrip('/')}/".startswith(f"{directory.rstrip('/')}/")


def stays_below(path: str) -> bool:
    """Asked of each file that a lock names, thousands of times: no path object is made."""
    return (
        bool(path)
        and not path.startswith("/")
        and ".." not in path.split("/")
        and not NOT_IN_NAMES.search(path.replace("/", ""))
    )
