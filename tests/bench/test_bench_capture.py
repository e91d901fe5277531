"""The benchmark runs, and says what it measured; its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

BENCH = Path(__file__).with_name("bench_capture.py")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH), *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.long
def test_a_small_environment_is_measured(tmp_path: Path) -> None:
    pytest.importorskip("uv")
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    report = tmp_path / "report.json"
    done = run(f"--python={tmp_path / 'env'}", "--runs=1", "--cold-runs=0", f"--json={report}")
    assert done.returncode == 0, done.stderr
    assert "target: at most 0.5" in done.stdout
    found = json.loads(report.read_text("utf-8"))
    assert [m["name"] for m in found["measured"] if m["failed"]] == []
    assert {ratio["target"] for ratio in found["ratios"]} == {0.5, 0.25, None}


def test_a_path_without_python_is_refused(tmp_path: Path) -> None:
    done = run(f"--python={tmp_path}")
    assert done.returncode == 1
    assert "no interpreter" in done.stderr
