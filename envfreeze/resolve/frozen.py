"""The outcome of freezing, and the system's files that it rests on. Imports next to nothing."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from envfreeze.model.lock import Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """The lock, and what a person is told about how it came to be."""

    lock: Lock
    found: int
    counts: Counter[str]
    """How many distributions are proved, packed, kept as files, unproved, shadowed."""
    problems: list[str]
    """Indexes that did not answer, notes on pip's settings."""
    watched: dict[str, str]
    """The system's files that it was made from, each with its :func:`stamp`."""
    text: str | None = None
    """The lock as it is written, where that is known already."""
    below: str = ""
    """The digest of what was seen of the machine below."""


def stamp(path: str) -> str:
    """What changes when the file *path* changes; empty where there is none."""
    try:
        st = os.stat(path)  # noqa: PTH116 - thousands of them
    except OSError:
        return ""
    return f"{st.st_size} {st.st_mode} {st.st_mtime_ns} {st.st_ctime_ns} {st.st_ino}"


def still(watched: dict[str, str]) -> bool:
    """Whether these files are as they were when they were stamped."""
    return all(stamp(path) == known for path, known in watched.items())
