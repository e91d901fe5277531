"""The store: whole or not at all, and never believed unread."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from envfreeze import store
from envfreeze.errors import ArtifactError, DiskError
from envfreeze.model.lock import Artifact, LooseSite
from envfreeze.store import (
    Cache,
    Sidecar,
    Stamps,
    atomic_file,
    disk_errors,
    hash_file,
    write_atomic,
)
from tests.support import envs, locks


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def add(cache: Cache, content: bytes) -> str:
    with cache.writing() as blob:
        blob.write(content)
    assert (blob.sha256, blob.size) == (envs.sha256(content), len(content))
    return blob.sha256


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


# --- files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "env.lock"
    path.write_text("old")
    with pytest.raises(error), atomic_file(path) as file:
        file.write(b"half of the n")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == {"env.lock"}


def test_a_whole_file_replaces_it(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a/b/env.lock", b"one")
    write_atomic(tmp_path / "a/b/env.lock", b"two")
    assert (tmp_path / "a/b/env.lock").read_bytes() == b"two"
    assert names(tmp_path / "a/b") == {"env.lock"}
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "a/b/env.lock").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("name", ["n" * 250, "x\ny", "-rf", ".lock"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    write_atomic(tmp_path / name, b"x")
    assert names(tmp_path) == {name}


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="File name too long"):
        write_atomic(tmp_path / ("n" * 300), b"x")
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    "code",
    [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR],
)
def test_refusals_of_the_file_system(code: int) -> None:
    said = f"cannot write /p: {os.strerror(code)}"
    with pytest.raises(DiskError, match=said) as caught, disk_errors("/p"):
        raise OSError(code, os.strerror(code))
    full = code in {errno.ENOSPC, errno.EDQUOT}
    assert ("Free some space" in caught.value.hint) == full


def test_other_errors_pass() -> None:
    with pytest.raises(ConnectionResetError), disk_errors("/p"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


class Full(io.BytesIO):
    """A file on a full disk."""

    def write(self, _data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_while_storing(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(descriptor: int, _mode: str) -> Full:
        os.close(descriptor)
        return Full()

    monkeypatch.setattr(store.os, "fdopen", opened)
    with pytest.raises(DiskError, match="No space left on device"):
        add(cache, b"x")
    with pytest.raises(DiskError, match="No space left on device"):
        write_atomic(cache.root / "env.lock", b"x")
    cache.write_note("kind", "ab" * 32, b"x")
    assert [p for p in cache.root.rglob("*") if p.is_file()] == []


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 kB, where this process may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_real_full_disk(small: Path) -> None:
    write_atomic(small / "env.lock", b"old")
    with pytest.raises(DiskError, match="No space left on device"):
        write_atomic(small / "env.lock", b"x" * (1 << 20))
    assert (small / "env.lock").read_bytes() == b"old"
    assert names(small) == {"env.lock"}
    cache = Cache(small / "cache")
    with pytest.raises(DiskError), cache.writing() as blob:
        for _ in range(100):
            blob.write(os.urandom(65536))
    assert [p for p in cache.root.rglob("*") if p.is_file()] == []


def test_a_real_read_only_disk(small: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    with pytest.raises(DiskError, match="Read-only file system"):
        write_atomic(small / "env.lock", b"x")
    with pytest.raises(DiskError, match="Read-only file system"):
        add(Cache(small / "cache"), b"x")
    Cache(small / "cache").write_note("kind", "ab" * 32, b"x")


def test_hash_of_a_file(tmp_path: Path) -> None:
    content = os.urandom(store.CHUNK + 17)
    (tmp_path / "x").write_bytes(content)
    assert hash_file(tmp_path / "x") == (envs.sha256(content), len(content))


# --- the cache -----------------------------------------------------------------------------


def test_what_goes_in_comes_out(cache: Cache, tmp_path: Path) -> None:
    sha256 = add(cache, b"content")
    found = cache.find(sha256, 7)
    assert found is not None
    assert found.read_bytes() == b"content"
    (tmp_path / "file").write_bytes(b"content")
    assert cache.add(tmp_path / "file") == (sha256, 7)
    assert len([p for p in cache.root.rglob("*") if p.is_file()]) == 1


def test_other_bytes_than_expected(cache: Cache) -> None:
    with pytest.raises(ArtifactError) as caught, cache.writing(expect="0" * 64) as blob:
        blob.write(b"x")
    one, two = str(caught.value).splitlines()
    assert one.index("0" * 64) == two.index(envs.sha256(b"x"))
    assert not [p for p in cache.root.rglob("*") if p.is_file()]


def test_an_entry_of_another_size_is_dropped(cache: Cache) -> None:
    sha256 = add(cache, b"content")
    assert cache.find(sha256, 8) is None
    assert cache.find(sha256) is None


@pytest.mark.parametrize(
    "sha256", ["", "x", "..", "../../../etc/passwd", "A" * 64, "a" * 63, "a\0", "a" * 9999]
)
def test_what_is_no_digest_is_not_found(cache: Cache, sha256: str) -> None:
    add(cache, b"content")
    assert cache.find(sha256) is None


def test_many_writers_of_the_same_bytes(cache: Cache) -> None:
    contents = [b"a" * 100_000, b"b" * 100_000]
    barrier = threading.Barrier(8, timeout=20)

    def write(number: int) -> str:
        barrier.wait()
        return add(cache, contents[number % 2])

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(write, range(8)))
    assert found == {envs.sha256(content) for content in contents}
    files = [p for p in cache.root.rglob("*") if p.is_file()]
    assert sorted(p.read_bytes() for p in files) == contents


def test_notes(cache: Cache) -> None:
    key = "ab" * 32
    assert cache.read_note("kind", key) is None
    cache.write_note("kind", key, b"one")
    cache.write_note("kind", key, b"\xff\0garbage")
    assert cache.read_note("kind", key) == b"\xff\0garbage"
    assert cache.read_note("other", key) is None
    assert len([p for p in cache.root.rglob("*") if p.is_file()]) == 1


def test_a_cache_that_cannot_be_written_takes_no_notes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file")
    cache.write_note("kind", "ab" * 32, b"x")
    assert cache.read_note("kind", "ab" * 32) is None
    with pytest.raises(DiskError):
        add(cache, b"x")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENVFREEZE_CACHE_DIR", str(tmp_path / "mine"))
    assert Cache().root == tmp_path / "mine"
    monkeypatch.delenv("ENVFREEZE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Cache().root.name == "envfreeze"
    assert Cache().root.is_relative_to(tmp_path)


# --- beside the lock -----------------------------------------------------------------------


def kept(cache: Cache, sidecar: Sidecar, content: bytes, name: str = "x.whl") -> Artifact:
    return store.kept(cache, sidecar, add(cache, content), name)


def source(cache: Cache, artifact: Artifact) -> Path:
    found = cache.find(artifact.sha256)
    assert found is not None
    return found


def test_kept_beside_the_lock(cache: Cache, tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "env.lock")
    artifact = kept(cache, sidecar, b"bytes")
    assert artifact.path == f"env.lock.d/{artifact.sha256}/x.whl"
    sidecar.keep(source(cache, artifact), artifact, Stamps(cache, sidecar.root))
    path = store.open_artifact(tmp_path / "env.lock", artifact)
    before = path.stat().st_mtime_ns
    sidecar.keep(source(cache, artifact), artifact, Stamps(cache, sidecar.root))
    assert path.stat().st_mtime_ns == before


def test_a_damaged_file_beside_the_lock_is_made_good(cache: Cache, tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "env.lock")
    artifact = kept(cache, sidecar, b"bytes")
    sidecar.keep(source(cache, artifact), artifact, Stamps(cache, sidecar.root))
    (tmp_path / str(artifact.path)).write_bytes(b"BYTES")
    sidecar.keep(source(cache, artifact), artifact, Stamps(cache, sidecar.root))
    assert (tmp_path / str(artifact.path)).read_bytes() == b"bytes"


@pytest.fixture
def an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now)


@pytest.mark.usefixtures("an_hour_later")
@pytest.mark.parametrize("forget", [False, True])
def test_what_stayed_is_not_read_again(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, forget: bool
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"bytes")
    sha256 = hash_file(path)[0]
    stamps = Stamps(cache, tmp_path)
    assert stamps.has(path, sha256)
    assert not stamps.has(path, "0" * 64)
    stamps.save()
    read: list[object] = []
    monkeypatch.setattr(store, "hash_file", lambda path: read.append(path) or ("1" * 64, 0))
    later = Stamps(cache, tmp_path)
    if forget:
        later.forget()
    assert later.has(path, sha256) == (not forget)
    assert len(read) == forget
    later.save()
    path.write_bytes(b"BYTES")
    assert not Stamps(cache, tmp_path).has(path, sha256)


def test_what_changed_just_now_is_read_again(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"bytes")
    stamps = Stamps(cache, tmp_path)
    assert stamps.has(path, hash_file(path)[0])
    stamps.save()
    assert not list(cache.root.glob("kept/**/*.json"))


@pytest.mark.parametrize("note", [b"{", b"[]", b'{"a": 1}'])
def test_a_damaged_memory_of_stamps_is_none(cache: Cache, tmp_path: Path, note: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"bytes")
    key = hashlib.sha256(os.fsencode(tmp_path)).hexdigest()
    cache.write_note("kept", key, note)
    assert Stamps(cache, tmp_path).has(path, hash_file(path)[0])


def test_no_file_no_digest(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").write_bytes(b"")
    for name in ("directory", "link", "gone"):
        assert not Stamps(cache, tmp_path).has(tmp_path / name, hashlib.sha256().hexdigest())


def test_a_damaged_cache_entry_is_not_kept(cache: Cache, tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "env.lock")
    artifact = kept(cache, sidecar, b"bytes")
    source(cache, artifact).write_bytes(b"BYTES")
    damaged = pytest.raises(ArtifactError, match="damaged in the cache")
    with damaged as caught, sidecar.all_or_nothing():
        sidecar.keep(source(cache, artifact), artifact, Stamps(cache, sidecar.root))
    assert "run the same command again" in caught.value.hint
    assert cache.find(artifact.sha256) is None
    assert not sidecar.root.exists()


def test_a_damaged_entry_is_dropped_when_its_bytes_are_checked(cache: Cache) -> None:
    sha256 = add(cache, b"bytes")
    path = cache.find_whole(sha256)
    assert path is not None
    path.write_bytes(b"BYTES")
    assert cache.find(sha256) is not None
    assert cache.find_whole(sha256) is None
    assert cache.find(sha256) is None


def test_what_vanished_from_the_cache(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no longer in the cache"):
        store.kept(cache, Sidecar(tmp_path / "env.lock"), "0" * 64, "x")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_all_or_nothing(cache: Cache, tmp_path: Path, error: type[BaseException]) -> None:
    sidecar = Sidecar(tmp_path / "env.lock")
    old, new = kept(cache, sidecar, b"old"), kept(cache, sidecar, b"new")
    with pytest.raises(error), sidecar.all_or_nothing():
        sidecar.keep(source(cache, old), old, Stamps(cache, sidecar.root))
        raise error
    assert not sidecar.root.exists()
    with sidecar.all_or_nothing():
        sidecar.keep(source(cache, old), old, Stamps(cache, sidecar.root))
    with pytest.raises(error), sidecar.all_or_nothing():
        sidecar.keep(source(cache, old), old, Stamps(cache, sidecar.root))
        sidecar.keep(source(cache, new), new, Stamps(cache, sidecar.root))
        raise error
    assert names(sidecar.root) == {old.sha256}


def test_sweeping(cache: Cache, tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "env.lock")
    old, new = kept(cache, sidecar, b"old"), kept(cache, sidecar, b"new")
    for artifact in (old, new):
        sidecar.keep(source(cache, artifact), artifact, Stamps(cache, sidecar.root))
    (sidecar.root / "mine").mkdir()
    (sidecar.root / "notes.txt").touch()
    loose = LooseSite(site="/s", archive=new, files=[])
    bare = locks.lock(loose=[loose])
    sidecar.sweep(bare)
    assert names(sidecar.root) == {new.sha256, "mine", "notes.txt"}


def test_sweeping_nothing(cache: Cache, tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "env.lock")
    sidecar.sweep(locks.lock())
    artifact = kept(cache, sidecar, b"old")
    sidecar.keep(source(cache, artifact), artifact, Stamps(cache, sidecar.root))
    sidecar.sweep(locks.lock())
    assert not sidecar.root.exists()
