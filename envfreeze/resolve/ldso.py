"""Where a loader looks for what no object names a directory for.

Sources: ld.so(8) and ldconfig(8); glibc, ``sysdeps/generic/dl-cache.h`` (the index) and
``elf/dl-hwcaps.c``; musl, ``ldso/dynlink.c``; the x86-64 psABI for the levels of processors.
"""

from __future__ import annotations

import fnmatch
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from envfreeze.resolve.rootfs import Root

HWCAPS = "glibc-hwcaps"
MUSL_ITSELF = re.compile(r"lib(c|pthread|rt|m|dl|util|xnet)\.")
"""Names that musl takes for itself, whatever follows: it has all of them in one file."""

_CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEAD, _CACHE_ROW = 48, 24
_LIMIT = 16 << 20
_MOST_INCLUDES = 8

_MULTIARCH = {
    "x86_64": "x86_64-linux-gnu",
    "i386": "i386-linux-gnu",
    "aarch64": "aarch64-linux-gnu",
    "arm": "arm-linux-gnueabihf",
    "powerpc64": "powerpc64le-linux-gnu",
    "s390x": "s390x-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
    "loongarch64": "loongarch64-linux-gnu",
}

_LEVELS = (
    ("x86-64-v2", {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}),
    ("x86-64-v3", {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}),
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
)
"""Each level, and the kernel's flags that it has more than the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What is fixed for all the objects of one process."""

    loader: str
    """The program interpreter."""
    musl: bool
    trusted: tuple[str, ...]
    """Looked through last."""
    configured: tuple[str, ...] = ()
    """Where there is no index: the directories that it would be made of."""
    levels: tuple[str, ...] = ()
    """Names of directories for this processor, the best first."""
    tokens: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """``LIB`` and ``PLATFORM`` to what they may stand for: the loader knows, since it was built
    (glibc before 2.37 says ``haswell`` on processors that can do what that one could)."""
    index: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def indexed(self, name: str) -> Iterator[str]:
        """What the loader's index has for *name*, the best for this processor first."""
        paths = self.index.get(name, ())
        variants = {path: _variant(path) for path in paths}
        for level in (*self.levels, ""):
            yield from (path for path in paths if variants[path] == level)


def _variant(path: str) -> str:
    match = re.search(rf"/{HWCAPS}/([^/]+)/", path)
    return match[1] if match else ""


def places(root: Root, arch: str, bits: int, interp: str | None) -> Places:
    """The places of a process of *arch* whose program interpreter is *interp*."""
    musl = f"/lib/ld-musl-{arch}.so.1"
    is_musl = "/ld-musl-" in interp if interp else root.exists(musl) and not _has_glibc(root)
    if is_musl:
        return Places(loader=interp or musl, musl=True, trusted=_musl_path(root, arch))
    triplet = _MULTIARCH.get(arch, "")
    multiarch = bool(triplet) and root.exists(f"/usr/lib/{triplet}")
    wide = ("/lib64", "/usr/lib64") if bits == 64 else ()
    local = (f"/lib/{triplet}", f"/usr/lib/{triplet}") if multiarch else wide
    index = _index(root)
    plain = ("lib64", "lib") if bits == 64 else ("lib", "lib32")
    return Places(
        loader=interp or "",
        musl=False,
        trusted=(*local, "/lib", "/usr/lib"),
        configured=() if index else tuple(dict.fromkeys(conf_directories(root))),
        levels=_levels(root, arch),
        tokens={
            "LIB": (f"lib/{triplet}",) if multiarch else plain,
            "PLATFORM": ("haswell", arch) if arch == "x86_64" else (arch,),
        },
        index=index,
    )


def _has_glibc(root: Root) -> bool:
    return root.exists(_CACHE) or root.exists("/etc/ld.so.conf")


def _musl_path(root: Root, arch: str) -> tuple[str, ...]:
    """The file of directories replaces the three that are built in."""
    data = root.read(f"/etc/ld-musl-{arch}.path", _LIMIT)
    if data is None:
        return ("/lib", "/usr/local/lib", "/usr/lib")
    parts = re.split(r"[:\n]+", data.decode("utf-8", "surrogateescape"))
    return tuple(dict.fromkeys(part for part in parts if part.startswith("/")))


def _levels(root: Root, arch: str) -> tuple[str, ...]:
    """The processor's levels, the best first; none where it is not known."""
    data = root.read("/proc/cpuinfo", _LIMIT) if arch == "x86_64" else None
    flags = re.search(rb"^flags\s*:(.*)$", data or b"", re.MULTILINE)
    has = set(flags[1].decode("ascii", "replace").split()) if flags else set()
    found: list[str] = []
    for level, wanted in _LEVELS:
        if not wanted <= has:
            break
        found.insert(0, level)
    return tuple(found)


# --- glibc's index -----------------------------------------------------------------------


def _index(root: Root) -> dict[str, tuple[str, ...]]:
    data = root.read(_CACHE, _LIMIT)
    return {} if data is None else parse_index(data)


def parse_index(data: bytes) -> dict[str, tuple[str, ...]]:
    """Name to paths of an ``ld.so.cache``, in its order; empty where it is damaged."""
    start = data.find(_CACHE_MAGIC)  # An older form of the same may stand before it.
    if start < 0 or len(data) < start + _CACHE_HEAD:
        return {}
    data = data[start:]
    end = ">" if data[28] == 3 else "<"
    (count,) = struct.unpack_from(end + "I", data, 20)
    if _CACHE_HEAD + count * _CACHE_ROW > len(data):
        return {}
    found: dict[str, list[str]] = {}
    table = data[_CACHE_HEAD : _CACHE_HEAD + count * _CACHE_ROW]
    for _flags, key, value, _version, _hwcap in struct.iter_unpack(end + "iIIIQ", table):
        name, path = _string(data, key), _string(data, value)
        if name and path.startswith("/"):
            found.setdefault(name, []).append(path)
    return {name: tuple(paths) for name, paths in found.items()}


def _string(data: bytes, offset: int) -> str:
    stop = data.find(b"\0", offset, offset + 4096)
    return os.fsdecode(data[offset:stop]) if stop >= 0 else ""


# --- what the index is made of -------------------------------------------------------------


def conf_directories(root: Root) -> Iterator[str]:
    """The directories of ld.so.conf and of what it includes."""
    return (directory for _, directory in conf_lines(root))


def conf_lines(root: Root) -> Iterator[tuple[str, str]]:
    """``(file, directory)`` of ld.so.conf and of what it includes, each file once."""
    return _included(root, "/etc/ld.so.conf", _MOST_INCLUDES, set())


def _included(root: Root, path: str, depth: int, seen: set[str]) -> Iterator[tuple[str, str]]:
    data = None if path in seen else root.read(path, _LIMIT)
    seen.add(path)
    for raw in (data or b"").decode("utf-8", "replace").splitlines():
        line = raw.partition("#")[0].strip()
        words = line.split()
        if words[:1] == ["include"] and depth > 0:
            for pattern in words[1:]:
                for name in _glob(root, pattern if pattern[0] == "/" else f"/etc/{pattern}"):
                    yield from _included(root, name, depth - 1, seen)
        elif line.startswith("/"):
            yield path, line.partition("=")[0].rstrip()


def _glob(root: Root, pattern: str) -> list[str]:
    """Paths that match a pattern whose last component alone holds wildcards."""
    directory, _, name = pattern.rpartition("/")
    try:
        entries = os.listdir(root.at(directory))  # noqa: PTH208
    except (OSError, ValueError):
        return []
    return [f"{directory}/{entry}" for entry in sorted(fnmatch.filter(entries, name))]
