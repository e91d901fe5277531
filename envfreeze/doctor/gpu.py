"""Which CUDA a driver has to serve for a lock, if any. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from envfreeze.data import tables
from envfreeze.doctor.subject import needs, of_lock
from envfreeze.model.lock import Lock

_SYSTEM = re.compile(r"(?:libcudart|cuda-cudart-|cuda-libraries-)(?P<cuda>\d+(?:[.-]\d+){0,2})")
"""The CUDA runtime as Debian's and as NVIDIA's packages: ``libcudart11.0``, ``cuda-cudart-12-4``.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the driver below has to serve."""

    cuda: str
    """The oldest version of its API that will do."""
    reason: str


def demand(lock: Lock) -> Demand | None:
    """The highest that anything of *lock* needs; None: nothing in it is built for CUDA."""
    found = [(need.cuda, f"{need.shown} (told by {need.told})") for need in needs(of_lock(lock))
             if need.kind == "cuda"]  # fmt: skip
    for package in lock.machine.system.packages:
        match = _SYSTEM.match(package.name)
        if match is not None:
            found.append((match["cuda"].replace("-", "."), f"{package.name} {package.version}"))
    known = [one for one in found if tables.numbers(one[0])]
    if not known:
        return None
    cuda, what = max(known, key=lambda one: tables.numbers(one[0]))
    shown = ".".join(map(str, tables.numbers(cuda)[:2]))
    return Demand(cuda=_floor(cuda), reason=f"{what} is built for CUDA {shown}")


def _floor(cuda: str) -> str:
    """Minor-version compatibility: the first driver of a major version serves all of it, where
    the table of drivers knows that version. Otherwise the very version is asked for."""
    numbers = tables.numbers(cuda)
    if any(row.major == numbers[0] for row in tables.cuda().minimum):
        return f"{numbers[0]}.0"
    return ".".join(map(str, (*numbers, 0)[:2]))
