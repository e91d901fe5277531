"""Targets on this machine: the active environment, an interpreter, a venv, a prefix."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from envfreeze.errors import TargetError, UsageError
from envfreeze.model.snapshot import Snapshot
from envfreeze.model.words import plural
from envfreeze.store import Cache
from envfreeze.targets.bundle import (
    FLAGS,
    Last,
    Observation,
    Question,
    request_modules,
    sources_digest,
)
from envfreeze.targets.naming import PID

if TYPE_CHECKING:
    from envfreeze.targets import process

OVERRIDES = {"PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"}
DROPPED = frozenset(
    {
        "PYTHONPATH",  # The probe works it out from the request; nothing of it is imported.
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
        "PYTHONPERFSUPPORT",
        "PYTHON_PERF_JIT_SUPPORT",
        "PYTHONDUMPREFSFILE",
        "PYTHON_PRESITE",
        "__PYVENV_LAUNCHER__",
    }
)
"""What would make the target's interpreter print, write, stop or run something of its own."""

SAID = 250
"""Characters from each end of a line that the target said instead of an answer."""
ANSWER_WITHIN = 120.0
"""Seconds for a target to show that it is a Python; how long it then looks has no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTarget:
    """An interpreter on this machine, and how it was chosen."""

    python: str
    described: str
    own: bool
    """It is the environment that envfreeze itself runs from."""
    running: process.Running | None = None
    """Of a ``pid:`` target, the process."""


def find(target: str | None, environ: Mapping[str, str]) -> LocalTarget:
    """The interpreter that *target* names: nothing (the active environment), a path, ``pid:N``.

    :raises TargetError: there is no interpreter there.
    :raises UsageError: the active environment is envfreeze's own, and nobody asked for that.
    """
    if target is not None and target.startswith(PID):
        from envfreeze.targets import process  # Most targets are files.

        running = process.look(target)
        own = _is_own(running.python)
        return LocalTarget(python=running.python, described=target, own=own, running=running)
    if target is not None:
        python = _python_at(target)
        return LocalTarget(python=python, described=target, own=_is_own(python))
    for python, described in _active(environ):
        own = _is_own(python) or (described == "PATH" and _leads_to_own(python))
        if not own:
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


def _active(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Interpreters of the active environment, the most telling sign first."""
    path = [directory for directory in environ.get("PATH", "").split(os.pathsep) if directory]

    def position(name: str) -> int:
        # Of a venv activated over conda, or the other way round, PATH has the later one first.
        own = os.path.join(environ[name], "bin")  # noqa: PTH118 - as PATH spells it
        return path.index(own) if own in path else len(path)

    named = [name for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if environ.get(name)]
    for name in sorted(named, key=position):
        yield _python_at(environ[name], name), environ[name]
    for directory in path:
        for name in ("python3", "python"):
            found = shutil.which(name, path=directory)
            if found:
                yield found, "PATH"


def _python_at(target: str, source: str = "") -> str:
    path = Path(target).expanduser()
    said = f"{source}={target}" if source else target
    _check_link(path, said)
    if not path.exists():
        raise TargetError(
            f"{said}: no such file or directory",
            hint=f"Activate the environment you mean, or unset {source}."
            if source
            else "Give the path of an interpreter, a venv or a prefix.",
        )
    if path.is_file():
        if not os.access(path, os.X_OK):
            raise TargetError(f"{said} is a file that cannot be executed")
        return str(path.absolute())
    for name in ("bin/python", "bin/python3", "python", "python3"):
        if os.access(path / name, os.X_OK) and (path / name).is_file():
            return str((path / name).absolute())
    versioned = {
        (int(match[1]), match[2]): entry
        for entry in (path / "bin").glob("python3.*")
        if (match := re.fullmatch(r"python3\.(\d+)(t?)", entry.name)) and os.access(entry, os.X_OK)
    }
    if versioned:
        return str(versioned[max(versioned)].absolute())
    for name in ("bin/python", "bin/python3"):
        _check_link(path / name, f"{said}: {name}")
    records = sum(1 for _ in (path / "conda-meta").glob("*.json"))
    if records:
        raise _conda_without_python(said, path, records)
    raise TargetError(
        f"{said} holds no Python: there is no bin/python in it",
        hint="Give the path of an interpreter, a venv or a prefix.",
    )


