"""What is to run: a lock, or the active environment; and what of it needs a GPU."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from envfreeze.data import tables
from envfreeze.doctor.facts import Here, Installed
from envfreeze.model.host import Accelerator, Framework, Host, Library
from envfreeze.model.lock import Lock, Package
from envfreeze.model.snapshot import Interpreter

_RUNTIME = re.compile(r"nvidia-cuda-runtime(?:-cu\d+)?")
_CUDNN = re.compile(r"nvidia-cudnn(?:-cu\d+)?")
_LOCAL = re.compile(r"cu(\d{2})(\d)(?:\.|$)")
_MAJOR = re.compile(r"cuda(\d{2})")
_TELLS = {"torch", "tensorflow", "onnxruntime"}
"""Frameworks whose own files say of a CPU build that it has no CUDA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to run."""

    lock: Lock | None
    facts: Interpreter | None
    host: Host | None
    """Of the machine that it was captured on; of this one without a lock."""
    packages: tuple[Installed, ...]

    @property
    def accelerator(self) -> Accelerator | None:
        return self.host.accelerator if self.host else None

    @property
    def libraries(self) -> list[Library]:
        return self.accelerator.libraries if self.accelerator else []

    def find(self, pattern: re.Pattern[str]) -> Installed | None:
        return next((p for p in self.packages if pattern.fullmatch(p.name)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A framework, and the CUDA that it is built for."""

    name: str
    version: str
    kind: Literal["cuda", "cpu", "unknown"]
    cuda: str = ""
    """``13.0``, or a major version alone, ``12``."""
    told: str = ""
    """What tells."""
    cudnn: str | None = None
    """Compiled against: as full as it is told."""
    architectures: tuple[str, ...] = ()
    architectures_source: str = ""
    without_gpu: bool = False

    @property
    def shown(self) -> str:
        return f"{self.name} {self.version}"


def of_lock(lock: Lock) -> Subject:
    machine = lock.machine
    return Subject(
        lock=lock,
        facts=machine.interpreter.facts,
        host=machine.host,
        packages=tuple(_installed(package) for package in lock.packages),
    )


def of_here(here: Here) -> Subject:
    return Subject(lock=None, facts=here.interpreter, host=here.host, packages=here.installed)


def _installed(package: Package) -> Installed:
    version = package.version or package.facts.version or ""
    return Installed(name=package.name, version=version, tags=_tags(package.artifact.filename))


def _tags(filename: str) -> tuple[str, ...]:
    """The tags of a wheel's file name, expanded (PEP 425)."""
    parts = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or len(parts) < 5:
        return ()
    pythons, abis, platforms = (part.split(".")[:16] for part in parts[-3:])
    return tuple(f"{a}-{b}-{c}" for a in pythons for b in abis for c in platforms)


# --- what needs a GPU ---------------------------------------------------------------------


def needs(subject: Subject) -> list[Need]:
    """The frameworks that use a GPU; of those that nobody knows, the CUDA runtime itself."""
    found = []
    for row in tables.frameworks().framework:
        package = next((p for p in subject.packages if p.name in row.distributions), None)
        seen = _seen(subject, row.name, package)
        if package is not None or seen is not None:
            found.append(_need(subject, row, package, seen))
    kept = [need for need in found if need is not None]
    runtime = subject.find(_RUNTIME)
    if not kept and runtime is not None:
        cuda = _two(runtime.version)
        kept.append(
            Need(
                name=runtime.name,
                version=runtime.version,
                kind="cuda",
                cuda=cuda,
                told="its version",
                without_gpu=True,
            )
        )
    return kept


def _seen(subject: Subject, name: str, package: Installed | None) -> Framework | None:
    """What the framework's files told, unless they are of another version than the package."""
    frameworks = subject.accelerator.frameworks if subject.accelerator else []
    for framework in frameworks:
        if framework.name == name and (package is None or framework.version == package.version):
            return framework
    return None


