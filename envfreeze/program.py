"""Which program this is: what it remembers of itself is of no use to another."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

import envfreeze


@functools.cache
def program_stamp() -> str:
    """Changes when this program does: the sizes and times of its modules."""
    digest = hashlib.sha256(envfreeze.__version__.encode("ascii"))
    for place, _, names in sorted(os.walk(Path(envfreeze.__file__).parent)):
        for name in sorted(names):
            if name.endswith((".py", ".toml")):
                path = os.path.join(place, name)  # noqa: PTH118 - hundreds
                found = os.stat(path)  # noqa: PTH116
                row = f"{path} {found.st_size} {found.st_mtime_ns}\n"
                digest.update(row.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