def _conda_without_python(said: str, path: Path, records: int) -> TargetError:
    """Such as an environment of R or CUDA alone."""
    return TargetError(
        f"{said} holds no Python: it is a conda environment of {plural(records, 'package')},"
        " and python is not among them",
        hint="An environment is looked at by its own Python. With one in it, it can be captured:"
        f"\n  conda install --prefix {path} python\nIts packages alone, by URL and digest:"
        f"\n  conda list --prefix {path} --explicit --md5",
    )


def _check_link(path: Path, said: str) -> None:
    """:raises TargetError: *path* is a link to nowhere, as in a venv whose base is gone."""
    if path.is_symlink() and not path.exists():
        raise TargetError(
            f"{said} is a link to {os.path.realpath(path)}, which is not there",
            hint="Bring that Python back, or let the link lead to another one of its version.",
        )


def _is_own(python: str) -> bool:
    """Whether *python* belongs to the environment that runs this very code."""
    path = Path(python)
    return path.parent.parent.resolve() == Path(sys.prefix).resolve() and (
        sys.prefix != sys.base_prefix or path.resolve() == Path(sys.executable).resolve()
    )


def _leads_to_own(python: str) -> bool:
    """Whether *python* is a script (pyenv's, asdf's) that runs this very interpreter."""
    try:
        with open(python, "rb") as file:  # noqa: PTH123
            if file.read(2) != b"#!":
                return False
    except OSError:
        return False
    question = "import os, sys; os.write(1, os.path.abspath(sys.executable).encode())"
    try:
        output, _, _ = _run([python, *FLAGS, "-c", question], b"", _Start(_quiet(os.environ)))
    except TargetError:
        return False
    return _is_own(os.fsdecode(output.strip()))


