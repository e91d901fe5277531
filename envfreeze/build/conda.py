"""A lock to a conda prefix: py-rattler links, no conda is needed; then what pip had installed.

The package files are in the cache or beside the lock by now, each with its sha256: linking asks no
network. Post-link scripts do not run unless asked for, since what they made is in the lock. A conda
that is there already links in place of py-rattler where a person asks for that.
"""

from __future__ import annotations

import asyncio
import json
import os
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from envfreeze.build import condaprogram, sinks, tree, venv
from envfreeze.build.layout import Schemes
from envfreeze.errors import (
    ArtifactError,
    LockError,
    MissingExtraError,
    TargetError,
    UsageError,
)
from envfreeze.model.artifact import Artifact, stays_below
from envfreeze.model.conda import CondaLayer, CondaPackage
from envfreeze.model.lock import Lock
from envfreeze.progress import Progress
from envfreeze.resolve import interpreter
from envfreeze.resolve.condapack import LOOSE
from envfreeze.resolve.rootfs import Root
from envfreeze.store import disk_errors, hash_file, old_digest, write_atomic

if TYPE_CHECKING:
    import rattler

_META = "conda-meta"
_ASIDE = "__clobbers__"
"""Where py-rattler puts the files of a package that has the same path as another."""
_WHEN = ("pre", "post")
_HISTORY = "==> 1980-01-01 00:00:00 <==\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaPlan:
    """What to build from, and where."""

    lock: Lock
    artifacts: Mapping[str, Path]
    """sha256 to a file with those bytes."""
    into: Path
    scripts: bool = False
    """Whether post-link scripts run."""
    shown: str | None = None
    """The prefix that is written into files, where the tree is to lie elsewhere."""
    program: condaprogram.Program | None = None
    """What links; None: py-rattler."""

    @property
    def layer(self) -> CondaLayer:
        layer = self.lock.machine.conda
        if layer is None:
            raise LockError("this lock has no conda packages", hint="Build it with --to venv.")
        return layer

    @property
    def prefix(self) -> str:
        """What the prefix is called in the files."""
        return self.shown or str(self.into)


def require() -> Any:
    """py-rattler.

    :raises MissingExtraError: it is not installed.
    """
    try:
        import rattler
    except ImportError as error:
        raise MissingExtraError(
            "linking conda packages needs py-rattler, which is not installed",
            hint="pip install 'envfreeze[conda]'",
        ) from error
    return rattler


def check_platform(layer: CondaLayer) -> None:
    """
    :raises TargetError: this machine cannot run packages of that platform.
    """
    here = str(require().Subdir.current())
    if here != layer.platform:
        raise TargetError(
            f"the conda packages are for {layer.platform}, and this machine is {here}",
            hint="Build on such a machine.",
        )


def build(plan: CondaPlan, progress: Progress) -> Path:
    """Make the prefix; its interpreter. On any failure ``plan.into`` is as it was.

    :raises EnvfreezeError: whatever stood in the way.
    """
    require()
    venv.check_place(plan.into)
    if plan.into.is_symlink():
        plan = replace(plan, into=plan.into.resolve())
    was_there = plan.into.is_dir()
    try:
        with disk_errors(plan.into):
            plan.into.mkdir(parents=True, exist_ok=True)
            (plan.into / venv.MARK).touch()
        with progress.task("link"):
            _link(plan)
        venv.fill(plan.lock, plan.artifacts, schemes(plan), progress)
        _finish(plan)
        (plan.into / venv.MARK).unlink()
    except BaseException:
        sinks.remove_tree(plan.into, keep=was_there)
        raise
    return plan.into / "bin" / "python"


# --- for an image ------------------------------------------------------------------------


