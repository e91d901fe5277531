"""Whether a conda package is what a match spec asks for. Pure; py-rattler knows conda's order.

Sources: CEP 29, the syntax of match specs; conda's documentation, "Package match specifications".
"""

from __future__ import annotations

import functools
import re
from typing import Any

MISSING = "to read that, envfreeze needs its extra conda: pip install 'envfreeze[conda]'"
_BEYOND = "asks for more than a version and a build"
_ODD = "not a version that conda's order knows"
_MOST = 200
"""Characters; py-rattler's parser follows what is nested without end."""
_KEYS = {"version", "build"}


def holds(name: str, spec: str, version: str, build: str) -> bool | str:
    """Whether *version* and *build* meet *spec*; in words, why nobody can tell.

    :param spec: without the name: ``>=2``, ``=1.26``, ``3.11.* *_cpython``, ``[version='>=2']``.
    :param build: empty: it is not known.
    """
    rattler = _rattler()
    if rattler is None:
        return MISSING
    if max(len(spec), len(version), len(build)) > _MOST:
        return _ODD
    if any(key not in _KEYS for key in re.findall(r"(\w+)\s*=\s*['\"]", spec)):
        return _BEYOND
    try:
        asked = rattler.MatchSpec(f"{name} {spec}")
        if _beyond(asked) or (asked.build is not None and not build):
            return _BEYOND
        return bool(asked.matches(_record(name, version, build)))
    except Exception:  # py-rattler has a root of its own for none of its errors.
        return _ODD


def _beyond(asked: Any) -> bool:
    """What a record that was found in a prefix does not tell, or tells in other words."""
    return any((asked.build_number, asked.subdir, asked.md5, asked.sha256, asked.file_name))


def _record(name: str, version: str, build: str) -> Any:
    from rattler import BuildString, PackageRecord

    return PackageRecord(
        name=name,
        version=version,
        build=BuildString(build or "0"),
        build_number=0,
        subdir="noarch",
    )


@functools.cache
def _rattler() -> Any:
    """None: it is not installed."""
    try:
        import rattler
    except ImportError:
        return None
    return rattler
