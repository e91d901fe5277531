"""The base image that an environment is rebuilt on, from its lock alone. Pure.

The image must be of the release of the operating system that the lock was captured on: its .deb
files are installed over it. Beyond that the smallest official one will do, for the lock brings
the interpreter and the libraries itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from envfreeze.data import tables
from envfreeze.model.host import Library
from envfreeze.model.lock import Lock
from envfreeze.model.snapshot import Interpreter

_OFFICIAL = (
    "--enable-loadable-sqlite-extensions",
    "--enable-option-checking=fatal",
    "--enable-shared",
    "--with-ensurepip",
)
"""What docker-library/python (``Dockerfile-linux.template``) gives to configure, and what other
builds below /usr/local do not give all together."""
_RELEASED = re.compile(r"3\.\d{1,2}\.\d{1,3}(?:(?:a|b|rc)\d{1,2})?")
_CUDART = re.compile(r"libcudart\.so(\.|$)")
_CUDNN = re.compile(r"libcudnn[a-z_]*\.so(\.|$)")
_CUDA = re.compile(
    r"lib(cudart|cublas|cublasLt|cufft|curand|cusolver|cusparse|nvrtc|nvJitLink|nccl|npp[a-z]+"
    r"|cudnn[a-z_]*)\.so(\.|$)"
)
"""Sonames of what nvidia/cuda images hold: the fact that a library is one of CUDA's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A base image, and why it was chosen."""

    image: str
    """``debian:bookworm-slim``; no digest yet."""
    reason: str
    """One line."""
    notes: tuple[str, ...] = ()
    """What the image does not bring, and what to do about it."""
    buildable: bool = True
    """False: its packages are neither .deb files, so no build is possible yet."""


def choose(lock: Lock) -> Choice | None:
    """The image for *lock*; None: no table knows the release that it was captured on."""
    machine = lock.machine
    release = tables.os_release(machine.system.os_release)
    if release is None or release.image is None or machine.system.kernel != "Linux":
        return None
    shown = machine.system.os_release.get("PRETTY_NAME") or f"{release.id} {release.version}"
    if release.packages != "dpkg":
        return Choice(
            image=release.image,
            reason=f"captured on {shown}",
            notes=(f"system packages of {release.packages} cannot be installed by a build yet",),
            buildable=False,
        )
    needed = _cuda_of_the_system(lock)
    if not needed:
        return _plain(lock, release, shown)
    return _nvidia(lock, release, needed) or _without(lock, release, shown, needed)


# --- without CUDA of the system -----------------------------------------------------------


def _plain(lock: Lock, release: tables.Release, shown: str) -> Choice:
    facts = lock.machine.interpreter.facts
    if _is_official(lock, release):
        return Choice(
            image=f"python:{facts.version}-slim-{release.codename}",
            reason=f"the interpreter is that of the official image of Python {facts.version}"
            f" on {release.id} {release.codename}",
        )
    brings = {
        "packed": f"the lock brings its own Python {facts.version}",
        "system": f"Python {facts.version} is one of the lock's system packages",
        "base": f"the image that it was captured on has Python {facts.version}",
        "unpacked": f"the lock names Python {facts.version} and does not hold it",
        "conda": f"a conda package brings Python {facts.version}",
    }[lock.machine.interpreter.origin]
    return Choice(image=str(release.image), reason=f"captured on {shown}; {brings}")


def _is_official(lock: Lock, release: tables.Release) -> bool:
    """Whether the interpreter is an official python image's.

    Not for an environment that is the image's own prefix: files that the image has installed
    there already (another pip) would stay beside those of the lock.
    """
    facts = lock.machine.interpreter.facts
    arguments = facts.config_args or ""
    return (
        lock.machine.interpreter.origin == "packed"
        and release.id == "debian"
        and facts.implementation == "cpython"
        and facts.base_prefix == "/usr/local"
        and facts.prefix != facts.base_prefix
        and not facts.system_site
        and not facts.free_threaded
        and not facts.debug
        and bool(_RELEASED.fullmatch(facts.version))
        and all(word in arguments for word in _OFFICIAL)
    )


# --- CUDA of the system -------------------------------------------------------------------


def _cuda_of_the_system(lock: Lock) -> list[Library]:
    """CUDA's libraries that the environment loads, and neither a wheel nor a .deb brings."""
    found = {}
    for finding in lock.machine.findings:
        name = finding.place.rpartition("/")[2]
        if finding.kind == "unowned-library" and _CUDA.match(name):
            found[finding.place] = Library(name=_short(name), path=finding.place, soname=name)
    accelerator = lock.machine.host.accelerator if lock.machine.host else None
    known = {library.path: library for library in accelerator.libraries} if accelerator else {}
    return [known.get(path) or library for path, library in sorted(found.items())]


