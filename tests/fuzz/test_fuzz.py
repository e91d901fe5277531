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
from hypothesis import strategies as st

from tests.fuzz.guard import Forbidden, Guard
from tests.fuzz.harnesses import HARNESSES, Harness, check_cost, ready
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
