"""What a command says when it is done: short, true, with the next thing to type."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envfreeze.model import printed
from envfreeze.model.lines import line as _line
from envfreeze.model.lock import BaseImage, Machine, Package, SourceTree
from envfreeze.model.snapshot import Interpreter
from envfreeze.model.words import plural, size

if TYPE_CHECKING:
    from envfreeze.diff.judge import Judgement
    from envfreeze.workflow import Archived, Base, Built, Captured, Pulled, Pushed

_ORDER = (
    "proved",
    "patched",
    "packed",
    "in the base image",
    "editable",
    "kept as files",
    "in source trees",
    "unproved",
    "shadowed",
)


def capture_text(captured: Captured, output: Path, seconds: float) -> str:
    machine = captured.lock.machine
    facts = machine.interpreter.facts
    os_name = machine.system.os_release.get("PRETTY_NAME", machine.system.kernel)
    kind = machine.interpreter.kind
    made = None if kind == "unknown" else kind
    lines = [
        "  " + " · ".join(filter(None, [_python(facts), made, os_name, *_machine(machine)])),
        f"  {plural(captured.found, 'distribution')}   {_counts(captured)}".rstrip(),
    ]
    if captured.lock.of_the_system:
        manager = machine.system.manager or "the system"
        count = captured.lock.of_the_system
        lines.append(f"  {count} of them brought by packages of {manager}, their files kept")
    unowned = sum(len(site.files) for site in machine.loose)
    if unowned:
        kept = "NOT packed" if any(site.lost for site in machine.loose) else _kept(machine)
        lines.append(f"  {plural(unowned, 'file')} that no distribution owns, {kept}")
    lines += _conda(machine)
    lines += [f"  {_source(source)}" for source in machine.sources if source.problem is None]
    if machine.base is not None:
        lines.append(f"  base image {_base(machine.base)}")
    system = machine.system
    if system.packages or system.held or system.unproved or system.others:
        lines.append(f"  {_system(captured)}")
    lines += _notable(captured)
    state = "hermetic" if machine.hermetic else "NOT hermetic"
    packed = f"   {size(captured.packed_bytes)} packed" if captured.packed_bytes else ""
    lines.append(f"  {output}  {machine.id[:8]}  {state}{packed}   {seconds:.1f} s")
    lines.append(f"  next: {_next(captured, shlex.quote(str(output)))}")
    return "\n".join(map(_line, lines)) + "\n"


def _conda(machine: Machine) -> list[str]:
    """A line on the conda packages, and one for each that is not just fetched again."""
    layer = machine.conda
    if layer is None:
        return []
    words = [f"{count} {word}" for word, count in layer.counts.items() if count]
    count = plural(len(layer.packages), "conda package")
    lines = [f"  {count}   {' · '.join(words)}"]
    if layer.loose is not None:
        kept = "NOT packed" if layer.loose.archive is None else "packed"
        lines.append(f"  {plural(len(layer.loose.files), 'file')} that no package owns, {kept}")
    others = [package for package in layer.packages if package.proof != "proved"]
    told = [f"    {p.proof:<9} conda {p.name}: {p.evidence}" for p in others]
    more = [f"    ... and {len(told) - 12} more; the lock names each"] if len(told) > 12 else []
    return [*lines, *map(_cut, told[:12]), *more]


def _kept(machine: Machine) -> str:
    """Where the bytes of the unowned files are."""
    entries = [entry for site in machine.loose for entry in site.files]
    own = sum(entry.in_base for entry in entries)
    rest = len(entries) - own
    if not own:
        return "packed"
    return f"{own} in the base image" + (f", {rest} packed" if rest else "")


def _machine(machine: Machine) -> list[str | None]:
    """The processor, and the driver: what somebody asks about first on another machine."""
    host = machine.host
    level = host.platform.cpu.level if host and host.platform else None
    driver = host.accelerator.driver if host and host.accelerator else None
    words = {
        "none": "no NVIDIA driver",
        "found": f"NVIDIA driver {driver.version if driver else ''}",
        "no-answer": "an NVIDIA driver that does not answer",
    }
    return [level or machine.interpreter.facts.machine, words.get(driver.state) if driver else None]


def _next(captured: Captured, output: str) -> str:
    """A build refuses a lock that names what it does not hold."""
    machine = captured.lock.machine
    trees = [source for source in machine.sources if source.problem is None]
    lost = any(site.lost for site in machine.loose)
    lost = lost or (machine.conda is not None and machine.conda.lost)
    lost = lost or any(tree.archive is None and not tree.in_base for tree in trees)
    if machine.unproved or lost:
        return f"envfreeze verify {output}   (it cannot be rebuilt: not all of it is kept)"
    if captured.lock.rests_on_base:
        return f"envfreeze build {output} --to docker"
    if machine.conda is not None:
        return f"envfreeze build {output} --to conda --into rebuilt"
    return f"envfreeze build {output} --into rebuilt"


def _python(facts: Interpreter) -> str:
    name = {"cpython": "Python", "pypy": "PyPy"}.get(facts.implementation, facts.implementation)
    extra = " free-threaded" if facts.free_threaded else ""
    return f"{name} {facts.version}{extra}{' · venv' if facts.venv else ''}"


def _source(source: SourceTree) -> str:
    kept = "kept whole" if source.archive is not None else "NOT packed"
    kept = "in the base image" if source.in_base else kept
    what = f"source tree {source.key}: {plural(source.count, 'file')}, {kept}"
    repository = source.repository
    if repository is None:
        return what
    state = []
    if repository.commit is not None:
        state.append(f"git {repository.commit[:12]}{'' if repository.pushed else ' (not pushed)'}")
    state += [f"{len(repository.modified)} modified"] if repository.modified else []
    state += [f"{len(repository.untracked)} untracked"] if repository.untracked else []
    return f"{what} · {' · '.join(state) or 'git, nothing committed'}"


def _counts(captured: Captured) -> str:
    notes = {"packed": _built_note(captured)}
    return " · ".join(
        f"{captured.counts[word]} {word}{notes.get(word, '')}"
        for word in _ORDER
        if captured.counts.get(word)
    )


def _built_note(captured: Captured) -> str:
    """What of the packed distributions was built from source, and so has no public wheel."""
    built = [p for p in captured.lock.packages if p.facts.proof == "packed" and p.built_here]
    if not built:
        return ""
    kinds = {origin.kind for package in built for origin in package.facts.built_from}
    what = "built here from sdists" if kinds == {"sdist"} else "built here from source"
    every = len(built) == captured.counts.get("packed")
    return f" ({what})" if every else f" ({len(built)} {what})"


def _system(captured: Captured) -> str:
    system = captured.lock.machine.system
    proofs = Counter(package.proof for package in system.packages)
    count = len(system.packages) + len(system.held)
    text = f"{plural(count, 'system package')} needed by them"
    text += f" · {len(system.held)} in the base image" if system.held else ""
    for proof in ("proved", "packed"):
        if proofs[proof]:
            text += f" · {proofs[proof]} {proof}"
    text += f" · {len(system.unproved)} unproved" if system.unproved else ""
    more = f" · {len(system.others)} more kept ({system.scope})" if system.others else ""
    return text + more


def _base(base: BaseImage) -> str:
    """By digest; or that nobody else has it."""
    if base.reference is not None:
        return base.reference
    return f"{base.image_id[:19]}, which this engine alone has"


def _notable(captured: Captured) -> list[str]:
    """The packages a person asks about first: packed, unproved, edited."""
    lock = captured.lock
    machine = lock.machine
    packed = [
        package
        for package in [*lock.packages, *machine.shadowed]
        if package.facts.proof == "packed"
        and not package.facts.editable
        and package.facts.owner is None
    ]
    lines = [f"    packed    {package.name}: {package.facts.evidence}" for package in packed]
    # Why a package is packed has been said then; its findings in the lock say it file by file.
    told = {f"{lock.site_of(package)}/{package.facts.info}" for package in packed}
    patched = [package for package in lock.packages if package.facts.edits]
    lines += [f"    patched   {package.name}: {_edits(package)}" for package in patched]
    told |= {f"{lock.site_of(package)}/{package.facts.info}" for package in patched}
    if machine.conda is not None:
        place = f"{machine.conda.prefix}/conda-meta"
        others = [package for package in machine.conda.packages if package.proof != "proved"]
        told |= {f"{place}/{p.name}-{p.version}-{p.build}.json" for p in others}
    lines += [f"    unproved  {lost.name}: {lost.reason}" for lost in machine.unproved]
    lines += [
        f"    {finding.kind}  {finding.place}: {finding.detail}".rstrip(": ")
        for finding in machine.findings
        if finding.kind not in _TOLD and (finding.kind not in _EDITED or finding.place not in told)
    ]
    shown = [_cut(line) for line in lines[:12]]
    if len(lines) > len(shown):
        shown.append(f"    ... and {len(lines) - len(shown)} more; the lock names each")
    return shown


_EDITED = {"edited-files", "missing-files"}
_TOLD = {"source-state"}
"""Findings that a line of their own has told already."""


def _edits(package: Package) -> str:
    """What somebody changed in a package since it was installed."""
    edits = package.facts.edits
    names = ", ".join(edit.path for edit in edits[:3]) + (", ..." if len(edits) > 3 else "")
    return f"{plural(len(edits), 'file')} changed since it was installed: {names}"


def _cut(line: str, width: int = 150) -> str:
    line = " ".join(line.split("\n"))
    return line if len(line) <= width else line[: width - 3] + "..."


def warnings(captured: Captured) -> list[str]:
    lines = [f"warning: {problem}" for problem in captured.problems]
    if captured.target.own:
        lines.append(
            "note: this is the environment that envfreeze itself runs from; it and what it "
            "depends on are in the lock"
        )
    return [_line(line) for line in lines]


class CaptureReport(msgspec.Struct, kw_only=True):
    """What ``envfreeze capture --json`` prints: schema 1."""

    schema: int
    lock: str
    id: str
    hermetic: bool
    target: str
    found: int
    counts: dict[str, int]
    built_here: int
    """Of the packed ones, how many were built from source."""
    packed_bytes: int
    problems: list[str]
    conda: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    """How many conda packages are proved, packed, unproved; unset: it is no conda environment."""


def capture_json(captured: Captured, output: Path) -> bytes:
    report = CaptureReport(
        schema=1,
        lock=str(output),
        id=captured.lock.machine.id,
        hermetic=captured.lock.machine.hermetic,
        target=captured.target.python,
        found=captured.found,
        counts={word: captured.counts.get(word, 0) for word in _ORDER},
        built_here=sum(package.built_here for package in captured.lock.packages),
        packed_bytes=captured.packed_bytes,
        problems=captured.problems,
    )
    layer = captured.lock.machine.conda
    if layer is not None:
        report.conda = layer.counts
    return printed.as_json(report)


def base_text(base: Base) -> str:
    """The base that was chosen, why, and what it does not bring."""
    lines = [f"  base: {base.reference}", f"    {base.reason}; digest from {base.told_by}"]
    lines += [f"    note: {note}" for note in base.notes]
    return "".join(f"{_line(line)}\n" for line in lines)


def pushed_text(pushed: Pushed) -> str:
    """Where it is, and how its lock is found there."""
    listed = f"the tag {pushed.listed_as}" if pushed.listed_as else "the registry's referrers"
    rows = [
        f"  pushed: {pushed.reference}",
        f"    its lock is attached as {pushed.lock}, by {listed}",
        f"  next: envfreeze pull {pushed.reference.partition('@')[0]}",
    ]
    return "".join(f"{_line(row)}\n" for row in rows)


class PullReport(msgspec.Struct, kw_only=True):
    """What ``envfreeze pull --json`` prints: schema 1."""

    schema: int
    lock: str
    id: str
    image: str
    """The digest of the image's manifest."""
    told_by: str
    packed: int
    missing: list[str]