def for_image(
    lock: Lock, artifacts: Mapping[str, Path], scratch: Path, progress: Progress
) -> tuple[Lock, dict[str, Path]]:
    """*lock* as an image is made of it: the linked prefix in place of the conda packages, as an
    interpreter that is brought along, at the very path that it had.

    :returns: that lock, and *artifacts* with the archive of the prefix.
    """
    layer = lock.machine.conda
    if layer is None:
        return lock, dict(artifacts)
    check_platform(layer)
    prefix = tree.absolute(layer.prefix)
    if prefix in tree.SYSTEM_PREFIXES:
        raise LockError(f"no image can have a conda prefix at {prefix}")
    root = scratch / "root"
    into = Path(f"{root}{prefix}")
    plan = CondaPlan(lock=lock, artifacts=artifacts, into=into, shown=prefix)
    archive = scratch / "prefix.tar.gz"
    with progress.task("link"), disk_errors(into):
        into.mkdir(parents=True)
        _link(plan)
        _finish(plan)
        with archive.open("wb") as out:
            interpreter.write(Root(root), _files(into, prefix), out)
    sha256, size = hash_file(archive)
    packed = Artifact(path="prefix.tar.gz", size=size, hashes={"sha256": sha256})
    own = msgspec.structs.replace(lock.machine.interpreter, origin="packed", archive=packed)
    placed = lock.with_machine(
        interpreter=own,
        conda=None,
        environment={
            **{name: value for name, value in layer.variables.items() if value.isprintable()},
            "CONDA_PREFIX": prefix,
            **lock.machine.environment,
        },
    )
    return placed, {**artifacts, sha256: archive}


def _files(into: Path, prefix: str) -> list[str]:
    """The files and links of the linked prefix, as paths of the image."""
    found = (path for path in into.rglob("*") if "__pycache__" not in path.parts)
    kept = (path for path in found if path.is_symlink() or path.is_file())
    return sorted(f"{prefix}/{path.relative_to(into)}" for path in kept)


# --- conda's packages --------------------------------------------------------------------


def _link(plan: CondaPlan) -> None:
    """Link the packages, and write into each record what it was at capture."""
    # Beside the prefix: on one file system a file is linked, not copied.
    with (
        disk_errors(plan.into),
        tempfile.TemporaryDirectory(prefix=".envfreeze-", dir=plan.into.parent) as scratch,
    ):
        files, cache = Path(scratch, "files"), Path(scratch, "pkgs")
        files.mkdir()
        offers = list(_offers(plan, files))
        if plan.program is None:
            _install(plan, offers, cache)
        else:
            _install_by(plan.program, plan, offers, cache)
        made = {package.fn: _entry_points(cache, package) for package in plan.layer.packages}
        # As many files as the prefix has: they go while the records are written.
        gone = threading.Thread(target=sinks.remove_tree, args=(cache,))
        gone.start()
        try:
            for package in plan.layer.packages:
                _rewrite(plan, package, made[package.fn])
        finally:
            gone.join()
        (plan.into / _META / ("-".join(LOOSE) + ".json")).unlink(missing_ok=True)
        sinks.remove_tree(plan.into / _ASIDE)


@dataclass(frozen=True, slots=True)
class _Offer:
    """A package, and where the linker finds it."""

    package: CondaPackage
    artifact: Artifact
    url: str
    scripts: bool
    """Whether it has a script that runs when it is linked."""


def _offers(plan: CondaPlan, files: Path) -> Iterator[_Offer]:
    for package in [*plan.layer.packages, *_loose(plan.layer)]:
        if package.artifact is not None:
            place = _offered(package.artifact, files, plan.artifacts)
            names = _paths(place)
            scripts = any(f"bin/.{package.name}-{when}-link.sh" in names for when in _WHEN)
            yield _Offer(package, package.artifact, place.as_uri(), scripts)


def _offered(artifact: Artifact, files: Path, artifacts: Mapping[str, Path]) -> Path:
    """Where the linker finds a package file under its name."""
    link = files / artifact.filename
    if os.path.lexists(link):  # The same name in two channels or subdirs.
        link = files / artifact.sha256 / artifact.filename
        link.parent.mkdir()
    link.symlink_to(artifacts[artifact.sha256].absolute())
    return link


