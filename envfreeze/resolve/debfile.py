"""The .deb format: read the head of one, and write one that is the same bytes each time.

Source: deb(5). A .deb is an ``ar`` archive of ``debian-binary``, ``control.tar.*`` and
``data.tar.*``, in this order, so the control part lies in the first few kilobytes.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Protocol, cast

from envfreeze.resolve import tars
from envfreeze.store import CHUNK

HEAD = 128 * 1024
"""How much is read at first: the control part of nearly every package fits."""

_MAX_CONTROL = 32 << 20
_MAX_FILES = 500_000
_GLOBAL = b"!<arch>\n"
_ENTRY = 60

ReadRange = Callable[[int, int], bytes]
"""``(start, end)`` to the bytes ``[start, end)``, exactly."""


class DebError(Exception):
    """A .deb that cannot be read here, with the reason."""


class Writer(Protocol):
    """Anything with ``write`` (a file, a :class:`envfreeze.store.BlobWriter`)."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    start: int
    size: int


def read_control(read: ReadRange, size: int) -> dict[str, bytes]:
    """The files of the control part, read with one range request, seldom two.

    :raises DebError: not a .deb, or packed with something that this machine cannot unpack.
    """
    head = read(0, min(HEAD, size))
    if not head.startswith(_GLOBAL):
        raise DebError("not a .deb: no ar archive")
    part = _part(head, len(_GLOBAL), size)
    while not part.name.startswith("control.tar"):
        if part.name != "debian-binary" and not part.name.startswith("_"):
            raise DebError(f"not a .deb: {part.name[:40]!r} before the control part")
        part = _part(head, part.start + part.size + part.size % 2, size)
    if part.size > _MAX_CONTROL:
        raise DebError(f"its control part has {part.size} bytes")
    end = part.start + part.size
    packed = head[part.start : end] if end <= len(head) else read(part.start, end)
    return _files(unpack(packed, part.name))


def _part(head: bytes, start: int, size: int) -> _Part:
    """The member whose header lies at *start* (ar(5); names end in blanks or ``/``)."""
    header = head[start : start + _ENTRY]
    length = header[48:58].decode("latin-1").strip()
    if len(header) < _ENTRY or header[58:] != b"`\n" or not length.isdecimal():
        raise DebError("not a .deb: a damaged ar header")
    part = _Part(header[:16].decode("latin-1").strip().rstrip("/"), start + _ENTRY, int(length))
    if part.start + part.size > size:
        raise DebError("not a .deb: a member that reaches beyond its end")
    return part


def unpack(data: bytes, name: str, limit: int = _MAX_CONTROL) -> bytes:
    """*data* of a member, by the ending of its *name*."""
    try:
        with _unpacked(io.BytesIO(data), name) as stream:
            plain = tars.read(stream, limit)
    except (*tars.DAMAGE, OSError) as error:
        raise DebError(f"damaged {name}: {error}") from error
    if len(plain) > limit:
        raise DebError(f"{name} unpacks to more than {limit >> 20} MiB")
    return plain


