"""Which shared libraries a set of files needs, found by reading ELF.

Sources: the System V gABI, chapters 4 (object files) and 5 (dynamic linking), and ld.so(8)
for the order in which the loader looks. Nothing is run: ``ldd`` would execute code of the
file that it is asked about.

The reader is our own because it is short and an environment has thousands of libraries: it
takes 0.04 ms a file where pyelftools takes 1.5 ms (its section walk). The tests hold it to
what pyelftools says.
"""

from __future__ import annotations

import os
import re
import struct
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from envfreeze.resolve import ldso
from envfreeze.resolve.rootfs import Root

_MAX_TABLE = 1 << 20
_MAX_STRINGS = 16 << 20
_MAX_TEXT = 4096
"""Characters of a path: the kernel takes no longer one."""
_MAX_NEEDED = 1024
_MAX_DIRECTORIES = 256
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 14, 15, 29
_DT_FLAGS_1, _DF_1_NODEFLIB = 0x6FFFFFFB, 0x800
_TEXTS = (_DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH)

_MACHINES = {3: "i386", 20: "powerpc", 21: "powerpc64", 22: "s390x", 40: "arm", 62: "x86_64"}
_MACHINES |= {183: "aarch64", 243: "riscv64", 258: "loongarch64"}

_DRIVER = re.compile(r"lib(cuda|nvcuvid|nvoptix|nvidia-[a-z0-9-]+)\.so(\.[0-9.]+)?")
"""Libraries of the NVIDIA driver: the host brings them, no image may (the driver belongs to
the kernel; see the NVIDIA Container Toolkit's documentation)."""

_NEVER_ELF = (".py", ".pyc", ".pyi", ".h", ".hpp", ".txt", ".json", ".md", ".rst", ".pxd", ".c")


