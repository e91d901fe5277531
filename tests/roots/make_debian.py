"""Make debian/ and ubuntu/ again: real roots by mmdebstrap, cut down to what is read of them.

    MIRROR=http://mirror.example/debian python -m tests.roots.make_debian debian bookworm
    MIRROR=http://mirror.example/ubuntu python -m tests.roots.make_debian ubuntu noble

Needs root, and Debian's package mmdebstrap. Kept are dpkg's status (without the fields that are
prose or addresses), the lists and md5sums of the packages in KEPT, apt's extended_states, the
loader's configuration and cache, os-release, and the libraries in LIBRARIES with their links. A
library of more than 32 kB is written anew as an object that needs the same libraries and has no
code (tests/support/elfmaker.py).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

from envfreeze.resolve.elf import needs
from envfreeze.resolve.rootfs import Root
from tests.roots.keep_links import keep
from tests.support.elfmaker import Elf, write_elf

HERE = Path(__file__).parent
EXTRA = {"bookworm": ("libssl3", "libcom-err2"), "noble": ("libssl3t64", "libcom-err2")}
KEPT = frozenset(
    {"base-files", "libacl1", "libattr1", "libc-bin", "libc6", "libcom-err2", "libgcc-s1"}
    | {"libssl3", "libssl3t64", "python3-minimal", "usr-is-merged", "usrmerge", "zlib1g"}
)
LIBRARIES = ("libc.so.6", "libdl.so.2", "libcom_err.so.2", "libssl.so.3", "libcrypto.so.3")
LIBRARIES += ("libz.so.1", "libattr.so.1", "libacl.so.1", "ld-linux-x86-64.so.2")
PROSE = ("Description", "Maintainer", "Original-Maintainer", "Homepage", "Bugs", "Conffiles")
PROSE += ("Original-Vcs-Browser", "Original-Vcs-Git")
PLAIN = ("etc/ld.so.conf", "etc/ld.so.cache", "var/lib/apt/extended_states")
LARGE = 32 << 10


def bootstrap(suite: str, mirror: str, work: Path) -> Path:
    """A root of *suite*. No hooks: mmdebstrap runs them outside the root that it makes."""
    root = work / "root"
    included = ",".join(("python3-minimal", "apt", *EXTRA.get(suite, ())))
    command = ["mmdebstrap", "--mode=root", "--variant=essential", f"--include={included}"]
    source = f"deb [trusted=yes] {mirror} {suite} main"
    subprocess.run([*command, suite, str(root), source], check=True)
    return root


def without_prose(status: str) -> str:
    """A status file without the fields of PROSE and what continues them."""
    kept, keeps = [], True
    for line in status.split("\n"):
        if not line.startswith((" ", "\t")):
            keeps = line.partition(":")[0] not in PROSE
        if keeps:
            kept.append(line)
    return "\n".join(kept)


def copy_library(root: Path, out: Path, name: str) -> None:
    """A library by its soname, with the links that lead to it."""
    inside = Root(root)
    directories = ("/usr/lib/x86_64-linux-gnu", "/lib64")
    found = [f"{d}/{name}" for d in directories if inside.exists(f"{d}/{name}")]
    path = inside.entry(found[0]) if found else ""
    while path and Path(inside.host(path)).is_symlink():
        target = Path(inside.host(path)).readlink()
        place = out / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)
        path = inside.entry(str(PurePosixPath(path).parent / target))
    if path:
        copy_object(Path(inside.host(path)), out / path.lstrip("/"))


def copy_object(real: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    own = needs(real)
    if own is not None and real.stat().st_size > LARGE:
        write_elf(place, Elf(needed=own.needed, soname=own.soname))
    else:
        shutil.copyfile(real, place)


def cut_down(root: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    info = out / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (out / "etc").mkdir()
    status = (root / "var/lib/dpkg/status").read_text("utf-8")
    (out / "var/lib/dpkg/status").write_text(without_prose(status), "utf-8")
    for file in sorted((root / "var/lib/dpkg/info").iterdir()):
        if file.name.split(".")[0].split(":")[0] in KEPT and file.suffix in {".list", ".md5sums"}:
            shutil.copyfile(file, info / file.name)
    configured = (root / "etc/ld.so.conf.d").iterdir()
    for name in (*PLAIN, *(str(path.relative_to(root)) for path in configured)):
        if (root / name).exists():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, out / name)
    release = (root / "etc/os-release").read_text("utf-8")
    kept = [line for line in release.splitlines() if not re.match(r"[A-Z_]+_URL=", line)]
    (out / "etc/os-release").write_text("\n".join(kept) + "\n", "utf-8")
    for link in ("lib", "lib64", "bin"):
        (out / link).symlink_to(f"usr/{link}")
    for name in LIBRARIES:
        copy_library(root, out, name)
    keep(out)


def main() -> None:
    name, suite = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        cut_down(bootstrap(suite, os.environ["MIRROR"], Path(work)), HERE / name)


if __name__ == "__main__":
    main()
