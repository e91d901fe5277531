"""What once broke a parser, or was written by hand to: the long runs start from it, too."""

from __future__ import annotations

import functools
import io
import lzma
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable

from tests.fuzz import corpus

_DIGITS = b"9" * 5000
"""More than Python makes a number of (PYTHONINTMAXSTRDIGITS)."""
_DEEP = b"[" * 30_000


def _file(name: bytes) -> bytes:
    return b'{"files":[{"filename":"%s","url":"x","hashes":{}}]}' % name


def _json() -> list[bytes]:
    return [
        b'{"files":[],"x":' + _DEEP,
        b'{"files":[{"filename":"a","url":"x","hashes":{},"x":' + _DEEP,
        _file(b"demo\xff-1.0-py3-none-any.whl"),
        _file(b"demo-1.0.dev" + _DIGITS + b"-py3-none-any.whl"),
        _file(b"demo-" + b"a-" * 30_000 + b".tar.gz"),
        _file(b"demo-1.0-" + b"-".join([b"a." * 900 + b"a"] * 3) + b".whl"),
        b'{"files":[{"filename":"demo-1.0.zip","url":"file:///etc/passwd","hashes":{}}]}',
        b'{"files":[{"filename":"demo-1.0/../../x.zip","url":"x","hashes":{}}]}',
    ]


def _html() -> list[bytes]:
    return [
        b"<" * 60_000,
        b"<a href=" * 8000,
        b"<!--" * 15_000,
        b"&#" * 30_000,
        b"<![" * 20,
        b'<a href="demo-1.0.dev' + _DIGITS + b'.tar.gz">',
        b'<a href="//[/demo-1.0.zip">',
        b'<base href="file:///etc/"><a href="passwd/demo-1.0.zip">',
        b'<a href="x/demo-1.0%2f..%2fx.zip">',
    ]


def _locks() -> list[bytes]:
    (whole, filled) = corpus.lock_texts()
    changes = [
        (b"demo-1.0.dist-info", b"../x.dist-info"),
        (b"env.lock.d/p/x.zip", b"../../etc/passwd"),
        (b'"LANG"', b'"LANG\\nRUN id"'),
        (b"C.UTF-8", b"$(id)`id`\\\\"),
        (b'ID = "debian"', b'ID = "debian\\nRUN id"'),
        (b'"libz"', b'"libz; id"'),
        (b"/home/u/env/bin", b"/home/u/env/bin\\nRUN id"),
    ]
    return [
        b"x=" + _DEEP,
        b"x=" + _DIGITS,
        b"x=" + b"{a=" * 9000,
        b"a." * 9000 + b"a=1",
        *(filled.replace(old, new) for old, new in changes),
        *(whole.replace(old, new) for old, new in changes),
    ]


def _direct_urls() -> list[bytes]:
    return [
        b'{"url":"http://[/demo-1.0-py3-none-any.whl"}',
        b'{"url":"https://x.example:port/demo-1.0-py3-none-any.whl"}',
        b'{"url":"https://u:secret@x.example/a?token=secret\0"}',
        b'{"url":"https:://u:secret@x.example/a?token=secret\0"}',
        b'{"url":"https:://u:secret@x.example/a"}',
        b'{"url":' + _DEEP,
        b'{"url":1,"x":"https:\\/\\/u:p@x.example/a?sig=b"}',
    ]


def _statuses() -> list[bytes]:
    def status(field: bytes, version: bytes = b"1") -> bytes:
        head = b"Package: %s\nStatus: install ok installed\nArchitecture: amd64\n"
        return b"".join(
            head % name + b"Version: " + version + b"\n" + field + b"\n\n" for name in (b"a", b"b")
        )

    return [
        status(b"Depends: a" + b" " * 20_000 + b"!"),
        status(b"Provides: a (" + b" " * 20_000 + b"!"),
        status(b"", b"\xc2\xb2:1"),
        status(b"", _DIGITS),
        status(b"", _DIGITS + b":1"),
        status(b"Conffiles:\n" + b" x\n" * 20_000),
        corpus.SPLIT + b"/a" * 30_000 + b"\n/usr/lib/demo.so\nx\n",
        corpus.SPLIT + b"/a\0\n/usr/lib/demo.so\nx\n" + corpus.SPLIT + b"/a\0b\n",
    ]