def _install(plan: CondaPlan, offers: list[_Offer], cache: Path) -> None:
    from rattler import install

    async def work(records: list[rattler.RepoDataRecord]) -> None:
        await install(
            records,
            target_prefix=plan.into,
            cache_dir=cache,
            installed_packages=[],
            show_progress=False,
            execute_link_scripts=plan.scripts,
            alternative_target_prefix=plan.shown,
        )

    try:
        asyncio.run(work([_record(plan, offer) for offer in offers]))
    except Exception as error:  # py-rattler has a root of its own for none of its errors.
        raise ArtifactError(
            f"py-rattler could not link the packages into {plan.into}: {error}",
            hint="A prefix that is longer than the captured one may not fit into its files;"
            f" that was {plan.layer.prefix}.",
        ) from error


def _record(plan: CondaPlan, offer: _Offer) -> rattler.RepoDataRecord:
    from rattler import BuildString, PackageRecord, RepoDataRecord

    facts = plan.lock.machine.interpreter.facts
    site = facts.purelib.removeprefix(f"{facts.prefix}/")
    package, artifact = offer.package, offer.artifact
    record = PackageRecord(
        name=package.name,
        version=package.version,
        build=BuildString(package.build),
        build_number=package.build_number,
        subdir=package.subdir,
        noarch=package.noarch,  # type: ignore[arg-type]
        depends=package.depends,
        constrains=package.constrains,
        sha256=bytes.fromhex(artifact.sha256),
        size=artifact.size,
        license=package.license,
        python_site_packages_path=site if package.name == "python" else None,
    )
    return RepoDataRecord(record, artifact.filename, offer.url, offer.url.rpartition("/")[0])


def _install_by(
    program: condaprogram.Program, plan: CondaPlan, offers: list[_Offer], cache: Path
) -> None:
    scripts = [offer.package.name for offer in offers if offer.scripts]
    if scripts and not plan.scripts and not program.skips_scripts:
        raise UsageError(
            f"{program.path} would run the post-link scripts of {', '.join(scripts)}, and has no"
            " option to leave that",
            hint="--allow-post-link lets them run; without --solver-free none does.",
        )
    # micromamba makes no environment where something is.
    (plan.into / venv.MARK).unlink()
    plan.into.rmdir()
    packed = plan.artifacts
    offered = [(each.url, old_digest(packed[each.artifact.sha256], "md5")) for each in offers]
    order = condaprogram.Order(offered=offered, into=plan.into, cache=cache, scripts=plan.scripts)
    condaprogram.link(program, order)
    (plan.into / venv.MARK).touch()


def _paths(archive: Path) -> list[str]:
    """The files of a package. It is untrusted, too: none of them may lie outside the prefix.

    :raises LockError: one would.
    """
    from rattler import PathsJson

    try:
        found = PathsJson.from_package_archive(archive).paths
        names = [str(entry.relative_path) for entry in found]
    except Exception:  # Before conda 4.3 a package had a plain list.
        names = _listed(archive)
    for name in names:
        if not stays_below(name):
            raise LockError(
                f"{archive.name} would put a file outside the prefix: {name}",
                hint="Do not build from this lock.",
            )
    return names


def _listed(archive: Path) -> list[str]:
    try:
        with tarfile.open(archive, "r:bz2") as packed:
            listed = packed.extractfile("info/files")
            text = listed.read(1 << 26) if listed else b""
    except (tarfile.TarError, OSError, KeyError, EOFError) as error:
        raise ArtifactError(f"{archive.name} does not say what is in it: {error}") from error
    return [line for line in text.decode("utf-8", "replace").splitlines() if line]


