"""The base interpreter: where it comes from, which files it is, and its archive."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

from envfreeze.errors import TargetError
from envfreeze.model.snapshot import Interpreter
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.interpreter import interpreter_files, origin, pack, parents
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache
from tests.support.cli import unpack
from tests.support.dpkgroot import DpkgRoot, Pkg
from tests.support.elfmaker import Elf, write_elf
from tests.support.locks import interpreter

PREFIX = "/home/u/py"
KEPT = [
    "bin/2to3-3.11",
    "bin/pydoc3",
    "bin/python3.11",
    "bin/python3.11-config",
    "include/python3.11/Python.h",
    "lib/libpython3.11.so.1.0",
    "lib/pkgconfig/python-3.11.pc",
    "lib/python3.11/ensurepip/_bundled/pip.whl",
    "lib/python3.11/lib-dynload/_ssl.so",
    "lib/python3.11/os.py",
    "share/man/man1/python3.11.1",
]
LEFT = [
    "bin/pip",
    "bin/pytest",
    "lib/python3.11/__pycache__/os.cpython-311.pyc",
    "lib/python3.11/legacy.pyc",
    "lib/python3.11/site-packages/x.py",
    "lib/python3.10/os.py",
    "lib/libother.so",
    "share/man/man1/ipython.1",
]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    base = tmp_path / "root"
    for name in (*KEPT, *LEFT):
        path = base / PREFIX.lstrip("/") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (base / "home/u/py/bin/python").symlink_to("python3.11")
    (base / "home/u/py/bin/python3.11").chmod(0o700)
    (base / "home/u").chmod(0o700)
    return Root(base)


def names(root: Root, facts: Interpreter | None = None) -> list[str]:
    files = interpreter_files(facts or interpreter(), root=root)
    return sorted(str(path).removeprefix(PREFIX + "/") for path in files)


def members(cache: Cache, sha256: str) -> dict[str, tarfile.TarInfo]:
    blob = cache.find(sha256)
    assert blob is not None
    with tarfile.open(blob) as archive:
        return {member.name: member for member in archive}


def test_the_files_of_the_interpreter_and_no_others(root: Root) -> None:
    assert names(root) == sorted([*KEPT, "bin/python"])


def test_a_free_threaded_build_has_its_own_directories(root: Root) -> None:
    host = root.path / "home/u/py/lib/python3.13t/os.py"
    host.parent.mkdir()
    host.write_text("")
    found = names(root, interpreter(stdlib=f"{PREFIX}/lib/python3.13t"))
    assert "lib/python3.13t/os.py" in found
    assert "lib/python3.11/os.py" not in found


def test_links_on_the_way_to_the_prefix_are_packed(root: Root) -> None:
    (root.path / "home/u/current").symlink_to("py")
    facts = interpreter(base_prefix="/home/u/current", stdlib="/home/u/current/lib/python3.11")
    found = names(root, facts)
    assert "/home/u/current" in found
    assert "lib/python3.11/os.py" in found


def test_libraries_of_the_prefix_come_along(root: Root) -> None:
    prefix = root.path / "home/u/py"
    write_elf(prefix / "bin/python3.11", Elf(rpath="$ORIGIN/../lib"))
    write_elf(prefix / "lib/python3.11/lib-dynload/_ssl.so", Elf(needed=["libssl.so.3"]))
    write_elf(prefix / "lib/libssl.so.3.0", Elf(soname="libssl.so.3", needed=["libcrypto.so.3"]))
    (prefix / "lib/libssl.so.3").symlink_to("libssl.so.3.0")
    write_elf(prefix / "lib/libcrypto.so.3", Elf())
    added = set(names(root)) - set(KEPT)
    assert added == {
        "bin/python",
        "lib/libssl.so.3",
        "lib/libssl.so.3.0",
        "lib/libcrypto.so.3",
    }


def test_the_archive_is_the_same_again_and_reachable(root: Root, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    sha256, size = pack(interpreter(), cache, root=root)
    found = members(cache, sha256)
    assert {m.mtime for m in found.values()} == {315_532_800}
    assert {(m.uid, m.gid, m.uname) for m in found.values()} == {(0, 0, "root")}
    assert found["home/u"].isdir()
    assert found["home/u"].mode == 0o755
    assert found["home/u/py/bin/python3.11"].mode == 0o755
    assert found["home/u/py/bin/python"].linkname == "python3.11"
    assert not {"home", "", "/"} & set(found)
    again = pack(interpreter(), Cache(tmp_path / "other"), root=root)
    assert again == (sha256, size)


def test_what_was_packed_is_remembered_until_a_file_changes(root: Root, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    first = pack(interpreter(), cache, root=root)
    blob = cache.find(first[0])
    assert blob is not None
    before = blob.stat().st_mtime_ns
    assert pack(interpreter(), cache, root=root) == first
    assert blob.stat().st_mtime_ns == before
    (root.path / "home/u/py/lib/python3.11/os.py").write_text("edited")
    assert pack(interpreter(), cache, root=root) != first


def test_a_file_that_cannot_be_read_is_a_target_error(root: Root, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (root.path / "home/u/py/lib/python3.11/os.py").chmod(0)
    with pytest.raises(TargetError, match=r"os\.py"):
        pack(interpreter(), Cache(tmp_path / "cache"), root=root)


def test_directories_of_the_base_are_not_named() -> None:
    assert parents(["/usr/lib/x/a", "/tmp/x/b", "/lib/y", "c"]) == ["tmp/x", "usr/lib/x"]


def test_an_interpreter_that_dpkg_owns(tmp_path: Path) -> None:
    machine = DpkgRoot(tmp_path)
    machine.install(Pkg(name="python3.11-minimal", files={"/usr/bin/python3.11": b"exe"}))
    machine.install(Pkg(name="libpython3.11-stdlib", files={"/usr/lib/python3.11/os.py": b"os"}))
    machine.install(Pkg(name="python3-x", files={"/usr/lib/python3/dist-packages/x.py": b"x"}))
    facts = interpreter(
        base_executable="/usr/bin/python3.11", base_prefix="/usr", stdlib="/usr/lib/python3.11"
    )
    found = origin(facts, Dpkg.read(Root(tmp_path)))
    assert found.kind == "system"
    assert [p.name for p in found.packages] == ["libpython3.11-stdlib", "python3.11-minimal"]


def test_an_interpreter_that_nobody_owns(tmp_path: Path) -> None:
    DpkgRoot(tmp_path).install(Pkg(name="x"))
    assert origin(interpreter(), Dpkg.read(Root(tmp_path))).kind == "packed"
    assert origin(interpreter(), None).kind == "packed"


def test_the_running_interpreter_runs_from_its_archive(tmp_path: Path) -> None:
    """Unpack this very Python elsewhere and start it there."""
    if sys.platform != "linux":
        pytest.skip("the archive is for Linux images")
    paths = sysconfig.get_paths(vars={"base": sys.base_prefix})
    executable = str(Path(sys.executable).resolve())
    facts = interpreter(
        base_executable=executable,
        base_prefix=sys.base_prefix,
        stdlib=paths["stdlib"],
        version=sys.version.split()[0],
    )
    cache = Cache(tmp_path / "cache")
    sha256, _ = pack(facts, cache)
    blob = cache.find(sha256)
    assert blob is not None
    with tarfile.open(blob) as archive:
        unpack(archive, tmp_path / "out")
    moved = tmp_path / "out" / executable.lstrip("/")
    libs = tmp_path / "out" / sys.base_prefix.lstrip("/") / "lib"
    done = subprocess.run(
        [moved, "-I", "-c", "import json, sys; print(sys.base_prefix)"],
        env={"LD_LIBRARY_PATH": str(libs)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "out" / sys.base_prefix.lstrip("/"))