def observe(
    target: LocalTarget,
    *,
    environ: Mapping[str, str],
    cache: Cache | None,
    rehash: bool = False,
    host: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> Observation:
    """Run the probe in *target*; for a process, with the variables that it was started with.

    Digests of files that have not changed since an earlier run are taken from *cache*
    (by device, inode, size, modification and change time), unless *rehash*.

    :param host: look at the machine below, too.
    :param meanwhile: called once the probe has been started, while it looks.
    :raises TargetError: it cannot be run, or gives no answer.
    """
    if target.running is not None:
        environ = target.running.environ
        if target.running.uid != os.geteuid():
            cache = None  # What another user says is not remembered: it would be believed later.
    key = _memory_key(target.python)
    known = (cache.read_note("stats", key) if cache is not None and not rehash else None) or b""
    last = _last(cache, target.python) if cache is not None and not rehash else None
    told: dict[str, object] = {"last": last}
    told |= request_modules(host=host)
    if host:
        told["host"] = True
    code = _code(cache, key)
    ahead = _Ahead(cache, str(last["fingerprint"]), target.python) if cache and last else None

    def while_it_looks() -> None:
        if ahead is not None:
            ahead.start()
        if meanwhile is not None:
            meanwhile()

    told |= {"rehash": rehash, "keep-code": cache is not None}
    memory = (code, known)
    observation = _ask(target, environ, told, memory, while_it_looks)
    if cache is not None and observation.code is not None:
        note = b'{"sources":"%s","code":%s}' % (sources_digest().encode(), observation.code)
        cache.write_note("code", key, zlib.compress(note, 1))
    if observation.same is not None and cache is not None:
        earlier = ahead.result(observation.same) if ahead is not None else None
        if earlier is not None:
            return earlier.on(observation)
        observation = _ask(target, environ, {**told, "last": None}, memory)
    if cache is not None:
        _remember(cache, target.python, known, observation)
    return observation


def seen(target: LocalTarget, observation: Observation) -> Snapshot:
    """The snapshot, for a process with what it has loaded."""
    if target.running is None:
        return observation.snapshot
    from envfreeze.targets.loaded import with_process

    return with_process(observation.snapshot, target.running.process)


def last_fingerprint(target: LocalTarget, cache: Cache) -> str | None:
    """The fingerprint that *target* had when it was last looked at; None: not known."""
    last = _last(cache, target.python)
    return None if last is None else str(last["fingerprint"])


def _last_key(python: str) -> str:
    """Another probe may say more of the same environment: its last answer is its own."""
    return _memory_key(f"{python} {sources_digest()}")


def _last(cache: Cache, python: str) -> dict[str, object] | None:
    """What the probe is told of the answer that is kept; None: no answer is."""
    note = cache.read_note("last", _last_key(python))
    try:
        last = msgspec.json.decode(note, type=Last) if note else None
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None
    if last is None or not cache.has_note("answers", last.fingerprint):
        return None
    return msgspec.to_builtins(last)  # type: ignore[no-any-return]


class _Ahead:
    """Reads the kept answer in a thread: most times the probe will say that it still holds."""

    def __init__(self, cache: Cache, fingerprint: str, place: str) -> None:
        self._fingerprint = fingerprint
        self._found: Observation | None = None

        def read() -> None:
            self._found = _earlier(cache, fingerprint, place)

        self._thread = threading.Thread(target=read, daemon=True, name="envfreeze-earlier")
        self.start = self._thread.start

    def result(self, fingerprint: str) -> Observation | None:
        """The kept answer, if it is whole and has this fingerprint."""
        self._thread.join()
        return self._found if fingerprint == self._fingerprint else None


def _earlier(cache: Cache, fingerprint: str, place: str) -> Observation | None:
    """The kept answer with this fingerprint; None if it is damaged."""
    note = cache.read_note("answers", fingerprint)
    try:
        observation = Observation(zlib.decompress(note), place) if note else None
    except (zlib.error, TargetError):
        return None
    if observation is None or observation.fingerprint != fingerprint:
        return None
    observation.remember = {}  # That was remembered when it was new.
    return observation


Memory = dict[str, dict[str, str | None]]


def _known(note: bytes) -> Memory:
    """What earlier runs remembered; a damaged note is no memory."""
    try:
        return msgspec.json.decode(note, type=Memory) if note else {}
    except msgspec.MsgspecError:
        return {}


def _memory_key(python: str) -> str:
    import hashlib

    return hashlib.sha256(os.fsencode(python)).hexdigest()


def _remember(cache: Cache, python: str, known: bytes, observation: Observation) -> None:
    """Keep what was hashed anew, of the earlier memory what may still hold, and the answer."""
    last = observation.last
    if last is not None:
        cache.write_note("answers", last.fingerprint, zlib.compress(observation.document, 1))
        cache.write_note("last", _last_key(python), msgspec.json.encode(last))
    if not observation.remember:
        return
    merged = {**_known(known), **observation.remember}
    limit = 4 * max(1024, len(observation.snapshot.dists))
    newest = dict(list(merged.items())[-limit:])
    cache.write_note("stats", _memory_key(python), json.dumps(newest).encode())


class _CodeNote(msgspec.Struct):
    """The probe as the target's interpreter compiled it."""

    sources: str
    code: msgspec.Raw


def _code(cache: Cache | None, key: str) -> bytes | None:
    """What an earlier probe of this target compiled, as JSON; None: nothing that is of use."""
    note = None if cache is None else cache.read_note("code", key)
    try:
        found = msgspec.json.decode(zlib.decompress(note), type=_CodeNote) if note else None
    except (zlib.error, msgspec.ValidationError, msgspec.DecodeError):
        return None
    if found is None or found.sources != sources_digest():
        return None
    return bytes(found.code)


def _ask(
    target: LocalTarget,
    environ: Mapping[str, str],
    told: Mapping[str, object],
    memory: tuple[bytes | None, bytes],
    meanwhile: Callable[[], None] | None = None,
) -> Observation:
    """:param memory: of earlier runs: the probe compiled, and digests of files, both as JSON."""
    code, known = memory
    question = Question(more=True, host=bool(told.get("host")))
    more = json.dumps({"environ": dict(environ), **told}).encode("ascii")
    if code is not None:  # It is JSON already, and large.
        more = more[:-1] + b',"code":' + code + b"}"
    more += b"\n" + known
    argv = question.argv(target.python)
    how = _Start(_quiet(environ), question.marker, target.running)
    output, errors, status = _run(argv, more, how, meanwhile)
    try:
        return question.answer(output, target.python)
    except TargetError as error:
        # Some repeat all that they were asked.
        said = [
            _short(line) for line in errors.decode("utf-8", "replace").strip().splitlines()[-3:]
        ]
        if said and not output.strip():
            raise TargetError(
                f"{target.python} does not run (exit status {status}):\n" + "\n".join(said)
            ) from error
        raise


def _short(line: str) -> str:
    return line if len(line) <= 2 * SAID else f"{line[:SAID]} ... {line[-SAID:]}"


def _quiet(environ: Mapping[str, str]) -> dict[str, str]:
    clean = {key: value for key, value in environ.items() if key not in DROPPED}
    return {**clean, **OVERRIDES}


@dataclass(frozen=True, slots=True)
class _Start:
    """How a target's interpreter is started."""

    environ: Mapping[str, str]
    marker: str = ""
    running: process.Running | None = None

    def options(self) -> dict[str, Any]:
        """For Popen: a process's directory and, as root, its user, whose program it is."""
        if self.running is None:
            return {"env": self.environ}
        # A library that is preloaded would run in the probe as well.
        env = {k: v for k, v in self.environ.items() if k not in {"LD_PRELOAD", "LD_AUDIT"}}
        found: dict[str, Any] = {"env": env, "cwd": self.running.cwd}
        if os.geteuid() == 0 and self.running.uid != 0:
            found |= {"user": self.running.uid, "group": self.running.gid}
            found["extra_groups"] = self.running.groups
        return found


def _as_file(data: bytes) -> IO[bytes]:
    """What holds *data* from its start: a pipe would be filled bit by bit, and by us."""
    try:
        file = os.fdopen(os.memfd_create("envfreeze"), "w+b")
    except (AttributeError, OSError):  # Elsewhere than on Linux, or forbidden.
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(data)
    file.seek(0)
    return file


def _started(argv: list[str], given: bytes, how: _Start) -> subprocess.Popen[bytes]:
    """
    :raises TargetError: it cannot be run.
    """
    with _as_file(given) as stdin:
        try:
            return subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                **how.options(),
            )
        except OSError as error:
            raise TargetError(
                f"{argv[0]} cannot be run: {error.strerror}",
                hint="Give the path of an interpreter, a venv or a prefix.",
            ) from error


def _run(
    argv: list[str],
    given: bytes,
    how: _Start,
    meanwhile: Callable[[], None] | None = None,
) -> tuple[bytes, bytes, int]:
    """``(stdout, stderr, exit status)`` of a target's interpreter.

    It is killed, with what it started, when it has not printed the marker in time; so it has
    a process group of its own, and nothing of it is left when we leave.

    :raises TargetError: it cannot be run, or does not answer.
    """
    with _started(argv, given, how) as process:
        try:
            if meanwhile is not None:
                meanwhile()
            try:
                output, errors = process.communicate(timeout=ANSWER_WITHIN)
            except subprocess.TimeoutExpired as late:
                if not how.marker or how.marker.encode("ascii") not in (late.output or b""):
                    raise TargetError(
                        f"{argv[0]} did not answer within {ANSWER_WITHIN:g} seconds",
                        hint="Check that it is a working Python: run it with -c 'print(1)'.",
                    ) from None
                output, errors = process.communicate()
        except BaseException:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return output, errors, process.returncode
