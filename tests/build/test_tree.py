"""The environment as one tar: a layer of an image, and nothing of the base is touched."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.build import sinks, tree
from envfreeze.errors import LockError
from envfreeze.model.lock import Artifact, BaseImage, Lock, LooseSite, SystemLayer, UnownedFiles
from envfreeze.model.snapshot import Interpreter, LooseFile, Site
from envfreeze.model.survey import as_loose
from envfreeze.progress import Progress
from envfreeze.resolve import unowned
from envfreeze.resolve.interpreter import SHARED_DIRECTORIES
from envfreeze.resolve.pack import layout, pack_loose
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache
from tests.support import envs, locks
from tests.support.cli import unpack
from tests.support.fakeindex import make_wheel


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(
        tmp_path / "files",
        "demo",
        "1.0",
        {"demo.py": "def main():\n    print('hello')\n", "sub/x.py": ""},
        scripts={"run": "#!python\nimport demo\ndemo.main()\n"},
        data={"share/demo.txt": "data"},
        headers={"demo.h": "int a;"},
        entry_points="[console_scripts]\ndemo = demo:main\n",
    )


def lock_of(facts: Interpreter, wheel: Path, **changes: Any) -> Lock:
    package = envs.package_of(wheel, **changes)
    return msgspec.structs.replace(locks.lock(facts=facts), packages=[package])


def write(lock: Lock, wheel: Path, path: Path, **more: Path) -> tarfile.TarFile:
    artifacts = {hashlib.sha256(p.read_bytes()).hexdigest(): p for p in (wheel, *more.values())}
    tree.write(lock, artifacts, path, Progress())
    return tarfile.open(path)


def plain(prefix: str, purelib: str = "", **changes: Any) -> Interpreter:
    """An interpreter that is no venv, at *prefix*."""
    facts = {
        "venv": False,
        "prefix": prefix,
        "base_prefix": prefix,
        "executable": f"{prefix}/bin/python3.11",
        "base_executable": f"{prefix}/bin/python3.11",
        "purelib": purelib or f"{prefix}/lib/python3.11/site-packages",
        "scripts": f"{prefix}/bin",
    }
    return locks.interpreter(**(facts | changes))


def test_a_venv_that_works(tmp_path: Path, wheel: Path) -> None:
    """Extracted where the paths are true, with the real base interpreter."""
    prefix = tmp_path / "root/home/env"
    facts = locks.interpreter(
        version=envs.VERSION,
        prefix=str(prefix),
        base_executable=envs.BASE,
        executable=f"{prefix}/bin/python",
        purelib=f"{prefix}/{envs.SITE}",
    )
    with write(lock_of(facts, wheel), wheel, tmp_path / "t.tar") as tar:
        unpack(tar, Path("/"))
    assert (prefix / "bin/python").readlink() == Path(envs.BASE)
    assert (prefix / "bin/python3").readlink() == Path("python")
    for script in ("demo", "run"):
        done = subprocess.run([prefix / "bin" / script], capture_output=True, text=True, check=True)
        assert done.stdout == "hello\n"
    first = envs.seen(envs.look(prefix), "demo")
    other = envs.make_venv(tmp_path / "other")
    envs.install(wheel, other)
    assert first.tree == envs.seen(envs.look(other), "demo").tree
    config = (prefix / "pyvenv.cfg").read_text()
    home = os.path.dirname(envs.BASE)  # noqa: PTH120
    assert config == (
        f"home = {home}\ninclude-system-site-packages = false\nversion = {envs.VERSION}\n"
    )


def test_the_members(tmp_path: Path, wheel: Path) -> None:
    with write(lock_of(locks.interpreter(), wheel), wheel, tmp_path / "t.tar") as tar:
        members = {m.name: m for m in tar}
    site = "home/u/env/lib/python3.11/site-packages"
    assert {name for name, m in members.items() if m.isdir()} == {
        "home/u/env",
        "home/u/env/bin",
        "home/u/env/include",
        "home/u/env/include/site",
        "home/u/env/include/site/python3.11",
        "home/u/env/include/site/python3.11/demo",
        "home/u/env/lib",
        "home/u/env/lib/python3.11",
        site,
        f"{site}/sub",
        f"{site}/demo-1.0.dist-info",
        "home/u/env/share",
    }
    assert {(m.uid, m.gid, m.uname, m.mtime) for m in members.values()} == {(0, 0, "", tree.EPOCH)}
    assert members["home/u/env/bin/run"].mode == 0o755
    assert members[f"{site}/demo.py"].mode == 0o644
    assert members["home/u/env/bin/python"].linkname == "/home/u/py/bin/python3.11"


def test_the_same_bytes_twice(tmp_path: Path, wheel: Path) -> None:
    lock = lock_of(locks.interpreter(), wheel)
    for name in ("a.tar", "b.tar"):
        write(lock, wheel, tmp_path / name).close()
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize(
    ("facts", "script", "directories"),
    [
        (plain("/opt/python"), "opt/python/bin/run", "opt/python"),
        (plain("/usr/local"), "usr/local/bin/run", "usr/local/lib/python3.11/site-packages"),
        (
            plain("/usr", "/usr/lib/python3/dist-packages"),
            "usr/bin/run",
            "usr/lib/python3/dist-packages",
        ),
        (
            plain("/usr", "/usr/local/lib/python3.11/dist-packages"),
            "usr/local/bin/run",
            "usr/local/lib/python3.11/dist-packages",
        ),
        (plain("/opt"), "opt/bin/run", "opt/"),
        (plain("/tmp"), "tmp/bin/run", "tmp/"),
        (plain("/usr/lib"), "usr/lib/bin/run", "usr/lib/"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_nothing_above_the_own_directory(
    tmp_path: Path, wheel: Path, facts: Interpreter, script: str, directories: str
) -> None:
    """A member ``lib`` would replace the link of a merged-/usr image, ``tmp`` would lose its
    sticky bit."""
    with write(lock_of(facts, wheel), wheel, tmp_path / "t.tar") as tar:
        members = list(tar)
    ours = {"usr/lib/envfreeze", "usr/lib/envfreeze/bin"}
    made = {m.name for m in members if m.isdir()} - ours
    assert not made & SHARED_DIRECTORIES
    assert all(f"{name}/".startswith(directories) for name in made)
    assert made
    files = {m.name: m for m in members if m.isfile()}
    assert script in files
    site = facts.purelib.lstrip("/")
    assert f"{site}/demo.py" in files
    with tarfile.open(tmp_path / "t.tar") as tar:
        held = tar.extractfile(script)
        assert held is not None
        assert held.readline() == f"#!{facts.base_executable}\n".encode()


def test_a_package_of_another_site(tmp_path: Path, wheel: Path) -> None:
    other = "/home/u/.local/lib/python3.11/site-packages"
    lock = lock_of(plain("/opt/python"), wheel, site=other)
    with write(lock, wheel, tmp_path / "t.tar") as tar:
        names = set(tar.getnames())
    assert "home/u/.local/bin/run" in names
    assert "home/u/.local/include/python3.11/demo/demo.h" in names
    assert "home/u/.local" not in names


def test_unowned_files(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/x.pth").write_bytes(b"x")
    site = Site(
        path=str(tmp_path / "site"),
        kind="site",
        loose=[
            LooseFile("x.pth", envs.sha256(b"x"), 1, False, None),
            LooseFile("l", None, 0, False, "x.pth"),
        ],
    )
    cache = Cache(tmp_path / "cache")
    sha256, size = pack_loose(site, layout(site, locks.interpreter()), cache)
    blob = cache.find(sha256)
    assert blob is not None
    facts = locks.interpreter()
    loose = LooseSite(
        site=facts.purelib,
        archive=Artifact(path="x/y", size=size, hashes={"sha256": sha256}),
        files=as_loose(site).files,
    )
    lock = msgspec.structs.replace(
        locks.lock(facts=facts, loose=[loose]), packages=lock_of(facts, wheel).packages
    )
    with write(lock, wheel, tmp_path / "t.tar", blob=blob) as tar:
        members = {m.name: m for m in tar}
    assert members[f"{facts.purelib[1:]}/x.pth"].isfile()
    assert members[f"{facts.purelib[1:]}/l"].linkname == "x.pth"
    bad = msgspec.structs.replace(loose, site="/home/../etc")
    lock = locks.lock(facts=facts, loose=[bad])
    with pytest.raises(LockError, match="absolute path"):
        write(lock, wheel, tmp_path / "t.tar", blob=blob)


def test_unowned_libraries_come_back_at_their_places(tmp_path: Path, wheel: Path) -> None:
    root = tmp_path / "root"
    (root / "opt/foo/lib").mkdir(parents=True)
    (root / "opt/foo/lib/libfoo.so.1.2").write_bytes(b"foo")
    (root / "opt/foo/lib/libfoo.so.1").symlink_to("libfoo.so.1.2")
    cache = Cache(tmp_path / "cache")
    files = unowned.gather(Root(root), ["/opt/foo/lib/libfoo.so.1"])
    blob = cache.find(unowned.pack(Root(root), files, cache))
    assert blob is not None
    archive = Artifact(path="x/y", size=1, hashes={"sha256": blob.name})
    kept = UnownedFiles(archive=archive, files=unowned.entries(files))
    layer = SystemLayer(kernel="Linux", machine="x86_64", unowned=kept)
    with write(locks.lock(layer=layer), wheel, tmp_path / "t.tar", blob=blob) as tar:
        members = {m.name: m for m in tar}
        content = tar.extractfile("opt/foo/lib/libfoo.so.1.2")
        assert content is not None
        assert content.read() == b"foo"
    assert members["opt/foo/lib/libfoo.so.1"].linkname == "libfoo.so.1.2"
    assert "opt" not in members
    other = msgspec.structs.replace(kept, files=kept.files[:1])
    layer = msgspec.structs.replace(layer, unowned=other)
    with pytest.raises(LockError, match="does not name"):
        write(locks.lock(layer=layer), wheel, tmp_path / "t.tar", blob=blob)


BAD = ["relative", "", "/", "//x", "/a/../b", "/a/./b", "/a\nb", "/a\0b", "/..", "/a//b", "/a\x7f"]


@pytest.mark.parametrize("path", BAD)
@pytest.mark.parametrize("venv", [True, False])
def test_hostile_facts(tmp_path: Path, wheel: Path, path: str, venv: bool) -> None:
    for key in ("prefix", "base_executable", "executable", "purelib"):
        if not venv and key == "executable":
            continue  # Scripts name the base.
        facts = msgspec.structs.replace(locks.interpreter(venv=venv), **{key: path})
        if not venv and key == "prefix" and path in {"/"}:
            continue
        with pytest.raises(LockError):
            write(lock_of(facts, wheel), wheel, tmp_path / "t.tar")
    lock = lock_of(locks.interpreter(), wheel, site=path or "x")
    with pytest.raises(LockError):
        write(lock, wheel, tmp_path / "t.tar")


def test_a_hostile_version(tmp_path: Path, wheel: Path) -> None:
    for version in ("3.11.7\nhome = /evil", "3.11", "../.."):
        facts = locks.interpreter(version=version)
        with pytest.raises(LockError):
            write(lock_of(facts, wheel), wheel, tmp_path / "t.tar")


def test_a_trailing_slash_is_nothing() -> None:
    assert tree.absolute("/home/u/env/") == "/home/u/env"


def test_a_system_prefix_does_not_own_the_root(tmp_path: Path, wheel: Path) -> None:
    facts = plain("/usr", "/lib/python3/dist-packages")
    with pytest.raises(LockError):
        write(lock_of(facts, wheel), wheel, tmp_path / "t.tar")


def test_a_sink_takes_absolute_paths_only() -> None:
    sink = sinks.TarSink(io.BytesIO(), "/env")
    for path in ("env/x", "/env/../x", ""):
        with pytest.raises(LockError):
            sink.put(path, io.BytesIO(b""), executable=False)
        with pytest.raises(LockError):
            sink.link(path, "x")


def test_where_the_base_has_everything_the_tar_is_no_empty_one(tmp_path: Path) -> None:
    base = BaseImage(image_id="sha256:" + "a" * 64, venv=True)
    path = tmp_path / "packages.tar"
    tree.write(locks.lock(base=base), {}, path, Progress())
    with tarfile.open(path) as archive:
        found = archive.getmembers()
    assert [member.name for member in found] == ["home/u/env", "home/u/env/bin"]
    assert all(member.isdir() for member in found)
