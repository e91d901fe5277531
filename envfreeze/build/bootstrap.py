"""A base image made of nothing but the .debs of a lock: no registry, no other image.

mmdebstrap unpacks and configures them in a directory, from an archive on this machine that holds
exactly these; what it leaves is read without its accidents (:mod:`envfreeze.build.changes`). So two
bootstraps of one lock give the same layer.

The packages' own scripts run in that directory. mmdebstrap puts a user namespace around them for an
ordinary user. For root it does not, and mounts /proc and /sys for them: so there the whole of it
runs with mounts, processes and network of its own, which end with it, however it ends.

Source: mmdebstrap(1), for what it installs and what it removes; sources.list(5) and the "Debian
Repository Format" for a flat archive; debootstrap's ``setup_merged_usr`` for the links.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast
from urllib.parse import quote

from envfreeze.build import ociarchive, ocidebs, ocilayers, sinks, tree
from envfreeze.build.changes import Changes
from envfreeze.build.docker import copy_checked
from envfreeze.build.ocibase import BaseTree
from envfreeze.build.ocilayers import Maker, Part
from envfreeze.build.said import Last, OnLine
from envfreeze.errors import EngineError, LockError, UsageError
from envfreeze.model.lock import Lock, SystemPackage
from envfreeze.render import dockerfile, imageconfig
from envfreeze.resolve import tars
from envfreeze.resolve.dpkg import ADMIN, installed
from envfreeze.resolve.ociimage import Image, Platform
from envfreeze.store import CHUNK, Cache, disk_errors

PROGRAM = "mmdebstrap"
_FORMAT = "1"
"""Raise it with what is run or taken out: it is part of what a layer is known by."""
_SUITE = "lock"
_MERGED = frozenset({"usr-is-merged", "usrmerge"})
"""Packages that ask for a merged /usr, and do not make one where there is nothing yet."""
_WIDE = frozenset({"amd64", "ppc64el"})
"""Architectures whose loader lies in /lib64."""
_OF_AN_ARCHIVE = frozenset({"Filename", "Size", "SHA256", "SHA1", "MD5sum"})
"""What a list says of a .deb, and a .deb not of itself."""
_OF_THE_WAY = frozenset({"/etc/apt/sources.list"})
"""What names the archive that was made for this."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STATUS_LIMIT = 64 << 20
_ENDING_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to make a base of."""

    lock: Lock
    """Its system packages are what is installed: with all that a root directory begins with
    (:func:`envfreeze.model.scope.chosen`)."""
    artifacts: Mapping[str, Path]
    """sha256 to a file with these bytes, checked."""
    platform: Platform
    cache: Cache


def bootstrapped(wanted: Wanted, on_line: OnLine = lambda _line: None) -> Image:
    """The base image, out of the cache if it was made before.

    :raises UsageError: mmdebstrap is not there.
    :raises EngineError: it failed; what it said last is told.
    """
    below = BaseTree()
    job = _Job(wanted, below, on_line)
    layer = Maker(wanted.cache, below, tree.EPOCH).one(job.part())
    blob = ociarchive.layer_blob(layer.path, layer.note.digest, layer.note.size)
    diff_ids = [f"sha256:{layer.note.digest}"]
    config = imageconfig.of_root(wanted.platform, layer.title, diff_ids)
    return Image(
        name="",
        digest=ociarchive.manifest_digest(config, [blob.descriptor]),
        config=config,
        layers=[blob],
        diff_ids=diff_ids,
    )


class _Job:
    """One root directory to make."""

    def __init__(self, wanted: Wanted, below: BaseTree, on_line: OnLine) -> None:
        """:param below: nothing yet; it learns of what comes, so that directories keep modes."""
        self._below = below
        self._artifacts = wanted.artifacts
        self._packages = wanted.lock.machine.system.packages
        self._files = dockerfile.deb_files(wanted.lock)
        self._on_line = on_line

    def part(self) -> Part:
        return Part(
            title="a root directory of the lock's packages",
            key=ocilayers.key(
                "bootstrap", _FORMAT, sorted(p.artifact.sha256 for p in self._packages)
            ),
            own="/",
            put=self._put,
            weight=0,
        )

    def _put(self, sink: sinks.TarSink) -> None:
        program = shutil.which(PROGRAM)
        if program is None:
            raise UsageError(
                f"--base bootstrap needs {PROGRAM}, which is not on PATH here",
                hint="Debian and Ubuntu have it in a package of that name; or give a base by"
                " digest.",
            )
        # Not in the cache: another user of a namespace must be able to enter it.
        with _scratch() as scratch:
            with disk_errors(scratch):
                scratch.chmod(0o755)
                self._archive(scratch / "archive")
            made = scratch / "root.tar"
            self._run([program, *self._arguments(scratch, made)], scratch)
            self._check(made)
            changes = Changes(made, tree.EPOCH, _OF_THE_WAY)
            changes.teach(self._below)
            changes.put(sink, self._below)

    def _archive(self, directory: Path) -> None:
        """A flat archive that holds the packages of the lock, and nothing else."""
        directory.mkdir()
        stanzas = []
        by_digest = {sha256: name.rpartition("/")[2] for name, sha256 in self._files.items()}
        for package in self._packages:
            name = by_digest[package.artifact.sha256]
            copy_checked(self._artifacts, package.artifact.sha256, directory / name)
            (directory / name).chmod(0o644)
            stanzas.append(_stanza(package, directory / name))
        listed = "\n".join(stanzas).encode("utf-8", "surrogateescape")
        (directory / "Packages").write_bytes(listed)
        digest = hashlib.sha256(listed).hexdigest()
        (directory / "Release").write_text(
            f"Suite: {_SUITE}\nCodename: {_SUITE}\nDate: Tue, 01 Jan 1980 00:00:00 UTC\n"
            f"SHA256:\n {digest} {len(listed)} Packages\n"
        )

    def _arguments(self, scratch: Path, made: Path) -> list[str]:
        included = ",".join(
            p.name if p.arch == "all" else f"{p.name}:{p.arch}" for p in self._packages
        )
        native, *foreign = self._architectures()
        names = {package.name for package in self._packages}
        return [
            "--variant=essential",
            "--format=tar",
            f"--architectures={','.join([native, *foreign])}",
            f"--include={included}",
            *(_merged(native) if names & _MERGED else []),
            _SUITE,
            str(made),
            f"deb [trusted=yes] copy://{quote(str(scratch))}/archive ./",
        ]

    def _architectures(self) -> list[str]:
        """The native one, which dpkg itself is of, first."""
        native = [p.arch for p in self._packages if p.name == "dpkg" and p.arch != "all"]
        if len(native) != 1:
            raise LockError(
                "the lock's packages have not one dpkg among them, which could install them",
                hint="Capture again with --system essential.",
            )
        foreign = {p.arch for p in self._packages} - {"all", *native}
        return [*native, *sorted(foreign)]

    def _run(self, command: Sequence[str], scratch: Path) -> None:
        """Nothing of this process's environment reaches the packages' scripts."""
        environment = {
            "PATH": _PATH,
            "LC_ALL": "C.UTF-8",
            # What dpkg forces by itself, and no waiting for the disk: this is thrown away.
            "DPKG_FORCE": "security-mac,downgrade,unsafe-io",
            "SOURCE_DATE_EPOCH": str(tree.EPOCH),
            "TMPDIR": str(scratch),
        }
        last, alone = Last(self._on_line), _alone()
        with subprocess.Popen(
            [*alone, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=scratch,
            start_new_session=True,
        ) as process:
            try:
                last.hear(_chunks(cast("IO[bytes]", process.stdout)))
            except BaseException:
                _end(process, [signal.SIGKILL] if alone else [signal.SIGTERM, signal.SIGKILL])
                raise
        if process.returncode != 0:
            raise EngineError(
                f"{PROGRAM} could not make a root directory of the lock's packages: it ended with"
                f" status {process.returncode}{last.text}"
            )

    def _check(self, made: Path) -> None:
        """:raises EngineError: what is installed is not what the lock names."""
        have = {}
        for package in installed(_member(made, f"{ADMIN}/status")):
            if package.fields.get("Status") == "install ok installed":
                have[package.key] = package.version
        wanted = {f"{p.name}:{p.arch}": p.version for p in self._packages}
        if have != wanted:
            wrong = sorted(set(have.items()) ^ set(wanted.items()))
            names = sorted({key for key, _ in wrong})
            raise EngineError(
                f"{PROGRAM} made a root directory that has not the lock's packages:"
                f" {', '.join(names[:8])}{', ...' if names[8:] else ''}"
            )


def _stanza(package: SystemPackage, path: Path) -> str:
    """What an archive's list says of a .deb: its own words, and those that tell its bytes."""
    deb = ocidebs.read(package, path, None)
    kept = [f"{name}: {value}" for name, value in deb.fields.items() if name not in _OF_AN_ARCHIVE]
    kept += [
        f"Filename: ./{path.name}",
        f"Size: {path.stat().st_size}",
        f"SHA256: {package.artifact.sha256}",
    ]
    return "\n".join(kept) + "\n"


