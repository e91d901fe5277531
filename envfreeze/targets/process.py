"""Targets that run: ``pid:N``, from ``/proc/N`` alone, without stopping or asking the process.

``/proc/N/exe`` is the interpreter behind a venv's link, so the venv is found as CPython finds it:
by the program's name, ``argv[0]`` (``Modules/getpath.py``, PEP 405). A name is believed only where
it leads to the very file that runs. Source of the files' meanings: proc(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from envfreeze.errors import TargetError, UsageError
from envfreeze.model.host import Mapped, Process
from envfreeze.probe.machine import ALLOWED, RECORDED
from envfreeze.targets.naming import PID
from envfreeze.targets.redaction import redacted

PREFIX = PID
PROC = Path("/proc")

MOST_LIBRARIES = 4096
MOST_BYTES = 1 << 24
"""Of a file in /proc: a process can make its maps and environment as long as it likes."""
_DELETED = " (deleted)"
_PYTHON = re.compile(r"\.?(?:python|pypy)[0-9]*(?:\.[0-9]+)*[a-z]{0,2}(?:-(?:wrapped|intel64|c))?$")
_LIBRARY = re.compile(r"/[^/]*\.so(?:\.[0-9][^/]*)?$")
_SITE = re.compile(r"(/.*|)/lib(?:64)?/(?:python|pypy)[0-9.]+t?/site-packages/")
_VERSION = re.compile(
    r"/libpython3\.([0-9]+)t?d?\.so|\.cpython-3([0-9]+)t?d?-|/python3\.([0-9]+)t?/lib-dynload/"
)
_PLACES = frozenset({"HOME", "PATH", "CONDA_PREFIX", "CUDA_HOME", "CUDA_PATH", "ROCM_PATH"})
"""Variables by which the probe finds what an environment has; they do not leave the probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A running Python, and how to look at its environment as it does."""

    python: str
    """The interpreter as the process was started with it: a venv's own."""
    environ: dict[str, str]
    """Of its environment, what the probe works with; nothing else of it is kept."""
    cwd: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    process: Process


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What /proc says of one process, all of it untrusted."""

    pid: int
    exe: str
    argv: list[str]
    environ: dict[str, str]
    cwd: str
    libraries: list[Mapped]

    @property
    def name(self) -> str:
        return os.path.basename(self.exe)  # noqa: PTH119 - a text of another process

    def places(self) -> Iterator[str]:
        """Where it may have been started: where it is, and where its shell was."""
        yield self.cwd
        if self.environ.get("PWD", "").startswith("/"):
            yield self.environ["PWD"]


def look(target: str, proc: Path = PROC) -> Running:
    """The process that *target*, ``pid:N``, names.

    :param proc: the proc file system; a recorded process lies in another directory.
    :raises UsageError: that is not the number of a process.
    :raises TargetError: there is none, it is no Python, or it may not or cannot be looked at.
    """
    number = target.removeprefix(PREFIX)
    if not re.fullmatch(r"[0-9]{1,10}", number):
        raise UsageError(f"{target}: not a process id", hint="Give a number: pid:1234")
    place = proc / str(int(number))
    if not proc.is_dir():
        raise TargetError(f"{target}: there is no {proc} on this machine", hint=_BY_PATH)
    try:
        return _look(target, place)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise _gone(target) from error
    except PermissionError as error:
        raise _refused(target, place) from error


_BY_PATH = "Give the path of the environment instead."


def _gone(target: str) -> TargetError:
    return TargetError(
        f"{target}: no such process, or it has ended",
        hint="Look for it again: pgrep -af python",
    )


def _refused(target: str, place: Path) -> TargetError:
    """proc(5): another user's process needs CAP_SYS_PTRACE, as do some of one's own."""
    try:
        owner = _identity(_read(place / "status"))[0]
    except (OSError, IndexError, ValueError):
        owner = None
    if owner is not None and owner != os.geteuid():
        return TargetError(
            f"{target} may not be looked at: it belongs to user {owner}",
            hint="Run envfreeze as that user, or as root.",
        )
    return TargetError(
        f"{target} may not be looked at: the kernel keeps what it runs to itself",
        hint="Run envfreeze as root with CAP_SYS_PTRACE, or give the path of the environment.",
    )


def _look(target: str, place: Path) -> Running:
    began = _began(target, place)
    exe = _executable(target, place)
    _check_root(target, place, exe)
    libraries = mapped(_read(place / "maps"))
    seen = _Seen(
        pid=int(place.name),
        exe=exe,
        argv=arguments(_read(place / "cmdline")),
        environ=environment(_read(place / "environ")),
        cwd=str((place / "cwd").readlink()),
        libraries=libraries,
    )
    python, start = interpreter(seen, target, place)
    uid, gid, groups = _identity(_read(place / "status"))
    if _began(target, place) != began:
        raise _gone(target)
    return Running(
        python=python,
        environ=probed(seen, start),
        cwd=seen.cwd if Path(seen.cwd).is_dir() else "/",
        uid=uid,
        gid=gid,
        groups=groups,
        process=Process(pid=seen.pid, command=redacted(seen.argv), libraries=libraries),
    )


# --- reading /proc ---------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES)


def _began(target: str, place: Path) -> str:
    """When it was started, in clock ticks: another process may get its number (proc(5), stat)."""
    fields = _read(place / "stat").decode("utf-8", "replace").rpartition(")")[2].split()
    if not fields or fields[0] in "ZX":
        raise TargetError(f"{target} has ended; only its entry is left", hint=_BY_PATH)
    return fields[19] if len(fields) > 19 else ""


def _executable(target: str, place: Path) -> str:
    """The file that runs."""
    try:
        exe = str((place / "exe").readlink())
    except FileNotFoundError:
        if place.is_dir():
            raise TargetError(
                f"{target} is a thread of the kernel, not a Python process", hint=_BY_PATH
            ) from None
        raise
    if exe.endswith(_DELETED) and not Path(exe).exists():
        raise TargetError(
            f"{target} runs {exe.removesuffix(_DELETED)}, which was replaced or removed since",
            hint="Start the process anew, or give the path to look at what lies there now.",
        )
    return exe


def _check_root(target: str, place: Path, exe: str) -> None:
    """Its files must be ours: a container or chroot has others under the same names."""
    root, own = (place / "root").stat(), Path("/").stat()
    elsewhere = (root.st_dev, root.st_ino) != (own.st_dev, own.st_ino)
    if not elsewhere and _is_same(exe, str(place / "exe")):
        return
    try:
        inside = container_of(_read(place / "cgroup").decode("utf-8", "replace"))
    except OSError:
        inside = None
    where = f"container {inside[1]} ({inside[0]})" if inside else "a container or chroot"
    docker = f"Give docker:{inside[1]}, or run" if inside and inside[0] == "docker" else "Run"
    raise TargetError(
        f"{target} lives in {where}: its files are not those that are seen from here",
        hint=f"{docker} envfreeze inside it.",
    )


_CONTAINERS = (
    ("docker", re.compile(r"/docker[-/]([0-9a-f]{12,64})(?:\.scope)?(?:/|$)", re.MULTILINE)),
    ("podman", re.compile(r"/libpod-([0-9a-f]{12,64})(?:\.scope)?(?:/|$)", re.MULTILINE)),
    (
        "kubernetes",
        re.compile(r"/kubepods.*[/-]([0-9a-f]{64})(?:\.scope)?(?:/|$)", re.MULTILINE),
    ),
    ("lxc", re.compile(r"/lxc(?:\.payload)?[./]([\w.-]{1,64})(?:/|$)", re.MULTILINE)),
    ("systemd-nspawn", re.compile(r"/machine-([\w.-]{1,64})\.scope(?:/|$)", re.MULTILINE)),
)


def container_of(cgroup: str) -> tuple[str, str] | None:
    """``(engine, name or short id)`` by the text of /proc/N/cgroup; None: it does not say."""
    for engine, pattern in _CONTAINERS:
        match = pattern.search(cgroup)
        if match:
            name = match[1]
            return engine, name[:12] if re.fullmatch("[0-9a-f]{12,64}", name) else name
    return None


def _identity(status: bytes) -> tuple[int, int, tuple[int, ...]]:
    """Effective user, effective group and further groups of /proc/N/status."""
    lines = dict(line.partition(b":")[::2] for line in status.splitlines())
    ids = [lines.get(key, b"").split() for key in (b"Uid", b"Gid", b"Groups")]
    return int(ids[0][1]), int(ids[1][1]), tuple(map(int, ids[2]))


def arguments(data: bytes) -> list[str]:
    """The words of /proc/N/cmdline; a process that gave itself a title has but that."""
    return [os.fsdecode(word) for word in data.rstrip(b"\0").split(b"\0")] if data else []


def environment(data: bytes) -> dict[str, str]:
    """The variables of /proc/N/environ: those that it was started with. The first of a name counts.

    What is no variable (a title that was written over them) is passed over.
    """
    found: dict[str, str] = {}
    for line in data.split(b"\0"):
        name, mark, value = line.partition(b"=")
        if mark and re.fullmatch(rb"[A-Za-z_][A-Za-z0-9_]*", name):
            found.setdefault(name.decode("ascii"), os.fsdecode(value))
    return found


def mapped(data: bytes) -> list[Mapped]:
    """The shared libraries in the text of /proc/N/maps, sorted.

    The kernel writes a line break in a name as ``\\012``. A name is all of the line after the
    inode; it may hold blanks, and end in `` (deleted)``.
    """
    found = set()
    for line in data.split(b"\n"):
        fields = line.split(None, 5)
        if len(fields) < 6 or fields[4] == b"0" or not fields[5].startswith(b"/"):
            continue
        path = fields[5].decode("utf-8", "backslashreplace")
        bare = path.removesuffix(_DELETED)
        if _LIBRARY.search(bare):
            found.add((bare, bare != path))
    return [Mapped(path=path, deleted=deleted) for path, deleted in sorted(found)[:MOST_LIBRARIES]]


# --- which interpreter -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """How an interpreter was told what to run (docs.python.org "Command line and environment")."""

    flags: frozenset[str]
    """Single-letter options: ``I``, ``E``, ``s``..."""
    kind: str
    """``script``, ``module``, ``command``, or ``none``: nothing, or not to be told."""
    name: str = ""


NOT_TOLD = Started(frozenset(), "none")


def started(argv: list[str]) -> Started:
    """What the words after the interpreter's own say."""
    flags: set[str] = set()
    words = iter(argv[1:])
    for word in words:
        if word == "-" or not word.startswith("-"):
            return Started(frozenset(flags), "script" if word != "-" else "none", word)
        if word.startswith("--"):
            if word == "--check-hash-based-pycs":
                next(words, "")
            continue
        for place, char in enumerate(word[1:], 2):
            if char in "cm":
                kind = "command" if char == "c" else "module"
                return Started(frozenset(flags), kind, word[place:] or next(words, ""))
            if char in "WX":
                if not word[place:]:
                    next(words, "")
                break
            flags.add(char)
    return Started(frozenset(flags), "none")