def _loose(layer: CondaLayer) -> list[CondaPackage]:
    """The files that no package owns, as the package that holds them."""
    if layer.loose is None:
        return []
    name, version, build = LOOSE
    return [
        CondaPackage(
            name=name,
            version=version,
            build=build,
            subdir=layer.platform,
            fn=f"{'-'.join(LOOSE)}.conda",
            proof="packed",
            evidence="",
            count=len(layer.loose.files),
            tree="",
            artifact=layer.loose.archive,
        )
    ]


def _rewrite(plan: CondaPlan, package: CondaPackage, scripts: set[str]) -> None:
    """Say in the record where the package is from, not where the linker found it.

    :param scripts: see :func:`_entry_points`.
    """
    artifact = package.artifact
    path = plan.into / _META / f"{package.name}-{package.version}-{package.build}.json"
    try:
        document = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise ArtifactError(f"{package.fn} was not linked as the lock names it") from error
    proved = artifact is not None and artifact.url is not None
    for key in ("extracted_package_dir", "package_tarball_full_path", "requested_spec"):
        document.pop(key, None)
    document["link"] = {"source": "", "type": 1}
    document["fn"] = artifact.filename if artifact else package.fn
    document["channel"] = package.channel
    # A packed one is no file of its channel.
    document["url"] = package.url if proved else f"file:///envfreeze/{document['fn']}"
    document["requested_specs"] = package.requested
    for key in ("noarch", "timestamp", "license"):
        document[key] = getattr(package, key)
    if proved and package.md5:
        document["md5"] = package.md5
    for entry in document.get("paths_data", {}).get("paths", []):
        if entry.get("_path") in scripts:
            entry["path_type"] = "unix_python_entry_point"
        # The same bytes in two packages: of others, one was packed without the file.
        entry["_path"] = entry.pop("original_path", entry.get("_path"))
    mark = f"{_ASIDE}/{package.name}/"
    document["files"] = [path.removeprefix(mark) for path in document.get("files", [])]
    document = {key: value for key, value in document.items() if value is not None}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))


def _entry_points(cache: Path, package: CondaPackage) -> set[str]:
    """The files of a packed package that were made of entry points."""
    place = cache / f"{package.name}-{package.version}-{package.build}"
    try:
        found = json.loads((place / "info/envfreeze.json").read_bytes())["entry_points"]
    except (OSError, ValueError, LookupError, TypeError):
        return set()
    return {path for path in found if isinstance(path, str)}


# --- what pip had installed ---------------------------------------------------------------


def schemes(plan: CondaPlan) -> Schemes:
    """Where pip puts things in the prefix."""
    facts = plan.lock.machine.interpreter.facts
    into, tag = str(plan.into), "python" + ".".join(facts.version.split(".")[:2])
    site = f"{into}/lib/{tag}/site-packages"
    if facts.purelib.startswith(f"{facts.prefix}/"):
        site = into + facts.purelib[len(facts.prefix) :]
    return Schemes(
        site=site,
        scripts=f"{into}/bin",
        headers=f"{into}/include/{tag}{facts.abiflags}",
        data=into,
        python=f"{plan.prefix}/bin/python",
        sources=venv.source_places(plan.lock, plan.into),
    )


def _finish(plan: CondaPlan) -> None:
    """The files of ``conda-meta`` beside the records."""
    layer, meta = plan.layer, plan.into / _META
    lines = [
        f"+{(p.channel or 'unknown').rstrip('/')}/{p.subdir}::{p.name}-{p.version}-{p.build}\n"
        for p in layer.packages
    ]
    specs = [spec for package in layer.packages for spec in package.requested]
    asked = f"# update specs: {specs!r}\n" if specs else ""
    write_atomic(meta / "history", (_HISTORY + "".join(lines) + asked).encode("utf-8"))
    if layer.pinned:
        write_atomic(meta / "pinned", "".join(f"{line}\n" for line in layer.pinned).encode())
    if layer.variables:
        state = json.dumps({"env_vars": layer.variables, "version": 1})
        write_atomic(meta / "state", state.encode("utf-8"))
    if layer.frozen:
        write_atomic(meta / "frozen", b"{}\n")
