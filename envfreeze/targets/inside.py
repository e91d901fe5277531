"""Targets whose files are not this machine's own: a container, an image, an unpacked root.

What lies there is asked of a :data:`Look`, so that one search serves an engine and a directory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from envfreeze.errors import TargetError
from envfreeze.targets.bundle import Observation, Question, host_modules
from envfreeze.targets.local import DROPPED, OVERRIDES
from envfreeze.targets.naming import DOCKER as DOCKER
from envfreeze.targets.naming import IMAGE as IMAGE
from envfreeze.targets.naming import Named
from envfreeze.targets.naming import is_inside as is_inside

What = Literal["program", "file", "directory"]
Look = Callable[[str], "What | None"]
"""What lies at an absolute path in the target, links followed; None: nothing does."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What an engine gives to a container whose image sets none."""
USUAL = ("/opt/venv", "/venv", "/app/.venv", "/opt/conda", "/opt/python", "/usr/local", "/usr")
"""Prefixes where images have their Python."""
_NAMES = ("python", "python3")


# --- which interpreter -----------------------------------------------------------------------


def find_python(target: Named, look: Look, environ: Mapping[str, str]) -> str:
    """The interpreter of *target*: the one that is named, else that of its variables, else the only
    one in the usual places.

    :param environ: VIRTUAL_ENV, CONDA_PREFIX and PATH of what runs there.
    :raises TargetError: there is none, or nothing tells which.
    """
    if target.python is not None:
        return _at(target, target.python, look)
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = environ.get(name)
        found = _in(prefix, look) if prefix else None
        if found:
            return found
    for directory in environ.get("PATH", "").split(":"):
        for name in reversed(_NAMES):
            if directory.startswith("/") and look(f"{directory}/{name}") == "program":
                return f"{directory.rstrip('/')}/{name}"
    return _only(target, [python for prefix in USUAL if (python := _in(prefix, look))])


def _in(prefix: str, look: Look) -> str | None:
    paths = [f"{prefix.rstrip('/')}/bin/{name}" for name in _NAMES]
    return next((p for p in paths if p.startswith("/") and look(p) == "program"), None)


def _at(target: Named, path: str, look: Look) -> str:
    what = look(path)
    if what == "program":
        return path
    found = _in(path, look) if what == "directory" else None
    if found:
        return found
    why = {
        "file": "that is a file that cannot be executed",
        "directory": "that directory holds no bin/python",
    }.get(what or "", "there is no such file or directory in it")
    others = [python for prefix in USUAL if (python := _in(prefix, look))]
    hint = f"It has {', '.join(others)}." if others else "Name the interpreter, venv or prefix."
    raise TargetError(f"{target.shown}:{path}: {why}", hint=hint)


def _only(target: Named, found: list[str]) -> str:
    if not found:
        raise TargetError(
            f"{target.shown} has no Python: none is on its PATH, and none in"
            f" {', '.join(f'{prefix}/bin' for prefix in USUAL)}",
            hint=f"If it lies elsewhere, name it: {target.shown}:/PATH/OF/PYTHON",
        )
    if len(found) > 1:
        raise TargetError(
            f"{target.shown} has more than one Python: {', '.join(found)}",
            hint=f"Name the one you mean: {target.shown}:{found[0]}",
        )
    return found[0]


# --- asking it -------------------------------------------------------------------------------


def variables(lines: Iterable[str]) -> dict[str, str]:
    """``NAME=value`` lines of an engine's configuration; PATH is there in any case."""
    pairs = (line.partition("=") for line in lines)
    return {"PATH": PATH} | {name: value for name, mark, value in pairs if mark and name}


def quiet(environ: Mapping[str, str]) -> dict[str, str]:
    """What to set so that the interpreter prints, runs and imports nothing of its own."""
    # Empty counts as not set; no engine can take a variable away.
    return {**{name: "" for name in sorted(DROPPED) if name in environ}, **OVERRIDES}


def question(environ: Mapping[str, str], *, first_process: bool, host: bool = True) -> Question:
    """The probe for a target that has no standard input.

    :param environ: the variables of its configuration.
    :param first_process: those of its first process count, where they can be read.
    """
    words: dict[str, object] = {"environ": dict(environ)}
    words["first-process"] = "/proc/1/environ" if first_process else None
    if host:
        words |= {"host": True, "modules": host_modules()}
    return Question(words=words, host=host)


def answer(asked: Question, output: bytes, target: Named, python: str) -> Observation:
    """Read the answer.

    :raises TargetError: there is none, it is too old a Python, or it is not a snapshot.
    """
    return asked.answer(output, f"{target.shown}:{python}")


def similar(name: str, known: Iterable[str]) -> str:
    """A hint that names what is there and is called like *name*."""
    import difflib

    every = sorted(set(known))
    wanted = re.split(r"[:@]", name, maxsplit=1)[0].lower()
    near = [one for one in every if wanted and wanted in one.lower()]
    near += difflib.get_close_matches(name, every, n=5, cutoff=0.5)
    shown = list(dict.fromkeys(near))[:5] or every[:5]
    return f"There is {', '.join(shown)}." if shown else ""