def interpreter(seen: _Seen, target: str, place: Path) -> tuple[str, Started]:
    """The interpreter as it was called, and what it was told.

    :raises TargetError: it is no Python, or does not show which environment it uses.
    """
    if not _PYTHON.match(seen.name):
        return _embedding(seen, target, place), NOT_TOLD
    for candidate in _called(seen):
        if _is_same(candidate, seen.exe):
            return _tidy(candidate), started(seen.argv)
    # It has given itself a title. What it has loaded tells which venv it is.
    return _by_libraries(seen, target) or _by_variable(seen) or seen.exe, NOT_TOLD


def _called(seen: _Seen) -> Iterator[str]:
    """The paths that ``argv[0]`` may stand for, as ``execvp`` and getpath understand it."""
    word = seen.argv[0] if seen.argv else ""
    if not word or "\0" in word:
        return
    if "/" in word:
        for place in seen.places():
            yield os.path.join(place, word)  # noqa: PTH118 - not to lose "." and ".."
        return
    for directory in seen.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(seen.cwd, directory, word)  # noqa: PTH118
        if Path(path).is_file() and os.access(path, os.X_OK):
            yield path
            return


def _tidy(path: str) -> str:
    """*path* without ``..``, where that leads to the same directory."""
    plain = os.path.normpath(path)
    return plain if _is_same(os.path.dirname(plain), os.path.dirname(path)) else path  # noqa: PTH120


