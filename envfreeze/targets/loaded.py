"""What a process has mapped, said of the libraries that are known of its machine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable

import msgspec

from envfreeze.model.host import Accelerator, Blas, Host, Library, Mapped, Numerics, Process
from envfreeze.model.snapshot import Finding, Snapshot
from envfreeze.probe import numerics
from envfreeze.probe.machine import Machine

Real = Callable[[str], str]
Describe = Callable[[str], Blas | None]

_VENDOR = re.compile(
    r"lib(cudart|cudnn|cublas|cufft|curand|cusolver|cusparse|cusparseLt|nccl|nvrtc|nvJitLink|nvinfer)"
    r"(?:-[0-9a-f]{8,})?\.so(?:\.([0-9.]+))?$"
)
_VENDOR_NAMES = {"nvinfer": "tensorrt"}
_MKL_THREADS = {
    "mkl_gnu_thread": "openmp",
    "mkl_intel_thread": "openmp",
    "mkl_sequential": "sequential",
    "mkl_tbb_thread": "tbb",
}
_SITE = re.compile(r"(/.*?/(?:site|dist)-packages)/")


def with_process(snapshot: Snapshot, process: Process) -> Snapshot:
    """*snapshot* with the process, and a finding for each place that it has modules from and that
    is not on sys.path as it starts."""
    host = with_loaded(snapshot.host or Host(), process)
    findings = [*snapshot.findings, *strays(process, [site.path for site in snapshot.sites])]
    return msgspec.structs.replace(snapshot, host=host, findings=findings)


def described(path: str) -> Blas | None:
    """A BLAS or OpenMP library by its file; None: it is none, or cannot be read."""
    machine = Machine(environ={})  # type: ignore[no-untyped-call]
    found = numerics.describe(machine, path)  # type: ignore[no-untyped-call]
    return None if found is None else msgspec.convert(found, type=Blas)


def with_loaded(
    host: Host,
    process: Process,
    *,
    real: Real = os.path.realpath,
    describe: Describe = described,
) -> Host:
    """*host* with its process, the libraries that it has mapped marked as loaded, and those added
    that nothing knew. A part that was not looked at stays so.

    :param real: resolves the links of a path: maps holds resolved ones.
    :param describe: what a BLAS or OpenMP library is that was not known.
    """
    blas, accelerator = host.numerics, host.accelerator
    paths = {item.path for item in process.libraries if not item.deleted}
    if blas is not None:
        blas = _loaded_blas(blas, paths, real, describe)
    if accelerator is not None:
        accelerator = _loaded_libraries(accelerator, paths, real)
    return msgspec.structs.replace(host, numerics=blas, accelerator=accelerator, process=process)


def _loaded_blas(found: Numerics, paths: set[str], real: Real, describe: Describe) -> Numerics:
    known = [(item, real(item.path)) for item in found.libraries]
    marked = [msgspec.structs.replace(item, loaded=path in paths) for item, path in known]
    added = map(describe, sorted(paths - {path for _, path in known}))
    marked += [msgspec.structs.replace(new, loaded=True) for new in added if new is not None]
    layer = _mkl_threading(paths)
    marked = [
        msgspec.structs.replace(item, threading=layer)
        if layer and item.loaded and item.name == "mkl"
        else item
        for item in marked
    ]
    return msgspec.structs.replace(found, libraries=sorted(marked, key=lambda item: item.path))


def _mkl_threading(paths: Iterable[str]) -> str | None:
    """By the one threading layer of MKL that is mapped."""
    found = {
        word for path in paths for name, word in _MKL_THREADS.items() if f"/lib{name}." in path
    }
    return found.pop() if len(found) == 1 else None


def _loaded_libraries(found: Accelerator, paths: set[str], real: Real) -> Accelerator:
    marked, known = [], set()
    for item in found.libraries:
        there = _mapped_of(item, paths, real) if item.path else set()
        known |= there
        marked.append(msgspec.structs.replace(item, loaded=bool(there)))
    for path in sorted(paths - known):
        match = _VENDOR.search(path)
        if match:
            marked.append(_library(path, match[1], match[2]))
    return msgspec.structs.replace(found, libraries=marked)


def _mapped_of(item: Library, paths: set[str], real: Real) -> set[str]:
    """Of *paths*, the library itself; or, where but its directory is known, those of its name."""
    place = real(item.path or "")
    if place in paths:
        return {place}
    inside = (path for path in paths if os.path.dirname(path) == place)  # noqa: PTH120
    return {path for path in inside if (m := _VENDOR.search(path)) and _name(m[1]) == item.name}


def _name(stem: str) -> str:
    return _VENDOR_NAMES.get(stem, stem.lower())


def _library(path: str, stem: str, version: str | None) -> Library:
    """A library that was not known; a full version may be in the name of its file."""
    full = version if version and version.count(".") >= 2 else None
    base = os.path.basename(path)  # noqa: PTH119
    return Library(name=_name(stem), version=full, path=path, soname=base, loaded=True)


def strays(process: Process, sites: Iterable[str], real: Real = os.path.realpath) -> list[Finding]:
    """Places that modules are loaded from and that are not among *sites*: sys.path was changed
    while the process ran (pex, shiv, ``sys.path.append``)."""
    known = {real(site) for site in sites}
    counts: dict[str, int] = {}
    for item in process.libraries:
        place = _place(item, known)
        if place is not None:
            counts[place] = counts.get(place, 0) + 1
    return [
        Finding(
            kind="process-path",
            place=place,
            detail=f"pid:{process.pid} has {count} libraries loaded from there, and it is not on"
            " sys.path as its interpreter starts: it is not captured",
            advice="name it in PYTHONPATH or a .pth file, and start the process anew",
        )
        for place, count in sorted(counts.items())
    ]


def _place(item: Mapped, known: set[str]) -> str | None:
    match = _SITE.match(item.path)
    if match is None or match[1] in known:
        return None
    return match[1]
