"""The interpreters of this machine, and the one that a lock names among them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from envfreeze.doctor.facts import Python
from envfreeze.errors import TargetError
from envfreeze.model.snapshot import Interpreter

USUAL = ("/opt/*/bin", "/usr/local/bin", "/usr/bin")
"""Where interpreters lie that PATH need not name; patterns."""

_ASK = (
    "import sys,sysconfig as s,json;i=sys.version_info;"
    "print(json.dumps([sys.implementation.name,"
    "'%d.%d.%d'%i[:3]+('' if i[3]=='final' else {'alpha':'a','beta':'b','candidate':'rc'}[i[3]]"
    "+str(i[4])),s.get_config_var('SOABI'),s.get_platform(),"
    "bool(s.get_config_var('Py_GIL_DISABLED')),bool(s.get_config_var('Py_DEBUG')),"
    "getattr(sys,'_base_executable',None) or sys.executable]))"
)
"""The last word is the interpreter below a venv, or the one behind a shim; itself otherwise."""


def matching(wanted: Interpreter, environ: Mapping[str, str], named: str | None = None) -> str:
    """A base interpreter of this machine with the version, implementation and ABI of *wanted*.

    :param named: the one that the user named; only that is tried.
    :raises TargetError: none is here; those that were seen are listed.
    """
    seen: list[str] = []
    for python in [named] if named else _candidates(wanted, environ):
        answer = _ask(python)
        if answer is None:
            continue
        facts, base = answer
        if facts == _wanted(wanted):
            return base if os.access(base, os.X_OK) else python
        seen.append(f"  {facts[0]} {facts[1]} ({facts[2] or 'no ABI tag'}, {facts[3]})  {python}")
    shown = "\n".join(dict.fromkeys(seen)) or (
        f"  {named} does not run, or is no Python" if named else "  none that runs"
    )
    abi = f"ABI {wanted.soabi}" if wanted.soabi else "no ABI tag"
    raise TargetError(
        f"no {wanted.implementation} {wanted.version} with {abi} for {wanted.platform}"
        f" on this machine; seen:\n{shown}",
        hint=f"Install it (uv python install {wanted.version}, pyenv install {wanted.version})"
        " or name one with --python; --to docker brings its own.",
    )


def seen(wanted: Interpreter, environ: Mapping[str, str]) -> list[Python]:
    """The interpreters of this machine, up to the first that *wanted* can be rebuilt with."""
    found = []
    for python in _candidates(wanted, environ):
        answer = _ask(python)
        if answer is None:
            continue
        try:
            found.append(msgspec.convert([*answer[0], python], _Answer).python)
        except msgspec.ValidationError:
            continue
        if answer[0] == _wanted(wanted):
            break
    return found


class _Answer(msgspec.Struct, array_like=True):
    """What :data:`_ASK` prints, the path in place of the base interpreter's."""

    implementation: str
    version: str
    soabi: str | None
    platform: str
    free_threaded: bool
    debug: bool
    path: str

    @property
    def python(self) -> Python:
        return Python(**msgspec.structs.asdict(self))


def _wanted(facts: Interpreter) -> list[object]:
    return [
        facts.implementation,
        facts.version,
        facts.soabi,
        facts.platform,
        facts.free_threaded,
        facts.debug,
    ]


QUESTION = ("-I", "-S", "-B", "-c", _ASK)
"""What to start an interpreter with, so that :func:`answer` can read what it says."""


def answer(said: bytes) -> tuple[list[object], str] | None:
    """What an interpreter said of itself (implementation, version, ABI, platform and whether it is
    free-threaded or a debug build), and its base interpreter."""
    try:
        *facts, base = msgspec.json.decode(said, type=list[object])
    except ValueError:
        return None
    return (facts, base) if len(facts) == 6 and isinstance(base, str) else None


def _ask(python: str) -> tuple[list[object], str] | None:
    """What *python* says of itself, and its base interpreter; None if it does not run."""
    try:
        done = subprocess.run(
            [python, *QUESTION],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer(done.stdout)


def _candidates(wanted: Interpreter, environ: Mapping[str, str]) -> Iterator[str]:
    """Where an interpreter may be: as captured, PATH, then the usual version managers."""
    minor = ".".join(wanted.version.split(".")[:2])
    names = [f"python{minor}", f"python{minor}t", "python3", "python"]
    if wanted.implementation == "pypy":
        names = [f"pypy{minor}", "pypy3", "pypy"]
    yielded = set()
    for path in _places(wanted, environ, names):
        try:
            real = path.resolve()
        except (OSError, RuntimeError):
            continue
        # os.path: pathlib's is_file raises where a directory may not be entered.
        if real in yielded or not os.path.isfile(real) or not os.access(real, os.X_OK):  # noqa: PTH113
            continue
        yielded.add(real)
        yield str(real)


def _places(wanted: Interpreter, environ: Mapping[str, str], names: list[str]) -> Iterator[Path]:
    if re.search(r"/(python|pypy)[0-9.]*[a-z]*$", wanted.base_executable):
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
    for pattern in (pyenv / "versions", managed, home / ".asdf/installs/python"):
        for name in names:
            yield from sorted(pattern.glob(f"*/bin/{name}"))
    for directory in USUAL:
        for name in names:
            yield from sorted(Path("/").glob(f"{directory.lstrip('/')}/{name}"))