def _apt() -> list[bytes]:
    (one, _) = corpus.apt()
    return [
        one.replace(b"Size: 12", b"Size: \xc2\xb2"),
        one.replace(b"Size: 12", b"Size: " + _DIGITS),
        one.replace(b"pool/", b"../../pool/"),
        one.replace(b"deb.example/", b"[::1/"),
    ]


def _elf(needed: list[int], strings: bytes, interp: bytes = b"") -> bytes:
    """A 64-bit object whose DT_NEEDED are these offsets into *strings*."""
    header, row = 64, 56
    at_strings = header + 3 * row
    at_dynamic = at_strings + len(strings) + len(interp)
    tags = [(1, offset) for offset in needed] + [(5, at_strings), (10, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    total = at_dynamic + len(dynamic)

    def segment(kind: int, start: int, size: int) -> bytes:
        return struct.pack("<LLQQQQQQ", kind, 4, start, start, start, size, size, 8)

    rows = segment(1, 0, total) + segment(2, at_dynamic, len(dynamic))
    rows += segment(3, at_strings + len(strings), len(interp))
    ident = b"\x7fELF\x02\x01\x01" + b"\0" * 9
    head = struct.pack("<HHLQQQLHHHHHH", 3, 62, 1, 0, header, 0, 0, 64, row, 3, 0, 0, 0)
    return ident + head + rows + strings + interp + dynamic


def _elves() -> list[bytes]:
    return [
        _elf([1] * 1500, b"\0" + b"a" * 30_000 + b"\0"),
        _elf([1], b"\0" + b"/a" * 2000 + b"\0"),
        _elf([1], b"\0" + b"../" * 9000 + b"etc/passwd\0"),
        _elf([1], b"\0lib\0", b"/a\0b\0"),
        _elf(list(range(1, 3000)), b"\0" + b"a" * 3000 + b"\0"),
    ]


def _header(name: bytes, size: int, kind: bytes, content: bytes = b"") -> bytes:
    """A tar header of GNU's kind, and content that need not be as long as it says."""
    info = tarfile.TarInfo(name.decode())
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (
        b"%011o\0" % size if 0 <= size < 8**11 else b"\xff" + size.to_bytes(11, "big", signed=True)
    )
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + content + b"\0" * (-len(content) % 512)


def _sparse(size: int) -> bytes:
    block = bytearray(_header(b"a.pth", 0, b"S"))
    block[386:398] = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    block[483:495] = block[386:398]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def tars() -> list[bytes]:
    """Archives that tarfile alone would follow to the end of memory, or of time."""
    end = b"\0" * 1024
    name = _header(b"././@LongLink", 10, b"L", b"a.pth\0\0\0\0\0")
    return [
        _sparse(1 << 40) + end,
        _sparse(1 << 32) + end,
        _header(b"x", 1 << 40, b"x") + end,
        _header(b"x", 48 << 20, b"L") + end,
        _header(b"a.pth", -1024, b"0") + end,
        _header(b"a.pth", -512, b"x") + end,
        name * 60 + _header(b"a.pth", 2, b"0", b"x\n") + end,
        _header(b"././@LongLink", 70_000, b"L", b"a" * 70_000)[:65536],
        _header(b"l", 0, b"2") * 100 + end,
        _header(b"../../x", 2, b"0", b"x\n") + end,
        _header(b"/etc/x", 2, b"0", b"x\n") + end,
        _header(b"a.pth", 0, b"3") + end,
        _header(b"a.pth", 0, b"6") + end,
        _header(b"a.pth", 0, b"1") + end,
    ]


def _deb(name: str, content: bytes) -> bytes:
    out = b"!<arch>\n"
    for member, data in (("debian-binary", b"2.0\n"), (name, content), (f"data{name[7:]}", b"")):
        out += f"{member:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) % 2)
    return out


def _debs() -> list[bytes]:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    greedy = lzma.compress(b"x" * 100, filters=filters)
    return [
        _deb("control.tar.xz", greedy),
        _deb("control.tar.zst", b"\x28\xb5\x2f\xfd\x04\x00nothing"),
        _deb("control.tar.gz", b"\x1f\x8b\x08\x00nothing"),
        _deb("control.tar.lz4", b""),
    ]


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.compress_type = method
            archive.writestr(info, content)
    return stream.getvalue()


META = [
    ("demo-1.0.dist-info/METADATA", b"Name: demo\nVersion: 1.0\n"),
    ("demo-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\n"),
]


def overlapping() -> bytes:
    """Two names for the same bytes: with thousands of them a bomb."""
    data = zipped([*META, ("a.py", b"a" * 999), ("b.py", b"a" * 999)])
    first = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    rows = [at for at in range(len(data)) if data[at : at + 4] == b"PK\1\2"]
    assert first in rows
    bomb = bytearray(data)
    bomb[rows[-1] + 42 : rows[-1] + 46] = data[rows[-2] + 42 : rows[-2] + 46]
    return bytes(bomb)


@functools.cache
def wheels() -> list[bytes]:
    return [
        zipped(META, zipfile.ZIP_LZMA),
        zipped(META, zipfile.ZIP_BZIP2),
        overlapping(),
        zipped([*META, ("a.py\0.txt", b"x")]),
        zipped([*META, ("demo-1.0.data/scripts/", b"x"), ("", b"x"), ("/", b""), (".", b"")]),
        zipped([*META, ("demo-1.0.dist-info/entry_points.txt", b"[console_scripts]\n" * 300_000)]),
        zipped([*META, ("demo-1.0.dist-info/RECORD", b"\n" * (65 << 20))]),
        zipped([META[0], ("demo-1.0.dist-info/WHEEL", b"\0" * (40 << 20))]),
    ]


def _editables() -> list[bytes]:
    def told(url: bytes) -> bytes:
        return b'{"url": "%s", "dir_info": {"editable": true}}' % url

    nothing = corpus.SPLIT * 3
    return [
        nothing + told(b"file:///\\ud800"),
        nothing + told(b"file:///%00"),
        nothing + told(b"file:///%ff"),
        nothing + told(b"/a" * 20_000),
        nothing + told(b"file://" + b"/a" * 20_000),
        nothing + b'{"dir_info": {"editable": true}, "url":' + _DEEP,
        corpus.SPLIT + b"/\0\n.\n" + corpus.SPLIT,
        corpus.SPLIT + b"@TREE@\n" + b"../" * 9000 + b"\n" + corpus.SPLIT,
        b"import __editable___x_finder\n" + corpus.SPLIT * 2 + b"X = ['/\\x', '/\\N{x}', '/\\d']\n",
        b"import __editable___x_finder\n" + corpus.SPLIT * 2 + b"'" * 60_000,
        b"import __editable___x_finder\n" + corpus.SPLIT * 2 + b"'\\" * 30_000,
    ]


KNOWN: dict[str, Callable[[], list[bytes]]] = {
    "requires.txt": lambda: [b"[" + b"a" * 30_000 + b"]\n" + b"b\n" * 10_000],
    "METADATA": lambda: [b"Name: a\r\n\r\nName: b", b"Name:\x0bVersion: 1", b"\n" * 60_000],
    "RECORD": lambda: [b"," * 60_000, b"\r" * 60_000, b'"' + b"a" * 60_000, b"a,b,c\n" * 9000],
    "pth": lambda: [b"import os; os.system('id')\n", b"/a" * 20_000, b"there\0x\n", b"\xff\n"],
    "probe's answer": lambda: [
        b'{"schema": 1, "x": ' + _DEEP,
        b'{"same":' + _DEEP,
        b'{"e":' + _DEEP,
    ],
    "simple API, JSON": _json,
    "simple API, HTML": _html,
    "direct_url.json": _direct_urls,
    "editable install": _editables,
    "candidate wheel": wheels,
    "zip directory": wheels,
    "wheel to place": wheels,
    "archive of edits": wheels,
    "member names to place": lambda: [
        b"",
        b"demo-1.0.data/purelib",
        b"demo-1.0.datax/y.py",
        b"demo-1.0.data",
        b"demo-1.0.data/scripts/",
        b"a\na\n./a\nA\n..\n",
    ],
    "tar.gz of unowned files": tars,
    "tar of a deb": tars,
    "tar.gz of a source tree": tars,
    "deb": _debs,
    "lock": _locks,
    "apt's lists": _apt,
    "ELF": _elves,
    "dpkg's database": _statuses,
}
