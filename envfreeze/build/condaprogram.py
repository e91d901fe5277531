"""Conda packages linked by a conda, mamba or micromamba that is there already.

It gets an ``@EXPLICIT`` file (CEP 23) of package files that lie here: nothing is left to solve or
to fetch. Their sha256 were checked when they came; the file has their md5, since conda reads a
sha256 there from 24.9 on. What a person's ``.condarc`` adds to new environments stays out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envfreeze.build import said
from envfreeze.errors import ArtifactError, UsageError

KINDS = ("conda", "mamba", "micromamba")
_VARIABLES = {"conda": "CONDA_EXE", "mamba": "MAMBA_EXE", "micromamba": "MAMBA_EXE"}
"""Where ``conda init`` and its like say where the program is: to a shell it is a function."""
_ALWAYS = ("--offline", "--no-deps", "--yes", "--quiet")
_NO_SCRIPTS = "--skip-run-link-scripts"
_WHERE_KNOWN = ("--no-default-packages", "--no-rc", "--no-shortcuts", "--no-pin")
_QUIET = {"CONDA_SHORTCUTS": "false", "MAMBA_SHORTCUTS": "false"}
"""A package's menu entries lie outside the prefix."""
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_HELP_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that makes conda environments."""

    path: str
    environ: Mapping[str, str]
    options: frozenset[str]
    """Of its ``create``, as its help names them."""

    @property
    def skips_scripts(self) -> bool:
        """Whether it can be told to run no script of a package."""
        return _NO_SCRIPTS in self.options

    def flags(self, scripts: bool) -> list[str]:
        known = [option for option in _WHERE_KNOWN if option in self.options]
        skip = [_NO_SCRIPTS] if self.skips_scripts and not scripts else []
        return [*_ALWAYS, *known, *skip]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to link, and where."""

    offered: Sequence[tuple[str, str]]
    """``file://`` URLs with the md5 of what lies there, in link order."""
    into: Path
    """Not there yet."""
    cache: Path
    """For its package cache."""
    scripts: bool


def find(asked: str, environ: Mapping[str, str]) -> Program:
    """The program that a person *asked* for, by its name or its path.

    :raises UsageError: there is none, or it makes no environments.
    """
    path = _place(asked, environ)
    if path is None:
        name = _VARIABLES.get(asked)
        also = f", and {name} names none" if name else ""
        raise UsageError(
            f"--solver-free {asked}: there is no such program on PATH{also}",
            hint="Write its whole path, or leave --solver-free out: py-rattler links without one.",
        )
    return Program(path=path, environ=environ, options=frozenset(_options(path, environ)))


def _place(asked: str, environ: Mapping[str, str]) -> str | None:
    search = environ.get("PATH", os.defpath)
    named = environ.get(_VARIABLES.get(asked, ""), "")
    return shutil.which(asked, path=search) or (shutil.which(named) if "/" in named else None)


def _options(path: str, environ: Mapping[str, str]) -> list[str]:
    text = _run([path, "create", "--help"], environ, f"{path} create --help", _HELP_SECONDS)
    found = _OPTION.findall(text)
    missing = [option for option in ("--prefix", "--file", *_ALWAYS) if option not in found]
    if missing:
        raise UsageError(
            f"{path} is no conda, mamba or micromamba: its create has no {', '.join(missing)}",
            hint="Name one that has, or leave --solver-free out: py-rattler links without one.",
        )
    return found


def explicit(offered: Iterable[tuple[str, str]]) -> str:
    """The ``@EXPLICIT`` file."""
    return "".join(["@EXPLICIT\n", *(f"{url}#{md5}\n" for url, md5 in offered)])


def link(program: Program, order: Order) -> None:
    """Make the environment of *order*.

    :raises ArtifactError: the program failed; it says what was said last.
    """
    order.cache.mkdir(parents=True, exist_ok=True)
    file = order.cache.parent / "explicit.txt"
    file.write_text(explicit(order.offered), "utf-8")
    argv = [program.path, "create", "--prefix", str(order.into), "--file", str(file)]
    environ = {**program.environ, **_QUIET, "CONDA_PKGS_DIRS": str(order.cache)}
    _run([*argv, *program.flags(order.scripts)], environ, f"{program.path} create")


def _run(
    argv: list[str], environ: Mapping[str, str], named: str, seconds: float | None = None
) -> str:
    try:
        done = subprocess.run(
            argv,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ArtifactError(
            f"{named} cannot be run: {error}",
            hint="Leave --solver-free out: py-rattler links without it.",
        ) from error
    if done.returncode:
        last = said.Last(lambda _line: None)
        last.hear([done.stdout])
        raise ArtifactError(
            f"{named} failed with exit code {done.returncode}:{last.text}",
            hint="Leave --solver-free out: py-rattler links without it.",
        )
    return done.stdout.decode("utf-8", "replace")