class _BadElfError(Exception):
    """An ELF magic with something else behind it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What an object must share with a process to be loaded into it."""

    machine: int
    bits: int
    little: bool

    @property
    def name(self) -> str:
        return _MACHINES.get(self.machine, f"machine-{self.machine}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one ELF object tells the loader."""

    kind: Kind
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    interp: str | None = None
    nodeflib: bool = False
    """DF_1_NODEFLIB: what it needs is not looked for where every library is (ld's ``-z
    nodefaultlib``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryScan:
    """The libraries that a set of files makes the loader load, transitively."""

    system: frozenset[str]
    """Real paths of libraries outside the set (the program interpreter among them)."""
    found: frozenset[str]
    """The same libraries by the paths under which the loader opens them, links not followed."""
    inside: dict[str, list[str]] = field(default_factory=dict)
    """soname to the files that need it, where no search path leads to it but another file of
    the set has that name: Python loads that one first (torch and the nvidia wheels do)."""
    driver: dict[str, list[str]] = field(default_factory=dict)
    """Libraries of the host's NVIDIA driver, found or not: they never belong in an image."""
    missing: dict[str, list[str]] = field(default_factory=dict)
    """soname to the files that need it and cannot have it on this machine."""
    scanned: int = 0
    """ELF objects among the files."""
    foreign: int = 0
    """ELF objects for another machine: data, as far as this environment goes."""


def needs(path: Path | str) -> Needs | None:
    """Read one file; None when it is not ELF, is cut short, or contradicts itself."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - the fast path
            return needs_of(file)
    except OSError:
        return None


def needs_of(file: IO[bytes]) -> Needs | None:
    """The same of an open file, from its start."""
    try:
        head = file.read(64)
        if len(head) < 52 or head[:4] != b"\x7fELF":
            return None
        return _parse(file, head)
    except (OSError, ValueError, OverflowError, struct.error, _BadElfError):
        return None


def _parse(file: IO[bytes], head: bytes) -> Needs:
    end = {1: "<", 2: ">"}.get(head[5])
    if end is None or head[4] not in (1, 2):
        raise _BadElfError
    bits = 64 if head[4] == 2 else 32
    kind = Kind(struct.unpack_from(end + "H", head, 18)[0], bits, end == "<")
    segments = list(_segments(file, head, end, bits))
    interp = None
    for type_, offset, _address, size in segments:
        if type_ == _PT_INTERP:
            interp = _read(file, offset, size, 4096).split(b"\0")[0]
    tags = _dynamic(file, segments, end, bits)
    names = _strings(file, segments, tags)
    texts = _texts(names, tags)
    return Needs(
        kind=kind,
        soname=next(iter(texts[_DT_SONAME]), None),
        needed=tuple(texts[_DT_NEEDED]),
        rpath=_split(texts[_DT_RPATH]),
        runpath=_split(texts[_DT_RUNPATH]),
        interp=os.fsdecode(interp) if interp else None,
        nodeflib=any(tag == _DT_FLAGS_1 and value & _DF_1_NODEFLIB for tag, value in tags),
    )


_SHT_DYNSYM = 11
_SHN_UNDEF = 0
_EXPORTED = {1, 2, 10}
"""Bindings: STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE."""
_MAX_SYMBOLS = 64 << 20


def symbols_of(file: IO[bytes]) -> frozenset[str] | None:
    """The dynamic symbols that an object defines for others (gABI, chapter 4, "Symbol Table").

    None: it is not ELF, contradicts itself, or has no section headers that tell how many there
    are.
    """
    try:
        head = file.read(64)
        if len(head) < 52 or head[:4] != b"\x7fELF":
            return None
        return _symbols(file, head)
    except (OSError, ValueError, OverflowError, struct.error, _BadElfError):
        return None


def _symbols(file: IO[bytes], head: bytes) -> frozenset[str] | None:
    end = {1: "<", 2: ">"}.get(head[5])
    if end is None or head[4] not in (1, 2):
        raise _BadElfError
    wide = head[4] == 2
    sections = _sections(file, head, end, wide)
    table = next((found for found in sections if found[0] == _SHT_DYNSYM), None)
    if table is None or table[3] >= len(sections):
        return None
    names = sections[table[3]]
    texts = _read(file, names[1], names[2], _MAX_SYMBOLS)
    form = struct.Struct(end + ("LBBHQQ" if wide else "LLLBBH"))
    rows = _read(file, table[1], table[2] - table[2] % form.size, _MAX_SYMBOLS)
    found: set[str] = set()
    allowed = 2 * len(texts) + _MAX_TEXT
    for row in form.iter_unpack(rows):
        name, info, section = (row[0], row[1], row[3]) if wide else (row[0], row[3], row[5])
        if section == _SHN_UNDEF or info >> 4 not in _EXPORTED or not name:
            continue
        stop = texts.find(b"\0", name)
        allowed -= stop - name  # Many symbols could be the same long text.
        if stop < 0 or allowed < 0:
            raise _BadElfError
        found.add(texts[name:stop].decode("utf-8", "backslashreplace"))
    return frozenset(found)


def _sections(
    file: IO[bytes], head: bytes, end: str, wide: bool
) -> list[tuple[int, int, int, int]]:
    """``(type, offset, size, link)`` of each section header."""
    (start,) = struct.unpack_from(end + ("Q" if wide else "L"), head, 40 if wide else 32)
    size, count = struct.unpack_from(end + "HH", head, 58 if wide else 46)
    form = struct.Struct(end + ("LLQQQQLLQQ" if wide else "LLLLLLLLLL"))
    if count and size < form.size:
        raise _BadElfError
    table = _read(file, start, size * count, _MAX_TABLE)
    rows = (form.unpack_from(table, index * size) for index in range(count))
    return [(row[1], row[4], row[5], row[6]) for row in rows]


def _read(file: IO[bytes], offset: int, size: int, limit: int) -> bytes:
    if size > limit:
        raise _BadElfError
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise _BadElfError
    return data


def _segments(
    file: IO[bytes], head: bytes, end: str, bits: int
) -> Iterator[tuple[int, int, int, int]]:
    """``(type, file offset, address, size in the file)`` of each program header."""
    if bits == 64:
        (start,) = struct.unpack_from(end + "Q", head, 32)
        size, count = struct.unpack_from(end + "HH", head, 54)
    else:
        (start,) = struct.unpack_from(end + "L", head, 28)
        size, count = struct.unpack_from(end + "HH", head, 42)
    if count and size < (56 if bits == 64 else 32):
        raise _BadElfError
    table = _read(file, start, size * count, _MAX_TABLE)
    for index in range(count):
        if bits == 64:
            row = struct.unpack_from(end + "LLQQQQ", table, index * size)
            yield row[0], row[2], row[3], row[5]
        else:
            row = struct.unpack_from(end + "LLLLL", table, index * size)
            yield row[0], row[1], row[2], row[4]


def _dynamic(
    file: IO[bytes], segments: list[tuple[int, int, int, int]], end: str, bits: int
) -> list[tuple[int, int]]:
    form = struct.Struct(end + ("QQ" if bits == 64 else "LL"))
    for type_, offset, _address, size in segments:
        if type_ == _PT_DYNAMIC:
            table = _read(file, offset, size - size % form.size, _MAX_TABLE)
            rows: list[tuple[int, int]] = []
            for tag, value in form.iter_unpack(table):
                if tag == 0:
                    break
                rows.append((tag, value))
            return rows
    return []


def _strings(
    file: IO[bytes], segments: list[tuple[int, int, int, int]], tags: list[tuple[int, int]]
) -> bytes:
    """The dynamic string table: its address is turned into an offset by the load segments."""
    table = dict(tags)
    if _DT_STRTAB not in table:
        return b""
    address = table[_DT_STRTAB]
    for type_, offset, start, size in segments:
        if type_ == _PT_LOAD and start <= address < start + size:
            length = min(table.get(_DT_STRSZ, 0), start + size - address)
            return _read(file, address - start + offset, length, _MAX_STRINGS)
    raise _BadElfError


def _texts(names: bytes, tags: list[tuple[int, int]]) -> dict[int, list[str]]:
    """The texts of each of :data:`_TEXTS`, which could all be the same bytes of the table."""
    found: dict[int, list[str]] = {tag: [] for tag in _TEXTS}
    allowed = 2 * len(names) + _MAX_TEXT
    for tag, offset in tags:
        if tag in found:
            stop = names.find(b"\0", offset)
            allowed -= stop - offset
            if stop < 0 or allowed < 0:
                raise _BadElfError
            found[tag].append(os.fsdecode(names[offset:stop]))
            if len(found[tag]) > _MAX_NEEDED:
                raise _BadElfError
    return found


def _split(texts: list[str]) -> tuple[str, ...]:
    parts = dict.fromkeys(part for text in texts for part in text.split(":") if part)
    if len(parts) > _MAX_DIRECTORIES:
        raise _BadElfError
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class _Object:
    """A loaded object: where it was found, and the RPATH that it hands down (ld.so(8))."""

    path: str
    inherited: tuple[str, ...] = ()


class _Loader:
    """The search of ld.so, or of musl's, over one root and for one kind of process."""

    def __init__(self, root: Root, kind: Kind, interp: str | None, library_path: str) -> None:
        self.root = root
        self.kind = kind
        self.places = ldso.places(root, kind.name, kind.bits, interp)
        self._library_path = tuple(part for part in re.split("[:;]", library_path) if part)
        self._known: dict[str, Needs | None] = {}
        self._by_default: dict[tuple[str, bool], str | None] = {}
        self._variants: dict[str, tuple[str, ...]] = {}

    def read(self, path: str) -> Needs | None:
        """What the object at *path* needs; None when this process could not load it."""
        if path not in self._known:
            found = needs(self.root.at(path))
            self._known[path] = found if found and found.kind == self.kind else None
        return self._known[path]

    def find(self, name: str, loader: _Object) -> str | None:
        """The path under which the loader opens *name* for the object *loader*, or None."""
        own = self.read(loader.path)
        origin = loader.path.rpartition("/")[0]
        if "/" in name:
            return self._first(self._expand((name,), origin), "")
        if self.places.musl:
            return self._find_as_musl(name, loader)
        before = self.handed_down(loader) if own is None or not own.runpath else ()
        after = self._expand(own.runpath, origin) if own else ()
        found = self._first((*before, *self._library_path, *after), name)
        return found or self.default(name, nodeflib=own is not None and own.nodeflib)

    def _find_as_musl(self, name: str, loader: _Object) -> str | None:
        """musl, ``ldso/dynlink.c`` (``load_library``): its own names first, LD_LIBRARY_PATH
        before what the objects say, and RPATH and RUNPATH are one."""
        if ldso.MUSL_ITSELF.match(name):
            return self._first((self.places.loader,), "")
        directories = (*self._library_path, *self.handed_down(loader))
        return self._first(directories, name) or self.default(name, nodeflib=False)

    def handed_down(self, loader: _Object) -> tuple[str, ...]:
        """The RPATH directories of *loader* and of those that loaded it.

        "Using the directories specified in the DT_RPATH ... if present and DT_RUNPATH
        attribute does not exist" (ld.so(8)); an object with RUNPATH adds none of its own.
        """
        own = self.read(loader.path)
        said = () if own is None else own.rpath
        if own is not None and own.runpath:
            said = own.runpath if self.places.musl else ()
        if not said:
            return loader.inherited
        mine = self._expand(said, loader.path.rpartition("/")[0])
        return tuple(dict.fromkeys((*mine, *loader.inherited)))

    def _first(self, directories: Iterable[str], name: str) -> str | None:
        for directory in directories:
            for place in self._with_variants(directory) if name else (directory,):
                path = f"{place}/{name}" if name else place
                if path.startswith("/") and self.read(path) is not None:
                    return path
        return None

    def _with_variants(self, directory: str) -> tuple[str, ...]:
        """*directory*, before it those below it that are for better processors."""
        if directory not in self._variants:
            above = f"{directory}/{ldso.HWCAPS}"
            levels = self.places.levels if self.root.exists(above) else ()
            self._variants[directory] = (*(f"{above}/{level}" for level in levels), directory)
        return self._variants[directory]

    def default(self, name: str, *, nodeflib: bool = False) -> str | None:
        """By the loader's index, then in the trusted directories; *nodeflib* excludes what lies
        in those, by whichever way it is found (glibc, ``elf/dl-load.c``)."""
        if (name, nodeflib) not in self._by_default:
            trusted = self.places.trusted
            indexed = (
                path
                for path in self.places.indexed(name)
                if not nodeflib or path.rpartition("/")[0] not in trusted
            )
            found = next((path for path in indexed if self.read(path) is not None), None)
            if found is None:
                found = self._first(self.places.configured, name)
            if found is None and not nodeflib:
                found = self._first(trusted, name)
            self._by_default[name, nodeflib] = found
        return self._by_default[name, nodeflib]

    def _expand(self, parts: tuple[str, ...], origin: str) -> tuple[str, ...]:
        """Dynamic string tokens (ld.so(8)); musl knows ``$ORIGIN`` alone."""
        found: list[str] = []
        for part in parts:
            texts = [part.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)]
            for token, values in self.places.tokens.items():
                texts = _replaced(texts, token, values)
            found += texts
        return tuple(
            text
            for text in found
            if len(text) <= _MAX_TEXT and not (self.places.musl and "$" in text)
        )