def _by_libraries(seen: _Seen, target: str) -> str | None:
    """The python of the one venv whose extension modules it has loaded."""
    found = [
        python
        for prefix in site_prefixes(seen.libraries)
        if (Path(prefix) / "pyvenv.cfg").is_file()
        for python in [_python_in(prefix, seen.exe)]
        if python
    ]
    if len(found) > 1:
        raise TargetError(
            f"{target} has modules of several environments loaded: {', '.join(found)}",
            hint="Give the path of the one you mean.",
        )
    return found[0] if found else None


def _by_variable(seen: _Seen) -> str | None:
    prefix = seen.environ.get("VIRTUAL_ENV", "")
    return _python_in(prefix, seen.exe) if prefix.startswith("/") else None


def _python_in(prefix: str, exe: str) -> str | None:
    names = dict.fromkeys([os.path.basename(exe), "python", "python3"])  # noqa: PTH119
    paths = [f"{prefix}/bin/{name}" for name in names]
    return next((path for path in paths if _is_same(path, exe)), None)


def site_prefixes(libraries: Iterable[Mapped]) -> list[str]:
    """The prefixes whose site-packages hold some of these libraries."""
    matches = (_SITE.match(item.path) for item in libraries)
    return sorted({match[1] for match in matches if match})


def _embedding(seen: _Seen, target: str, place: Path) -> str:
    """The interpreter of the environment of a program that has Python in it: uwsgi, mod_wsgi."""
    versions = {
        next(filter(None, match.groups()))
        for item in seen.libraries
        if (match := _VERSION.search(item.path))
    }
    if len(versions) != 1:
        raise TargetError(f"{target} is {seen.name}, not Python", hint=_children(place))
    version = versions.pop()
    own = str(Path(seen.exe).parent.parent)
    prefixes = dict.fromkeys([*site_prefixes(seen.libraries), own])
    venvs = [prefix for prefix in prefixes if (Path(prefix) / "pyvenv.cfg").is_file()]
    pythons = [
        f"{prefix}/bin/python3.{version}" for prefix in venvs or site_prefixes(seen.libraries)
    ]
    pythons = [python for python in pythons if os.access(python, os.X_OK)]
    if len(pythons) == 1:
        return pythons[0]
    raise TargetError(
        f"{target} is {seen.name}, which has Python 3.{version} in it, and does not show which"
        " environment it uses",
        hint="Give the path of that environment.",
    )


