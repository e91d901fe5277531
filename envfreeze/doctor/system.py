"""Libc, architecture, processor, Python, libraries, disk and limits."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from envfreeze.data import tables
from envfreeze.doctor.facts import Check, Here, Python
from envfreeze.doctor.subject import Subject
from envfreeze.model.host import Limits, Platform
from envfreeze.model.lock import Lock, artifacts
from envfreeze.model.snapshot import Interpreter

UNPACKED = 3.3
"""Bytes on the disk for one byte of a wheel: seven common wheels of 99 MB (numpy, scipy, pandas,
scikit-learn, matplotlib, mypy, pyelftools) unpack to 323 MB, 3.25 times as much."""
FAR_BELOW = 0.5
"""Below this share of the captured processors or memory a person wants to know."""

_PEP600 = "PEP 600: manylinux_X_Y runs on any system with glibc X.Y or later"
_PEP656 = "PEP 656: musllinux wheels are for musl alone, manylinux ones for glibc alone"
_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
"""PEP 600, "Legacy manylinux tags"."""
_IMAGE = "envfreeze build --to docker brings its own."
_LEVELS = (
    "measured: NumPy and torch give other last digits when they dispatch on other CPU features"
)


def checks(subject: Subject, here: Here) -> Iterator[Check]:
    """What a lock needs of the machine; nothing for what already runs here."""
    if subject.lock is None:
        yield from _broken(here)
        return
    lock = subject.lock
    yield from _architecture(subject, lock, here)
    yield from _libc(subject, lock, here)
    yield from _python(lock, here)
    yield from _libraries(lock, here)
    yield from _packages(lock, here)
    yield from _disk(lock, here)
    yield from _cpu(subject, here)
    yield from _limits(subject, here)
    yield from _numerics(subject, here)


def _platform(here: Here) -> Platform | None:
    return here.host.platform if here.host else None


# --- architecture and libc ----------------------------------------------------------------


def _architecture(subject: Subject, lock: Lock, here: Here) -> Iterator[Check]:
    system = lock.machine.system
    if here.system is None:
        yield Check(name="architecture", verdict="unknown", said="this machine was not looked at")
        return
    wanted = f"{system.kernel} {system.machine}"
    found = f"{here.system.kernel} {here.system.machine}"
    if wanted == found:
        yield Check(name="architecture", verdict="ok", said=f"{found}, as it was captured on")
        return
    native = sum(not _is_pure(package.tags) for package in subject.packages)
    yield Check(
        name="architecture",
        verdict="problem",
        said=f"captured on {wanted}, this is {found}",
        reason=f"{native} of its {len(subject.packages)} wheels, and its interpreter, hold machine"
        " code."
        if native
        else "Its interpreter is machine code.",
        fix=f"Use a {wanted} machine, or capture the environment again on {found}.",
        source="PEP 425: the platform tag of a wheel",
    )


def _is_pure(tags: tuple[str, ...]) -> bool:
    return any(tag.endswith("-any") for tag in tags)


def _libc(subject: Subject, lock: Lock, here: Here) -> Iterator[Check]:
    found = _libc_here(here)
    captured = lock.machine.interpreter.facts.libc or ""
    kind, floor, who = _wheels_libc(subject, captured.partition(" ")[0])
    if not found:
        yield Check(
            name="libc", verdict="unknown", said="the C library of this machine is not known"
        )
        return
    name = found.partition(" ")[0]
    wanted = kind or captured.partition(" ")[0]
    if wanted and name != wanted:
        yield Check(
            name="libc",
            verdict="problem",
            said=f"it is made for {wanted}, this machine has {found}",
            reason=f"{who} and the interpreter load {wanted}'s loader and symbols.",
            fix=f"Use a machine with {wanted}; {_IMAGE}",
            source=_PEP656,
        )
        return
    yield _libc_version(found, (floor, who), captured, _local(subject))


def _libc_here(here: Here) -> str:
    platform = _platform(here)
    if platform and platform.libc:
        return platform.libc
    if here.interpreter and here.interpreter.libc:
        return here.interpreter.libc
    return ""


def _libc_version(
    found: str, wheels: tuple[tuple[int, ...], str], captured: str, local: list[str]
) -> Check:
    floor, who = wheels
    name, _, version = found.partition(" ")
    have = tables.numbers(version)
    shown = ".".join(map(str, floor))
    if floor and have < floor:
        return Check(
            name="libc",
            verdict="problem",
            said=f"{who} needs {name} {shown}, this machine has {version}",
            reason="Its tag says so; the loader refuses symbols of a later version.",
            fix=f"Use a newer system; {_IMAGE}",
            source=_PEP600 if name == "glibc" else _PEP656,
        )
    if local and captured and have < tables.numbers(captured.partition(" ")[2]):
        return Check(
            name="libc",
            verdict="warning",
            said=f"{len(local)} wheels were built with {captured}, this machine has {version}",
            reason=f"They may need symbols that it does not have: {', '.join(local[:3])}.",
            fix=f"Use a system as new as the captured one; {_IMAGE}",
            source=_PEP600,
        )
    need = f"; the wheels need {shown}" if floor else "; the wheels need none"
    return Check(name="libc", verdict="ok", said=f"{found}{need}", source=_PEP600 if floor else "")


def _wheels_libc(subject: Subject, captured: str) -> tuple[str, tuple[int, ...], str]:
    """``(glibc or musl, the version that the most demanding wheel needs, that wheel)``.

    :param captured: which of them it ran on: of a wheel that is tagged for both, that one counts.
    """
    found: list[tuple[str, tuple[int, ...], str]] = []
    for package in subject.packages:
        floors = [floor for tag in package.tags if (floor := _floor(tag))]
        floors = [floor for floor in floors if floor[0] == captured] or floors
        if floors:
            kind, version = min(floors, key=lambda floor: floor[1])
            found.append((kind, version, f"{package.name} {package.version}"))
    return max(found, key=lambda row: row[1], default=("", (), ""))


def _floor(tag: str) -> tuple[str, tuple[int, ...]] | None:
    platform = tag.rpartition("-")[2]
    match = re.match(r"(many|musl)linux_(\d{1,3})_(\d{1,3})_", platform)
    if match:
        return ("glibc" if match[1] == "many" else "musl"), (int(match[2]), int(match[3]))
    legacy = _LEGACY.get(platform.partition("_")[0])
    return ("glibc", legacy) if legacy else None


def _local(subject: Subject) -> list[str]:
    """Wheels that were built on the captured machine: their tag tells no version."""
    return [
        package.name
        for package in subject.packages
        if any(re.match(r"linux_", tag.rpartition("-")[2]) for tag in package.tags)
    ]


# --- Python -------------------------------------------------------------------------------


def _python(lock: Lock, here: Here) -> Iterator[Check]:
    wanted = as_python(lock.machine.interpreter.facts)
    if here.pythons is None:
        yield Check(
            name="python",
            verdict="unknown",
            said=f"a venv needs {wanted.shown}; the interpreters here were not looked for",
        )
        return
    key = _abi(wanted)
    fit = next((python for python in here.pythons if _abi(python) == key), None)
    if fit is not None:
        yield Check(name="python", verdict="ok", said=f"{fit.shown} is here: {fit.path}")
        return
    found = ", ".join(dict.fromkeys(python.shown for python in here.pythons)) or "none"
    yield Check(
        name="python",
        verdict="problem",
        said=f"a venv needs {wanted.shown}; here: {found}",
        reason=f"Version, implementation and ABI ({wanted.soabi or 'no tag'}) must be the same.",
        fix=f"uv python install {shlex.quote(wanted.version)}, or pyenv install the same; {_IMAGE}",
        source="PEP 425: the ABI tag of a wheel",
    )


def as_python(facts: Interpreter, path: str = "") -> Python:
    return Python(
        implementation=facts.implementation,
        version=facts.version,
        soabi=facts.soabi,
        platform=facts.platform,
        free_threaded=facts.free_threaded,
        debug=facts.debug,
        path=path,
    )


def _abi(python: Python) -> tuple[object, ...]:
    return (
        python.implementation,
        python.version,
        python.soabi,
        python.platform,
        python.free_threaded,
        python.debug,
    )


# --- libraries and packages ---------------------------------------------------------------


def _libraries(lock: Lock, here: Here) -> Iterator[Check]:
    """What was missing where the lock was captured may be here, or is missing here too."""
    for finding in lock.machine.findings:
        if finding.kind != "missing-library":
            continue
        there = None if here.libraries is None else here.libraries.get(finding.place)
        if there:
            yield Check(name="libraries", verdict="ok", said=f"{finding.place} is here")
            continue
        yield Check(
            name="libraries",
            verdict="warning" if there is False else "unknown",
            said=f"{finding.place} was missing where it was captured"
            + ("" if there is None else ", and is missing here"),
            reason=finding.detail,
            fix=finding.advice,
        )


def _packages(lock: Lock, here: Here) -> Iterator[Check]:
    wanted = lock.machine.system.packages
    if not wanted or here.system is None or here.system.dpkg is None:
        return
    installed = {key.partition(":")[0] for key in here.system.dpkg}
    missing = sorted({package.name for package in wanted} - installed)
    if not missing:
        said = f"all {len(wanted)} system packages of the lock are installed"
        yield Check(name="libraries", verdict="ok", said=said)
        return
    shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if missing[3:] else "")
    yield Check(
        name="libraries",
        verdict="warning",
        said=f"{len(missing)} of {len(wanted)} system packages are not installed: {shown}",
        reason="A venv loads the libraries of the machine; without them imports fail.",
        fix=f"apt-get install {' '.join(missing[:12])}; {_IMAGE}",
    )


def _broken(here: Here) -> Iterator[Check]:
    """Libraries that the active environment asks for, and nobody provides."""
    if here.libraries is None:
        yield Check(name="libraries", verdict="unknown", said="not looked at")
        return
    missing = sorted(name for name, found in here.libraries.items() if not found)
    for name in missing:
        users = [path.rpartition("/")[2] for path in here.users.get(name, ())]
        shown = ", ".join(users[:3]) + (f" and {len(users) - 3} more" if users[3:] else "")
        yield Check(
            name="libraries",
            verdict="warning",
            said=f"{shown or 'something'} needs {name}: nobody provides it",
            reason="What loads it fails when it is imported.",
            fix=f"Find its package (apt-file search {shlex.quote(name)}) and install it,"
            " if you use that part.",
        )
    if not missing:
        yield Check(name="libraries", verdict="ok", said="every library that it loads is here")


# --- disk ---------------------------------------------------------------------------------


def _disk(lock: Lock, here: Here) -> Iterator[Check]:
    if here.free is None:
        yield Check(name="disk", verdict="unknown", said="the free space was not looked at")
        return
    archives = sum(artifact.size for artifact in artifacts(lock))
    needed = int(archives * (1 + UNPACKED))
    for directory, free in sorted(here.free.items()):
        said = f"{directory}: {_size(free)} free, about {_size(needed)} needed"
        reason = f"{_size(archives)} to fetch and keep, unpacked {UNPACKED} times as much."
        if free >= needed:
            yield Check(name="disk", verdict="ok", said=said, reason=reason)
            continue
        yield Check(
            name="disk",
            verdict="problem" if free < archives else "warning",
            said=said,
            reason=reason,
            fix="Make room, or choose another place (--into, ENVFREEZE_CACHE_DIR).",
        )


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


# --- processor, limits, numerics ----------------------------------------------------------


def _cpu(subject: Subject, here: Here) -> Iterator[Check]:
    wanted = subject.host.platform.cpu if subject.host and subject.host.platform else None
    platform = _platform(here)
    found = platform.cpu if platform else None
    if not (wanted and found and wanted.level and found.level):
        yield Check(name="cpu", verdict="unknown", said="the processors were not both looked at")
        return
    if wanted.level == found.level and set(wanted.flags) == set(found.flags):
        yield Check(name="cpu", verdict="ok", said=f"{found.level}, as it was captured on")
        return
    less = sorted(set(wanted.flags) - set(found.flags))
    what = f"captured on {wanted.level}, this is {found.level}"
    if wanted.level == found.level:
        what = f"{found.level} with other features than where it was captured"
    yield Check(
        name="cpu",
        verdict="warning",
        said=f"{what}: results may differ in the last digits",
        reason="Numerical libraries choose their code by the processor"
        + (f"; missing here: {' '.join(less[:8])}" if less else "")
        + ". What level the wheels themselves need, no tag tells.",
        fix="Compare results on a processor of the same level.",
        source=_LEVELS,
    )


def _limits(subject: Subject, here: Here) -> Iterator[Check]:
    wanted = subject.host.platform.limits if subject.host and subject.host.platform else None
    platform = _platform(here)
    if wanted is None or platform is None:
        yield Check(name="limits", verdict="unknown", said="cores and memory were not looked at")
        return
    found = platform.limits
    pairs = (
        ("cores", _cores(wanted), _cores(found), "{:g}".format),
        ("memory", _memory(wanted), _memory(found), lambda count: _size(int(count))),
    )
    for name, before, now, shown in pairs:
        if before is None or now is None:
            yield Check(name=name, verdict="unknown", said="not told on both sides")
            continue
        low = now < before * FAR_BELOW
        yield Check(
            name=name,
            verdict="warning" if low else "ok",
            said=f"{shown(now)} here, {shown(before)} where it was captured",
            reason="It may be slow or run out; thread counts change the order of sums."
            if low
            else "",
            fix="Raise the limit of the container or job." if low else "",
        )


def _cores(limits: Limits) -> float | None:
    known = [float(c) for c in (limits.allowed, limits.quota) if c is not None]
    if not known and limits.online is not None:
        known = [float(limits.online)]
    return min(known, default=None)


def _memory(limits: Limits) -> float | None:
    known = [float(count) for count in (limits.memory, limits.memory_limit) if count is not None]
    return min(known, default=None)


def _numerics(subject: Subject, here: Here) -> Iterator[Check]:
    wanted = subject.host.numerics if subject.host else None
    found = here.host.numerics if here.host else None
    if wanted is None or found is None:
        yield Check(
            name="numerics", verdict="unknown", said="variables were not looked at on both sides"
        )
        return
    names = sorted(wanted.variables.keys() | found.variables.keys())
    differ = [n for n in names if wanted.variables.get(n) != found.variables.get(n)]
    if not differ:
        yield Check(name="numerics", verdict="ok", said="the same variables that change numbers")
        return
    shown = [
        f"{n}={found.variables.get(n, '(unset)')} (captured: {wanted.variables.get(n, '(unset)')})"
        for n in differ
    ]
    more = f" and {len(shown) - 3} more" if shown[3:] else ""
    yield Check(
        name="numerics",
        verdict="warning",
        said=f"{', '.join(shown[:3])}{more}",
        reason="These variables change numerical results or the order of sums.",
        fix=f"Set them as they were captured: {_settings(wanted.variables, differ)}",
    )


def _settings(variables: dict[str, str], names: list[str]) -> str:
    """What a shell may be given, whatever a lock holds."""
    plain = [name for name in names if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)][:8]
    keep = [f"{name}={shlex.quote(variables[name])}" for name in plain if name in variables]
    drop = [f"unset {name}" for name in plain if name not in variables]
    return "; ".join([*([f"export {' '.join(keep)}"] if keep else []), *drop])