def _replaced(texts: list[str], token: str, values: tuple[str, ...]) -> list[str]:
    """*texts* with each of *values* in the place of a token."""
    short, long = f"${token}", f"${{{token}}}"
    return [
        text.replace(long, value).replace(short, value)
        for text in texts
        for value in (values if short in text or long in text else values[:1])
    ]


class _Walk:
    """Follow DT_NEEDED from the files of an environment, breadth first."""

    def __init__(self, loader: _Loader, inside: set[str]) -> None:
        self._loader = loader
        self._inside = inside
        self._loaded: set[str] = set()
        self._seen: set[_Object] = set()
        self.found: set[str] = set()
        self.absent: dict[str, set[str]] = {}
        self.driver: dict[str, set[str]] = {}

    def preload(self, executable: str) -> tuple[str, ...]:
        """Load the program itself: what it loads is there for everything that follows.

        Gives the RPATH of the executable, which ld.so also tries for what is loaded later.
        """
        start = _Object(executable)
        own = self._loader.read(executable)
        if own and own.interp:  # The kernel has mapped it before it looks for anything.
            self._loaded.add(own.interp.rpartition("/")[2])
            self._note(own.interp)
        self.follow([start], together=True)
        return self._loader.handed_down(start)

    def follow(self, start: Iterable[_Object], *, together: bool = False) -> None:
        """Load *start* and all they need, breadth first as the loader does.

        :param together: they are of one process, so each name is looked for once.
        """
        queue = deque(start)
        while queue:
            current = queue.popleft()
            if current in self._seen:
                continue
            self._seen.add(current)
            own = self._loader.read(current.path)
            handed_down = self._loader.handed_down(current)
            for name in own.needed if own else ():
                path = self._resolve(name, current)
                if path is not None:
                    queue.append(_Object(path, handed_down))
                    if together:
                        found = self._loader.read(path)
                        self._loaded |= {name, (found and found.soname) or name}

    def _resolve(self, name: str, current: _Object) -> str | None:
        if name in self._loaded:
            return None
        if _DRIVER.fullmatch(name):
            self.driver.setdefault(name, set()).add(current.path)
            return None
        path = self._loader.find(name, current)
        if path is None:
            self.absent.setdefault(name, set()).add(current.path)
            return None
        self._note(path)
        return path

    def _note(self, path: str) -> None:
        if self._loader.root.real(path) not in self._inside:
            self.found.add(path)


