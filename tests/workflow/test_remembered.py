"""What is remembered is what would be worked out again, and nothing else is believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from envfreeze.errors import LockError
from envfreeze.model.identity import environment_id, lock_layers
from envfreeze.model.lock import Lock, dumps
from envfreeze.store import Cache
from envfreeze.workflow import context, remembered
from tests.support import locks


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def large() -> bytes:
    data = written(400)
    assert len(data) > remembered._LARGE
    return data


def written(packages: int) -> bytes:
    lock = locks.lock(system=[locks.deb(f"lib{number}", "1") for number in range(packages)])
    layers = lock_layers(lock)
    return dumps(lock.with_machine(layers=layers, id=environment_id(layers))).encode("utf-8")


def counted(data: bytes) -> tuple[list[int], Callable[[], Lock]]:
    """How often a lock is really read."""
    times: list[int] = []

    def read() -> Lock:
        times.append(1)
        return context.loaded(data, "env.lock")

    return times, read


def test_a_large_lock_is_read_once(large: bytes, cache: Cache) -> None:
    times, read = counted(large)
    first = remembered.lock(large, read, cache)
    assert remembered.lock(large, read, cache) == first == context.loaded(large, "env.lock")
    assert len(times) == 1
    remembered.lock(written(401), read, cache)
    assert len(times) == 2, "other bytes are another lock"


def test_a_small_one_is_read_each_time(cache: Cache) -> None:
    data = written(1)
    times, read = counted(data)
    assert remembered.lock(data, read, cache) == remembered.lock(data, read, cache)
    assert len(times) == 2 and not list(cache.root.rglob("*.json"))


def test_another_program_works_it_out_anew(
    large: bytes, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    times, read = counted(large)
    remembered.lock(large, read, cache)
    monkeypatch.setattr(remembered, "program_stamp", lambda: "another")
    remembered.lock(large, read, cache)
    assert len(times) == 2


@pytest.mark.parametrize("damage", [b"", b"\x80", b"\xc1", b"not msgpack"])
def test_a_damaged_note_is_no_memory(large: bytes, cache: Cache, damage: bytes) -> None:
    times, read = counted(large)
    first = remembered.lock(large, read, cache)
    (note,) = cache.root.rglob("*.json")
    note.write_bytes(damage)
    assert remembered.lock(large, read, cache) == first
    assert len(times) == 2


def test_a_bad_lock_is_bad_each_time(large: bytes, cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "env.lock"
    path.write_bytes(large.replace(b'lock-version = "1.0"', b'lock-version = "9.0"'))
    for _ in range(2):
        with pytest.raises(LockError, match=r"env\.lock"):
            context.load(path, cache)
    assert not list(cache.root.rglob("*.json"))
