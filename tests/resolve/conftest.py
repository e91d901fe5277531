"""A fake index over a directory of wheels, and an empty cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.resolve.index import Index
from envfreeze.store import Cache
from tests.support.fakeindex import FakeIndex
from tests.support.proofs import index_at


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def server(directory: Path):
    with FakeIndex(directory) as index:
        yield index


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def index(server: FakeIndex) -> Index:
    return index_at(server.url)
