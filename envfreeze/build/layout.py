"""Where things lie in the finished environment."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

from envfreeze.probe import pointers


@dataclass(frozen=True, slots=True, kw_only=True)
class Schemes:
    """The directories of the finished environment, absolute, and the python its scripts name."""

    site: str
    scripts: str
    headers: str
    data: str
    python: str
    sources: Mapping[str, str] = field(default_factory=dict)
    """Key of each source tree to the directory that it comes back in."""

    def of(self, name: str) -> dict[str, str]:
        """The installation scheme of the distribution *name* (sysconfig's names)."""
        return {
            "purelib": self.site,
            "platlib": self.site,
            "scripts": self.scripts,
            "data": self.data,
            "headers": posixpath.join(self.headers, name),
        }


def with_sources(path: str, data: bytes, sources: Mapping[str, str]) -> io.BytesIO:
    """*data* of the file at *path*, the places of source trees in it spelt out."""
    return io.BytesIO(pointers.placed(path, data, sources))
