"""What a lock names is looked for where its index has it now, and no other bytes are taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from envfreeze.build.fetch import Fetcher
from envfreeze.errors import ArtifactError
from envfreeze.model.lock import Lock
from envfreeze.progress import Progress
from envfreeze.resolve.http import Http
from envfreeze.resolve.index import Index
from envfreeze.resolve.pipconf import IndexSettings
from envfreeze.store import Cache
from envfreeze.workflow.fetching import elsewhere
from tests.support.envs import package_of
from tests.support.fakeindex import FakeIndex, Faults, make_wheel
from tests.support.locks import lock as small_lock


@pytest.fixture
def served(tmp_path: Path) -> Iterator[FakeIndex]:
    make_wheel(tmp_path / "wheels", "demo", "1.0", {"demo.py": "D = 1\n"})
    with FakeIndex(tmp_path / "wheels") as index:
        yield index


@pytest.fixture
def lock(served: FakeIndex) -> Lock:
    """Its wheel's URL leads nowhere on that server."""
    package = package_of(next(served.directory.iterdir()))
    moved = msgspec.structs.replace(
        package.wheels[0], url=f"{served.base}/moved/{package.wheels[0].filename}"
    )
    return msgspec.structs.replace(
        small_lock(), packages=[msgspec.structs.replace(package, wheels=[moved])]
    )


def fetched(lock: Lock, index_url: str, tmp_path: Path) -> bytes:
    settings = IndexSettings(index_url=index_url, retries=0, timeout=5)
    asked = Index(settings, Http(settings))
    wanted = lock.packages[0].artifact
    try:
        fetcher = Fetcher(
            tmp_path / "env.lock", Cache(tmp_path / "cache"), asked.http, elsewhere(lock, asked)
        )
        return fetcher.all([wanted], Progress())[wanted.sha256].read_bytes()
    finally:
        asked.http.close()


def test_a_file_that_was_moved(lock: Lock, served: FakeIndex, tmp_path: Path) -> None:
    wheel = next(served.directory.iterdir())
    assert fetched(lock, served.url, tmp_path) == wheel.read_bytes()


def test_a_token_in_the_path_of_the_index(lock: Lock, served: FakeIndex, tmp_path: Path) -> None:
    """The lock has no token: today's pip has it."""
    served.faults = Faults(login=("me", "s3cret-w0rd"))
    url = served.url.replace("//", "//me:s3cret-w0rd@")
    assert fetched(lock, url, tmp_path)


def test_an_index_without_hashes_may_have_it(lock: Lock, served: FakeIndex, tmp_path: Path) -> None:
    served.faults = replace(served.faults, no_hash=True, html=True)
    assert fetched(lock, served.url, tmp_path)


@pytest.mark.parametrize("no_hash", [False, True])
def test_other_bytes_under_the_same_name_are_not_taken(
    lock: Lock, served: FakeIndex, tmp_path: Path, no_hash: bool
) -> None:
    make_wheel(served.directory, "demo", "1.0", {"demo.py": "D = 2\n"})
    served.faults = replace(served.faults, no_hash=no_hash, html=no_hash)
    with pytest.raises(ArtifactError, match="404"):
        fetched(lock, served.url, tmp_path)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
