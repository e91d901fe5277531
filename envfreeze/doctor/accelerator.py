"""Driver, GPUs and cuDNN, held against what the frameworks were built for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from envfreeze.data import tables
from envfreeze.doctor.facts import Check, Here
from envfreeze.doctor.subject import Need, Subject, compat_packages, cudnns, needs
from envfreeze.model.host import Accelerator, Driver, Gpu

_ARCHITECTURE = re.compile(r"(sm|compute)_(\d{1,2})(\d)([af]?)")
_BINARY = (
    'docs.nvidia.com "CUDA Programming Guide", The CUDA platform: binary and PTX compatibility'
)
_CUDNN_SOURCE = "pytorch/pytorch torch/backends/cudnn/__init__.py, its own check when it starts"
_TF_SOURCE = "TensorFlow's own check when it starts: same major, equal or higher minor version"


def checks(subject: Subject, here: Here) -> Iterator[Check]:
    wanted = needs(subject)
    accelerator = _accelerator(here)
    yield from _driver(subject, wanted, here)
    if accelerator is not None:
        yield from _mismatch(accelerator.driver)
        yield from _gpus(wanted, accelerator)
    yield from _cudnn(subject, wanted, here)


# --- the driver ---------------------------------------------------------------------------


def _driver(subject: Subject, wanted: list[Need], here: Here) -> Iterator[Check]:
    built = [need for need in wanted if need.kind == "cuda"]
    for need in wanted:
        if need.kind == "unknown":
            yield Check(
                name="driver",
                verdict="unknown",
                said=f"{need.shown}: it is not known whether it is built for CUDA",
                fix="Capture again with this envfreeze: it reads that from the framework's files.",
            )
    if not built:
        if not any(need.kind == "unknown" for need in wanted):
            cpu = ", ".join(need.shown for need in wanted)
            said = f"{cpu}: built for the CPU" if cpu else "nothing in it asks for a GPU"
            yield Check(name="driver", verdict="ok", said=said)
        return
    for need in built:
        yield _against(need, subject, here)


def _accelerator(here: Here) -> Accelerator | None:
    return here.host.accelerator if here.host else None


def _against(need: Need, subject: Subject, here: Here) -> Check:
    accelerator = _accelerator(here)
    driver = accelerator.driver if accelerator else Driver(state="not-looked")
    if driver.state == "not-looked":
        return Check(
            name="driver",
            verdict="unknown",
            said=f"{_wants(need)}; the driver of this machine was not looked at",
        )
    if driver.state == "none":
        return _no_driver(need)
    if driver.state == "no-answer":
        return Check(
            name="driver",
            verdict="problem",
            said=f"{_wants(need)}; the driver is there and does not answer",
            reason=driver.reason or "",
            fix="nvidia-smi tells more; reload the kernel module, or restart the machine.",
        )
    return _version(need, driver, subject, here)


def _wants(need: Need) -> str:
    return f"{need.shown} needs CUDA {need.cuda}"


def _no_driver(need: Need) -> Check:
    return Check(
        name="driver",
        verdict="warning" if need.without_gpu else "problem",
        said=f"{_wants(need)}, and there is no NVIDIA driver here"
        + ("; it will run on the CPU" if need.without_gpu else ""),
        reason=f"It is built for CUDA (told by {need.told})."
        + (" Results may differ from those of a GPU." if need.without_gpu else ""),
        fix="Use a machine with a GPU, or install the driver.",
        source=_row(need.name).source,
    )


def _row(name: str) -> tables.FrameworkRow:
    fallback = tables.frameworks().framework[0]
    return next((r for r in tables.frameworks().framework if r.name == name), fallback)


def _minimum(cuda: str) -> tables.Minimum | None:
    major = tables.numbers(cuda)[:1]
    return next((row for row in tables.cuda().minimum if (row.major,) == major), None)


def _version(need: Need, driver: Driver, subject: Subject, here: Here) -> Check:
    minimum = _minimum(need.cuda)
    if minimum is None:
        return _by_api(need, driver)
    version = driver.version or ""
    if not tables.numbers(version):
        return _by_api(need, driver)
    if tables.numbers(version) >= tables.numbers(minimum.driver):
        return Check(
            name="driver",
            verdict="ok",
            said=f"{_wants(need)}: driver {version} serves it (from {minimum.driver} on)",
            reason=_by_minor(need, version),
            source=minimum.source,
        )
    return _too_old(need, (version, minimum), subject, here)


def _by_minor(need: Need, version: str) -> str:
    """Whether the driver is older than the one that came with the toolkit."""
    for row in tables.cuda().shipped:
        if row.cuda == need.cuda and tables.numbers(version) < tables.numbers(row.drivers[0]):
            return (
                f"By minor-version compatibility: CUDA {row.cuda} itself came with"
                f" {row.drivers[0]}; features that are newer than the driver are missing."
            )
    return ""


def _by_api(need: Need, driver: Driver) -> Check:
    """The driver's own CUDA version, where its number is not told or no table has the major."""
    served = tables.numbers(driver.cuda or "")
    if served and served >= tables.numbers(need.cuda):
        return Check(
            name="driver",
            verdict="ok",
            said=f"{_wants(need)}: the driver serves CUDA {driver.cuda}",
        )
    return Check(
        name="driver",
        verdict="unknown",
        said=f"{_wants(need)}; which driver serves that is in no table of this envfreeze,"
        f" or this driver ({driver.version or 'no version'}) does not tell its number",
    )


