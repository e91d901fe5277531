"""A small environment through Podman, by the Docker-compatible API on its socket.

Where Podman is missing, or cannot run a container, this file is skipped and says why.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envfreeze.build.engine import connect
from envfreeze.errors import EngineError
from tests.support.cli import envfreeze, ok, run
from tests.support.engine import NoEngineError, _base_tar, running_registry
from tests.support.podman import put, running_podman

pytestmark = [pytest.mark.network, pytest.mark.docker, pytest.mark.long]
TAG = "localhost/envfreeze-podman:1"


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Its address, and the base by digest."""
    place = tmp_path_factory.mktemp("podman")
    try:
        with running_registry(place) as registry, running_podman(place, registry) as host:
            base = put(registry, "base", _base_tar(place), place)
            _check(host, base)
            yield host, base
    except NoEngineError as error:
        pytest.skip(f"no podman: {error}")


def _check(host: str, base: str) -> None:
    """:raises NoEngineError: it runs no container here."""
    engine = connect(host)
    try:
        engine.base_by_digest(base)
        engine.run_probe(base, ["true"])
    except EngineError as error:
        raise NoEngineError(str(error)) from error
    finally:
        engine.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("small")
    run(sys.executable, "-m", "venv", place / "env")
    ok(envfreeze("capture", place / "env", "-o", place / "env.lock"))
    return place / "env.lock"


def test_the_way_through_podman(podman: tuple[str, str], small: Path, tmp_path: Path) -> None:
    host, base = podman
    env = {"DOCKER_HOST": host}
    done = envfreeze("build", small, "--to", "docker", "--tag", TAG, "--base", base, env=env)
    assert "verified" in ok(done).stdout
    ok(envfreeze("verify", small, f"image:{TAG}", env=env))
    engine = connect(host)
    assert engine._api.containers(all=True) == []
    assert engine._api.images(filters={"dangling": True}) == []

    saved = tmp_path / "saved.tar"
    with saved.open("wb") as file:
        engine.save(TAG, file)
    engine.remove(TAG)
    assert not engine.exists(TAG)
    engine.load(saved)
    assert engine.exists(TAG)
    engine.close()
