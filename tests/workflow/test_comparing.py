"""Sides of a comparison that are made of a look at an environment."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from envfreeze.store import Cache
from envfreeze.targets import local
from envfreeze.workflow import comparing
from envfreeze.workflow.context import Context
from tests.support.environments import Environment, plain_environ
from tests.support.pythons import newest


def test_a_look_that_is_remembered_is_the_same_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second verification of an unchanged environment sorts nothing again."""
    env = Environment.make(newest(), tmp_path / "env")
    env.install("one", files={"one.py": b"1\n"})
    (env.site / "loose.txt").write_text("loose")
    time.sleep(2.2)
    context = Context(environ=plain_environ(), cache=Cache(tmp_path / "cache"))
    target = local.LocalTarget(python=str(env.python), described="here", own=False)

    def side() -> comparing._Side:
        observation = local.observe(target, environ=context.environ, cache=context.cache)
        return comparing._observed_side(target, observation, "here", context)

    first = side()
    monkeypatch.setattr(comparing, "_live_side", None)
    again = side()
    assert (again.view, again.count) == (first.view, first.count) and first.count
    monkeypatch.undo()
    (item,) = again.view.packages.values()
    assert item.tree is not None
    assert again.files(item.tree) == first.files(item.tree) and again.files(item.tree)
