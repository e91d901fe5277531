"""Targets on this machine: the active environment, an interpreter, a venv, a prefix."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envfreeze.errors import TargetError, UsageError
from envfreeze.store import Cache
from envfreeze.targets.bundle import Observation, Question

_OVERRIDES = {"PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"}
_DROP = frozenset(
    {
        "PYTHONINSPECT",
        "PYTHONVERBOSE",
        "PYTHONDEBUG",
        "PYTHONDUMPREFS",
        "PYTHONPROFILEIMPORTTIME",
        "PYTHONWARNINGS",
        "PYTHONDEVMODE",
        "PYTHONTRACEMALLOC",
        "PYTHONMALLOCSTATS",
        "PYTHONIOENCODING",
        "PYTHONSTARTUP",
        "__PYVENV_LAUNCHER__",
    }
)
"""What would make the target's interpreter print, stop or slow down while it is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTarget:
    """An interpreter on this machine, and how it was chosen."""

    python: str
    described: str
    own: bool
    """It is the environment that envfreeze itself runs from."""


def find(target: str | None, environ: Mapping[str, str]) -> LocalTarget:
    """The interpreter that *target* names: nothing (the active environment) or a path.

    :raises TargetError: there is no interpreter there.
    :raises UsageError: the active environment is envfreeze's own, and nobody asked for that.
    """
    if target is not None:
        python = _python_at(target)
        return LocalTarget(python=python, described=target, own=_is_own(python))
    for python, described in _active(environ):
        if not _is_own(python):
            return LocalTarget(python=python, described=described, own=False)
        if described != "PATH":
            raise UsageError(
                f"the active environment ({described}) is the one envfreeze itself runs from",
                hint="To capture another, activate it or give its path.\n"
                f"To capture this one all the same: envfreeze capture {sys.prefix}",
            )
    raise TargetError(
        "no active Python environment: neither VIRTUAL_ENV, CONDA_PREFIX nor python3 on PATH",
        hint="Give the path of an interpreter, a venv or a prefix.",
    )


def _active(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Interpreters of the active environment, the most telling sign first."""
    named = [name for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if environ.get(name)]
    found = [(_python_at(environ[name], name), environ[name]) for name in named]
    for directory in environ.get("PATH", "").split(os.pathsep):
        for name in ("python3", "python"):
            path = shutil.which(name, path=directory) if directory else None
            if path:
                found.append((path, "PATH"))
    return found


def _python_at(target: str, source: str = "") -> str:
    path = Path(target).expanduser()
    said = f"{source}={target}" if source else target
    if not path.exists():
        raise TargetError(
            f"{said}: no such file or directory",
            hint="Give the path of an interpreter, a venv or a prefix.",
        )
    if path.is_file():
        if not os.access(path, os.X_OK):
            raise TargetError(f"{said} is a file that cannot be executed")
        return str(path.absolute())
    for name in ("bin/python", "bin/python3", "python", "python3"):
        if os.access(path / name, os.X_OK) and (path / name).is_file():
            return str((path / name).absolute())
    versioned = sorted(
        entry
        for entry in (path / "bin").glob("python3.*")
        if re.fullmatch(r"python3\.\d+t?", entry.name) and os.access(entry, os.X_OK)
    )
    if versioned:
        return str(versioned[-1].absolute())
    raise TargetError(
        f"{said} holds no Python: there is no bin/python in it",
        hint="Give the path of an interpreter, a venv or a prefix.",
    )


def _is_own(python: str) -> bool:
    """Whether *python* belongs to the environment that runs this very code."""
    path = Path(python)
    return path.parent.parent.resolve() == Path(sys.prefix).resolve() and (
        sys.prefix != sys.base_prefix or path.resolve() == Path(sys.executable).resolve()
    )


def observe(
    target: LocalTarget,
    *,
    environ: Mapping[str, str],
    cache: Cache | None,
    rehash: bool = False,
) -> Observation:
    """Run the probe in *target*.

    Digests of files that have not changed since an earlier run are taken from *cache*
    (by device, inode, size, modification and change time), unless *rehash*.

    :raises TargetError: it cannot be run, or gives no answer.
    """
    question = Question({"rehash": rehash}, more=True)
    key = _memory_key(target.python)
    known = cache.read_note("stats", key) if cache is not None and not rehash else None
    more = b'{"environ":%s,"known":%s}' % (json.dumps(dict(environ)).encode(), known or b"{}")
    observation = _ask(target, question, environ, more)
    if cache is not None:
        _remember(cache, key, known, observation)
    return observation


def _memory_key(python: str) -> str:
    import hashlib

    return hashlib.sha256(os.fsencode(python)).hexdigest()


def _remember(cache: Cache, key: str, known: bytes | None, observation: Observation) -> None:
    """Keep what was hashed anew, and of the earlier memory what may still hold."""
    if not observation.remember:
        return
    earlier = json.loads(known) if known else {}
    merged = {**earlier, **observation.remember}
    limit = 4 * max(256, len(observation.snapshot.dists))
    newest = dict(list(merged.items())[-limit:])
    cache.write_note("stats", key, json.dumps(newest).encode())


def _ask(
    target: LocalTarget, question: Question, environ: Mapping[str, str], more: bytes
) -> Observation:
    clean = {key: value for key, value in environ.items() if key not in _DROP}
    try:
        done = subprocess.run(
            question.argv(target.python),
            input=more,
            capture_output=True,
            env={**clean, **_OVERRIDES},
            check=False,
        )
    except OSError as error:
        raise TargetError(f"{target.python} cannot be run: {error.strerror}") from error
    try:
        return question.answer(done.stdout, target.python)
    except TargetError as error:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
        if said and not done.stdout:
            raise TargetError(
                f"{target.python} does not run (exit status {done.returncode}):\n" + "\n".join(said)
            ) from error
        raise
