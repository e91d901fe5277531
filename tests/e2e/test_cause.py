"""One script, two environments, other numbers: the first line of the diff names the cause."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import envfreeze, ok, run
from tests.support.installers import UV

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(sys.version_info >= (3, 13), reason="NumPy 1.26 has no wheel for it"),
]

PROMOTED = "import numpy; print(numpy.float32(16777216) + 1.0)"
MULTIPLIED = """
import hashlib, numpy
matrix = numpy.random.default_rng(0).standard_normal((300, 300))
print(hashlib.sha256((matrix @ matrix).tobytes()).hexdigest())
"""
ORDERED = "print(list({'alpha', 'beta', 'gamma', 'delta', 'epsilon'}))"


def env_with(where: Path, requirement: str) -> Path:
    run(sys.executable, "-m", "venv", "--without-pip", where)
    run(UV, "pip", "install", "-q", "--python", where, requirement)
    return where


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return env_with(tmp_path_factory.mktemp("cause") / "older", "numpy==1.26.4")


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return env_with(tmp_path_factory.mktemp("cause") / "newer", "numpy==2.0.2")


def printed(env: Path, script: str, **variables: str) -> str:
    argv = [env / "bin" / "python", "-c", script]
    return subprocess.run(
        argv, env={"PATH": "/usr/bin", **variables}, text=True, capture_output=True, check=True
    ).stdout


def captured(env: Path, into: Path, **variables: str) -> Path:
    ok(envfreeze("capture", env, "-o", into, "--offline", "--no-pack", env=variables))
    return into


def first_line(one: Path, two: Path) -> str:
    return envfreeze("diff", one, two).stdout.splitlines()[0]


def test_other_rules_of_promotion(older: Path, newer: Path) -> None:
    assert printed(older, PROMOTED) != printed(newer, PROMOTED)
    line = first_line(older, newer)
    assert line.startswith("Changes results: numpy 1.26.4 -> 2.0.2 (its rules of type promotion")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="its kernels have other names")
def test_other_kernels_of_openblas(older: Path, tmp_path: Path) -> None:
    here, there = ({"OPENBLAS_CORETYPE": name} for name in ("Haswell", "Nehalem"))
    assert printed(older, MULTIPLIED, **here) != printed(older, MULTIPLIED, **there)
    one = captured(older, tmp_path / "one.lock", **here)
    two = captured(older, tmp_path / "two.lock", **there)
    assert first_line(one, two).startswith(
        "Changes results: OPENBLAS_CORETYPE Haswell -> Nehalem ("
    )


def test_another_seed_of_hashes(older: Path, tmp_path: Path) -> None:
    here, there = ({"PYTHONHASHSEED": seed} for seed in ("0", "1"))
    assert printed(older, ORDERED, **here) != printed(older, ORDERED, **there)
    one = captured(older, tmp_path / "one.lock", **here)
    two = captured(older, tmp_path / "two.lock", **there)
    assert first_line(one, two).startswith("May change results: PYTHONHASHSEED 0 -> 1 (")