def _too_old(need: Need, found: tuple[str, tables.Minimum], subject: Subject, here: Here) -> Check:
    version, minimum = found
    accelerator = _accelerator(here)
    said = f"{_wants(need)}, so driver {minimum.driver} or newer; {version} is loaded"
    update = f"Update the driver to {minimum.driver} or newer{_other_builds(need, version)}."
    forward = _forward(accelerator.gpus if accelerator else [])
    if forward is None or forward.allowed == "no":
        return Check(
            name="driver",
            verdict="problem",
            said=said,
            reason=f"Within CUDA {minimum.major} every driver from {minimum.driver} on will do;"
            f" an older one serves only earlier major versions (CUDA {need.cuda} is told by"
            f" {need.told}).",
            fix=update,
            source=minimum.source,
        )
    there = compat_packages(_names(subject, here))
    package = f"cuda-compat-{need.cuda.replace('.', '-')}"
    if there and forward.allowed == "yes":
        return Check(
            name="driver",
            verdict="warning",
            said=f"{said}; {there[0]} may bridge that",
            reason="Forward compatibility works on these GPUs. Which base drivers the package"
            " takes is in no table here, and it must stand first in LD_LIBRARY_PATH.",
            fix=update,
            source=forward.source,
        )
    maybe = "" if forward.allowed == "yes" else ", if this card is one of those that it works on"
    return Check(
        name="driver",
        verdict="problem",
        said=said,
        reason="The driver is older than this major version of CUDA.",
        fix=f"{update} Or install {package} (forward compatibility){maybe}.",
        source=forward.source,
    )


def _names(subject: Subject, here: Here) -> list[str]:
    """Names of what is installed below, here or by the lock, as far as it is known."""
    names = list(here.system.dpkg or {}) if here.system else []
    if subject.lock is not None:
        names += [package.name for package in subject.lock.machine.system.packages]
    names += [package.name for package in subject.packages]
    return names + [library.name for library in subject.libraries]


def _forward(gpus: list[Gpu]) -> tables.Forward | None:
    """The rule of the least of the GPUs; None: one is of a kind that is not known."""
    kinds = [tables.product_kind(gpu.name) for gpu in gpus]
    rows = {row.kind: row for row in tables.cuda().forward}
    found = [rows[kind] for kind in kinds if kind is not None]
    if not kinds or len(found) < len(kinds):
        return None
    return min(found, key=lambda row: ("no", "some", "yes").index(row.allowed))


def _other_builds(need: Need, version: str) -> str:
    """Official builds of the same release line that this driver serves."""
    if need.name != "torch":
        return ""
    have = tables.numbers(version)
    able = [
        row.cuda
        for row in tables.torch().build
        if row.line == tables.line(need.version)
        and (minimum := _minimum(row.cuda)) is not None
        and tables.numbers(minimum.driver) <= have
    ]
    if not able:
        return ""
    return f", or use torch {tables.line(need.version)} built for CUDA {' or '.join(able)}"