def _need(
    subject: Subject,
    row: tables.FrameworkRow,
    package: Installed | None,
    seen: Framework | None,
) -> Need | None:
    version = package.version if package else seen.version if seen else ""
    kind, cuda, told = _cuda(subject, row.name, package, seen)
    if kind == "unknown" and row.name in {"tensorflow", "onnxruntime"}:
        return None  # Without CUDA's libraries beside it, it runs on the CPU.
    holds, source = _architectures(subject, row.name, version, cuda, seen)
    return Need(
        name=row.name,
        version=version,
        kind=kind,
        cuda=cuda,
        told=told,
        cudnn=(seen.cudnn if seen else None) or _cudnn(row.name, version, cuda),
        architectures=holds,
        architectures_source=source,
        without_gpu=row.without_gpu,
    )


_Cuda = tuple[Literal["cuda", "cpu", "unknown"], str, str]


def _cuda(subject: Subject, name: str, package: Installed | None, seen: Framework | None) -> _Cuda:
    """What it is built for, by the best evidence: its own files, its version, the libraries."""
    if seen is not None and seen.cuda:
        return "cuda", _two(seen.cuda), seen.source
    if seen is not None and (seen.hip or name in _TELLS):
        return "cpu", "", seen.source
    version = package.version if package else ""
    local = version.partition("+")[2]
    if local.startswith(("cpu", "rocm", "xpu")):
        return "cpu", "", "its version"
    match = _LOCAL.match(local)
    if match:
        return "cuda", f"{match[1]}.{match[2]}", "its version"
    runtime = subject.find(_RUNTIME)
    major = _MAJOR.search(package.name) if package else None
    if runtime is not None and (major is None or runtime.version.startswith(f"{major[1]}.")):
        return "cuda", _two(runtime.version), f"{runtime.name} {runtime.version} beside it"
    if major:
        return "cuda", major[1], f"its name, {package.name if package else ''}"
    return _by_table(subject, name, version)


def _by_table(subject: Subject, name: str, version: str) -> _Cuda:
    """An official build that a version stands for: torch's default wheel of Linux x86_64."""
    platform = subject.facts.platform if subject.facts else ""
    if name == "torch" and platform == "linux-x86_64" and not _is_local(subject, name):
        for row in tables.torch().default:
            if row.release == version:
                return "cuda", row.cuda, row.source
    return "unknown", "", ""


def _is_local(subject: Subject, name: str) -> bool:
    """Whether its bytes are packed: then they are not those of an official wheel."""
    packages = subject.lock.packages if subject.lock else []
    return any(p.name == name and p.facts.proof == "packed" for p in packages)


def _architectures(
    subject: Subject, name: str, version: str, cuda: str, seen: Framework | None
) -> tuple[tuple[str, ...], str]:
    if seen is not None and seen.architectures:
        return tuple(seen.architectures), seen.source
    machine = subject.facts.machine if subject.facts else ""
    for row in tables.torch().architectures if name == "torch" else []:
        if (row.line, row.cuda, row.machine) == (tables.line(version), cuda, machine):
            return tuple(row.holds), row.source
    return (), ""


def _cudnn(name: str, version: str, cuda: str) -> str | None:
    """The major version of the cuDNN that an official build was compiled against."""
    line = tables.line(version)
    if name == "torch":
        found = [r.cudnn for r in tables.torch().build if (r.line, r.cuda) == (line, cuda)]
        found += [r.cudnn for r in tables.torch().default if r.release == version.split("+")[0]]
        return next((cudnn.split(".")[0] for cudnn in found if cudnn), None)
    if name == "tensorflow":
        rows = tables.frameworks().tensorflow
        return next((r.cudnn.split(".")[0] for r in rows if r.line == line), None)
    return None


def _two(version: str) -> str:
    return ".".join(map(str, tables.numbers(version)[:2]))


def cudnns(subject: Subject) -> list[tuple[str, str]]:
    """``(version, where from)`` of every cuDNN that it brings or would load."""
    found = [
        (package.version, f"{package.name} {package.version}")
        for package in subject.packages
        if _CUDNN.fullmatch(package.name)
    ]
    for library in subject.libraries:
        wheel = (library.owner or "").startswith("wheel ")
        if library.name == "cudnn" and library.version and not (wheel and found):
            found.append((library.version, library.owner or library.path or "cuDNN"))
    return found


def compat_packages(names: Iterable[str]) -> list[str]:
    """Which of *names* bring CUDA's forward compatibility."""
    return sorted(name for name in names if re.match(r"cuda-compat(-\d+-\d+)?(:|$)", name))
