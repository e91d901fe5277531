"""What is known of a machine, and what a check says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from envfreeze.model.host import Host
from envfreeze.model.snapshot import Interpreter, System

Verdict = Literal["problem", "warning", "unknown", "ok"]
VERDICTS: tuple[Verdict, ...] = ("problem", "warning", "unknown", "ok")
"""Worst first. ``unknown``: it was not looked at, or no table has it; nothing is claimed."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    said: str
    """One line: what is needed and what is here."""
    reason: str = ""
    """Why that is so."""
    fix: str = ""
    """What to do about it."""
    source: str = ""
    """Where the rule is from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A distribution of the active environment."""

    name: str
    """Normalised."""
    version: str
    tags: tuple[str, ...] = ()
    """Of its WHEEL file, expanded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """An interpreter of this machine, as far as a venv must agree with its lock."""

    implementation: str
    version: str
    soabi: str | None
    platform: str
    free_threaded: bool = False
    debug: bool = False
    path: str = ""

    @property
    def shown(self) -> str:
        marks = f"{' free-threaded' * self.free_threaded}{' debug' * self.debug}"
        return f"{self.implementation} {self.version}{marks}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """What is known of this machine; None everywhere: not looked at."""

    host: Host | None = None
    interpreter: Interpreter | None = None
    """Of the active environment."""
    installed: tuple[Installed, ...] = ()
    system: System | None = None
    libraries: Mapping[str, bool] | None = None
    """Whether the loader would find them here, by file name (``libGL.so.1``)."""
    users: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Which files of the active environment need a library that is missing."""
    free: Mapping[str, int] | None = None
    """Bytes that are free, by directory."""
    pythons: tuple[Python, ...] | None = None
