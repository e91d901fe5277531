"""Where an image's interpreter comes from, when somebody chooses that (``--interpreter``).

By itself a lock says it: the base has it, .debs bring it, or it is packed. What is chosen here is
looked at before anything is built, as far as that can be told without running it. Whether it is the
lock's own, byte for byte, the verification says.
"""

from __future__ import annotations

import gzip
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import msgspec

from envfreeze.build import pythons, tree
from envfreeze.build.engine import Engine, has_no_such_program
from envfreeze.build.ocibase import BaseTree
from envfreeze.errors import EngineError, UsageError
from envfreeze.model.lock import Artifact, InterpreterLayer, Lock
from envfreeze.model.snapshot import Interpreter
from envfreeze.resolve import tars
from envfreeze.resolve.interpreter import EPOCH
from envfreeze.store import Cache, disk_errors

WORDS = ("base", "system", "packed", "standalone")
_LEVEL = 3
_LIMIT = 1 << 20
_NOT_OURS = frozenset({"site-packages", "dist-packages", "__pycache__"})
_VERSION = re.compile(rb'^#define\s+PY_VERSION\s+"([^"\n]{1,40})"', re.MULTILINE)
_PATCHLEVEL = re.compile(r"include/python[0-9.]+[a-z]*/patchlevel\.h")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A lock, and what of it is no artifact of the lock file."""

    lock: Lock
    files: Mapping[str, Path]
    """sha256 to a file with these bytes."""


def chosen(lock: Lock, wanted: str | None, cache: Cache, download: Callable[[str], Path]) -> Chosen:
    """*lock* with its interpreter from where it is *wanted*: one of :data:`WORDS`, or an archive.

    :param download: brings what lies at a URL.
    :raises UsageError: it cannot be had, or is of another version.
    """
    layer = lock.machine.interpreter
    if wanted is None or wanted == layer.origin:
        return Chosen(lock=lock, files={})
    if lock.machine.conda is not None:
        raise UsageError(
            f"--interpreter {wanted}: the interpreter is one of the lock's conda packages",
            hint="Leave --interpreter out.",
        )
    if wanted == "base":
        return Chosen(lock=_in_base(lock), files={})
    if wanted in {"system", "packed"}:
        raise _not_so(layer, wanted)
    path = download(_lead(layer)) if wanted == "standalone" else Path(wanted)
    return _from_archive(lock, path, cache)


def _not_so(layer: InterpreterLayer, wanted: str) -> UsageError:
    cause = {
        "system": "none of the lock's system packages brings its interpreter",
        "packed": "the lock does not pack its interpreter",
    }
    origin = {
        "packed": "it is packed",
        "system": "system packages bring it",
        "base": "the base image has it",
        "unpacked": "it was captured with --no-pack",
    }
    hints = {
        "system": "Leave --interpreter out, or name an archive of that version.",
        "packed": "Leave --interpreter out; capture --pack-base packs what a base image has.",
    }
    kind = f" ({layer.kind}: {layer.evidence})" if layer.evidence else ""
    return UsageError(
        f"--interpreter {wanted}: {cause[wanted]}; {origin[layer.origin]}{kind}",
        hint=hints[wanted],
    )


def _lead(layer: InterpreterLayer) -> str:
    """The URL of the archive that it says to come from."""
    lead = layer.lead or ""
    if layer.kind == "python-build-standalone" and re.fullmatch(r"https?://\S+\.tar\.gz", lead):
        return lead
    raise UsageError(
        f"--interpreter standalone: the lock names no archive of a standalone build; its"
        f" interpreter is of kind {layer.kind}"
        + (f" ({layer.evidence})" if layer.evidence else ""),
        hint="Name one on this machine: --interpreter FILE.tar.gz",
    )


def _with(lock: Lock, layer: InterpreterLayer) -> Lock:
    """*lock* with this interpreter, and without the system packages of its own one."""
    machine = lock.machine
    packages = machine.system.packages
    if machine.interpreter.origin == "system":
        own = _packages(machine.interpreter.facts)
        packages = [one for one in packages if not own.fullmatch(one.name)]
    system = msgspec.structs.replace(machine.system, packages=packages)
    return lock.with_machine(interpreter=layer, system=system)


def _packages(facts: Interpreter) -> re.Pattern[str]:
    """What Debian calls the packages of an interpreter and its standard library."""
    minor = re.escape(".".join(facts.version.split(".")[:2]))
    return re.compile(rf"(lib)?python{minor}(-minimal|-stdlib|t64)?")


def _in_base(lock: Lock) -> Lock:
    layer = msgspec.structs.replace(lock.machine.interpreter, origin="base", archive=None)
    return _with(lock, layer)


# --- one that the base has ----------------------------------------------------------------


def check_there(lock: Lock, below: BaseTree, base: str) -> None:
    """Whether the base has a file where the lock's interpreter is to be.

    :raises UsageError: it has none.
    """
    place = tree.absolute(lock.machine.interpreter.facts.base_executable)
    real = f"{below.real(posixpath.dirname(place)).rstrip('/')}/{posixpath.basename(place)}"
    if real not in below.files and real not in below.links:
        raise _not_there(base, place)


def check_same(lock: Lock, engine: Engine, base: str) -> None:
    """Whether the base's interpreter has the version, ABI and platform of the lock's: it is run.

    :raises UsageError: it is another one, or there is none.
    """
    facts = lock.machine.interpreter.facts
    place = tree.absolute(facts.base_executable)
    try:
        said = pythons.answer(engine.run_probe(base, [place, *pythons.QUESTION], user="0:0"))
    except EngineError as error:
        if not has_no_such_program(error):
            raise
        said = None
    if said is None:
        raise _not_there(base, place)
    wanted = [facts.implementation, facts.version, facts.soabi, facts.platform]
    if said[0][:4] != wanted:
        raise UsageError(
            f"--interpreter base: {place} of {base} is {_told(said[0])}; the lock wants"
            f" {_told(wanted)}",
            hint="Choose a base that has it, or leave --interpreter out.",
        )


def _told(facts: Sequence[object]) -> str:
    return f"{facts[0]} {facts[1]} ({facts[2] or 'no ABI tag'}, {facts[3]})"


def _not_there(base: str, place: str) -> UsageError:
    return UsageError(
        f"--interpreter base: the base image {base} has no interpreter at {place}",
        hint="Choose a base that has it, or leave --interpreter out.",
    )


# --- one in an archive --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What an archive holds."""

    names: frozenset[str]
    version: str | None


