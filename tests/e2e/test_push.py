"""A push to a real registry, one without a list of referrers, and the lock back from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.build.engine import connect
from envfreeze.workflow import pushing
from tests.support.cli import envfreeze, ok
from tests.support.engine import TestEngine
from tests.workflow.test_pushing import PYTHON, Scene

pytestmark = [pytest.mark.docker]


def test_the_lock_comes_back_from_a_real_registry(
    docker_engine: TestEngine, tmp_path: Path
) -> None:
    registry = docker_engine.base_ref.partition("/")[0]
    scene = Scene(tmp_path)
    pushed = scene.push(registry)
    assert pushed.listed_as.startswith("sha256-")
    ok(envfreeze("pull", f"{registry}/team/train:1", "-o", tmp_path / "back/env.lock"))
    assert (tmp_path / "back/env.lock").read_bytes() == scene.lock_path.read_bytes()
    assert (tmp_path / "back" / scene.packed).read_bytes() == PYTHON


def test_an_engine_pushes_and_the_lock_is_attached(
    docker_engine: TestEngine, tmp_path: Path
) -> None:
    registry = docker_engine.base_ref.partition("/")[0]
    scene = Scene(tmp_path)
    tag = f"{registry}/team/engine:1"
    engine = connect(docker_engine.host)
    engine._name(str((engine.inspect(docker_engine.base_ref) or {})["Id"]), tag)
    pushed = pushing.push_image(scene.lock_path, scene.lock, engine, tag, scene.context)
    engine.remove(tag)
    engine.close()
    assert pushed.reference.startswith(f"{tag}@sha256:")
    assert pushed.listed_as.startswith("sha256-")