def _short(soname: str) -> str:
    return soname.removeprefix("lib").partition(".so")[0].lower()


def _soname(library: Library) -> str:
    return library.soname or (library.path or "").rpartition("/")[2]


def _nvidia(lock: Lock, release: tables.Release, needed: list[Library]) -> Choice | None:
    """The nvidia/cuda image of that CUDA on that release; None: there is none."""
    cuda = _version(lock, needed)
    system = f"{release.id}{release.version}"
    with_cudnn = any(_CUDNN.match(_soname(library)) for library in needed)
    kind = _kind(lock, needed)
    row = _row(cuda, system, with_cudnn)
    if row is None:
        return None
    word = f"{row.cudnn}-" if with_cudnn else ""
    names = ", ".join(dict.fromkeys(_soname(library) for library in needed[:3]))
    why = {
        "base": "it needs the CUDA runtime alone",
        "runtime": "it needs CUDA's libraries",
        "devel": "CUDA_HOME or CUDA_PATH of the capture leads to a toolkit, so it may compile",
    }[kind]
    others = f" and {len(needed) - 3} more" if needed[3:] else ""
    return Choice(
        image=f"nvidia/cuda:{row.cuda}-{word}{kind}-{system}",
        reason=f"{names}{others} of CUDA {cuda} are loaded from the system, and no package that the"
        f" lock has brings them; {why}",
        notes=("tags of nvidia/cuda are deleted after a while: keep a copy of the image",),
    )


def _version(lock: Lock, needed: list[Library]) -> str:
    """The CUDA that the libraries are of: their own version, the toolkit's that holds them, or
    what the directory is called; empty: not told."""
    accelerator = lock.machine.host.accelerator if lock.machine.host else None
    for library in needed:
        if library.name == "cudart" and library.version:
            return ".".join(map(str, tables.numbers(library.version)[:2]))
    for toolkit in accelerator.toolkits if accelerator else []:
        root = toolkit.root.rstrip("/") + "/"
        if any((library.path or "").startswith(root) for library in needed):
            return toolkit.version
    for library in needed:
        match = re.search(r"/cuda-(\d{1,3}(?:\.\d{1,3}){1,2})/", library.path or "")
        if match:
            return match[1]
    return ""


def _kind(lock: Lock, needed: list[Library]) -> str:
    """``devel`` where a toolkit was chosen by a variable, ``base`` where cudart is enough."""
    environment = lock.machine.environment
    if environment.get("CUDA_HOME") or environment.get("CUDA_PATH"):
        return "devel"
    alone = all(_CUDART.match(_soname(library)) for library in needed)
    return "base" if alone else "runtime"


def _row(cuda: str, system: str, cudnn: bool) -> tables.NvidiaImage | None:
    """The image of that very version, else the last of the same minor one."""
    fits = [
        row
        for row in tables.nvidia_images().image
        if cuda
        and tables.numbers(row.cuda)[:2] == tables.numbers(cuda)[:2]
        and len(tables.numbers(cuda)) > 1
        and system in (row.with_cudnn if cudnn else _systems(row))
    ]
    fits.sort(key=lambda row: (row.cuda == cuda, tables.numbers(row.cuda)))
    return fits[-1] if fits else None


def _systems(row: tables.NvidiaImage) -> list[str]:
    return [*row.with_cudnn, *row.without_cudnn, *row.unknown]


def _without(lock: Lock, release: tables.Release, shown: str, needed: list[Library]) -> Choice:
    plain = _plain(lock, release, shown)
    cuda = _version(lock, needed)
    names = ", ".join(dict.fromkeys(_soname(library) for library in needed[:3]))
    have = "Debian" if release.id == "debian" else f"CUDA {cuda or '(version not told)'} on {shown}"
    return Choice(
        image=plain.image,
        reason=plain.reason,
        notes=(
            f"{names}: loaded from the system, in no package of the lock, and nvidia/cuda has no"
            f" image for {have}; install CUDA from wheels or .deb files before capturing, or"
            " give a base that has it with --base",
        ),
    )


# --- which platform of it -----------------------------------------------------------------

_MACHINES: Mapping[str, tuple[str, str]] = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "i686": ("386", ""),
    "armv7l": ("arm", "v7"),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
}
"""GOARCH and variant, as OCI image-spec ``image-index.md`` has them."""


def platform(facts: Interpreter) -> tuple[str, str] | None:
    """Architecture and variant of the image for this interpreter; None: not one of the usual."""
    return of_machine(facts.machine)


def of_machine(machine: str) -> tuple[str, str] | None:
    """The same, for what uname calls a machine."""
    return _MACHINES.get(machine)
