"""A zip that lies here, opened with the standard library once it was seen to be a plain one.

What is proved was read by :mod:`envfreeze.resolve.zipremote`; what is placed is read by
:mod:`zipfile`. An archive that the two see differently, that packs by methods wheels lack (some
take as much memory as the archive says), or whose members share bytes, is nobody's honest work.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

from envfreeze.resolve import tars
from envfreeze.resolve.zipremote import BadZip, RemoteZip

DAMAGE = (
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What :mod:`zipfile` raises while it reads an archive that is none. An ``OSError`` among them
is a place that no file has (``EINVAL``): take it only around reading."""

_HEADER = 30
"""The shortest local header (APPNOTE 4.3.7)."""


def open_zip(path: Path) -> zipfile.ZipFile:
    """
    :raises BadZip: it cannot be read, or should not be.
    :raises OSError: the file cannot be opened.
    """
    with path.open("rb") as file:

        def read(start: int, end: int) -> bytes:
            file.seek(start)
            return file.read(end - start)

        names = set(RemoteZip(os.fstat(file.fileno()).st_size, read).names)
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGE as error:
        raise BadZip(f"not a zip: {error}") from error
    try:
        _check(archive, names)
    except BaseException:
        archive.close()
        raise
    return archive


def _check(archive: zipfile.ZipFile, names: set[str]) -> None:
    """:raises BadZip: see the module."""
    members = archive.infolist()
    if {member.filename for member in members} != names:
        raise BadZip("its directory can be read in two ways")
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise BadZip(f"{member.filename!r} is packed by an unknown method")
        if member.header_offset < end:
            raise BadZip(f"{member.filename!r} shares its bytes with another member")
        end = member.header_offset + _HEADER + member.compress_size


def read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """The content of *name*.

    :raises BadZip: it is larger than *limit* bytes, or damaged.
    """
    try:
        with archive.open(name) as stream:
            content = tars.read(stream, limit)
    except DAMAGE as error:
        raise BadZip(f"{name!r} is damaged: {error}") from error
    if len(content) > limit:
        raise BadZip(f"{name!r} is too large to read")
    return content
