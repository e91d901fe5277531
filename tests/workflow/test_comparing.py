"""Sides of a comparison, and what differs between them without being another environment."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from envfreeze import workflow
from envfreeze.model.identity import environment_id, lock_layers
from envfreeze.model.lock import Lock, Package, dumps
from envfreeze.store import Cache
from envfreeze.targets import local
from envfreeze.workflow import viewing
from envfreeze.workflow.context import Context
from tests.support import envs
from tests.support.environments import Environment, plain_environ
from tests.support.fakeindex import make_wheel
from tests.support.locks import lock
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

    def side() -> viewing.Side:
        observation = local.observe(target, environ=context.environ, cache=context.cache)
        return viewing.observed_side(target, observation, "here", context)

    first = side()
    monkeypatch.setattr(viewing, "live_side", None)
    again = side()
    assert (again.view, again.count) == (first.view, first.count) and first.count
    monkeypatch.undo()
    (item,) = again.view.packages.values()
    assert item.tree is not None
    assert again.files(item.tree) == first.files(item.tree) and again.files(item.tree)


def of(package: Package) -> Lock:
    """A lock with that one package, and the id that it has to have."""
    bare = msgspec.structs.replace(lock(), packages=[package])
    layers = lock_layers(bare)
    return msgspec.structs.replace(
        lock(layers=layers, id=environment_id(layers)), packages=[package]
    )


def test_another_installer_is_told_by_diff_and_is_nothing_to_verify(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "alpha", "1.0", {"alpha/__init__.py": "a = 1\n"})
    venv = envs.make_venv(tmp_path / "venv")
    envs.install(wheel, venv, installer="uv")
    there = envs.seen(envs.look(venv), "alpha")
    package = envs.package_of(wheel, tree=there.tree, installer="pip\n")
    path = tmp_path / "env.lock"
    path.write_text(dumps(of(package)))
    context = workflow.Context(environ=plain_environ(), cache=Cache(tmp_path / "cache"))

    difference = workflow.diff(str(path), str(venv), context)
    told = [
        (c.kind, c.name, c.before, c.after) for c in difference.changes if c.layer == "packages"
    ]
    assert told == [("installer", "installer of alpha", "pip", "uv")]
    held = workflow.verify(path, str(venv), rehash=False, context=context)
    assert [c for c in held.changes if c.layer == "packages"] == []
