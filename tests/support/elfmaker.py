"""Write small ELF shared objects: enough for a loader's eyes, no code in them.

One load segment that maps the whole file at address 0, and one dynamic segment (System V
gABI, chapter 5). The tests also have pyelftools read what this writes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_NEEDED, _STRTAB, _STRSZ, _SONAME, _RPATH, _RUNPATH = 1, 5, 10, 14, 15, 29


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """What the object says."""

    needed: Sequence[str] = ()
    soname: str | None = None
    rpath: str | None = None
    runpath: str | None = None
    interp: str | None = None
    machine: int = 62
    bits: int = 64
    little: bool = True


def write_elf(path: Path, elf: Elf) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(elf_bytes(elf))
    return path


def elf_bytes(elf: Elf) -> bytes:
    end = "<" if elf.little else ">"
    wide = elf.bits == 64
    header, row = (64, 56) if wide else (52, 32)
    strings, tags = _strings(elf)
    interp = (elf.interp or "").encode() + b"\0"
    segments = 3 if elf.interp else 2
    at_strings = header + row * segments
    at_interp = at_strings + len(strings)
    at_dynamic = at_interp + len(interp)
    tags = [*tags, (_STRTAB, at_strings), (_STRSZ, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack(end + ("QQ" if wide else "LL"), *tag) for tag in tags)
    total = at_dynamic + len(dynamic)
    rows = [(1, 0, total), (2, at_dynamic, len(dynamic))]
    if elf.interp:
        rows.append((3, at_interp, len(interp)))
    table = b"".join(_segment(end, wide, *values) for values in rows)
    return _header(elf, end, segments) + table + strings + interp + dynamic


def _strings(elf: Elf) -> tuple[bytes, list[tuple[int, int]]]:
    texts = [(_NEEDED, name) for name in elf.needed]
    texts += [
        (tag, text)
        for tag, text in ((_SONAME, elf.soname), (_RPATH, elf.rpath), (_RUNPATH, elf.runpath))
        if text is not None
    ]
    table = b"\0"
    tags = []
    for tag, text in texts:
        tags.append((tag, len(table)))
        table += text.encode() + b"\0"
    return table, tags


def _header(elf: Elf, end: str, segments: int) -> bytes:
    wide = elf.bits == 64
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if elf.little else 2, 1]) + bytes(9)
    size, row = (64, 56) if wide else (52, 32)
    form = end + ("HHLQQQLHHHHHH" if wide else "HHLLLLLHHHHHH")
    return ident + struct.pack(form, 3, elf.machine, 1, 0, size, 0, 0, size, row, segments, 0, 0, 0)


def _segment(end: str, wide: bool, kind: int, offset: int, size: int) -> bytes:
    if wide:
        return struct.pack(end + "LLQQQQQQ", kind, 4, offset, offset, offset, size, size, 1)
    return struct.pack(end + "LLLLLLLL", kind, offset, offset, offset, size, size, 4, 1)