def _from_archive(lock: Lock, path: Path, cache: Cache) -> Chosen:
    facts = lock.machine.interpreter.facts
    prefix = tree.absolute(facts.base_prefix)
    if prefix in {"/usr", "/"}:
        raise UsageError(
            f"--interpreter {path.name}: the lock's interpreter lies in {prefix}, which is the"
            " system's",
            hint="Leave --interpreter out, or use --interpreter base.",
        )
    program = posixpath.relpath(tree.absolute(facts.base_executable), prefix)
    top = _top(path, program, facts)
    with cache.writing() as blob, _opened(path) as archive:
        _repack(archive, top, prefix.lstrip("/"), cast("IO[bytes]", blob), path)
    digest, size = blob.sha256, blob.size
    found = cache.path_of(digest, "the interpreter", size)
    artifact = Artifact(
        name="interpreter.tar.gz",
        path=f"env.lock.d/{digest}/interpreter.tar.gz",
        size=size,
        hashes={"sha256": digest},
    )
    layer = msgspec.structs.replace(lock.machine.interpreter, origin="packed", archive=artifact)
    return Chosen(lock=_with(lock, layer), files={digest: found})


def _top(path: Path, program: str, facts: Interpreter) -> str:
    """The directory in the archive that is the interpreter's prefix, with a ``/`` if any.

    :raises UsageError: it holds no such interpreter, or another version.
    """
    looked = _look(path)
    tops = sorted(
        (name[: -len(program)] for name in looked.names if f"/{name}".endswith(f"/{program}")),
        key=len,
    )
    if not tops:
        raise UsageError(
            f"--interpreter {path}: it holds no {program}",
            hint=f"It has to be a .tar.gz of {facts.implementation} {facts.version}.",
        )
    if looked.version != facts.version:
        says = f"it is Python {looked.version}" if looked.version else "it tells no version"
        raise UsageError(
            f"--interpreter {path}: {says}; the lock wants {facts.implementation} {facts.version}",
            hint="Get an archive of that version, with its headers (patchlevel.h tells it).",
        )
    return tops[0]


def _look(path: Path) -> _Looked:
    names = set()
    version = None
    with _opened(path) as archive:
        for member, content in archive:
            name = posixpath.normpath(member.name)
            if not member.isdir():
                names.add(name)
            if content is not None and _PATCHLEVEL.search(name):
                found = _VERSION.search(tars.read(content, _LIMIT))
                version = found[1].decode("ascii", "replace") if found else version
    return _Looked(names=frozenset(names), version=version)


@contextmanager
def _opened(
    path: Path,
) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]]:
    """The members of an archive.

    :raises UsageError: it is none, or not there.
    """
    if not path.is_file():
        raise UsageError(
            f"--interpreter {path}: no such file",
            hint=f"One of {', '.join(WORDS)}, or a .tar.gz on this machine.",
        )
    try:
        with disk_errors(path), gzip.open(path) as packed:
            yield tars.members(cast("IO[bytes]", packed))
    except tars.DAMAGE as error:
        raise UsageError(
            f"--interpreter {path}: it cannot be read: {error}",
            hint="Name a .tar.gz (the kind that is called install_only).",
        ) from error


def _repack(
    archive: Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]],
    top: str,
    prefix: str,
    out: IO[bytes],
    path: Path,
) -> None:
    """The files below *top* as those below *prefix*, as a packed interpreter has them: without
    site-packages and bytecode, and the same bytes each time.

    :raises UsageError: something else than files and links of its own is in there.
    """
    with (
        gzip.GzipFile(fileobj=out, mode="wb", compresslevel=_LEVEL, mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as made,
    ):
        for member, content in archive:
            name = posixpath.normpath(member.name)
            if member.isdir() or not name.startswith(top) or not _is_ours(name):
                continue
            if name.startswith(("/", "../")) or not _stays(member, name, top, content):
                raise UsageError(
                    f"--interpreter {path}: it holds {member.name!r}, which leads out of it",
                    hint="Name an archive of an interpreter.",
                )
            info = tarfile.TarInfo(f"{prefix}/{name[len(top) :]}")
            info.mode = 0o755 if member.mode & 0o100 else 0o644
            info.mtime = EPOCH
            info.uname = info.gname = "root"
            info.size = member.size if content is not None else 0
            if content is None:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, member.linkname, 0o777
            made.addfile(info, content)


def _is_ours(name: str) -> bool:
    parts = name.split("/")
    return _NOT_OURS.isdisjoint(parts) and not name.endswith((".pyc", ".pyo"))


def _stays(member: tarfile.TarInfo, name: str, top: str, content: IO[bytes] | None) -> bool:
    if content is not None:
        return True
    if not member.issym() or member.linkname.startswith("/"):
        return False
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
    return not target.startswith("../") and f"{target}/".startswith(top)
