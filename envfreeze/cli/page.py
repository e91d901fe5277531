"""``envfreeze show``: a lock at a glance, one line a fact, the same facts always in one place."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator

from envfreeze.errors import printable
from envfreeze.model.host import Accelerator, Gpu, Host, Library, Limits, Numerics, Platform
from envfreeze.model.lines import utf8
from envfreeze.model.lock import InterpreterLayer, Lock, Machine, SystemLayer, artifacts
from envfreeze.model.words import plural, size

WIDTH = 14
"""Of the column of labels."""

Line = tuple[str, str]
"""A label (empty: it goes on) and a text."""


def page(lock: Lock, path: str, *, width: int = 100) -> str:
    """The page as text.

    :param width: columns; longer texts are broken between words, the rest indented.
    """
    machine = lock.machine
    parts = [
        list(part)
        for part in (
            _head(lock, path),
            _interpreter(machine.interpreter),
            _packages(lock),
            _conda(machine),
            _licences(lock),
            _base(machine),
            _system(machine.system),
            _platform(machine),
            _accelerator(machine.host),
            _numerics(machine.host),
            _findings(machine),
        )
    ]
    blocks = ["".join(_written(line, width) for line in part) for part in parts if part]
    return "\n".join(blocks)


def _written(line: Line, width: int) -> str:
    import textwrap

    label, text = line
    plain = printable(utf8(text))
    wrapped = textwrap.wrap(
        " ".join(plain.split()), max(20, width - WIDTH - 2), break_on_hyphens=False
    )
    indents = [f"  {label:<{WIDTH}}", *[" " * (WIDTH + 2)] * len(wrapped)]
    return "".join(f"{indent}{part}\n" for indent, part in zip(indents, wrapped, strict=False))


def _join(parts: Iterable[str | None]) -> str:
    return " · ".join(part for part in parts if part)


def _head(lock: Lock, path: str) -> Iterator[Line]:
    machine = lock.machine
    kept = [artifact for artifact in artifacts(lock) if artifact.path is not None]
    fetched = [artifact for artifact in artifacts(lock) if artifact.path is None]
    state = "hermetic" if machine.hermetic else "NOT hermetic: something is only named"
    yield "lock", _join([path, machine.id[:8], state])
    yield (
        "bytes",
        _join(
            [
                f"{size(sum(a.size for a in fetched))} to fetch in {plural(len(fetched), 'file')}",
                f"{size(sum(a.size for a in kept))} beside the lock",
            ]
        ),
    )
    yield "layers", _join(f"{name} {digest[:8]}" for name, digest in sorted(machine.layers.items()))


def _interpreter(layer: InterpreterLayer) -> Iterator[Line]:
    facts = layer.facts
    name = {"cpython": "Python", "pypy": "PyPy"}.get(facts.implementation, facts.implementation)
    yield (
        "interpreter",
        _join(
            [
                f"{name} {facts.version}",
                "free-threaded" if facts.free_threaded else None,
                "debug build" if facts.debug else None,
                "in a venv" if facts.venv else None,
                facts.soabi,
                facts.compiler.strip() or None,
            ]
        ),
    )
    brought = {
        "packed": "kept beside the lock",
        "system": "brought by system packages",
        "unpacked": "NOT kept",
        "base": "in the base image",
        "conda": "brought by its conda package",
    }[layer.origin]
    yield "", _join([layer.kind, layer.evidence, brought])
    if layer.lead:
        yield "", f"may be had from {layer.lead} (a lead, not proved)"
    if layer.edited:
        yield "", f"its own files: {_some(layer.edited)}"


def _some(texts: list[str], most: int = 4) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def _conda(machine: Machine) -> Iterator[Line]:
    layer = machine.conda
    if layer is None:
        return
    counts = layer.counts
    loose = len(layer.loose.files) if layer.loose else 0
    told = [f"{counts[proof]} {proof}" for proof in ("proved", "packed") if counts[proof]]
    told += [f"{counts['unproved']} UNPROVED"] if counts["unproved"] else []
    told += [f"{plural(loose, 'file')} that none owns"] if loose else []
    yield "conda", _join([plural(len(layer.packages), "package"), *told])
    yield "", _join([layer.platform, layer.prefix, "frozen" if layer.frozen else None])
    if layer.channels:
        yield "", f"from {', '.join(layer.channels)}"
    if layer.virtual:
        yield "", f"captured with {', '.join(layer.virtual)}"
    asked = [package.name for package in layer.packages if package.requested]
    if asked:
        yield "", f"asked for: {', '.join(asked)}"


def _packages(lock: Lock) -> Iterator[Line]:
    machine = lock.machine
    counts = Counter(package.facts.proof for package in lock.packages)
    patched = sum(bool(package.facts.edits) for package in lock.packages)
    editable = sum(package.facts.editable for package in lock.packages)
    found = len(lock.packages) + len(machine.loose_dists) + len(machine.unproved)
    found += len(machine.held)
    yield (
        "packages",
        _join(
            [
                plural(found, "distribution"),
                *(f"{counts[proof]} {proof}" for proof in ("proved", "packed") if counts[proof]),
                f"{len(machine.held)} in the base image alone" if machine.held else None,
                f"{patched} of them patched" if patched else None,
                f"{editable} editable" if editable else None,
                f"{len(machine.loose_dists)} kept as files" if machine.loose_dists else None,
                f"{len(machine.unproved)} UNPROVED" if machine.unproved else None,
                f"{len(machine.shadowed)} shadowed" if machine.shadowed else None,
            ]
        ),
    )
    if lock.of_the_system:
        manager = machine.system.manager or "the system"
        yield "", f"{lock.of_the_system} of them brought by packages of {manager}"
    indexes = Counter(package.index for package in lock.packages if package.index)
    for index, count in indexes.most_common(4):
        yield "", f"{count} from {index}"
    unowned = sum(len(site.files) for site in machine.loose)
    if unowned:
        yield "", f"{plural(unowned, 'file')} that no distribution owns"
    for tree in machine.sources:
        yield "", f"source tree {tree.key}: {plural(tree.count, 'file')} of {tree.root}"


def _licences(lock: Lock) -> Iterator[Line]:
    """How many packages name which licence; nobody checked that it is theirs."""
    machine = lock.machine
    label = "licences"
    dists = [package.facts.licence for package in (*lock.packages, *machine.held)]
    dists += [one.licence for one in machine.loose_dists]
    dists += [one.licence for one in machine.unproved]
    named = Counter((one.expression or one.text) if one else None for one in dists)
    if any(named):
        yield label, _counted(named)
        label = ""
    conda = Counter(package.license for package in machine.conda.packages) if machine.conda else {}
    if any(conda):
        yield label, f"of conda packages: {_counted(Counter(conda))}"


def _counted(licences: Counter[str | None], most: int = 8) -> str:
    unnamed = licences.pop(None, 0)
    ordered = sorted(licences.items(), key=lambda item: (-item[1], item[0] or ""))
    told = [f"{count} {name}" for name, count in ordered[:most]]
    rest = sum(count for _, count in ordered[most:])
    told += [f"{rest} with {plural(len(ordered) - most, 'other')}"] if rest else []
    return _join([*told, f"{unnamed} name none" if unnamed else None])


def _base(machine: Machine) -> Iterator[Line]:
    base = machine.base
    if base is None:
        return
    known = None if base.reference else "an image id: known to one engine alone"
    yield "base image", _join([base.pinned, known])
    if base.removed:
        yield "", f"{plural(len(base.removed), 'path')} of it removed: {_some(base.removed)}"


def _system(layer: SystemLayer) -> Iterator[Line]:
    release = layer.os_release.get("PRETTY_NAME", layer.kernel)
    installed = f"{len(layer.installed)} packages installed" if layer.installed else None
    yield "system", _join([release, layer.machine, installed])
    if layer.packages or layer.held or layer.unproved:
        proofs = Counter(package.proof for package in layer.packages)
        held = f"{len(layer.held)} in the base image" if layer.held else None
        needed = [f"{proofs[proof]} {proof}" for proof in ("proved", "packed") if proofs[proof]]
        lost = f"{len(layer.unproved)} unproved" if layer.unproved else None
        count = len(layer.packages) + len(layer.held) + len(layer.unproved)
        yield "", _join([f"{plural(count, 'package')} needed", *needed, held, lost])
        every = [(package.name, package.version) for package in layer.packages]
        every += [(package.name, package.version) for package in layer.held]
        yield "", ", ".join(f"{name} {version}" for name, version in sorted(every))
    if layer.others:
        yield "", f"{plural(len(layer.others), 'package')} kept besides ({layer.scope})"
    if layer.named:
        named = plural(len(layer.named), "package")
        yield "", f"{named} of {layer.manager} needed, identified and not kept"
        yield "", ", ".join(f"{package.name} {package.version}" for package in layer.named)
    if layer.unowned is not None:
        files = [f"/{entry.path}" for entry in layer.unowned.files if entry.link is None]
        kept = "NOT kept" if layer.unowned.lost else "kept"
        if layer.unowned.archive is None and not layer.unowned.lost:
            kept = "in the base image"
        yield "", f"owned by no package, {kept}: {_some(files)}"
    for need in layer.needs:
        yield "", f"{need.name} is called: {need.path} of {need.package or 'no package'}"


def _platform(machine: Machine) -> Iterator[Line]:
    platform = machine.host.platform if machine.host else None
    if platform is None:
        yield "platform", "not looked at"
        return
    cpu = platform.cpu
    yield "processor", _join([cpu.name or "not named", cpu.level, _limits(platform.limits)])
    if cpu.flags:
        yield "", " ".join(cpu.flags)
    yield (
        "platform",
        _join(
            [
                f"kernel {platform.kernel_release}" if platform.kernel_release else None,
                platform.libc,
                f"in {platform.container}" if platform.container else None,
                f"on {platform.virtualization}" if platform.virtualization else None,
                *_surroundings(platform),
            ]
        ),
    )


def _limits(limits: Limits) -> str:
    parts = []
    if limits.online is not None:
        allowed = limits.allowed if limits.allowed is not None else limits.online
        parts.append(f"{allowed} of {limits.online} processors")
    if limits.quota is not None:
        parts.append(f"at most {limits.quota:g} at a time")
    memory = min(filter(None, (limits.memory, limits.memory_limit)), default=None)
    if memory is not None:
        parts.append(f"{memory / (1 << 30):.1f} GiB")
    return " · ".join(parts)


def _surroundings(platform: Platform) -> Iterator[str]:
    yield from (
        f"{name} {value}" for name, value in sorted(platform.locale.items()) if name != "LC_ALL"
    )
    if platform.timezone:
        yield f"time zone {platform.timezone}"


# --- accelerators --------------------------------------------------------------------------


def _accelerator(host: Host | None) -> Iterator[Line]:
    found = host.accelerator if host else None
    if found is None:
        yield "accelerator", "not looked at"
        return
    yield "accelerator", _driver(found)
    for line, count in Counter(map(_gpu, found.gpus)).items():
        yield "", f"{count} x {line}"
    for other in found.others:
        yield "", _join([other.kind, _state(other.state), other.version, ", ".join(other.devices)])
    for kit in found.toolkits:
        nvcc = f"nvcc {kit.nvcc}" if kit.nvcc else None
        active = "active" if kit.active else None
        yield "", _join([f"CUDA toolkit {kit.version} at {kit.root}", nvcc, active, kit.owner])
    if found.libraries:
        yield "", ", ".join(map(_library, found.libraries))
    for framework in found.frameworks:
        yield (
            "",
            _join(
                [
                    f"{framework.name} {framework.version}",
                    f"built for CUDA {framework.cuda}" if framework.cuda else None,
                    f"cuDNN {framework.cudnn}" if framework.cudnn else None,
                    f"ROCm {framework.hip}" if framework.hip else None,
                    None
                    if framework.cuda or framework.hip
                    else "no CUDA in what it says of its build",
                    " ".join(framework.architectures) or None,
                ]
            ),
        )


def _state(state: str) -> str | None:
    words = {"none": "none here", "no-answer": "would not answer", "not-looked": "not looked at"}
    return words.get(state)


def _driver(found: Accelerator) -> str:
    driver = found.driver
    if driver.state == "none":
        return "no NVIDIA driver"
    return _join(
        [
            f"NVIDIA driver {driver.version}" if driver.version else "NVIDIA driver",
            _state(driver.state),
            driver.reason,
            f"serves CUDA {driver.cuda}" if driver.cuda else None,
            "open kernel module" if driver.open else None,
            f"library {driver.library}" if driver.library not in {None, driver.version} else None,
            found.platform,
        ]
    )


def _gpu(gpu: Gpu) -> str:
    return _join(
        [
            gpu.name,
            f"compute capability {gpu.capability}" if gpu.capability else None,
            f"{gpu.memory / (1 << 30):.0f} GiB" if gpu.memory else None,
            "MIG " + " ".join(gpu.instances) if gpu.mig else None,
            "ECC" if gpu.ecc else None,
        ]
    )


def _library(library: Library) -> str:
    loaded = ", loaded" if library.loaded else ""
    owner = library.owner or "owned by nobody"
    return f"{library.name} {library.version or 'of unknown version'} ({owner}{loaded})"


# --- numerics ------------------------------------------------------------------------------


def _numerics(host: Host | None) -> Iterator[Line]:
    found = host.numerics if host else None
    if found is None:
        yield "numerics", "not looked at"
        return
    label = "numerics"
    for library in found.libraries:
        owner = library.owner or os.path.dirname(library.path)  # noqa: PTH120 - text of a lock
        told = _join([library.threading, "loaded" if library.loaded else None])
        version = f" {library.version}" if library.version else ""
        yield label, _join([f"{library.name}{version}", told or None, owner])
        label = ""
    if found.switches:
        built = (f"{name} {value}" for name, value in sorted(found.switches.items()))
        yield label, ", ".join(built)
        label = ""
    for text in _settings(found):
        yield label, text
        label = ""


def _settings(found: Numerics) -> Iterator[str]:
    """What is set, and what that does; only what may change a number."""
    from envfreeze.resolve.numerics import explain

    words = {"changes": "changes results", "may-change": "may change results"}
    for item in explain(found):
        if item.effect in words and item.name not in found.switches:
            yield f"{item.name}={item.value}: {_join([words[item.effect], item.meaning])}"


def _findings(machine: Machine) -> Iterator[Line]:
    label = "findings"
    for kind, count in sorted(Counter(finding.kind for finding in machine.findings).items()):
        of_kind = [finding for finding in machine.findings if finding.kind == kind]
        for finding in of_kind[:3]:
            yield label, f"{kind}  {finding.place}: {finding.detail}"
            label = ""
        if count > 3:
            yield "", f"{kind}  and {count - 3} more"