@contextlib.contextmanager
def _unpacked(packed: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """What a member holds, as a stream: only as much is unpacked as is read."""
    kind = name.rpartition(".")[2]
    if kind == "tar":
        yield packed
    elif kind == "gz":
        with gzip.GzipFile(fileobj=packed) as stream:
            yield cast("IO[bytes]", stream)
    elif kind == "xz":
        yield tars.unxz(packed)
    elif kind == "zst":
        with _unzstd(packed) as stream:
            yield stream
    else:
        raise DebError(f"packed as {kind!r}")


@contextlib.contextmanager
def _unzstd(packed: IO[bytes]) -> Iterator[IO[bytes]]:
    """With the standard library from 3.14 on, else with the tool of that name."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        pass
    else:
        try:
            with zstd.ZstdFile(packed) as stream:
                yield stream
        except zstd.ZstdError as error:
            raise DebError(f"damaged zstd data: {error}") from error
        return
    tool = shutil.which("zstd")
    if tool is None:
        raise DebError("packed with zstd, and there is no zstd here to unpack it")
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(packed, file, CHUNK)
        file.seek(0)
        process = subprocess.Popen(
            [tool, "-dc"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        with process:
            stream = _Ending(cast("IO[bytes]", process.stdout), process)
            try:
                yield cast("IO[bytes]", stream)
            finally:
                process.kill()  # It may have more to say than anybody asked for.


class _Ending:
    """The output of a program, whose end counts only if the program is content with it."""

    def __init__(self, stream: IO[bytes], process: subprocess.Popen[bytes]) -> None:
        self._stream = stream
        self._process = process

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size and self._process.wait() != 0:
            raise DebError("damaged zstd data")
        return data


def _files(tar: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        for member, content in tars.members(io.BytesIO(tar)):
            if content is not None:
                found[member.name.removeprefix("./")] = content.read()
    except tars.DAMAGE as error:
        raise DebError(f"damaged control part: {error}") from error
    return found


class _Member(io.RawIOBase):
    """One part of a .deb."""

    def __init__(self, deb: IO[bytes], part: _Part) -> None:
        self._deb = deb
        self._left = part.size
        deb.seek(part.start)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._deb.read(wanted)
        self._left -= len(data)
        return data


def data_members(deb: IO[bytes], size: int) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Each member of the data part of a whole .deb, with its content where it is a plain file.

    :raises DebError: not a .deb, or packed with something that this machine cannot unpack.
    """
    deb.seek(0)
    head = deb.read(min(HEAD, size))
    part = _part(head, len(_GLOBAL), size)
    while not part.name.startswith("data.tar"):
        deb.seek(part.start + part.size + part.size % 2)
        part = _part_at(deb, size)
    try:
        with _unpacked(cast("IO[bytes]", _Member(deb, part)), part.name) as plain:
            yield from tars.members(plain)
    except (*tars.DAMAGE, OSError) as error:
        raise DebError(f"damaged data part: {error}") from error


def data_sums(deb: IO[bytes], size: int) -> dict[str, str]:
    """Path to md5 of the regular files in a whole .deb, for one that carries no md5sums.

    :raises DebError: not a .deb, or packed with something that this machine cannot unpack.
    """
    sums: dict[str, str] = {}
    try:
        for member, content in data_members(deb, size):
            if content is not None:
                sums[member.name.removeprefix("./")] = _md5(content)
            if len(sums) > _MAX_FILES:
                raise DebError(f"more than {_MAX_FILES} files in it")
    except (*tars.DAMAGE, OSError) as error:
        raise DebError(f"damaged data part: {error}") from error
    return sums


def _md5(content: IO[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := content.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _part_at(deb: IO[bytes], size: int) -> _Part:
    start = deb.tell()
    part = _part(deb.read(_ENTRY), 0, size - start)
    return _Part(part.name, start + part.start, part.size)


def parse_md5sums(text: bytes) -> dict[str, str]:
    """``md5  path`` a line (deb-md5sums(5)); the path is relative to ``/``."""
    sums: dict[str, str] = {}
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        digest, _, path = line.partition("  ")
        if len(digest) == 32 and path:
            sums[path.removeprefix("./").lstrip("/")] = digest.lower()
    return sums


# --- writing -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of ``data.tar``."""

    info: tarfile.TarInfo
    source: str | None = None
    """The file to read the bytes from; None for directories and links."""


def write_deb(out: Writer, control: Iterable[tuple[str, bytes, int]], data: bytes) -> None:
    """Write a .deb.

    :param control: ``(name, bytes, mode)`` of each file of the control part.
    :param data: ``data.tar.gz``, see :func:`data_archive`.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(_member("./", 0o755, directory=True))
        for name, content, mode in control:
            info = _member(f"./{name}", mode)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    out.write(_GLOBAL)
    for name, content in (
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", gzip.compress(buffer.getvalue(), 9, mtime=0)),
        ("data.tar.gz", data),
    ):
        out.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
        out.write(content + b"\n" * (len(content) % 2))


def data_archive(entries: Iterable[Entry]) -> tuple[bytes, dict[str, str]]:
    """``data.tar.gz`` of *entries*, and path to md5 of its regular files.

    GNU tar format: dpkg reads its long names, and pax headers only in part (deb(5)).
    """
    sums: dict[str, str] = {}
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for entry in entries:
            if entry.source is None:
                archive.addfile(entry.info)
                continue
            with open(entry.source, "rb") as file:  # noqa: PTH123
                content = file.read()
            entry.info.size = len(content)
            archive.addfile(entry.info, io.BytesIO(content))
            digest = hashlib.md5(content, usedforsecurity=False)
            sums[entry.info.name.removeprefix("./")] = digest.hexdigest()
    return buffer.getvalue(), sums


def _member(name: str, mode: int, *, directory: bool = False) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = mode
    info.uname = info.gname = "root"
    if directory:
        info.type = tarfile.DIRTYPE
    return info
