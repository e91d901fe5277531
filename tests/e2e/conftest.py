"""Real environments, made with real tools from the index that pip is configured for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol

import pytest

from tests.support import loops, tally
from tests.support.cli import envfreeze, ok, run
from tests.support.engine import TestEngine, docker_engine
from tests.support.environments import Environment

__all__ = ["docker_engine"]

IMAGE = "envfreeze-e2e:1"
PACKAGES = [
    # scripts, C extensions, headers (greenlet), data files (ipykernel's share/jupyter),
    # a script that names the interpreter (jmespath), namespace packages, entry points
    "greenlet",
    "ipykernel",
    "jmespath",
    "markupsafe",
    "pyyaml",
    "requests",
    "ruamel.yaml",
    "six",
    "sphinxcontrib-jsmath",
    "websockets",
]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of its own for the session: nothing of the user's is read or written."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVFREEZE_CACHE_DIR", str(cache))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)


@pytest.fixture(scope="session")
def env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv that pip filled from the index."""
    prefix = tmp_path_factory.mktemp("env") / "a venv"
    run(sys.executable, "-m", "venv", prefix)
    run(prefix / "bin/python", "-m", "pip", "install", "--quiet", *PACKAGES)
    return prefix


@pytest.fixture(scope="session")
def lock(env: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lock of :func:`env`."""
    path = tmp_path_factory.mktemp("lock") / "env.lock"
    ok(envfreeze("capture", env, "-o", path, env={"ENVFREEZE_CACHE_DIR": str(cache)}))
    return path


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the build of :func:`image` writes its verdict."""
    return tmp_path_factory.mktemp("report") / "verdict.json"


@pytest.fixture(scope="session")
def image(docker_engine: TestEngine, lock: Path, cache: Path, report: Path) -> str:
    """The image of :func:`lock`, built and verified."""
    done = envfreeze(
        "build", lock, "--to", "docker", "--tag", IMAGE, "--base", docker_engine.base_ref,
        "--report", report,
        env={"DOCKER_HOST": docker_engine.host, "ENVFREEZE_CACHE_DIR": str(cache)},
    )  # fmt: skip
    ok(done)
    assert "verified" in done.stdout
    return IMAGE


class WholeWay(Protocol):
    def __call__(
        self, title: str, env: Environment, expected: loops.Expected | None = None
    ) -> loops.Outcome: ...


@pytest.fixture
def whole_way(request: pytest.FixtureRequest, tmp_path: Path) -> WholeWay:
    """:func:`tests.support.loops.whole_way`, its row noted for the table at the end."""

    def go(title: str, env: Environment, expected: loops.Expected | None = None) -> loops.Outcome:
        outcome, row = loops.whole_way(env, tmp_path / "way", expected or loops.Expected())
        request.node.user_properties.append((tally.PROPERTY, tally.values(row.called(title))))
        return outcome

    return go
