"""The shortcut for an environment that has not changed: taken only when nothing has."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from envfreeze.store import Cache
from envfreeze.targets import local
from envfreeze.targets.bundle import Observation
from tests.support.environments import Environment, plain_environ
from tests.support.pythons import newest

SETTLES = 2.2
"""Seconds after which a file's time stamps can be trusted to move with its content."""


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment.make(newest(), tmp_path_factory.mktemp("unchanged") / "env")
    (made.prefix / "bin" / "run").write_bytes(b"#!" + os.fsencode(made.python) + b"\n1\n")
    made.install("one", files={"one.py": b"1\n"}, rows=["../../../bin/run,,"])
    made.install("two", files={"two/__init__.py": b"2\n"})
    (made.site / "loose.txt").write_text("loose")
    time.sleep(SETTLES)
    return made


def _observe(env: Environment, cache: Cache, **extra: str) -> Observation:
    target = local.LocalTarget(python=str(env.python), described="test", own=False)
    return local.observe(target, environ=plain_environ(**extra), cache=cache)


def _asked(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each probe that follows answers that all is as it was."""
    answers: list[bool] = []
    ask = local._ask

    def spy(*args: object, **kwargs: object) -> Observation:
        observation = ask(*args, **kwargs)  # type: ignore[arg-type]
        answers.append(observation.same is not None)
        return observation

    monkeypatch.setattr(local, "_ask", spy)
    return answers


def test_nothing_changed(
    settled: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    first = _observe(settled, cache)
    assert first.fingerprint is not None
    answers = _asked(cache, monkeypatch)
    second = _observe(settled, cache)
    assert answers == [True]
    assert second.snapshot == first.snapshot
    assert second.fingerprint == first.fingerprint


@pytest.mark.parametrize("name", ["one.py", "two/__init__.py", "loose.txt", "../bin/run"])
def test_a_changed_file_is_seen(
    settled: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    cache = Cache(tmp_path)
    path = settled.site / name if not name.startswith("..") else settled.prefix / name[3:]
    _observe(settled, cache)
    answers = _asked(cache, monkeypatch)
    content, before = path.read_bytes(), path.stat()
    try:
        path.write_bytes(content[:-1] + b"#")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        changed = _observe(settled, cache)
        assert answers == [False]
        assert changed.fingerprint is None, "too fresh to be remembered"
    finally:
        path.write_bytes(content)
        time.sleep(SETTLES)


def test_an_added_file_and_a_variable_are_seen(
    settled: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    _observe(settled, cache)
    answers = _asked(cache, monkeypatch)
    assert (
        _observe(settled, cache, OMP_NUM_THREADS="3").snapshot.environment["OMP_NUM_THREADS"] == "3"
    )
    extra = settled.site / "new.pth"
    extra.write_text("")
    try:
        assert {e.path for s in _observe(settled, cache).snapshot.sites for e in s.loose} == {
            "loose.txt",
            "new.pth",
        }
    finally:
        extra.unlink()
    assert answers == [False, False]


def test_a_damaged_answer_is_asked_for_again(
    settled: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    first = _observe(settled, cache)
    for path in tmp_path.glob("answers/*/*"):
        path.write_bytes(b"not compressed")
    answers = _asked(cache, monkeypatch)
    assert _observe(settled, cache).snapshot == first.snapshot
    assert answers == [True, False]


def test_a_file_on_the_path_is_no_shortcut(
    settled: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    (tmp_path / "more.zip").write_bytes(b"PK\5\6" + bytes(18))
    _observe(settled, cache, PYTHONPATH=str(tmp_path / "more.zip"))
    answers = _asked(cache, monkeypatch)
    seen = _observe(settled, cache, PYTHONPATH=str(tmp_path / "more.zip"))
    assert answers == [False]
    assert seen.fingerprint is None


def test_source_trees_are_watched(
    settled: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directories that the environment imports from, and ones that do not exist yet."""
    cache = Cache(tmp_path / "cache")
    tree, later = tmp_path / "more", tmp_path / "later"
    (tree / "pkg").mkdir(parents=True)
    (tree / "pkg" / "__init__.py").write_text("1")
    pointer = settled.site / "later.pth"
    pointer.write_text(f"{later}\n")
    variable = str(tree)
    time.sleep(SETTLES)
    try:
        first = _observe(settled, cache, PYTHONPATH=variable)
        assert first.fingerprint is not None
        assert [source.root for source in first.snapshot.sources] == [str(tree)]
        answers = _asked(cache, monkeypatch)
        assert _observe(settled, cache, PYTHONPATH=variable).snapshot == first.snapshot
        (tree / "pkg" / "new.py").write_text("2")
        changed = _observe(settled, cache, PYTHONPATH=variable).snapshot
        assert [file.path for file in changed.sources[0].files] == ["pkg/__init__.py", "pkg/new.py"]
        (tree / "pkg" / "new.py").unlink()
        later.mkdir()
        assert len(_observe(settled, cache, PYTHONPATH=variable).snapshot.sources) == 2
        assert answers == [True, False, False]
    finally:
        pointer.unlink()