def _mismatch(driver: Driver) -> Iterator[Check]:
    if driver.version and driver.library and driver.version != driver.library:
        yield Check(
            name="driver library",
            verdict="problem",
            said=f"the kernel runs driver {driver.version}, its libraries are {driver.library}",
            reason="The driver was updated without a restart; every CUDA program fails until then.",
            fix="Restart the machine, or unload and load the nvidia kernel modules.",
            source="nvml.h: NVML_ERROR_LIB_RM_VERSION_MISMATCH",
        )


# --- the GPUs -----------------------------------------------------------------------------


def _gpus(wanted: list[Need], accelerator: Accelerator) -> Iterator[Check]:
    built = [need for need in wanted if need.kind == "cuda"]
    seen: dict[tuple[str, str | None], Gpu] = {}
    for gpu in accelerator.gpus:
        seen.setdefault((gpu.name, gpu.capability), gpu)
    if built and accelerator.driver.state == "found" and not seen:
        yield Check(
            name="gpu",
            verdict="problem" if not all(need.without_gpu for need in built) else "warning",
            said="there is a driver, and no GPU is to be seen",
            fix="Check CUDA_VISIBLE_DEVICES, and --gpus where this is a container.",
        )
    for gpu in seen.values():
        yield from _last_driver(gpu, accelerator.driver)
        for need in built:
            yield _capability(gpu, need)


def _last_driver(gpu: Gpu, driver: Driver) -> Iterator[Check]:
    rows = [row for row in tables.cuda().capability if row.capability == gpu.capability]
    branch = tables.numbers(driver.version or "")[:1]
    for row in tables.cuda().last_driver:
        if rows and rows[0].name == row.name and branch > (row.branch,):
            yield Check(
                name="gpu",
                verdict="problem",
                said=f"{gpu.name} ({row.name}): driver {driver.version} no longer knows it",
                fix=f"Install a driver of the branch {row.branch}: the last one that does.",
                source=row.source,
            )


def _capability(gpu: Gpu, need: Need) -> Check:
    device = tables.capability(gpu.capability or "")
    where = f"{gpu.name} ({gpu.capability or 'compute capability not told'})"
    if device is None:
        return Check(name="gpu", verdict="unknown", said=f"{where}: not compared with {need.shown}")
    if need.architectures:
        return _by_architectures(gpu, device, need)
    row = _never(device, need.cuda)
    if row is not None:
        return Check(
            name="gpu",
            verdict="problem",
            said=f"{where}: no code for it in {need.shown}, which is built for CUDA {need.cuda}",
            reason=f"The toolkit cannot make code for sm_{device[0]}{device[1]}.",
            fix=_older_build(need, device),
            source=row.source,
        )
    return Check(
        name="gpu",
        verdict="unknown",
        said=f"{where}: which architectures {need.shown} holds code for is not known",
    )


def _by_architectures(gpu: Gpu, device: tuple[int, int], need: Need) -> Check:
    where = f"{gpu.name} ({gpu.capability})"
    holds = " ".join(need.architectures)
    fit = _fits(device, need.architectures)
    if fit == "binary":
        return Check(
            name="gpu",
            verdict="ok",
            said=f"{where}: {need.shown} holds code for it",
            reason=f"It holds {holds}.",
            source=need.architectures_source,
        )
    if fit == "ptx":
        return Check(
            name="gpu",
            verdict="warning",
            said=f"{where}: {need.shown} has only PTX for it, compiled when it first runs",
            reason=f"It holds {holds}; the first start may take long, and the driver's compiler"
            " decides on the code.",
            source=_BINARY,
        )
    if fit == "unknown":
        return Check(
            name="gpu",
            verdict="unknown",
            said=f"{where}: whether it runs the code of {need.shown} is not known",
            reason=f"It holds {holds}.",
            source=need.architectures_source,
        )
    return Check(
        name="gpu",
        verdict="problem",
        said=f"{where}: {need.shown} holds no code for it",
        reason=f"It holds {holds}. Code runs on GPUs of its own major version with an equal or"
        " higher minor one; PTX on equal or newer ones.",
        fix=_older_build(need, device),
        source=need.architectures_source,
    )