def pulled_json(pulled: Pulled, output: Path) -> bytes:
    report = PullReport(
        schema=1,
        lock=str(output),
        id=pulled.lock.machine.id,
        image=pulled.image,
        told_by=pulled.told_by,
        packed=pulled.packed,
        missing=list(pulled.missing),
    )
    return printed.as_json(report)


def pulled_text(pulled: Pulled, output: Path) -> str:
    rows = [
        f"  {output}  {pulled.lock.machine.id[:8]}, the lock that {pulled.image} names",
        f"    from {pulled.told_by}; {plural(pulled.packed, 'packed file')} with it",
        f"  next: envfreeze build {shlex.quote(str(output))} --into rebuilt",
    ]
    return "".join(f"{_line(row)}\n" for row in (rows[:2] if pulled.missing else rows))


def missing_text(pulled: Pulled) -> str:
    """What a rebuild will lack."""
    rows = [f"warning: {plural(len(pulled.missing), 'file')} that the lock packs did not come back"]
    rows += [f"  {name}" for name in pulled.missing[:8]]
    rows += ["  ..."] if len(pulled.missing) > 8 else []
    rows.append("  They are attached by whoever has them: envfreeze build LOCK --push")
    return "".join(f"{_line(row)}\n" for row in rows)


class ArchiveReport(msgspec.Struct, kw_only=True):
    """What ``envfreeze build --to oci --json`` prints: schema 1."""

    schema: int
    archive: str
    image_id: str
    manifest: str
    size: int
    layers: int
    verified: bool | None
    """None: it was not run."""
    pushed: str | None
    """``NAME:TAG@sha256:...`` in the registry; None: it was not pushed."""