def libraries(
    files: Iterable[Path | str],
    *,
    root: Root | None = None,
    executable: str | None = None,
    library_path: str = "",
) -> LibraryScan:
    """The libraries outside *files* that loading all of *files* would load.

    :param files: absolute paths as seen inside *root*; what is not ELF is passed over.
    :param executable: the interpreter: what it has loaded is there for every extension.
    :param library_path: LD_LIBRARY_PATH of the process.
    """
    root = root or Root()
    objects: dict[str, Needs] = {}
    for file in files:
        path = str(file)
        if not path.endswith(_NEVER_ELF) and (found := needs(root.at(path))):
            objects[path] = found
    kind = _kind(objects, executable, root)
    if kind is None:
        return LibraryScan(system=frozenset(), found=frozenset())
    ours = {path: own for path, own in objects.items() if own.kind == kind}
    names = {own.soname for own in ours.values() if own.soname}
    names |= {path.rpartition("/")[2] for path in ours}
    started = needs(root.at(executable)) if executable else None
    loader = _Loader(root, kind, started.interp if started else None, library_path)
    walk = _Walk(loader, {root.real(path) for path in ours})
    inherited = walk.preload(executable) if executable else ()
    walk.follow(_Object(path, inherited) for path in ours)
    return _summary(walk, ours, names, root, len(objects) - len(ours))


