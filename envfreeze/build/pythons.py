"""The interpreters of this machine, and the one that a lock names among them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from envfreeze.errors import TargetError
from envfreeze.model.snapshot import Interpreter

_ASK = (
    "import sys,sysconfig as s,json;i=sys.version_info;"
    "print(json.dumps([sys.implementation.name,"
    "'%d.%d.%d'%i[:3]+('' if i[3]=='final' else {'alpha':'a','beta':'b','candidate':'rc'}[i[3]]"
    "+str(i[4])),s.get_config_var('SOABI'),s.get_platform(),"
    "bool(s.get_config_var('Py_GIL_DISABLED')),bool(s.get_config_var('Py_DEBUG')),"
    "sys.prefix==sys.base_prefix]))"
)


def matching(wanted: Interpreter, environ: Mapping[str, str], named: str | None = None) -> str:
    """A base interpreter of this machine with the version, implementation and ABI of *wanted*.

    :param named: the one that the user named; only that is tried.
    :raises TargetError: none is here; those that were seen are listed.
    """
    seen: list[str] = []
    for python in [named] if named else _candidates(wanted, environ):
        facts = _ask(python)
        if facts is None:
            continue
        if facts == _wanted(wanted):
            return python
        seen.append(f"  {facts[0]} {facts[1]} ({facts[2] or 'no ABI tag'})  {python}")
    shown = "\n".join(dict.fromkeys(seen)) or "  none that runs"
    raise TargetError(
        f"no {wanted.implementation} {wanted.version} with ABI {wanted.soabi} on this machine;"
        f" seen:\n{shown}",
        hint=f"Install it (uv python install {wanted.version}, pyenv install {wanted.version})"
        " or name one with --python; --to docker brings its own.",
    )


def _wanted(facts: Interpreter) -> list[object]:
    return [
        facts.implementation,
        facts.version,
        facts.soabi,
        facts.platform,
        facts.free_threaded,
        facts.debug,
    ]


def _ask(python: str) -> list[object] | None:
    """What *python* says of itself; None if it does not run or is inside a venv."""
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-B", "-c", _ASK], capture_output=True, timeout=20, check=True
        )
        facts = msgspec.json.decode(done.stdout, type=list[object])
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return None
    return facts[:-1] if len(facts) == 7 and facts[-1] else None


def _candidates(wanted: Interpreter, environ: Mapping[str, str]) -> Iterator[str]:
    """Where an interpreter may be: as captured, PATH, then the usual version managers."""
    minor = ".".join(wanted.version.split(".")[:2])
    names = [f"python{minor}", f"python{minor}t", "python3", "python"]
    yielded = set()
    for path in _places(wanted, environ, names):
        try:
            real = path.resolve()
        except (OSError, RuntimeError):
            continue
        if real in yielded or not real.is_file() or not os.access(real, os.X_OK):
            continue
        yielded.add(real)
        yield str(real)


def _places(wanted: Interpreter, environ: Mapping[str, str], names: list[str]) -> Iterator[Path]:
    if re.search(r"/python[0-9.]*[a-z]*$", wanted.base_executable):
        yield Path(wanted.base_executable)
    for directory in environ.get("PATH", "").split(os.pathsep):
        for name in names:
            if directory:
                yield Path(directory) / name
    home = Path(environ.get("HOME") or "~").expanduser()
    pyenv = Path(environ.get("PYENV_ROOT") or home / ".pyenv")
    managed = Path(
        environ.get("UV_PYTHON_INSTALL_DIR") or home / ".local" / "share" / "uv" / "python"
    )
    for pattern in (pyenv / "versions", managed, Path("/opt"), home / ".asdf/installs/python"):
        for name in names:
            yield from sorted(pattern.glob(f"*/bin/{name}"))
    for directory in ("/usr/local/bin", "/usr/bin"):
        for name in names:
            yield Path(directory) / name
