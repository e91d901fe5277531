"""Files of a conda prefix that the loader may be asked for: libraries by name, programs by place.

The names are those of the records: a prefix has tens of thousands of files, and to read the head of
each would take longer than the rest of a capture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from envfreeze.model.artifact import is_inside
from envfreeze.model.snapshot import CondaPrefix
from envfreeze.resolve.rootfs import Root

_PROGRAMS = frozenset({"bin", "sbin", "libexec"})
_NEVER = (".py", ".pyc", ".sh", ".pl", ".txt", ".h")


class _Record(msgspec.Struct):
    files: list[str] = []


def objects(prefix: CondaPrefix, root: Root) -> Iterator[tuple[str, str]]:
    """``(path, the package that it is of)``; of files that no package has: nobody."""
    for record in prefix.packages.values():
        for path in _files(root.host(f"{prefix.prefix}/conda-meta/{record.file}")):
            place = f"{prefix.prefix}/{path}"
            # A library has two links beside it, as a rule.
            if is_object(path) and is_inside(path) and not _is_link(root.host(place)):
                yield place, record.name
    for entry in prefix.loose:
        if entry.link is None and is_object(entry.path):
            yield f"{prefix.prefix}/{entry.path}", ""


def _is_link(place: str) -> bool:
    return os.path.islink(place)  # noqa: PTH114 - thousands of them


def _files(record: str) -> list[str]:
    try:
        with open(record, "rb") as file:  # noqa: PTH123 - hundreds of them
            return msgspec.json.decode(file.read(), type=_Record).files
    except (OSError, msgspec.MsgspecError):
        return []  # Told before, as a damaged record.


def is_object(path: str) -> bool:
    """Whether a file of that name can be one."""
    above, _, name = path.rpartition("/")
    if name.endswith(_NEVER):
        return False
    return ".so" in name or not _PROGRAMS.isdisjoint(above.split("/"))
