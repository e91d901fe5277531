"""Links of a venv to elsewhere in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envfreeze.store import Cache
from tests.support.environments import Environment

PYTHON = Path(os.path.realpath("/proc/self/exe"))


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    env = Environment.make(PYTHON, tmp_path / "env")
    share = env.prefix / "share/tool"
    share.mkdir(parents=True)
    (share / "owned.txt").write_text("owned\n")
    (share / "mine.txt").write_text("nobody's\n")
    env.install("tool", rows=["../../../share/tool/owned.txt,,"])
    return env


def links(env: Environment) -> dict[str, str]:
    return {e.path: e.link for s in env.snapshot().sites for e in s.loose if e.link is not None}


@pytest.mark.parametrize("absolute", [True, False])
def test_one_to_a_file_of_a_distribution_is_kept_relative(env: Environment, absolute: bool) -> None:
    target = env.prefix / "share/tool/owned.txt"
    text = str(target) if absolute else os.path.relpath(target, env.site)
    (env.site / "data.txt").symlink_to(text)
    (env.site / "data").symlink_to(Path(text).parent)
    (env.prefix / "bin/program").symlink_to(target)
    assert links(env) == {
        "data.txt": "../../../share/tool/owned.txt",
        "data": "../../../share/tool",
        "program": "../share/tool/owned.txt",
    }
    assert "link-unkept" not in env.kinds()


def test_one_from_a_package_into_the_site_directory_and_to_the_interpreter(
    env: Environment,
) -> None:
    (env.site / "own").mkdir()
    (env.site / "plain.py").write_text("x = 1\n")
    (env.prefix / "bin/mine").write_text("#!/bin/sh\n")
    (env.prefix / "bin/alias").symlink_to(env.prefix / "bin/mine")
    (env.prefix / "bin/py").symlink_to(env.prefix / "bin/python")
    (env.prefix / "bin/module").symlink_to(env.site / "plain.py")
    (env.site / "own/mine").symlink_to(env.prefix / "bin/mine")
    site = os.path.relpath(env.site, env.prefix)
    assert links(env) == {
        "alias": "mine",
        "py": "python",
        "module": f"../{site}/plain.py",
        "own/mine": "../../../../bin/mine",
    }


def test_one_to_what_nobody_keeps_is_named_and_left_out(env: Environment) -> None:
    (env.site / "data.txt").symlink_to(env.prefix / "share/tool/mine.txt")
    (env.site / "gone.txt").symlink_to(env.prefix / "share/tool/gone.txt")
    assert links(env) == {}
    (finding,) = [f for f in env.snapshot().findings if f.kind == "link-unkept"]
    assert finding.place.endswith("site-packages/data.txt")
    assert "share/tool/mine.txt" in finding.detail
    assert finding.advice
    assert "dangling-link" in env.kinds()


def test_an_earlier_answer_does_not_hold_when_its_target_goes(
    env: Environment, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "cache")
    (env.site / "data.txt").symlink_to("../../../share/tool/mine.txt")
    before = env.observe(cache).snapshot
    assert {f.kind for f in before.findings} == {"link-unkept"}
    (env.prefix / "share/tool/mine.txt").unlink()
    assert "dangling-link" in {f.kind for f in env.observe(cache).snapshot.findings}