def present(names: Iterable[str], executable: str, *, root: Root | None = None) -> dict[str, bool]:
    """Whether the loader finds each library in its usual directories, for a process of
    *executable*; empty where that is no ELF file."""
    root = root or Root()
    own = needs(root.host(root.real(executable)))
    if own is None:
        return {}
    loader = _Loader(root, own.kind, own.interp, "")
    return {name: "/" not in name and loader.default(name) is not None for name in names}


def _kind(objects: dict[str, Needs], executable: str | None, root: Root) -> Kind | None:
    """The kind of the process: the interpreter's, else that of most of the files."""
    if executable is not None and (own := needs(root.at(executable))):
        return own.kind
    counts = Counter(own.kind for own in objects.values())
    return counts.most_common(1)[0][0] if counts else None


def _summary(
    walk: _Walk, ours: dict[str, Needs], names: set[str], root: Root, foreign: int
) -> LibraryScan:
    def rows(table: dict[str, set[str]], inside: bool | None = None) -> dict[str, list[str]]:
        return {
            name: sorted(users)
            for name, users in sorted(table.items())
            if inside is None or (name in names) is inside
        }

    return LibraryScan(
        system=frozenset(root.real(path) for path in walk.found),
        found=frozenset(walk.found),
        inside=rows(walk.absent, inside=True),
        driver=rows(walk.driver),
        missing=rows(walk.absent, inside=False),
        scanned=len(ours),
        foreign=foreign,
    )