def _children(place: Path) -> str:
    """A hint that names those of its children that are Python."""
    found = []
    try:
        numbers = _read(place / "task" / place.name / "children").split()[:64]
    except OSError:
        numbers = []
    for number in numbers:
        try:
            exe = (place.parent / number.decode("ascii") / "exe").readlink()
        except (OSError, ValueError):
            continue
        if _PYTHON.match(exe.name):
            found.append(f"{PREFIX}{number.decode('ascii')}")
    if found:
        return f"It has started {', '.join(found)}: give the one you mean."
    return "Give the id of the Python process itself: pgrep -af python"


def _is_same(path: str, other: str) -> bool:
    try:
        return Path(path).samefile(other)
    except (OSError, ValueError):
        return False


# --- what the probe is told ------------------------------------------------------------------


def probed(seen: _Seen, start: Started) -> dict[str, str]:
    """The variables with which the probe sees what the process saw when it started."""
    isolated = "I" in start.flags
    kept = {
        name: value
        for name, value in seen.environ.items()
        if name in ALLOWED or name in RECORDED or name in _PLACES or name.startswith("PYTHON")
    }
    if isolated or "E" in start.flags:
        kept = {name: value for name, value in kept.items() if not name.startswith("PYTHON")}
    if isolated or "s" in start.flags:
        kept["PYTHONNOUSERSITE"] = "1"
    safe = isolated or "P" in start.flags or kept.get("PYTHONSAFEPATH")
    first = None if safe else _program(seen, start)
    if first is not None:
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [first, kept.get("PYTHONPATH")]))
    return kept


def _program(seen: _Seen, start: Started) -> str | None:
    """The first entry of sys.path, where it holds distributions: the script's directory, a zip.

    Without distributions it is the program, not its environment, and is left out.
    """
    if start.kind == "script":
        for place in seen.places():
            path = Path(place, start.name)
            if path.exists():
                real = path.resolve()
                first = real if real.is_dir() or _is_zip(real) else real.parent
                return str(first) if _is_zip(first) or _has_metadata(first) else None
        return None
    return seen.cwd if start.kind != "none" and _has_metadata(Path(seen.cwd)) else None


def _is_zip(path: Path) -> bool:
    import zipfile

    return path.is_file() and zipfile.is_zipfile(path)


def _has_metadata(directory: Path) -> bool:
    try:
        return any(path.suffix in {".dist-info", ".egg-info"} for path in directory.iterdir())
    except OSError:
        return False