def _merged(native: str) -> list[str]:
    """Make the links of a merged /usr before anything is unpacked. mmdebstrap hands a hook the
    directory that it works in."""
    names = "bin sbin lib" + (" lib64" if native in _WIDE else "")
    script = f'for d in {names}; do mkdir -p "$1/usr/$d" && ln -s "usr/$d" "$1/$d" || exit 1; done'
    return [f"--setup-hook={script}"]


def _alone() -> list[str]:
    """What a command begins with that root runs: with mounts, processes and network of its own, all
    of which end with it. Nothing where the kernel does not let it, or for an ordinary user."""
    tool = shutil.which("unshare")
    if tool is None or os.geteuid() != 0:
        return []
    alone = [tool, "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    tried = subprocess.run(
        [*alone, "true"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return alone if tried.returncode == 0 else []


def _end(process: subprocess.Popen[bytes], kinds: Sequence[signal.Signals]) -> None:
    """End the program and what it has begun. Where it is alone, nothing of it stays; else it may
    have to clean up."""
    for kind in kinds:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING_SECONDS)
            return


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A directory that is removed afterwards, unless something is still mounted in it."""
    path = Path(tempfile.mkdtemp(prefix="envfreeze-bootstrap-"))
    try:
        yield path
    finally:
        if mounted_below(path, _mounts()):
            raise EngineError(
                f"something is still mounted below {path}: it was left as it is",
                hint="Unmount that, and remove the directory.",
            )
        shutil.rmtree(path, ignore_errors=True)


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def mounted_below(path: Path, mounts: str) -> list[str]:
    """The mount points below *path*; blanks are quoted (proc_pid_mountinfo(5), fifth field)."""
    head = f"{path.resolve()}/".replace(" ", "\\040")
    points = [line.split(" ")[4] for line in mounts.splitlines() if line.count(" ") > 4]
    return [point for point in points if point.startswith(head)]


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := os.read(stream.fileno(), CHUNK):
        yield chunk


def _member(archive: Path, path: str) -> str:
    """A file of a tar of a root directory, as text; empty: it has none."""
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as found:
            for member in found:
                if member.name.lstrip("./") == path.lstrip("/") and member.isreg():
                    data = cast("IO[bytes]", found.extractfile(member))
                    return tars.read(data, _STATUS_LIMIT).decode("utf-8", "surrogateescape")
    except (OSError, *tars.DAMAGE) as error:
        raise EngineError(f"{PROGRAM} left no archive that can be read: {error}") from error
    return ""
