"""Each harness over its real inputs, over what once broke it, and over a few hundred enemies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.guard import Forbidden, Guard
from tests.fuzz.harnesses import HARNESSES, Harness, check_cost, ready
from tests.fuzz.known import KNOWN
from tests.fuzz.mutate import mutants

BY_NAME = {harness.name: harness for harness in HARNESSES}
every = pytest.mark.parametrize("name", BY_NAME)


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Guard:
    ready()
    return Guard(tmp_path_factory.mktemp("fuzz"))


def meet(guard: Guard, harness: Harness, data: bytes) -> None:
    cost = guard.run(harness.check, data, measure=harness.memory is not None)
    check_cost(harness, cost, len(data))


@every
def test_real_inputs(name: str, guard: Guard) -> None:
    seeds = BY_NAME[name].seeds()
    assert seeds
    for data in seeds:
        meet(guard, BY_NAME[name], data)


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, make in KNOWN.items() for n in range(len(make()))]
)
def test_what_broke_it_once(name: str, number: int, guard: Guard) -> None:
    meet(guard, BY_NAME[name], KNOWN[name]()[number])


@every
def test_enemies(name: str, guard: Guard) -> None:
    harness = BY_NAME[name]

    @settings(
        max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(mutants(harness.seeds(), harness.tokens))
    def enemies(data: bytes) -> None:
        meet(guard, harness, data)

    enemies()


# --- the guard itself ----------------------------------------------------------------------


def _connects(data: bytes, place: Path) -> None:
    with socket.socket() as one:
        one.connect(("127.0.0.1", 9))


REACHING: dict[str, Callable[[bytes, Path], object]] = {
    "reads elsewhere": lambda data, place: Path("/etc/passwd").read_bytes(),
    "writes elsewhere": lambda data, place: (place.parent / "x").write_bytes(data),
    "writes through a link": lambda data, place: (
        (place / "l").symlink_to(place.parent),
        (place / "l/x").write_bytes(data),
    ),
    "makes a directory": lambda data, place: (place / "../y").mkdir(),
    "moves a file out": lambda data, place: (
        (place / "a").touch() or (place / "a").rename(place.parent / "a")
    ),
    "removes": lambda data, place: (place.parent / "x").unlink(),
    "runs": lambda data, place: subprocess.run(["true"], check=False),
    "runs a shell": lambda data, place: os.system("true"),
    "connects": _connects,
}


@pytest.mark.parametrize("what", REACHING)
def test_the_guard_notices(what: str, guard: Guard) -> None:
    def check(data: bytes, place: Path) -> None:
        try:
            REACHING[what](data, place)
        except Exception:
            raise AssertionError("it was not stopped") from None

    with pytest.raises(Forbidden):
        guard.run(check, b"x")


def test_the_guard_lets_alone_what_is_allowed(guard: Guard) -> None:
    def check(data: bytes, place: Path) -> None:
        (place / "a").write_bytes(data)
        (place / "a").rename(place / "b")
        (place / "l").symlink_to("/etc/passwd")
        assert (place / "b").read_bytes() == data

    assert guard.run(check, b"x").seconds < 1


def test_a_forbidden_thing_that_was_swallowed_is_told_of(guard: Guard) -> None:
    def check(data: bytes, place: Path) -> None:
        try:
            Path("/etc/passwd").read_bytes()
        except BaseException:
            return

    with pytest.raises(Forbidden, match="reading '/etc/passwd'"):
        guard.run(check, b"")


def test_time_and_memory_have_bounds(guard: Guard) -> None:
    def greedy(data: bytes, place: Path) -> None:
        assert len(bytes(1 << 22)) == 1 << 22

    def slow(data: bytes, place: Path) -> None:
        sum(range(10**6))

    for check, limits in ((greedy, {"memory": 1 << 20}), (slow, {"seconds": 0.001})):
        harness = Harness(name="x", check=check, seeds=list, **limits)  # type: ignore[arg-type]
        with pytest.raises(AssertionError, match="for 1 bytes"):
            meet(guard, harness, b"x")


def test_the_long_run_counts_and_keeps_what_it_finds(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.fuzz", "--seconds", "1", "--engine", "hypothesis"]
    argv += ["--only", "dist-info", "--into", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "dist-info name" in done.stdout
    assert " 0 findings" in done.stdout