def _fits(device: tuple[int, int], names: tuple[str, ...]) -> str:
    """``binary``, ``ptx``, ``none`` or ``unknown``."""
    parsed = [match for name in names if (match := _ARCHITECTURE.fullmatch(name))]
    rows = [(m[1], (int(m[2]), int(m[3])), m[4]) for m in parsed]
    # The marked ones are for one architecture (a) or family (f) alone.
    code = [at for kind, at, mark in rows if kind == "sm" and not mark]
    near = any(at[0] == device[0] and at <= device for at in code)
    if any(at == device for kind, at, _ in rows if kind == "sm") or (near and not _jetson(device)):
        return "binary"
    if any(kind == "compute" and at <= device for kind, at, mark in rows if not mark):
        return "ptx"
    family = any(mark == "f" and at[0] == device[0] for _, at, mark in rows)
    return "unknown" if near or family or not rows else "none"


def _jetson(device: tuple[int, int]) -> bool:
    """Whether only Jetson boards have it; whether code for cards runs there is in no table."""
    rows = tables.cuda().capability
    return any(row.jetson_only and tables.capability(row.capability) == device for row in rows)


def _never(device: tuple[int, int], cuda: str) -> tables.Targets | None:
    """The measurement by which toolkits of *cuda*'s major version make no code for *device*.

    Only what a major version dropped: whether a minor one already knew a newer GPU is told by
    the measurement of that very version alone.
    """
    major = tables.numbers(cuda)[:1]
    rows = [row for row in tables.cuda().targets if tables.numbers(row.cuda)[:1] == major]
    if rows and all(device < min(map(_number, row.architectures)) for row in rows):
        return rows[0]
    exact = next((row for row in rows if row.cuda == cuda), None)
    newest = max(map(_number, exact.architectures)) if exact else device
    return exact if newest < device else None


def _number(name: str) -> tuple[int, int]:
    digits = re.sub(r"\D", "", name)
    return int(digits[:-1]), int(digits[-1])


def _older_build(need: Need, device: tuple[int, int]) -> str:
    """Official builds of the same release line that hold code for it, or could."""
    name = f"sm_{device[0]}{device[1]}"
    line = tables.line(need.version)
    if need.name == "torch":
        holding = [
            r.cuda for r in tables.torch().architectures if r.line == line and name in r.holds
        ]
        if holding:
            builds = " or ".join(dict.fromkeys(holding))
            return f"Use torch {line} built for CUDA {builds}, or another GPU."
        able = [
            row.cuda
            for row in tables.torch().build
            if row.line == line and row.cuda != need.cuda and _able(row.cuda, name)
        ]
        if able:
            return (
                f"torch {line} is also built for CUDA {' and '.join(able)}, whose toolkits can make"
                f" code for {name}: see whether one of them holds it. Or use another GPU."
            )
    return "Use a build that holds code for it, or another GPU."


def _able(cuda: str, name: str) -> bool:
    """Whether every measured toolkit of *cuda*'s major version makes code for *name*."""
    major = tables.numbers(cuda)[:1]
    rows = [row for row in tables.cuda().targets if tables.numbers(row.cuda)[:1] == major]
    return bool(rows) and all(name in row.architectures for row in rows)


# --- cuDNN --------------------------------------------------------------------------------


def _cudnn(subject: Subject, wanted: list[Need], here: Here) -> Iterator[Check]:
    found = cudnns(subject)
    accelerator = _accelerator(here)
    if not found and subject.lock is not None and accelerator is not None:
        found = [
            (library.version, library.owner or library.path or "cuDNN")
            for library in accelerator.libraries
            if library.name == "cudnn" and library.version
        ]
    for need in wanted:
        if need.kind != "cuda" or need.cudnn is None:
            continue
        for version, owner in found:
            yield _cudnn_pair(need, version, owner)


def _cudnn_pair(need: Need, version: str, owner: str) -> Check:
    compiled = tables.numbers(need.cudnn or "")
    have = tables.numbers(version)
    said = f"{need.shown} is compiled against cuDNN {need.cudnn}; {version} is there ({owner})"
    source = _TF_SOURCE if need.name == "tensorflow" else _CUDNN_SOURCE
    fits = have[:1] == compiled[:1] and have[1:2] >= compiled[1:2]
    if fits:
        return Check(name="cudnn", verdict="ok", said=said, source=source)
    return Check(
        name="cudnn",
        verdict="problem",
        said=said,
        reason="It must have the same major version, and no lower minor one.",
        fix=f"Install cuDNN {'.'.join(map(str, compiled[:2]))} or a later {compiled[0]}.x, or take"
        " the other one off LD_LIBRARY_PATH.",
        source=source,
    )
