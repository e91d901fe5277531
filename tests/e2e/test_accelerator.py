"""Real wheels of NVIDIA's, looked at as they lie; their own functions are the oracle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from envfreeze.model.host import Accelerator
from envfreeze.probe import accelerator, walk
from envfreeze.probe.machine import Machine

pytestmark = pytest.mark.network

WHEELS = {
    "nvidia-cuda-runtime-cu11": "11.8.89",
    "nvidia-cuda-runtime-cu12": "12.9.79",
    "nvidia-cuda-runtime": "13.0.96",
}
"""All that there is of the runtime; the first two share a directory. A few megabytes each."""

ASK = """\
import ctypes, sys
number = ctypes.c_int()
error = ctypes.CDLL(sys.argv[1]).cudaRuntimeGetVersion(ctypes.byref(number))
print(error, number.value)
"""


def test_three_runtimes_side_by_side(tmp_path: Path) -> None:
    wanted = [f"{name}=={version}" for name, version in WHEELS.items()]
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile"]
    # One after another: pip puts no two that share a directory into one target.
    for wheel in wanted:
        subprocess.run(
            [*command, "--upgrade", "--target", str(tmp_path / wheel), wheel], check=True
        )
    site = tmp_path / "site"
    for wheel in wanted:
        for path in sorted((tmp_path / wheel).rglob("*")):
            place = site / path.relative_to(tmp_path / wheel)
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                path.replace(place)
    facts = accelerator.facts(Machine(), [(str(site), walk.walk(str(site)).names)])
    found = msgspec.convert(facts, Accelerator)
    here = [lib for lib in found.libraries if lib.path and lib.path.startswith(str(site))]
    assert {lib.version for lib in here} == set(WHEELS.values())
    for library in here:
        done = subprocess.run(
            [sys.executable, "-c", ASK, str(library.path)],
            capture_output=True,
            text=True,
            check=True,
        )
        error, number = map(int, done.stdout.split())
        # CUDA 11 does not answer without a driver.
        if error == 0:
            major, minor, _ = str(library.version).split(".")
            assert number == 1000 * int(major) + 10 * int(minor)
        else:
            assert str(library.version).startswith("11.")