def archived_json(archived: Archived) -> bytes:
    verified = None if archived.built is None else archived.built.difference.equal
    pushed = archived.pushed
    report = ArchiveReport(
        schema=1,
        archive=archived.place,
        image_id=archived.image_id,
        manifest=archived.manifest,
        size=archived.size,
        layers=archived.layers,
        verified=verified,
        pushed=None if pushed is None else pushed.reference,
    )
    return printed.as_json(report)


def archived_text(archived: Archived) -> str:
    """What was written, and what was looked at: nothing of it was run yet."""
    place = archived.place or "an image"
    rows = [
        f"  {place}  {archived.size / 1e6:.0f} MB, {plural(archived.layers, 'layer')},"
        f" {plural(archived.packages, 'package')}",
        f"    image {archived.image_id}",
        "    placed from artifacts that have the digests of the lock",
    ]
    if archived.built is None:
        rows[-1] += "; not run"
    if archived.built is None and archived.pushed is None:
        path = shlex.quote(archived.place)
        rows.append(f"  next: docker load -i {path}, or podman load -i {path}")
    return "".join(f"{_line(row)}\n" for row in rows)


def built_text(built: Built, next_step: str, judgement: Judgement) -> str:
    """:param judgement: of what it differs in, if it does."""
    from envfreeze.diff import report

    if built.difference.equal:
        equal = f"verified: {_what(built)} equal to the lock"
        head = f"  {_line(built.place)}  {equal}\n{_table(built)}{_path(built)}"
        return f"{head}  next: {_line(next_step)}\n"
    head = f"  {_line(built.place)}  NOT verified\n{_table(built)}"
    return head + report.as_text(judgement)


def _table(built: Built) -> str:
    """The verdict on each layer of an image; a venv has two."""
    from envfreeze.diff import verdict

    found = built.verified.verdicts if built.verified else []
    return verdict.as_table(found) if any(v.layer == "environment" for v in found) else ""


def _path(built: Built) -> str:
    """A venv cannot set a variable for those that use it."""
    if not built.python_path:
        return ""
    return f"  it needs: export PYTHONPATH={_line(shlex.quote(built.python_path))}\n"


def _what(built: Built) -> str:
    packages = plural(built.packages, "package")
    if built.conda:
        packages = f"{plural(built.conda, 'conda package')} and {packages} of pip's"
    if not built.files:
        return packages
    return f"{packages} and {plural(built.files, 'file')} that none owns"
