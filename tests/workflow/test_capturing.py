"""A capture whose cache is damaged, or cannot be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from envfreeze import workflow
from envfreeze.model.lock import artifacts
from envfreeze.resolve import interpreter
from envfreeze.store import Cache
from tests.support.environments import Environment, plain_environ

Capture = Callable[[Path], workflow.Captured]


@pytest.fixture
def capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Capture:
    # The interpreter is slow to pack: its executable alone stands for it.
    python = Path(os.path.realpath("/proc/self/exe"))
    monkeypatch.setattr(interpreter, "interpreter_files", lambda facts, *, root=None: [python])
    env = Environment.make(python, tmp_path / "env")
    for name in ("one", "two", "three"):
        env.install(name)
    (env.site / "mine.py").write_text("x = 1\n")
    environ = plain_environ(PIP_NO_INDEX="1", HOME=str(tmp_path))

    def run(cache: Path) -> workflow.Captured:
        context = workflow.Context(environ=environ, cache=Cache(cache))
        options = workflow.CaptureOptions(offline=True)
        return workflow.capture(str(env.prefix), tmp_path / "env.lock", options, context)

    return run


def test_a_damaged_cache_is_repaired_and_one_that_cannot_be_written_done_without(
    capture: Capture, tmp_path: Path
) -> None:
    cache, lock = tmp_path / "cache", tmp_path / "env.lock"
    first = capture(cache)
    before = lock.read_bytes()
    packed = [a for a in artifacts(first.lock) if a.path is not None]
    assert len(packed) > 4
    for artifact in packed:
        (tmp_path / str(artifact.path)).unlink()
        (cache / "blobs" / artifact.sha256[:2] / artifact.sha256).write_bytes(b"x" * artifact.size)
    again = capture(cache)
    assert lock.read_bytes() == before
    assert again.problems == first.problems == []
    assert workflow.cache_verify(workflow.Context(cache=Cache(cache))).damaged == []
    # And with a cache that cannot be written:
    (tmp_path / "no-directory").write_text("")
    found = capture(tmp_path / "no-directory/cache")
    (problem,) = found.problems
    assert "no-directory" in problem
    assert problem.endswith("done without the cache")
    assert lock.read_bytes() == before
