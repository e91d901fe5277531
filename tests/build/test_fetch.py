"""Fetching: beside the lock, from the cache, from an index; the bytes are always checked."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envfreeze.build.fetch import Fetcher
from envfreeze.errors import ArtifactError, IndexUnavailableError
from envfreeze.model.lock import Artifact
from envfreeze.progress import Advance, Progress
from envfreeze.resolve.http import Http
from envfreeze.resolve.pipconf import IndexSettings
from envfreeze.store import BlobWriter, Cache, Sidecar, Stamps, kept
from tests.support.fakeindex import FakeIndex, make_wheel


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeIndex]:
    for n in range(12):
        make_wheel(tmp_path / "files", f"p{n}", "1", {f"p{n}.py": f"{n}" * 3000})
    with FakeIndex(tmp_path / "files") as index:
        yield index


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def http() -> Iterator[Http]:
    made = Http(IndexSettings(index_url=None, retries=0, timeout=5))
    yield made
    made.close()


def artifacts(server: FakeIndex) -> list[Artifact]:
    return [
        Artifact(
            name=path.name,
            url=f"{server.base}/files/{path.name}",
            size=path.stat().st_size,
            hashes={"sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
        )
        for path in sorted(server.directory.iterdir())
    ]


class Counted(Progress):
    def __init__(self) -> None:
        self.totals: list[int | None] = []
        self.done = 0

    @contextmanager
    def task(self, label: str, total: int | None = None) -> Iterator[Advance]:
        assert label == "fetch"
        self.totals.append(total)

        def advance(count: int) -> None:
            self.done += count

        yield advance


def test_all_of_them_with_progress(
    server: FakeIndex, cache: Cache, http: Http, tmp_path: Path
) -> None:
    wanted = artifacts(server)
    progress = Counted()
    found = Fetcher(tmp_path / "env.lock", cache, http).all([*wanted, wanted[0]], progress)
    for artifact in wanted:
        source = server.directory / artifact.filename
        assert found[artifact.sha256].read_bytes() == source.read_bytes()
    assert progress.totals == [progress.done] == [sum(a.size for a in wanted)]
    count = len(server.requests)
    Fetcher(tmp_path / "env.lock", cache, None).all(wanted, Progress())
    assert len(server.requests) == count


def test_none(cache: Cache, tmp_path: Path) -> None:
    assert Fetcher(tmp_path / "env.lock", cache, None).all([], Progress()) == {}


@pytest.mark.parametrize("damage", ["same size", "shorter"])
def test_a_damaged_cache_entry_is_fetched_again(
    server: FakeIndex, cache: Cache, http: Http, tmp_path: Path, damage: str
) -> None:
    artifact = artifacts(server)[0]
    fetcher = Fetcher(tmp_path / "env.lock", cache, http)
    path = fetcher.one(artifact)
    size = artifact.size if damage == "same size" else 3
    path.write_bytes(b"x" * size)
    assert hashlib.sha256(fetcher.one(artifact).read_bytes()).hexdigest() == artifact.sha256
    path.write_bytes(b"x" * size)
    with pytest.raises(ArtifactError, match="the network is off"):
        Fetcher(tmp_path / "env.lock", cache, None).one(artifact)
    assert not path.exists()


def test_other_bytes_than_the_lock_names(
    server: FakeIndex, cache: Cache, http: Http, tmp_path: Path
) -> None:
    real = artifacts(server)[0]
    wrong = Artifact(name=real.name, url=real.url, size=real.size, hashes={"sha256": "a" * 64})
    with pytest.raises(ArtifactError) as caught:
        Fetcher(tmp_path / "env.lock", cache, http).one(wrong)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{real.filename} is not the file that the lock names"
    assert lines[1:] == [f"expected sha256 {'a' * 64}", f"     got sha256 {real.sha256}"]
    assert caught.value.hint
    assert cache.find(real.sha256) is None
    assert not list(cache.root.rglob(".new.*"))


def test_offline_and_not_here(server: FakeIndex, cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"p0-1-py3-none-any\.whl is not in the cache"
    ) as caught:
        Fetcher(tmp_path / "env.lock", cache, None).one(artifacts(server)[0])
    assert "--offline" in caught.value.hint


@pytest.mark.parametrize("fault", ["status", "drop", "truncate", "size"])
def test_what_the_network_says_comes_through(
    server: FakeIndex, cache: Cache, http: Http, tmp_path: Path, fault: str
) -> None:
    wanted = artifacts(server)
    if fault == "status":
        server.faults.status = 503
    elif fault == "drop":
        server.faults.drop = True
    elif fault == "truncate":
        server.faults.truncate, server.faults.no_ranges = 10, True
    else:
        a = wanted[0]
        wanted[0] = Artifact(name=a.name, url=a.url, size=a.size - 1, hashes=a.hashes)
    kind = ArtifactError if fault in {"size", "truncate"} else IndexUnavailableError
    with pytest.raises(kind):
        Fetcher(tmp_path / "env.lock", cache, http).all(wanted, Progress())
    assert not list(cache.root.rglob(".new.*"))


def beside(tmp_path: Path, cache: Cache, content: bytes) -> tuple[Path, Artifact]:
    lock = tmp_path / "env.lock"
    sidecar = Sidecar(lock)
    with cache.writing() as blob:
        blob.write(content)
    artifact = kept(cache, sidecar, blob.sha256, "x.whl")
    source = cache.find(blob.sha256)
    assert source is not None
    sidecar.keep(source, artifact, Stamps(cache, sidecar.root))
    return lock, artifact


def test_a_packed_file(tmp_path: Path, cache: Cache) -> None:
    lock, artifact = beside(tmp_path, cache, b"packed")
    cache.discard(artifact.sha256)
    path = Fetcher(lock, cache, None).one(artifact)
    assert path.read_bytes() == b"packed"
    assert path.is_relative_to(tmp_path / "env.lock.d")
    path.write_bytes(b"PACKED")
    with pytest.raises(ArtifactError, match=r"expected sha256 .*\n     got sha256") as caught:
        Fetcher(lock, cache, None).one(artifact)
    assert "env.lock.d" in caught.value.hint
    path.unlink()
    with pytest.raises(ArtifactError, match="is missing: the lock packs it there"):
        Fetcher(lock, cache, None).one(artifact)


def test_one_failure_ends_the_others(tmp_path: Path, cache: Cache) -> None:
    """A download of gigabytes must not run on when the build has failed already."""
    running = threading.Event()
    before = set(threading.enumerate())

    class Endless:
        def download(self, url: str, writer: BlobWriter, expect_size: int | None = None) -> None:
            if url.endswith("bad"):
                running.wait(20)
                raise IndexUnavailableError("no answer")
            for _ in range(20_000):
                running.set()
                writer.write(b"x")
                threading.Event().wait(0.001)
            raise AssertionError("ran on")

    wanted = [
        Artifact(url=f"https://index.example/{name}", size=9, hashes={"sha256": letter * 64})
        for name, letter in (("bad", "a"), ("endless", "b"))
    ]
    with pytest.raises(IndexUnavailableError, match="no answer"):
        Fetcher(tmp_path / "env.lock", cache, Endless()).all(wanted, Progress())
    assert set(threading.enumerate()) <= before
    assert not list(cache.root.rglob(".new.*"))
