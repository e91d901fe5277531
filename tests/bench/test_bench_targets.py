"""The benchmark of the targets runs, and says what it measured; its figures are not judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environments import Environment

BENCH = Path(__file__).with_name("bench_targets.py")


@pytest.mark.long
def test_a_small_environment_is_measured(tmp_path: Path) -> None:
    env = Environment.make(Path(sys.executable), tmp_path / "env")
    env.install("demo")
    report = tmp_path / "report.json"
    argv = [sys.executable, BENCH, "--python", env.prefix, "--runs=1", "--cold-runs=0"]
    done = subprocess.run(
        [*argv, "--json", report],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "target: at most 0.35" in done.stdout
    assert done.stdout.startswith("5 files, ")
    found = json.loads(report.read_text("utf-8"))
    assert all(len(m["seconds"]) == 1 for m in found["measured"])
    assert {ratio["target"] for ratio in found["ratios"]} == {0.25, 0.35, 1.0, 4.0, 300, None}
    unmeasured = {ratio["name"] for ratio in found["ratios"] if ratio["value"] is None}
    assert all("nothing remembered" in name for name in unmeasured)
